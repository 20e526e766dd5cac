"""The directory of a zip file and the bytes of its members: what zip and AFF4 share.

Layout: PKWARE, APPNOTE.TXT, "Central directory structure" and "End of central directory record"
https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
A directory may have hundreds of thousands of members (AFF4's has): they are read one by one out of its bytes,
and no object stays for each.
"""

import stat
import struct
import zlib
from collections.abc import Iterator
from typing import NoReturn

from construct import Bytes, Int16ul, Int32ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, read_struct
from pyimount.parsers.containers.checked import crc32_source
from pyimount.parsers.containers.deflate import RAW
from pyimount.parsers.containers.packed import PackedSource
from pyimount.parsers.containers.zip_methods import unpacker
from pyimount.records import Record
from pyimount.sources.budget import Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.source import SliceSource, Source
from pyimount.sources.view import ShortRead, View

LOCAL_FILE_HEADER = layout(
    lambda: Struct(
        "signature" / Bytes(4),
        "version_needed" / Int16ul,
        "flags" / Int16ul,
        "compression_method" / Int16ul,
        "last_mod_time" / Int16ul,
        "last_mod_date" / Int16ul,
        "crc_32" / Int32ul,
        "compressed_size" / Int32ul,
        "uncompressed_size" / Int32ul,
        "file_name_length" / Int16ul,
        "extra_field_length" / Int16ul,
    )
)

MAGIC = b"PK\3\4"
ENCRYPTED, UTF8 = 0x1, 0x800
STORED, DEFLATED = 0, 8
METHODS = {
    0: None, 1: "shrunk", 6: "imploded", 8: "deflate", 9: "deflate64", 10: "imploded (DCL)", 12: "bzip2",
    14: "lzma", 20: "zstd", 93: "zstd", 95: "xz", 96: "jpeg", 97: "wavpack", 98: "ppmd",
}  # fmt: skip

# Not construct's: a directory can have 300,000 of them, and these are read in a loop.
_FILE_HEADER = struct.Struct("<4s6H3I5H2I")
_FILE_MAGIC = b"PK\1\2"
_END = struct.Struct("<4s4H2IH")
_END_MAGIC = b"PK\5\6"
_END_64 = struct.Struct("<4sQ2H2I4Q")
_END_64_MAGIC = b"PK\6\6"
_LOCATOR_64 = struct.Struct("<4sIQI")
_LOCATOR_64_MAGIC = b"PK\6\7"
_EXTRA_64 = 1
_UNIX = 3
_COMMENT_CAP = 0xFFFF
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_READ_CAP = 16 << 20
"""No larger directory is read, in bytes: some 150,000 members."""


class Member(Record):
    """A member as the directory has it: sizes and offsets in bytes; ``modified``: local time, ISO 8601."""

    filename: str
    flag_bits: int
    compress_type: int
    crc: int
    compress_size: int
    file_size: int
    header_offset: int
    external_attr: int
    modified: str | None

    @property
    def is_file(self) -> bool:
        """Whether it is a file that holds something, and no folder or link."""
        is_link = stat.S_ISLNK(self.external_attr >> 16)
        return bool(self.file_size) and not self.filename.endswith("/") and not is_link


class Directory:
    """The members of a zip file in their order, and its comment; raises NotThisFormat without a directory."""

    def __init__(self, file: Source) -> None:
        self.file = file
        try:
            self._find(View(file))
        except (ShortRead, ReadError) as error:
            raise NotThisFormat(f"a damaged zip file: {error}") from error

    def _find(self, view: View) -> None:
        tail_at = max(0, view.size - _END.size - _COMMENT_CAP)
        tail = view.read(tail_at, view.size - tail_at)
        at = tail.rfind(_END_MAGIC)
        if at < 0 or len(tail) - at < _END.size:
            raise NotThisFormat("a zip file without the end of its directory")
        end = tail_at + at
        *_, count, size, offset, comment = _END.unpack_from(tail, at)
        self.comment = tail[at + _END.size :][:comment]
        before = end
        locator = view.glance(end - _LOCATOR_64.size, _LOCATOR_64.size)
        if locator.startswith(_LOCATOR_64_MAGIC) and len(locator) == _LOCATOR_64.size:
            before = _LOCATOR_64.unpack(locator)[2]
            record = view.glance(before, _END_64.size)
            if not record.startswith(_END_64_MAGIC):
                # Something stands in front of the archive, and all its offsets are that much too small.
                before = end - _LOCATOR_64.size - _END_64.size
                record = view.read(before, _END_64.size)
            if not record.startswith(_END_64_MAGIC):
                raise NotThisFormat("a zip file without its zip64 record")
            *_, count, size, offset = _END_64.unpack(record)
        if size > _READ_CAP:
            raise NotThisFormat(f"a directory of {size} bytes")
        start = before - size
        if start < 0 or offset > start:
            raise NotThisFormat(f"a directory of {size} bytes at {offset}, which ends at {before}")
        self._shift = start - offset
        """The bytes that stand in front of the archive."""
        self._raw = view.read(start, size)
        self.count = count
        """How many members there are, by the directory's end."""

    def __iter__(self) -> Iterator[Member]:
        for at in self.places():
            yield self.member_at(at)

    def places(self) -> Iterator[int]:
        """Where in the directory each member stands; raises NotThisFormat where none does and one should."""
        at, raw = 0, self._raw
        while at < len(raw):
            if at + _FILE_HEADER.size > len(raw) or not raw.startswith(_FILE_MAGIC, at):
                raise NotThisFormat(f"a damaged zip file: no member at byte {at} of its directory")
            yield at
            name, extra, comment = struct.unpack_from("<3H", raw, at + 28)
            at += _FILE_HEADER.size + name + extra + comment

    def raw_name_at(self, at: int) -> tuple[bytes, bool]:
        """The name of the member at this place as it stands there, and whether a Unix wrote it."""
        host, length = struct.unpack_from("<xB22xH", self._raw, at + 4)
        start = at + _FILE_HEADER.size
        return self._raw[start : start + length], host == _UNIX

    def name_at(self, at: int) -> str:
        """The name of the member at this place of the directory."""
        (flags,) = struct.unpack_from("<H", self._raw, at + 8)
        raw, _ = self.raw_name_at(at)
        return raw.decode("utf-8" if flags & UTF8 else "cp437", "backslashreplace").partition("\0")[0]

    def extras_at(self, at: int) -> Iterator[tuple[int, bytes]]:
        """The extra fields of the member at this place, by their kinds, as far as they are whole."""
        name, extra = struct.unpack_from("<2H", self._raw, at + 28)
        start = at + _FILE_HEADER.size + name
        raw, here = self._raw[start : start + extra], 0
        while here + 4 <= len(raw):
            kind, length = struct.unpack_from("<2H", raw, here)
            yield kind, raw[here + 4 : here + 4 + length]
            here += 4 + length

    def member_at(self, at: int) -> Member:
        """The member at this place of the directory."""
        (
            _, _, _, flags, method_, time, date, crc, packed, size,
            name, extra, _, _, _, external, offset,
        ) = _FILE_HEADER.unpack_from(self._raw, at)  # fmt: skip
        if _FULL_32 in (packed, size, offset):
            start = at + _FILE_HEADER.size + name
            size, packed, offset = _long(self._raw[start : start + extra], size, packed, offset)
        return Member(
            filename=self.name_at(at),
            flag_bits=flags,
            compress_type=method_,
            crc=crc,
            compress_size=packed,
            file_size=size,
            header_offset=offset + self._shift,
            external_attr=external,
            modified=_moment(date, time),
        )

    def find(self, name: str) -> Member | None:
        """The member of this name, the last of several; None where there is none."""
        found = None
        for at in self.places():
            if self.name_at(at) == name:
                found = at
        return None if found is None else self.member_at(found)

    def source(self, member: Member, meter: Meter) -> Source:
        """The bytes of a member, which are held against its checksum when they are read to the end.

        Raises ReadError where it is encrypted, or packed by another method.
        """
        source = packed = self._packed(member)
        if member.compress_type != STORED:
            begin = unpacker(member.compress_type)
            if begin is None:
                self._refuse(member, f"its compression ({method(member)}) is not read here")
            source = PackedSource(lambda _: begin(packed), meter, member.file_size)
        if source.size != member.file_size:
            return source  # cut off, which is said elsewhere
        return crc32_source(source, member.crc, f"{member.filename} in the zip file")

    def read(self, name: str, cap: int) -> bytes | None:
        """A small member's bytes, None where there is none; raises ReadError when it is damaged or large."""
        member = self.find(name)
        if member is None:
            return None
        if max(member.file_size, member.compress_size) > cap:
            self._refuse(member, f"it has {member.file_size} bytes")
        if member.compress_type not in (STORED, DEFLATED):
            self._refuse(member, f"its compression ({method(member)}) is not read here")
        data = self._packed(member).read_at(0, member.compress_size)
        if member.compress_type == DEFLATED:
            try:
                data = zlib.decompressobj(RAW).decompress(data, cap)
            except zlib.error as error:
                self._refuse(member, f"compressed data is damaged ({error})")
        if zlib.crc32(data) != member.crc:
            self._refuse(member, "its checksum is wrong")
        return data

    def _packed(self, member: Member) -> Source:
        if member.flag_bits & ENCRYPTED:
            self._refuse(member, "it is encrypted")
        header = read_struct(View(self.file), LOCAL_FILE_HEADER, member.header_offset)
        if header.signature != MAGIC:
            self._refuse(member, "it is not where the directory says")
        start = member.header_offset + LOCAL_FILE_HEADER.size
        start += header.file_name_length + header.extra_field_length
        return SliceSource(self.file, start, member.compress_size)

    @staticmethod
    def _refuse(member: Member, why: str) -> NoReturn:
        raise ReadError(f"{member.filename} in the zip file: {why}")


def method(member: Member) -> str | None:
    """The method of a member's compression, None where it is stored."""
    return METHODS.get(member.compress_type, str(member.compress_type))


def _long(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Size, packed size and offset, from the zip64 field where they do not fit into 32 bits."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == _EXTRA_64:
            count = min(length, len(extra) - at) // 8
            values = iter(struct.unpack_from(f"<{count}Q", extra, at))
            size, packed, offset = (
                next(values, each) if each == _FULL_32 else each for each in (size, packed, offset)
            )
            break
        at += length
    return size, packed, offset


def _moment(date: int, time: int) -> str | None:
    """The time that MS-DOS keeps in two words; None for what no calendar has."""
    month, day = date >> 5 & 0xF, date & 0x1F
    hour, minute, second = time >> 11, time >> 5 & 0x3F, (time & 0x1F) * 2
    if not (1 <= month <= 12 and day and hour < 24 and minute < 60 and second < 60):
        return None
    return f"{(date >> 9) + 1980:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
