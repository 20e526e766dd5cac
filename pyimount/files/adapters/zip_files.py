"""zip: the members as the folders in their paths, read as ``parsers.containers.zip_directory`` does.

Not by the standard library's zipfile: that keeps an object for each member, and to read at a place it unpacks
all that stands before. Extra fields: https://libzip.org/specifications/extrafld.txt
"""

import stat
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime

from pyimount.files.adapters.archives import Archive, Member
from pyimount.files.opening import Given
from pyimount.files.reading import Refused, Unreadable, Volume
from pyimount.files.records import Kind, Stat, kind_of
from pyimount.formats import NotThisFormat
from pyimount.parsers.containers.zip_directory import ENCRYPTED, STORED, UTF8, Directory, method
from pyimount.parsers.containers.zip_directory import Member as Entry
from pyimount.parsers.containers.zip_methods import unpacker, why_unread
from pyimount.problems import Code
from pyimount.sources.budget import NO_LIMIT, Meter
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead

TARGET_CAP = 1 << 16
_TIMES, _OWNER, _PATH = 0x5455, 0x7875, 0x7075
"""Extra fields: Info-ZIP's extended timestamp, its owner and group of Unix, its path in UTF-8."""
_HAS_MODIFIED = 1


class ZipArchive(Archive):
    """The members of a zip file as a tree."""

    def members(self, given: Given) -> Iterator[tuple[str, Member]]:
        """As Archive's."""
        self._directory = Directory(given.sources[0])
        self._meter = Meter(NO_LIMIT)
        try:
            for number, at in enumerate(self._directory.places()):
                entry, extras = self._directory.member_at(at), dict(self._directory.extras_at(at))
                yield self._name(entry, extras, at), self._of(entry, extras, at, number)
        except (NotThisFormat, struct.error) as error:
            self.broken = f"the archive cannot be read on: {error}"

    def _name(self, entry: Entry, extras: dict[int, bytes], at: int) -> str:
        """Its path: what the extra field has in UTF-8, if that is of this name; else the name itself.

        Info-ZIP writes on Unix what a file is called there, in whatever encoding, and says nothing of it.
        """
        raw, by_unix = self._directory.raw_name_at(at)
        told = extras.get(_PATH, b"")
        if len(told) > 5 and told[0] == 1 and told[1:5] == zlib.crc32(raw).to_bytes(4, "little"):
            raw, by_unix = told[5:], True
        if by_unix or entry.flag_bits & UTF8:
            return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        return entry.filename

    def _of(self, entry: Entry, extras: dict[int, bytes], at: int, number: int) -> Member:
        mode = entry.external_attr >> 16
        kind = kind_of(mode) if stat.S_IFMT(mode) else Kind.FILE
        if entry.filename.endswith("/"):
            kind = Kind.FOLDER
        modified, local = _modified(entry, extras.get(_TIMES, b""))
        uid, gid = _owner(extras.get(_OWNER, b""))
        encrypted = entry.flag_bits & ENCRYPTED
        return Member(
            stat=Stat(
                kind=kind, size=entry.file_size if kind in (Kind.FILE, Kind.LINK) else 0,
                allocated=entry.compress_size, mode=(mode & 0o7777) if mode else None, uid=uid, gid=gid,
                inode=number, modified=modified, local=local,
                attributes=("encrypted",) if encrypted else (),
            ),
            data=at,
        )  # fmt: skip

    def open(self, member: Member) -> Source:
        """As Archive's."""
        entry = self._directory.member_at(member.data)
        if entry.flag_bits & ENCRYPTED:
            raise Unreadable(Code.LOCKED, "it is encrypted, and is not read")
        if entry.compress_type != STORED and unpacker(entry.compress_type) is None:
            why = why_unread(entry.compress_type)
            raise Unreadable(Code.UNSUPPORTED, f"it is packed by {method(entry)}{why}")
        source = self._directory.source(entry, self._meter)
        if source.size < entry.file_size:
            raise Unreadable(Code.TRUNCATED, f"the archive has {source.size} of its {entry.file_size} bytes")
        return source

    def target(self, member: Member) -> str:
        """As Archive's: the data of a link is where it leads."""
        return self.open(member).read_at(0, TARGET_CAP).decode("utf-8", "surrogateescape")


def _modified(entry: Entry, times: bytes) -> tuple[int | None, bool]:
    """When it was modified, in ns since 1970, and whether that is local time."""
    if len(times) >= 5 and times[0] & _HAS_MODIFIED:
        return int.from_bytes(times[1:5], "little", signed=True) * 10**9, False
    if entry.modified is None:
        return None, False
    at = datetime.fromisoformat(entry.modified).replace(tzinfo=UTC) if _in_calendar(entry.modified) else None
    return (None, False) if at is None else (int(at.timestamp()) * 10**9, True)


def _in_calendar(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False  # 30 February
    return True


def _owner(field: bytes) -> tuple[int | None, int | None]:
    """Uid and gid, each behind its length in bytes, after the version of the field."""
    if len(field) < 3 or field[0] != 1:
        return None, None
    length = field[1]
    rest = field[2 + length :]
    if not rest or len(rest) < 1 + rest[0]:
        return None, None
    return int.from_bytes(field[2 : 2 + length], "little"), int.from_bytes(rest[1 : 1 + rest[0]], "little")


def open_volume(given: Given) -> Volume:
    """As the room's; raises Refused."""
    try:
        archive = ZipArchive(given)
    except (NotThisFormat, ShortRead) as error:
        raise Refused(str(error)) from error
    if not archive.root.below and archive.broken is not None:
        raise Refused(archive.broken)
    return Volume(root=archive.root, errors=(NotThisFormat, ShortRead))
