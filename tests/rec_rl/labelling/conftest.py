"""A small converted log, and a headless Chromium, spoken to over its DevTools websocket."""

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rec_rl.experiments.log_conversion import ConversionSpec, convert_log

MARKUP = "<img id=pwned src=x onerror=\"document.title='pwned'\"><b>bold</b> & <script>1</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60.0  # seconds; a busy machine is slow


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 users and 9 items, every title markup; sessions of 1 to 6 requests."""
    rng = np.random.default_rng(0)
    rows, day = [], 86_400
    for user in range(30):
        time_of = 1_740_996_000 + int(rng.integers(day))
        for _ in range(8):
            for _ in range(int(rng.integers(1, 7))):
                rows.append((f"user {user}", f"i{rng.integers(9)}", time_of, int(rng.random() < 0.6)))
                time_of += int(rng.integers(10, 600))
            time_of += int(rng.integers(day // 4, 3 * day))
    log = pd.DataFrame(rows, columns=["user", "item", "time", "click"])
    log["title"] = MARKUP
    folder = tmp_path_factory.mktemp("labelling")
    log.to_csv(folder / "log.csv", index=False)
    mapping = ",".join(f"{name}={name}" for name in log.columns)
    spec = ConversionSpec(log=str(folder / "log.csv"), mapping=mapping, item_dim=4)
    convert_log(spec, folder / "converted", command="")
    return folder / "converted"


def wait_for(question: Any, what: str) -> Any:
    """The first answer that is true."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if answer := question():
            return answer
        time.sleep(0.1)
    raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}")


class Browser:
    """One page of a browser with a profile of its own."""

    def __init__(self, profile: Path) -> None:
        import websocket

        profile.mkdir(exist_ok=True)
        assert CHROMIUM is not None
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        flags += [
            "--disable-dev-shm-usage",
            "--remote-allow-origins=*",
            "--no-first-run",
            "--disable-extensions",
        ]
        self._process = subprocess.Popen(
            [CHROMIUM, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port_file = profile / "DevToolsActivePort"
        wait_for(lambda: port_file.is_file() and port_file.read_text().count("\n") >= 1, "the browser")
        port = port_file.read_text().split()[0]

        def page() -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                return next((tab for tab in json.load(answer) if tab["type"] == "page"), None)

        self._socket = websocket.create_connection(
            wait_for(page, "a page")["webSocketDebuggerUrl"], timeout=PATIENCE
        )
        self._numbers = itertools.count(1)
        self.command("Page.enable")

    def command(self, method: str, **params: Any) -> Any:
        """Sends a DevTools command and gives its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def open(self, url: str) -> None:
        """Goes to an address."""
        self.command("Page.navigate", url=url)

    def run(self, expression: str) -> Any:
        """The value of an expression on the page."""
        result = self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of an expression once it is true."""
        return wait_for(lambda: self.run(expression), expression)

    def press(self, key: str) -> None:
        """Presses a key."""
        code = f"Key{key.upper()}" if len(key) == 1 else key
        for kind in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=kind, key=key, code=code)

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Sets the size of the page, and whether it is a phone's."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def tap(self, selector: str) -> None:
        """Touches the middle of an element."""
        x, y = self.run(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        self.command("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.command("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def screenshot(self, path: Path) -> None:
        """Writes what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """Ends the browser."""
        self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=PATIENCE)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    pytest.importorskip("websocket")
    opened = Browser(tmp_path / "profile")
    yield opened
    opened.close()
