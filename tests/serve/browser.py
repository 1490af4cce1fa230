"""A Chromium, driven over WebDriver (W3C) by chromedriver."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

PROGRAMS = "chromium", "chromedriver"


def missing() -> list[str]:
    """What is not on this machine."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, url: str) -> None:
        _call("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns; it may await."""
        wrapped = f"const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done)"
        return _call("POST", f"{self._session}/execute/async", {"script": wrapped, "args": arguments})

    def wait(self, condition: str, seconds: float = 20.0) -> None:
        """Until an expression is true."""
        until = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < until, f"not so within {seconds} s: {condition}"
            time.sleep(0.05)

    def type(self, keys: str) -> None:
        """Into what has the focus. Special keys as WebDriver numbers them."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        _call("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def devtools(self, command: str, **parameters: object) -> Any:
        return _call("POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def size(self, width: int, height: int) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def dark(self, on: bool) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(_call("GET", f"{self._session}/screenshot")))

    def log(self) -> list[str]:
        """What the console was told since the last time."""
        return [entry["message"] for entry in _call("POST", f"{self._session}/se/log", {"type": "browser"})]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A window of a fresh profile."""
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            port = next(
                line.rpartition(" ")[2].strip(".\n") for line in driver.stdout if "started successfully on port" in line
            )
            address = f"http://127.0.0.1:{port}/session"
            options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
            wanted = {
                "browserName": "chrome",
                "goog:chromeOptions": {"args": options},
                "goog:loggingPrefs": {"browser": "ALL"},
            }
            opened = _call("POST", address, {"capabilities": {"alwaysMatch": wanted}})
            session = f"{address}/{opened['sessionId']}"
            try:
                yield Browser(session)
            finally:
                _call("DELETE", session)
        finally:
            driver.terminate()


def _call(method: str, url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}, method=method), timeout=60) as answer:
        return json.load(answer)["value"]
