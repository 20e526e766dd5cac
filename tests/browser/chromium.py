"""A headless Chromium that tests drive: its DevTools protocol over a pipe, so that it takes no other program.

https://chromedevtools.github.io/devtools-protocol/ ; messages are JSON, each ended by a NUL byte.
"""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Self


class Chromium:
    """One page in a browser that reaches no network. ``folder``: where it keeps what it must."""

    def __init__(self, program: str, folder: Path) -> None:
        to_read, own_write = os.pipe()
        own_read, to_write = os.pipe()
        # The browser reads its commands from descriptor 3 and answers on 4.
        line = (
            'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@" --headless=new --no-sandbox --disable-gpu '
            "--disable-dev-shm-usage --no-first-run --disable-background-networking --remote-debugging-pipe "
            "--host-resolver-rules='MAP * ~NOTFOUND' --hide-scrollbars"
        )
        self._process = subprocess.Popen(
            ["bash", "-c", line, "-", str(to_read), str(to_write), program, f"--user-data-dir={folder}"],
            pass_fds=(to_read, to_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._write = os.fdopen(own_write, "wb", buffering=0)
        self._read = os.fdopen(own_read, "rb")
        self._number = 0
        self._waiting = b""
        self._events: list[dict[str, Any]] = []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = self._send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.send(f"{domain}.enable")

    _session: str | None = None

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command to the page, and its answer; raises AssertionError where it says an error."""
        return self._send(method, **parameters)

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        while True:
            got = self._message()
            if got.get("id") == self._number:
                assert "error" not in got, (method, got["error"])
                answer: dict[str, Any] = got["result"]
                return answer
            self._events.append(got)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            more = self._read.read1(1 << 16)
            assert more, f"the browser ended: {self._process.poll()}"
            self._waiting += more
        one, _, self._waiting = self._waiting.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message

    def open(self, page: Path, *, width: int, dark: bool = False, media: str = "screen") -> None:
        """Show a file in a window of this width, and wait until it stands there."""
        self._events.clear()
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.send("Page.navigate", url=page.as_uri())
        while not any(each["method"] == "Page.loadEventFired" for each in self._events):
            self._events.append(self._message())

    def said(self) -> list[str]:
        """What the console has of the page, and what it asked for besides itself."""
        found = []
        for each in self._events:
            given = each.get("params", {})
            match each["method"]:
                case "Log.entryAdded":
                    found.append(f"{given['entry']['level']}: {given['entry']['text']}")
                case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                    found.append(json.dumps(given)[:400])
                case "Network.requestWillBeSent" if not given["request"]["url"].startswith("file:"):
                    found.append(f"asked for {given['request']['url'][:200]}")
        return found

    def run(self, script: str) -> Any:
        """What a script of the test's own, not the page's, makes of the page."""
        got = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in got, json.dumps(got["exceptionDetails"])[:2000]
        return got["result"].get("value")

    def press_tab(self) -> None:
        """The Tab key, down and up."""
        key = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
        self.send("Input.dispatchKeyEvent", type="rawKeyDown", **key)
        self.send("Input.dispatchKeyEvent", type="keyUp", **key)

    def screenshot(self, *, whole: bool = True) -> bytes:
        """The page, all of it or what the window shows, as PNG."""
        got = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(got["data"])

    def pdf(self) -> bytes:
        """The page as it is printed on A4."""
        self.send("Emulation.setEmulatedMedia", media="")
        got = self.send("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True)
        return base64.b64decode(got["data"])

    def close(self) -> None:
        """End the browser, and wait for it."""
        self._session = None
        self._write.write(json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        while self._read.read1(1 << 16):
            pass
        self._process.wait()
        self._write.close()
        self._read.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
