"""NTFS by dissect.ntfs: folders are listed from their index, records are read for what is asked for.

https://flatcap.github.io/linux-ntfs/ntfs/. Listing through the library's own layer reads a record an entry,
forty times as slowly. Times are those of $STANDARD_INFORMATION, which dissect gives to 100 ns.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from dissect.ntfs import NTFS
from dissect.ntfs.c_ntfs import ATTRIBUTE_TYPE_CODE as CODE

from pyimount.files.adapters.dissect import errors_of
from pyimount.files.adapters.libyal import words_of
from pyimount.files.opening import Given
from pyimount.files.reading import Broken, Node, Refused, Unreadable, Volume
from pyimount.files.records import Kind, Run, Stat, Stream
from pyimount.problems import Code
from pyimount.sources.errors import FOREIGN_ERRORS
from pyimount.sources.fileobject import StreamSource
from pyimount.sources.source import BytesSource, Source

_EPOCH = 11_644_473_600 * 10**9
_FOLDER, _REPARSE, _ENCRYPTED, _OFFLINE = 0x10000000, 0x400, 0x4000, 0x1000
_DOS = 2
_LINKS = (0xA000000C, 0xA0000003)
# IO_REPARSE_TAG_SYMLINK, IO_REPARSE_TAG_MOUNT_POINT
_ROOT = 5


def _time(filetime: int) -> int | None:
    return filetime * 100 - _EPOCH if filetime else None


class NtfsNode(Node):
    """A record of the MFT, by the name that an index has for it."""

    __slots__ = ("_record", "fs", "segment")

    def __init__(self, fs: Any, segment: int, name: str) -> None:
        self.fs = fs
        self.segment = segment
        self.name = name
        self._record: Any = None

    @property
    def record(self) -> Any:
        """The record."""
        if self._record is None:
            self._record = self.fs.mft.get(self.segment)
        return self._record

    def stat(self) -> Stat:
        """As Node's."""
        record = self.record
        said: dict[str, Any] = {}
        flags = 0
        for attribute in record.attributes[CODE.STANDARD_INFORMATION]:
            info = attribute.attribute.attr
            flags = int(info.FileAttributes)
            said = {
                "born": _time(int(info.CreationTime)), "modified": _time(int(info.LastModificationTime)),
                "changed": _time(int(info.LastChangeTime)), "accessed": _time(int(info.LastAccessTime)),
            }  # fmt: skip
        kind = Kind.FOLDER if record.is_dir() else Kind.FILE
        if flags & _REPARSE and self._reparse() is not None:
            kind = Kind.LINK
        size = 0 if kind is not Kind.FILE else self._size("")
        return Stat(kind=kind, size=size, inode=self.segment, attributes=words_of(flags), **said)

    def _size(self, stream: str) -> int:
        try:
            return int(self.record.size(stream))
        except FileNotFoundError:
            return 0

    def _reparse(self) -> Any:
        for attribute in self.record.attributes[CODE.REPARSE_POINT]:
            if int(attribute.attribute.tag) in _LINKS:
                return attribute.attribute
        return None

    def children(self) -> Iterator[Node | Broken]:
        """As Node's."""
        for entry in self.record.index("$I30").entries():
            try:
                # A $FILE_NAME: its name space, how long the name is, the name.
                key = entry.buf
                length, space = key[64], key[65]
                name = bytes(key[66 : 66 + 2 * length]).decode("utf-16-le", "surrogatepass")
                low, high = entry.header.FileReference.SegmentNumberLowPart, 0
                high = entry.header.FileReference.SegmentNumberHighPart
            except FOREIGN_ERRORS as error:
                yield Broken(name=None, why=f"an entry of the folder's index: {error}")
                continue
            if space != _DOS and name != ".":
                yield NtfsNode(self.fs, int(high) << 32 | int(low), name)

    def open(self) -> Source:
        """As Node's."""
        attributes = self.stat().attributes
        if "encrypted" in attributes:
            raise Unreadable(Code.UNSUPPORTED, "it is encrypted (EFS): its key is not in the image")
        if "offline" in attributes or "recall-on-data-access" in attributes:
            raise Unreadable(
                Code.UNSUPPORTED, "it is a placeholder: its data is in a cloud or on another medium"
            )
        return self._stream("")

    def _stream(self, name: str) -> Source:
        size = self._size(name)
        return StreamSource(self.record.open(name), size, "the file") if size else BytesSource(b"")

    def target(self) -> str:
        """As Node's."""
        point = self._reparse()
        if point is None:
            raise OSError("not a link")
        return str(point.substitute_name)

    def streams(self) -> Sequence[Stream]:
        """As Node's."""
        names = dict.fromkeys(each.name for each in self.record.attributes[CODE.DATA] if each.name)
        return [Stream(name=name, kind="stream", size=self._size(name)) for name in names]

    def open_stream(self, name: str) -> Source:
        """As Node's."""
        if name not in {each.name for each in self.record.attributes[CODE.DATA]}:
            raise FileNotFoundError(name)
        return self._stream(name)

    def runs(self) -> Sequence[Run] | None:
        """As Node's."""
        data = [each for each in self.record.attributes[CODE.DATA] if not each.name]
        if not data or data[0].header.resident:
            return None
        found, at, size = [], 0, int(self.fs.cluster_size)
        for place, count in self.record.dataruns():
            found.append(Run(at, count * size, None if place is None else place * size))
            at += count * size
        return found


def open_volume(given: Given) -> Volume:
    """As the room's; raises Refused."""
    errors = errors_of("ntfs.exceptions")
    try:
        fs: Any = NTFS(given.file())
    except errors as error:
        raise Refused(str(error)) from error
    if fs.mft is None:
        raise Refused("it has no MFT that can be read")
    return Volume(
        root=NtfsNode(fs, _ROOT, ""),
        folds="upper",
        errors=errors,
        at=lambda key: NtfsNode(fs, int(key), ""),
        key_of=lambda node: cast("NtfsNode", node).segment,
    )
