"""The labelling page in a headless browser, against the command that people run."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rec_rl.data.labels import load_answers

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
ANNOTATORS = ("ann", "ben", "cem", "dan")  # one a test: the tests share a server
PLACE = "document.body && document.body.dataset.place"


class Server:
    """``rec-rl label`` in a process of its own."""

    def __init__(self, converted: Path, labels: Path) -> None:
        command = [sys.executable, "-m", "rec_rl.cli", "label", str(converted), "--labels", str(labels)]
        options = ["--pairs", "20", "--port", "0", "--json"]
        options += [part for name in ANNOTATORS for part in ("--annotator", name)]
        self._process = subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}\n}"):
            line = self._process.stdout.readline()
            assert line, "the server ended"
            text += line
        self.links: dict[str, str] = json.loads(text)["links"]

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labels") / "labels.db"


@pytest.fixture(scope="module")
def server(converted: Path, labels: Path) -> Iterator[Server]:
    started = Server(converted, labels)
    yield started
    started.kill()


def choices(labels: Path, annotator: str) -> list[str]:
    return [answer.choice for answer in load_answers(labels)[1] if answer.annotator == annotator]


def test_people_label_undo_and_reload(browser: Any, server: Server, labels: Path):
    browser.resize(1100, 800)
    browser.open(server.links["ann"])
    assert browser.wait(PLACE) == "0"
    assert "token" not in browser.run("location.href")
    for place, key in enumerate(["a", "b", "e", "s", "ArrowLeft"], start=1):
        browser.press(key)
        browser.wait(f"{PLACE} === '{place}'")
    assert choices(labels, "ann") == ["left", "right", "equal", "skip", "left"]
    browser.press("u")
    browser.wait(f"{PLACE} === '4'")
    assert choices(labels, "ann") == ["left", "right", "equal", "skip"]
    shown = browser.run("document.getElementById('question').innerText")
    browser.command("Page.reload")
    browser.wait(f"{PLACE} === '4' && document.getElementById('left').childElementCount > 0")
    assert browser.run("document.getElementById('question').innerText") == shown
    assert "4 of 22" in browser.run("document.getElementById('progress').textContent")


def test_markup_in_titles_is_text(browser: Any, server: Server):
    browser.open(server.links["ben"])
    browser.wait(PLACE)
    assert "<b>bold</b>" in browser.run("document.querySelector('.title').textContent")
    assert (
        browser.run("document.querySelectorAll('#question img, #question b, #question script').length") == 0
    )
    assert browser.run("document.getElementById('pwned') === null && document.title !== 'pwned'")


def test_touch_answers_on_a_phone(browser: Any, server: Server, labels: Path):
    browser.resize(390, 844, mobile=True)
    browser.open(server.links["cem"])
    browser.wait(PLACE)
    assert browser.run("document.documentElement.scrollWidth") == 390  # nothing sticks out
    browser.tap("#choose-right")
    browser.wait(f"{PLACE} === '1'")
    browser.tap("#undo")
    browser.wait(f"{PLACE} === '0'")
    browser.tap("#choose-left")
    browser.wait(f"{PLACE} === '1'")
    assert choices(labels, "cem") == ["left"]


def test_wrong_and_used_links_are_refused(browser: Any, server: Server, labels: Path):
    address = server.links["dan"].partition("?")[0]
    browser.open(f"{address}?token=wrong")
    browser.wait("document.body && document.body.innerText.includes('not valid')")
    browser.open(server.links["dan"])
    browser.wait(PLACE)
    browser.command("Network.clearBrowserCookies")
    browser.open(server.links["dan"])
    browser.wait("document.body && document.body.innerText.includes('used before')")
    assert choices(labels, "dan") == []


def test_killed_server_loses_no_answer_and_the_page_says_so(browser: Any, converted: Path, tmp_path: Path):
    labels = tmp_path / "labels.db"
    server = Server(converted, labels)
    browser.open(server.links["ann"])
    browser.wait(PLACE)
    for place in (1, 2, 3):
        browser.press("a")
        browser.wait(f"{PLACE} === '{place}'")
    server.kill()  # at once, with nothing closed
    assert choices(labels, "ann") == ["left"] * 3
    browser.press("b")
    browser.wait("!document.getElementById('problem').hidden")
    assert browser.run(PLACE) == "3"  # it has not moved on
    again = Server(converted, labels)
    try:
        browser.open(again.links["ann"])
        browser.wait(f"{PLACE} === '3'")
        browser.press("b")
        browser.wait(f"{PLACE} === '4'")
    finally:
        again.kill()
    assert choices(labels, "ann") == ["left"] * 3 + ["right"]
