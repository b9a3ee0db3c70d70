"use strict";

// Everything that comes from the log is put on the page as text, never as markup.

const KEYS = { a: "left", arrowleft: "left", b: "right", arrowright: "right", e: "equal", "=": "equal", s: "skip" };
const at = (id) => document.getElementById(id);
let page = null;
let shownAt = 0;
let busy = true;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawing(width, height) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("viewBox", `0 0 ${width} ${height}`);
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("aria-hidden", "true");
  return made;
}

function bar(x, y, width, height, className) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const numbers = { x, y, width, height };
  for (const name in numbers) made.setAttribute(name, numbers[name]);
  if (className) made.setAttribute("class", className);
  return made;
}

// One bar a request: its height is the signal, a flat one stands for none.
function lane(values) {
  const made = drawing(Math.max(values.length, 24) * 10, 20);
  values.forEach((value, i) => {
    const height = value === null ? 2 : 3 + 17 * value;
    made.append(bar(i * 10 + 1, 20 - height, 8, height, value ? "full" : "empty"));
  });
  return made;
}

// An item without a name: the numbers of its vector, up or down.
function bars(values) {
  const made = drawing(values.length * 9, 18);
  values.forEach((value, i) => made.append(bar(i * 9, value > 0 ? 9 - 9 * value : 9, 7, Math.max(0.5, Math.abs(9 * value)))));
  return made;
}

function card(request) {
  const made = element("li", "card");
  const what = element("div", "what");
  const badges = element("div", "badges");
  if (request.bars.length) what.append(bars(request.bars));
  else what.append(element("div", "title", request.title));
  if (request.category) what.append(element("div", "category", request.category));
  for (const signal of request.feedback) badges.append(element("span", "badge", signal));
  made.append(element("div", "moment", `+ ${request.after}`), what, badges);
  return made;
}

function show(section, name, session) {
  const lanes = element("div", "lanes");
  for (const signal of session.lanes) {
    if (signal.values.some((value) => value !== null)) lanes.append(element("span", "", signal.name), lane(signal.values));
  }
  const cards = element("ol");
  cards.append(...session.cards.map(card));
  const size = session.requests === 1 ? "1 request" : `${session.requests} requests in ${session.lasted}`;
  section.replaceChildren(
    element("h2", "", `${name} · ${size}`),
    element("p", "facts", `user ${session.user} · ${session.when} · ${session.before}`),
    element("p", "after", `Afterwards the user ${session.after}.`),
    lanes,
    cards,
  );
}

async function draw(next) {
  page = next;
  const speed = page.per_minute === null ? "" : ` · ${page.per_minute} a minute`;
  at("progress").textContent = `${page.done} of ${page.total}${speed} · ${page.annotator}`;
  at("bar").style.width = `${(100 * page.done) / page.total}%`;
  at("question").hidden = page.question === null;
  at("end").hidden = page.question !== null;
  for (const button of document.querySelectorAll("button[data-choice]")) button.disabled = page.question === null;
  at("undo").disabled = !page.can_undo;
  if (page.question === null) {
    const findings = await ask("api/findings");
    at("findings").replaceChildren(...findings.map((text) => element("li", "", text)));
  } else {
    show(at("left"), "A", page.question.left);
    show(at("right"), "B", page.question.right);
    window.scrollTo(0, 0);
  }
  document.body.dataset.place = page.place;
  shownAt = performance.now();
}

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  const content = await response.json();
  if (!response.ok) throw new Error(typeof content.detail === "string" ? content.detail : response.statusText);
  return content;
}

// The page moves on only after the server has said that the answer is kept.
async function move(path, body) {
  if (busy) return;
  busy = true;
  try {
    await draw(await ask(path, body));
    at("problem").hidden = true;
  } catch (error) {
    at("problem").textContent = `Not saved: ${error.message}. Is rec-rl label still running?`;
    at("problem").hidden = false;
  } finally {
    busy = false;
  }
}

function choose(choice) {
  if (page === null || page.question === null) return;
  move("api/answer", { place: page.place, choice, seconds: (performance.now() - shownAt) / 1000 });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.toLowerCase();
  if (key === "u" || key === "backspace") move("api/undo", {});
  else if (key in KEYS) choose(KEYS[key]);
});
for (const button of document.querySelectorAll("button[data-choice]")) {
  button.addEventListener("click", () => choose(button.dataset.choice));
}
at("undo").addEventListener("click", () => move("api/undo", {}));
busy = false;
move("api/page");
