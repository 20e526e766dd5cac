"""A web server on this machine, with ranges, that can be slow, and misbehave in the ways that servers do."""

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mmap import mmap


class Web(ThreadingHTTPServer):
    """Serves ``files`` by name, and a page that lists them. What it is asked for is counted.

    ``faults``: what it does wrong, by word; see ``_Handler.do_GET``. ``delay``: seconds before each answer;
    ``rate``: bytes in a second, 0 for as fast as may be. ``after``: how many answers are as they should be,
    of a server that changes something. ``page``: instead of the list.
    """

    daemon_threads = True

    def __init__(
        self, files: Mapping[str, bytes | mmap], *faults: str, delay: float = 0.0, rate: int = 0
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files)
        self.faults = set(faults)
        self.delay = delay
        self.rate = rate
        self.after = 3
        self.page: bytes | None = None
        self.requests = 0
        self.sent = 0
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.lock = threading.Lock()

    def url(self, name: str = "", user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.server_address[1]}/{name}"


@contextmanager
def serving(
    files: Mapping[str, bytes | mmap], *faults: str, delay: float = 0.0, rate: int = 0
) -> Iterator[Web]:
    with Web(files, *faults, delay=delay, rate=rate) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked may have gone away
            super().handle()

    def do_GET(self) -> None:
        server, faults = self.server, self.server.faults
        with server.lock:
            server.requests += 1
            count = server.requests
            server.seen.append((self.path, dict(self.headers)))
        time.sleep(server.delay)
        name = self.path.lstrip("/").partition("?")[0]
        for status in (s for s in faults if s.isdigit()):
            return self._answer(int(status))
        if "busy" in faults and count % 3 == 0:
            return self._answer(503)
        if "silent" in faults and count > 1:
            time.sleep(5)
            return None
        if name.startswith("moved/"):
            return self._answer(302, {"Location": f"/{name.removeprefix('moved/')}"})
        if name == "round":
            return self._answer(302, {"Location": "/round"})
        if not name or name.endswith("/"):
            if "unlisted" in faults:
                return self._answer(403)
            links = "".join(f'<li><a href="{each}">{each}</a>' for each in ["../", *server.files])
            return self._answer(200, {"Content-Type": "text/html"}, server.page or links.encode())
        if name not in server.files:
            return self._answer(404)
        data = server.files[name]
        state = "one"
        if "changes" in faults and count > server.after:
            data, state = data[::-1], "two"
        if "grows" in faults and count > server.after:
            data = data[:] + bytes(512)
        if "goes" in faults and count > server.after:
            return self._answer(404)
        tags = {} if faults & {"untagged", "grows"} else {"ETag": f'"{state}"'}
        if "If-Match" in self.headers and self.headers["If-Match"] != tags.get("ETag"):
            return self._answer(412)
        several = re.findall(r"(\d+)-(\d+)", self.headers.get("Range", ""))
        if len(several) > 1 and "single" not in faults and "whole" not in faults:
            return self._ranges(data, [(int(start), int(last)) for start, last in several], tags)
        asked = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None or "whole" in faults:
            return self._answer(200, tags, data[:1])
        return self._range(data, int(asked[1]), int(asked[2]), tags)

    def _ranges(self, data: bytes | mmap, ranges: list[tuple[int, int]], tags: dict[str, str]) -> None:
        """As RFC 9110 has it in 14.6; with ``mixed``, in another order than was asked for."""
        parts = [
            b"\r\n--THIS\r\nContent-Type: application/x-raw\r\n"
            + f"Content-Range: bytes {start}-{min(last, len(data) - 1)}/{len(data)}\r\n\r\n".encode()
            + data[start : last + 1]
            for start, last in ranges
        ]
        if "mixed" in self.server.faults:
            parts.reverse()
        if "mute" in self.server.faults:
            parts = [part.replace(b"Content-Range", b"Content-Place") for part in parts]
        headers = {**tags, "Content-Type": "multipart/byteranges; boundary=THIS"}
        self._answer(206, headers, b"".join(parts) + b"\r\n--THIS--\r\n", cut="torn" in self.server.faults)

    def _range(self, data: bytes | mmap, start: int, last: int, tags: dict[str, str]) -> None:
        faults, size = self.server.faults, len(data)
        if start >= size:
            return self._answer(416, {"Content-Range": f"bytes */{size}"})
        part = data[start : last + 1]
        end = start + len(part) - 1
        told = size * 2 if "boasts" in faults else size
        if "elsewhere" in faults and start:
            start, end = start - 512, end - 512
        headers = {**tags, "Content-Range": f"bytes {start}-{end}/{'*' if 'sizeless' in faults else told}"}
        if "recodes" in faults:
            headers["Content-Encoding"] = "gzip"
        if "unnumbered" in faults:
            del headers["Content-Range"]
        if "short" in faults and start:
            part = part[:-100]
        return self._answer(206, headers, part, cut="breaks" in faults and start > 0)

    def _answer(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if cut:
            body = body[: len(body) // 2]
            self.close_connection = True
        if self.server.rate:
            time.sleep(len(body) / self.server.rate)
        with self.server.lock:
            self.server.sent += len(body)
        self.wfile.write(body)
