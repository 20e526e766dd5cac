"""ISO 9660 by pycdlib, with Rock Ridge or Joliet where the disc has them. Standard: ECMA-119.

https://clalancette.github.io/pycdlib/. The records are pycdlib's; the data is read from where they say.
"""

import struct
import zlib
from calendar import timegm
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from pyimount.files.opening import Given
from pyimount.files.reading import Broken, Node, Refused, Unreadable, Volume
from pyimount.files.records import Kind, Run, Stat, kind_of
from pyimount.problems import Code
from pyimount.sources.source import BytesSource, ConcatSource, SliceSource, Source

_BLOCK = 2048
_QUARTER_HOUR = 900


class Disc:
    """A disc, and in which of its namings its names are given: ``rr``, ``joliet``, ``iso``."""

    def __init__(self, given: Given) -> None:
        self.source = given.sources[0]
        self.iso: Any = pycdlib.PyCdlib()
        self.iso.open_fp(given.file())
        self.naming = "rr" if self.iso.has_rock_ridge() else "joliet" if self.iso.has_joliet() else "iso"
        path = {"joliet_path": "/"} if self.naming == "joliet" else {"iso_path": "/"}
        self.root: Any = self.iso.get_record(**path)

    def name(self, record: Any) -> str:
        """The name of a record."""
        if self.naming == "rr" and record.rock_ridge is not None and record.rock_ridge.name():
            return bytes(record.rock_ridge.name()).decode("utf-8", "surrogateescape")
        raw = bytes(record.file_identifier() if self.naming == "rr" else record.file_ident)
        if self.naming == "joliet":
            return raw.decode("utf-16-be", "surrogatepass")
        name = raw.decode("utf-8", "surrogateescape").partition(";")[0]
        return name.removesuffix(".") or name


def _time(date: Any) -> int | None:
    """Nanoseconds since 1970 of a record's date: of seven bytes, or of seventeen digits."""
    if date is None:
        return None
    long = hasattr(date, "dayofmonth")
    year: int = date.year if long else date.years_since_1900 + 1900
    day = date.dayofmonth if long else date.day_of_month
    if not day or not date.month:
        return None
    seconds = timegm((year, date.month, day, date.hour, date.minute, date.second))
    hundredths = date.hundredthsofsecond if long else 0
    return int((seconds - date.gmtoffset * _QUARTER_HOUR) * 10**9 + hundredths * 10**7)


class IsoNode(Node):
    """A directory record."""

    __slots__ = ("disc", "record")

    def __init__(self, disc: Disc, record: Any, name: str) -> None:
        self.disc = disc
        self.record = record
        self.name = name

    def _field(self, kind: str) -> Any:
        """The Rock Ridge record of this kind, from the directory record or its continuation."""
        ridge = self.record.rock_ridge
        if ridge is None or self.disc.naming != "rr":
            return None
        for entries in (ridge.dr_entries, ridge.ce_entries):
            found = None if entries is None else getattr(entries, kind)
            if found is not None:
                return found
        return None

    def stat(self) -> Stat:
        """As Node's."""
        record = self.record
        # The root's own facts stand in the entry that it has for itself.
        if record.is_root and record.children:
            record = record.children[0]
        said: dict[str, Any] = {"modified": _time(record.date)}
        kind = Kind.FOLDER if self.record.is_dir() else Kind.FILE
        node = IsoNode(self.disc, record, self.name) if record is not self.record else self
        owner, times = node._field("px_record"), node._field("tf_record")
        if owner is not None:
            kind = kind_of(owner.posix_file_mode)
            said |= {
                "mode": owner.posix_file_mode & 0o7777, "uid": owner.posix_user_id,
                "gid": owner.posix_group_id, "links": owner.posix_file_links,
            }  # fmt: skip
        if times is not None:
            # RRIP 4.1.6 has that of the modification before that of the access; pycdlib 1.22 the other way.
            found = {
                "modified": times.access_time, "accessed": times.modification_time,
                "changed": times.attribute_change_time, "born": times.creation_time,
            }  # fmt: skip
            said |= {field: _time(date) for field, date in found.items() if date is not None}
        device = node._field("pn_record")
        if kind is Kind.DEVICE and device is not None:
            said["device"] = int(device.dev_t_high), int(device.dev_t_low)
        size = self._length() if kind is Kind.FILE else 0
        return Stat(kind=kind, size=size, inode=record.extent_location(), **said)

    def _length(self) -> int:
        return sum(int(each.get_data_length()) for each in self._parts())

    def _parts(self) -> Iterator[Any]:
        """The record, and those that its data goes on in."""
        record = self.record
        while record is not None:
            yield record
            record = record.data_continuation

    def children(self) -> Iterator[Node | Broken]:
        """As Node's."""
        goes_on = set[int]()
        for each in self.record.children:
            if each.is_dot() or each.is_dotdot() or id(each) in goes_on:
                continue
            if each.data_continuation is not None:
                goes_on.add(id(each.data_continuation))
            name = self.disc.name(each)
            ridge = each.rock_ridge
            if self.disc.naming == "rr" and ridge is not None and ridge.child_link_record_exists():
                # A folder that lies too deep stands elsewhere, and here is what leads to it.
                each = ridge.cl_to_moved_dr or each  # noqa: PLW2901
            yield IsoNode(self.disc, each, name)

    def open(self) -> Source:
        """As Node's."""
        runs = list(self.runs())
        parts = [SliceSource(self.disc.source, run.place or 0, run.size) for run in runs]
        source: Source = parts[0] if len(parts) == 1 else ConcatSource(parts)
        if source.size < self._length():
            raise Unreadable(
                Code.TRUNCATED, f"it reaches beyond the volume, which has {source.size} bytes of it"
            )
        if self.disc.naming == "rr" and source.read_at(0, 8) == _ZISOFS and self._is_packed():
            return _unpacked(source)
        return source

    def _is_packed(self) -> bool:
        ridge = self.record.rock_ridge
        return ridge is not None and b"ZF" in bytes(ridge._record(ridge.dr_entries))

    def runs(self) -> Sequence[Run]:
        """As Node's."""
        found, at = [], 0
        for record in self._parts():
            size = int(record.get_data_length())
            found.append(Run(at, size, int(record.extent_location()) * _BLOCK))
            at += size
        return found

    def target(self) -> str:
        """As Node's."""
        return bytes(self.record.rock_ridge.symlink_path()).decode("utf-8", "surrogateescape")


_ZISOFS = bytes.fromhex("37e45396c9dbd607")
_UNPACKED_CAP = 256 << 20


def _unpacked(source: Source) -> Source:
    """What zisofs has packed, block by block: https://libburnia-project.org/wiki/zisofs."""
    size, words, log = struct.unpack("<IBB", source.read_at(8, 6))
    if size > _UNPACKED_CAP or not 15 <= log <= 17:
        raise Unreadable(Code.UNSUPPORTED, f"zisofs of {size} bytes in blocks of 2**{log}")
    count = (size + (1 << log) - 1) >> log
    pointers = struct.unpack(f"<{count + 1}I", source.read_at(words * 4, 4 * (count + 1)))
    data = bytearray()
    for start, end in pairwise(pointers):
        wanted = min(1 << log, size - len(data))
        unpacker = zlib.decompressobj()
        data += (
            unpacker.decompress(source.read_at(start, end - start), wanted) if end > start else bytes(wanted)
        )
    return BytesSource(bytes(data))


def open_volume(given: Given) -> Volume:
    """As the room's; raises Refused."""
    try:
        disc = Disc(given)
    except PyCdlibException as error:
        raise Refused(str(error)) from error
    return Volume(
        root=IsoNode(disc, disc.root, ""),
        folds="upper" if disc.naming != "rr" else "exact",
        errors=(PyCdlibException,),
    )
