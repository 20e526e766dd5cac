"""Images elsewhere: whatever fsspec opens (https://filesystem-spec.readthedocs.io), read in blocks.

A link has a cost for each request and one for each byte. What a scan reads lies in a few places; blocks of
256 KiB were measured to take least on a link of 30 ms and 100 Mbit/s.
"""

import sys
from _thread import allocate_lock
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from pyimount.sources.budget import Meter
from pyimount.sources.errors import FOREIGN_ERRORS, OpenError, ReadError
from pyimount.sources.place import ChangedError, Place, changed
from pyimount.sources.source import LAST, NamedSource
from pyimount.sources.urls import given, is_signed, last_part, without_credentials

BLOCK = 256 << 10
"""Bytes that are fetched at once, and kept."""
_KEPT = 64
"""Blocks that are kept of each file."""
_AHEAD = 16
"""Blocks that are fetched at once, at most, of a file that is read from front to back."""

_PAGE = 4 << 10
"""Bytes in a page: what is expected is fetched in these."""
_PAGES_KEPT = 4096
_CLOSE = 8
"""Pages between two runs that cost less to fetch along than to leave out."""

_NAMES_CAP = 1 << 14
"""No more names than this are looked at beside a file."""
_INSTALL = "reading from elsewhere needs fsspec and aiohttp: pip install 'pyimount[remote]'"
_MARKS = (
    "ETag", "etag", "generation", "md5Checksum", "content_md5", "mtime", "LastModified", "last_modified",
    "updated", "modified",
)  # fmt: skip
"""By which of its facts a file system tells a file's states apart, the best first."""


class RemoteSource(NamedSource):
    """A file elsewhere, read in blocks; every read is charged to ``meter`` as if it were here.

    Once it is seen to have changed, nothing more is read of it: bytes of two states are of none.
    """

    __slots__ = ("_blocks", "_changed", "_last", "_lock", "_meter", "_pages", "_place", "_run", "path")

    def __init__(self, place: Place, meter: Meter | None = None, first: bytes = b"") -> None:
        self.path = place.name
        self.size = min(place.size, LAST)
        self._place = place
        self._meter = meter or Meter()
        self._lock = allocate_lock()
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._changed: str | None = None
        self._last, self._run = -1, 1
        if first and len(first) == min(BLOCK, self.size):
            self._blocks[0] = first

    @classmethod
    def open(
        cls, name: str, meter: Meter | None = None, *, filesystem: Any = None, path: str = ""
    ) -> "RemoteSource":
        """Open a URL, by what is shown of it. Raises OpenError.

        ``filesystem``, ``path``: fsspec's, where the caller has them.
        """
        try:
            if given(name).lower().startswith(("http://", "https://")):
                from pyimount.sources.http import HttpPlace

                there = HttpPlace(name, BLOCK, filesystem)
                return cls(there, meter, there.first)
            place = FilePlace.named(name) if filesystem is None else FilePlace(name, filesystem, path)
            return cls(place, meter)
        except ImportError as error:
            # fsspec says which package a kind of URL needs, but not what of it.
            lacking = error.name or ""
            if lacking.partition(".")[0] in ("fsspec", "aiohttp"):
                raise OpenError(f"{name}: {_INSTALL}") from None
            raise OpenError(f"{name}: {error.msg.rstrip('.')}") from None

    def _read(self, offset: int, length: int) -> bytes:
        self._meter.charge(length)
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        with self._lock:
            if self._changed is not None:
                raise ChangedError(self._changed)
            expected = self._expected(offset, length)
            if expected is not None:
                return expected
            try:
                blocks = self._have(first, last)
            except ChangedError as error:
                self._changed = str(error)
                raise
        start = offset - first * BLOCK
        return b"".join(blocks)[start : start + length]

    @property
    def is_far(self) -> bool:
        """As Source's."""
        return True

    def expect(self, runs: Sequence[tuple[int, int]]) -> None:
        """As Source's: these alone, not the blocks around them, in as few requests as the server allows."""
        with self._lock:
            wanted = self._missing(runs)
            if len(wanted) < 2 or self._changed is not None:
                return  # one alone is as well read when it is wanted
            try:
                came = self._place.fetch_many(wanted)
            except ChangedError as error:
                self._changed = str(error)
                return
            for (offset, _), data in zip(wanted, came, strict=True):
                for at in range(0, len(data or b""), _PAGE):
                    self._pages[(offset + at) // _PAGE] = (data or b"")[at : at + _PAGE]
            while len(self._pages) > _PAGES_KEPT:
                self._pages.popitem(last=False)

    def _missing(self, runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """What is not here yet of these runs, in whole pages, with those put together that lie close."""
        pages = sorted(
            {
                page
                for offset, length in runs
                for page in range(offset // _PAGE, (min(offset + length, self.size) - 1) // _PAGE + 1)
                if page not in self._pages and page * _PAGE // BLOCK not in self._blocks
            }
        )[:_PAGES_KEPT]
        found: list[list[int]] = []
        for page in pages:
            if found and page - found[-1][1] <= _CLOSE:
                found[-1][1] = page + 1
            else:
                found.append([page, page + 1])
        return [(start * _PAGE, min(end * _PAGE, self.size) - start * _PAGE) for start, end in found]

    def _expected(self, offset: int, length: int) -> bytes | None:
        """These bytes where they all came as expected."""
        first, last = offset // _PAGE, (offset + length - 1) // _PAGE
        if first not in self._pages or last - first >= len(self._pages):
            return None
        pages = [self._pages.get(page) for page in range(first, last + 1)]
        data = b"".join(page for page in pages if page is not None)
        at = offset - first * _PAGE
        return None if None in pages or len(data) < at + length else data[at : at + length]

    def _have(self, first: int, last: int) -> list[bytes]:
        found: dict[int, bytes] = {}
        at = first
        while at <= last:
            if at in self._blocks:
                self._blocks.move_to_end(at)
                found[at] = self._blocks[at]
                at += 1
                continue
            end = at
            while end < last and end + 1 not in self._blocks and end - at < _AHEAD:
                end += 1
            found.update(enumerate(self._fetched(at, end), at))
            at = end + 1
        return [found[number] for number in range(first, last + 1)]

    def _fetched(self, first: int, last: int) -> list[bytes]:
        """Blocks in a row, with those after them where the file is read from front to back."""
        self._run = min(2 * self._run, _AHEAD) if first == self._last + 1 and self._last > 0 else 1
        end = max(last, min(first + self._run - 1, (self.size - 1) // BLOCK))
        self._last = end
        offset = first * BLOCK
        data = self._place.fetch(offset, min((end + 1) * BLOCK, self.size) - offset)
        blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
        for number, block in enumerate(blocks, first):
            self._blocks[number] = block
        while len(self._blocks) > _KEPT:
            self._blocks.popitem(last=False)
        return blocks[: last - first + 1]

    @property
    def mark(self) -> str | None:
        """As Source's: the size in bytes, with the ETag or the time of change where there is one."""
        return f"{self.size} {self._place.mark or ''}".rstrip()

    @property
    def tag(self) -> str | None:
        """The ETag, or the time of change; None where there is neither."""
        return self._place.mark

    def changed(self) -> str | None:
        """What says that this is not what was opened any more, if it is not."""
        with self._lock:
            if self._changed is None:
                try:
                    self._place.look_again()
                except ReadError as error:
                    self._changed = str(error)
            return self._changed

    def close(self) -> None:
        """As Source's."""
        self._place.close()


class FilePlace(Place):
    """A file in one of fsspec's file systems."""

    def __init__(self, name: str, filesystem: Any, path: str) -> None:
        self.name = name
        self._filesystem = filesystem
        self._path = path
        try:
            info = filesystem.info(path)
            size = info.get("size")
            if info.get("type") == "directory":
                raise OpenError(f"{name}: is a folder, and folders are looked through only here")
            if size is None:
                raise OpenError(f"{name}: its size is not known there: fetch it first")
            self.size, self.mark = int(size), _mark(info)
            # Blocks are kept by us: neighbours come in one request, and none is shorter than it should be.
            self._file = filesystem.open(path, "rb", block_size=BLOCK, cache_type="none")
        except _foreign() as error:
            raise OpenError(f"{name}: {self._told(error)}") from None

    @classmethod
    def named(cls, name: str) -> "FilePlace":
        """The file that is shown as ``name``. Raises OpenError, ImportError."""
        from fsspec.core import url_to_fs

        try:
            filesystem, path = url_to_fs(given(name))
        except _foreign() as error:
            raise OpenError(f"{name}: {_said(error, name)}") from None
        return cls(name, filesystem, path)

    def fetch(self, offset: int, length: int) -> bytes:
        """As Place's."""
        pieces, at = [], offset
        try:
            while at < offset + length:
                self._file.seek(at)
                piece = self._file.read(offset + length - at)
                if not piece:
                    break
                pieces.append(bytes(piece))
                at += len(piece)
        except _foreign() as error:
            if type(error).__name__ == "FileExpired":  # s3fs's
                raise changed(self.name, "there is another state of it") from None
            raise ReadError(f"{self.name}: cannot read at {offset}: {self._told(error)}") from None
        if at != offset + length:
            raise ReadError(f"{self.name}: ends at {at}, and was {self.size} bytes long when it was opened")
        return b"".join(pieces)

    def fetch_many(self, runs: Sequence[tuple[int, int]]) -> Sequence[bytes | None]:
        """As Place's."""
        if not getattr(self._filesystem, "async_impl", False):
            return super().fetch_many(runs)
        starts, ends = [at for at, _ in runs], [at + length for at, length in runs]
        try:
            came = self._filesystem.cat_ranges([self._path] * len(runs), starts, ends, on_error="return")
        except _foreign():  # the reads themselves will tell
            return super().fetch_many(runs)
        return [
            bytes(data) if isinstance(data, bytes) and len(data) == length else None
            for data, (_, length) in zip(came, runs, strict=True)
        ]

    def look_again(self) -> None:
        """As Place's."""
        try:
            self._filesystem.invalidate_cache()
            info = self._filesystem.info(self._path)
        except _foreign() as error:
            raise changed(self.name, self._told(error)) from None
        if (info.get("size"), _mark(info)) != (self.size, self.mark):
            raise changed(self.name, "its size or its time of change is another")

    def close(self) -> None:
        """As Place's."""
        self._file.close()

    def _told(self, error: Exception) -> str:
        return _said(error, self.name)


_THEIR_ERRORS = (
    ("aiohttp", "ClientError"), ("azure.core.exceptions", "AzureError"),
    ("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"), ("google.auth.exceptions", "GoogleAuthError"),
    ("paramiko", "SSHException"), ("requests", "RequestException"),
)  # fmt: skip
"""What the packages below fsspec raise, where they are loaded, that is none of Python's own errors."""


def _foreign() -> tuple[type[Exception], ...]:
    loaded = (getattr(sys.modules.get(module), name, None) for module, name in _THEIR_ERRORS)
    return (*FOREIGN_ERRORS, *(each for each in loaded if each is not None))


def _mark(info: Any) -> str | None:
    return next((str(info[key]) for key in _MARKS if info.get(key) is not None), None)


def _said(error: Exception, name: str) -> str:
    """What somebody else's error says, in one line, without anything that may not be shown."""
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, PermissionError):
        return "access is refused"
    lines = str(error).strip().splitlines()
    said = without_credentials(lines[0], name) if lines else type(error).__name__
    return f"{said[:1].lower()}{said[1:200]}"


def mark_of(name: str) -> tuple[int | None, str | None]:
    """The size and the mark of what stands there now; None for both where it cannot be opened."""
    try:
        source = RemoteSource.open(name)
    except OpenError:
        return None, None
    source.close()
    return source.size, source.tag


def names_beside(name: str) -> dict[str, int]:
    """The files in the folder of one, by name, and their sizes in bytes, 0 where these are not known.

    As far as they can be listed.
    """
    if is_signed(name):
        return {}
    if given(name).lower().startswith(("http://", "https://")):
        from pyimount.sources import http

        try:
            return dict.fromkeys(http.names_beside(name)[:_NAMES_CAP], 0)
        except ImportError:
            return {}
    try:
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(given(name))
        entries = filesystem.ls(path.rpartition("/")[0], detail=True)[:_NAMES_CAP]
        files = ((last_part(each["name"]), each.get("size")) for each in entries if each["type"] == "file")
        return {each: int(size or 0) for each, size in files}
    except ImportError:
        return {}
    except _foreign():  # opening it says what is wrong
        return {}
