"""A headless Chromium that opens one page, driven over its DevTools protocol."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
"""Path of the browser; None where none is installed."""

OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run")


class Tab:
    """A page in the browser.

    Args:
        address: address of its WebSocket.
    """

    def __init__(self, address: str) -> None:
        self.loop = IOLoop(make_current=False)
        self.socket: Any = self.loop.run_sync(lambda: websocket_connect(address, max_message_size=2**28))
        self.number = 0
        self.complaints: list[str] = []

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and return its result; messages of the console are collected."""
        self.number += 1
        message = json.dumps({"id": self.number, "method": method, "params": parameters})
        return self.loop.run_sync(lambda: self._exchange(message))

    async def _exchange(self, message: str) -> Any:
        await self.socket.write_message(message)
        while True:
            answer = json.loads(await self.socket.read_message())
            if answer.get("id") == self.number:
                return answer.get("result", answer)
            self._note(answer["method"], answer["params"])

    def _note(self, method: str, told: Any) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(told["exceptionDetails"]["exception"]["description"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(one.get("value")) for one in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()
        self.loop.close(all_fds=True)

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression of JavaScript."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script: str, seconds: float = 30.0) -> Any:
        """Return the value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < end, f"{script} stays {value}"
            time.sleep(0.05)
        return value


@contextmanager
def opened(page: Path, profile: Path, *, width: int = 1280, dark: bool = False) -> Iterator[Tab]:
    """Open a page in a new browser.

    Args:
        page: the HTML file.
        profile: an empty folder for the files of the browser.
        width: width of the window in CSS pixels.
        dark: whether the page is asked for its dark form.
    """
    command = [str(PROGRAM), *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    browser = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert browser.stderr is not None
        address = next(line.split()[-1] for line in browser.stderr if "DevTools listening on" in line)
        host = address.split("/")[2]
        tabs = json.load(urlopen(f"http://{host}/json"))
        target = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        tab = Tab(target)
        for domain in ("Runtime", "Log", "Page"):
            tab.call(f"{domain}.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        tab.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme])
        tab.call("Page.navigate", url=page.resolve().as_uri())
        yield tab
        tab.close()
    finally:
        browser.kill()
        browser.wait()
        browser.stderr.close()
