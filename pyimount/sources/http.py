"""Files on HTTP servers, by ranges: RFC 9110, sections 13.1.1 (If-Match) and 14 (ranges).

https://www.rfc-editor.org/rfc/rfc9110. The connections are fsspec's, with what its configuration says of
them. Servers are believed as little as images are: each answer is held against what was asked for, and
against the first one. There is no HEAD: some servers allow none, a signed URL is for GET alone, and the first
range tells as much.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from time import sleep
from typing import Any
from urllib.parse import urljoin

from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.place import ChangedError, Place, changed
from pyimount.sources.source import LAST
from pyimount.sources.urls import given

CONNECT_SECONDS = 30.0
SILENT_SECONDS = 60.0
"""Seconds in which a server must say something."""
WHOLE_SECONDS = 900.0
"""Seconds that one answer may take in all."""
WAITS = (0.5, 2.0)
"""Seconds to wait before each further try, where the connection or the server failed."""
_RANGES = 64
"""Ranges in one request: servers allow some hundred, and lines of some KiB."""
_AT_ONCE = 8
"""Requests at a time, of a server that sends one range for each."""
_PART_HEAD = 1 << 10
"""Bytes, at most, that a server writes around each of many ranges."""
LISTING_CAP = 4 << 20
"""Bytes of a folder's page that are looked at."""

_RANGE = re.compile(r"bytes (?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19}|\*)")
_LATER = frozenset((408, 429, 500, 502, 503, 504))
_GONE = frozenset((404, 410))
_REFUSED = frozenset((401, 403, 407))


class _AgainError(Exception):
    """It may go well another time."""


class HttpPlace(Place):
    """A file on an HTTP server. ``first``: its bytes from the start that came with the first answer.

    ``filesystem``: fsspec's, where the caller has one; else the one that its configuration makes.
    """

    def __init__(self, name: str, wanted: int, filesystem: Any = None) -> None:
        self.name = name
        self._filesystem = filesystem
        self.size = 0
        self.first = b""
        self._pinned: str | None = None
        self._opened = False
        self._has_many = True
        try:
            self.first = self._asked(0, wanted)
        except ReadError as error:
            raise OpenError(str(error)) from error
        self._opened = True

    def fetch(self, offset: int, length: int) -> bytes:
        """As Place's."""
        data = self._asked(offset, length)
        if len(data) != length:
            raise ReadError(f"{self.name}: {len(data)} of {length} bytes came for what stands at {offset}")
        return data

    def _asked(self, offset: int, length: int) -> bytes:
        """These bytes; of the first answer, as many as there are."""
        why = ""
        for wait in (*WAITS, None):
            try:
                return bytes(_sync(self._filesystem, self._answer, offset, length))
            except _AgainError as error:
                why = str(error)
            if wait is not None:
                sleep(wait)
        raise ReadError(f"{self.name}: cannot read at {offset}: {why}")

    def fetch_many(self, runs: Sequence[tuple[int, int]]) -> Sequence[bytes | None]:
        """As Place's: in one request where the server has that; else in several at once."""
        came: dict[int, bytes] = {}
        for first in range(0, len(runs), _RANGES) if self._has_many else ():
            some = runs[first : first + _RANGES]
            try:
                came |= _sync(self._filesystem, self._answer_to_many, some)
            except ChangedError:
                raise
            except (ReadError, _AgainError):
                self._has_many = False
                break
        if self._has_many:
            return [
                next(
                    (d[at - s : at - s + n] for s, d in came.items() if s <= at and at + n <= s + len(d)),
                    None,
                )
                for at, n in runs
            ]
        return list(_sync(self._filesystem, self._answers, runs))

    async def _answers(self, filesystem: Any, runs: Sequence[tuple[int, int]]) -> list[bytes | None]:
        """Each by a request of its own, several at a time."""
        from asyncio import Semaphore, gather

        room = Semaphore(_AT_ONCE)

        async def one(offset: int, length: int) -> bytes | None:
            async with room:
                try:
                    return await self._answer(filesystem, offset, length)
                except ChangedError:
                    raise
                except (ReadError, _AgainError):
                    return None

        return list(await gather(*(one(*run) for run in runs)))

    async def _answer_to_many(self, filesystem: Any, runs: Sequence[tuple[int, int]]) -> dict[int, bytes]:
        """What came of these ranges, by where it begins. Raises ReadError where the server has not that."""
        import aiohttp

        ranges = ",".join(f"{at}-{at + length - 1}" for at, length in runs)
        headers = {"Range": f"bytes={ranges}", "Accept-Encoding": "identity"}
        if self._pinned is not None:
            headers["If-Match"] = self._pinned
        most = sum(length for _, length in runs) + _PART_HEAD * (len(runs) + 1)
        try:
            async with await _get(filesystem, given(self.name), headers) as answer:
                if answer.status == 412:
                    raise changed(self.name, "the server has another state of it")
                kind = answer.content_type == "multipart/byteranges"
                boundary = answer.headers.get("Content-Type", "").partition("boundary=")[2].strip('" ')
                if answer.status != 206 or not kind or not boundary:
                    raise ReadError(f"{self.name}: the server sends one range at a time")
                data = bytearray()
                async for piece in answer.content.iter_chunked(1 << 16):
                    data += piece
                    if len(data) > most:
                        raise ReadError(f"{self.name}: the server sends more than was asked for")
                return self._parts(bytes(data), boundary.encode(), answer.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _AgainError(type(error).__name__) from None

    def _parts(self, data: bytes, boundary: bytes, headers: Mapping[str, str]) -> dict[int, bytes]:
        """The parts of an answer to many ranges: each has as many bytes as it says (RFC 9110, 14.6)."""
        found: dict[int, bytes] = {}
        at = data.find(b"--" + boundary)
        while at >= 0 and not data.startswith(b"--" + boundary + b"--", at):
            end = data.find(b"\r\n\r\n", at)
            told = re.search(rb"(?im)^content-range:[ \t]*(.*?)[ \t]*\r$", data[at : end + 2])
            place = _RANGE.fullmatch(told[1].decode("latin-1")) if told and end > 0 else None
            if place is None or place[1] is None or place[3] == "*":
                raise ReadError(
                    f"{self.name}: the server's answer has parts that do not say what they are of"
                )
            self._compare(int(place[3]), headers)
            start, length = int(place[1]), int(place[2]) + 1 - int(place[1])
            found[start] = data[end + 4 : end + 4 + length]
            if len(found[start]) != length:
                raise ReadError(f"{self.name}: the server's answer ended in the middle")
            at = data.find(b"--" + boundary, end + 4 + length)
        return found

    async def _answer(self, filesystem: Any, offset: int, length: int) -> bytes:
        import aiohttp

        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        if self._pinned is not None:
            headers["If-Match"] = self._pinned
        try:
            async with await _get(filesystem, given(self.name), headers) as answer:
                wanted = self._checked(answer.status, answer.headers, offset, length)
                data = bytearray()
                async for piece in answer.content.iter_chunked(1 << 16):
                    data += piece
                    if len(data) > wanted:
                        raise ReadError(f"{self.name}: the server sends more than the {wanted} bytes it says")
        except aiohttp.TooManyRedirects:
            raise ReadError(
                f"{self.name}: the server leads from one address to the next, on and on"
            ) from None
        except aiohttp.InvalidURL:
            raise ReadError(f"{self.name}: is no address") from None
        except aiohttp.ClientConnectorCertificateError:
            raise ReadError(f"{self.name}: the server's certificate is not valid for it") from None
        except aiohttp.ClientPayloadError:
            raise _AgainError("the server's answer ended in the middle") from None
        except TimeoutError:
            raise _AgainError("the server does not answer in time") from None
        except aiohttp.ClientConnectorDNSError:
            raise _AgainError("there is no such server") from None
        except aiohttp.ClientConnectorError as error:
            raise _AgainError(f"no connection: {error.strerror or 'refused'}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _AgainError(f"the connection failed ({type(error).__name__})") from None
        if len(data) != wanted:
            raise _AgainError(f"{len(data)} of {wanted} bytes came")
        return bytes(data)

    def _checked(self, status: int, headers: Mapping[str, str], offset: int, length: int) -> int:
        """How many bytes are to come. Raises ReadError, and _AgainError."""
        place = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if status == 416 and not self._opened and place is not None and place[3] == "0":
            return 0
        if status in (412, 416) and self._opened:
            raise changed(self.name, "the server has another state of it")
        if status in _LATER:
            raise _AgainError(f"the server answers with {status}")
        if status in _GONE:
            raise ReadError(f"{self.name}: is not there ({status})")
        if status in _REFUSED:
            raise ReadError(f"{self.name}: the server refuses access ({status})")
        if status == 200:
            raise ReadError(
                f"{self.name}: the server sends no parts of files (ranges), which looking into it needs: "
                "fetch it first"
            )
        if status != 206 or place is None or place[1] is None:
            raise ReadError(f"{self.name}: the server answers with {status}, not with what is asked for")
        if headers.get("Content-Encoding", "identity") not in ("", "identity"):
            raise ReadError(f"{self.name}: the server sends it recoded, so that places in it mean nothing")
        if place[3] == "*":
            raise ReadError(f"{self.name}: the server does not say how large it is: fetch it first")
        start, end, size = int(place[1]), int(place[2]), int(place[3])
        self._compare(size, headers)
        if start != offset or end != min(offset + length, self.size) - 1:
            raise ReadError(
                f"{self.name}: asked for {length} bytes at {offset}, the server sends {start} to {end}"
            )
        return end + 1 - start

    def _compare(self, size: int, headers: Mapping[str, str]) -> None:
        """Hold an answer's facts against the first answer's."""
        mark = headers.get("ETag") or headers.get("Last-Modified")
        if not self._opened:
            self.size, self.mark = min(size, LAST), mark
            if mark is not None and mark.startswith('"'):
                self._pinned = mark
        elif size != self.size:
            raise changed(self.name, f"it had {self.size} bytes, and has {size}")
        elif mark != self.mark:
            raise changed(self.name, f"it was {self.mark}, and is {mark}")


def names_beside(name: str) -> list[str]:
    """The names in the folder of a file, as far as the server lists them."""
    parent = given(name).rpartition("/")[0] + "/"

    async def page(filesystem: Any) -> str:
        async with await _get(filesystem, parent, {}) as answer:
            if answer.status != 200 or "html" not in answer.headers.get("Content-Type", "html"):
                return ""
            data = bytearray()
            async for piece in answer.content.iter_chunked(1 << 16):
                data += piece
                if len(data) >= LISTING_CAP:
                    break
            return data.decode("utf-8", "replace")

    from aiohttp import ClientError

    try:
        text = _sync(None, page)
    except (ClientError, TimeoutError, OSError, ValueError):  # the last: an address that is none
        return []
    return sorted(set(_names_in(text, parent)))


_HREF = re.compile(
    r"""\bhref\s{0,8}=\s{0,8}(?:"([^"<>]{1,4096})"|'([^'<>]{1,4096})'|([^\s"'<>]{1,4096}))""", re.IGNORECASE
)
"""Not html.parser: what a hostile page costs there grows with its square, and some make it raise."""


def _names_in(page: str, parent: str) -> Iterator[str]:
    """The names in the folder ``parent`` to which a page of it leads."""
    for found in _HREF.finditer(page):
        try:
            address = urljoin(parent, unescape(found[1] or found[2] or found[3]))
        except ValueError:
            continue  # an address that is none
        name = address.partition("?")[0].removeprefix(parent)
        if address.startswith(parent) and name and "/" not in name:
            yield name


def _sync(filesystem: Any, asked: Any, *arguments: Any) -> Any:
    """What a coroutine function gives that takes fsspec's file system for HTTP, in fsspec's own thread."""
    import fsspec
    from fsspec.asyn import sync

    filesystem = filesystem or fsspec.filesystem("http")
    return sync(filesystem.loop, asked, filesystem, *arguments)


async def _get(filesystem: Any, url: str, headers: Mapping[str, str]) -> Any:
    from aiohttp import ClientTimeout

    session = await filesystem.set_session()
    configured = dict(filesystem.kwargs)
    configured["headers"] = {**configured.get("headers", {}), **headers}
    configured["timeout"] = ClientTimeout(
        total=WHOLE_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS
    )
    return await session.get(filesystem.encode_url(url), **configured)
