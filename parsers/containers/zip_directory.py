"""The directory of a zip file and the bytes of its members: what zip and AFF4 share."""

import stat
import zipfile
import zlib
from typing import NoReturn

from construct import Bytes, Int16ul, Int32ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, read_struct
from pyimount.parsers.containers.checked import Crc32Source
from pyimount.parsers.containers.deflate import RAW, DeflateStream
from pyimount.parsers.containers.packed import Input, PackedSource
from pyimount.sources.budget import Meter
from pyimount.sources.errors import FOREIGN_ERRORS, ReadError
from pyimount.sources.fileobject import SourceFile
from pyimount.sources.source import SliceSource, Source
from pyimount.sources.view import View

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
ENCRYPTED = 0x1
READABLE = (0, 8)
"""Methods that are read here: stored and deflate."""
METHODS = {0: None, 8: "deflate", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz"}

_READ_CAP = 16 << 20
"""No larger directory is read, in bytes: some 150,000 members."""


class _BoundedFile(SourceFile):
    """A file object that refuses to read very much at once: zipfile reads what a field says."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = max(0, self._source.size - self._position)
        if size > _READ_CAP:
            raise ValueError(f"a directory of {size} bytes")
        return super().read(size)


class Directory:
    """The members of a zip file by name, and its comment; raises NotThisFormat when it has no directory."""

    def __init__(self, file: Source) -> None:
        self.file = file
        try:
            with zipfile.ZipFile(_BoundedFile(file)) as archive:
                self.comment = archive.comment
                self.members = {member.filename: member for member in archive.infolist()}
        except zipfile.BadZipFile as error:
            raise NotThisFormat(f"a damaged zip file: {error}") from error
        except FOREIGN_ERRORS as error:
            raise NotThisFormat(f"a damaged zip file: {error or type(error).__name__}") from error

    def files(self) -> list[zipfile.ZipInfo]:
        """The members that are files and hold something."""
        return [
            member
            for member in self.members.values()
            if member.file_size and not member.filename.endswith("/") and not _is_link(member)
        ]

    def source(self, member: zipfile.ZipInfo, meter: Meter) -> Source:
        """The bytes of a member, which are held against its checksum when they are read to the end.

        Raises ReadError where it is encrypted, or packed by another method.
        """
        source = packed = self._packed(member)
        if member.compress_type != zipfile.ZIP_STORED:
            source = PackedSource(lambda _: DeflateStream(Input(packed), RAW), meter, member.file_size)
        if source.size != member.file_size:
            return source  # cut off, which is said elsewhere
        return Crc32Source(source, member.CRC, f"{member.filename} in the zip file")

    def read(self, name: str, cap: int) -> bytes | None:
        """A small member's bytes, None where there is none; raises ReadError when it is damaged or large."""
        member = self.members.get(name)
        if member is None:
            return None
        if max(member.file_size, member.compress_size) > cap:
            self._refuse(member, f"it has {member.file_size} bytes")
        data = self._packed(member).read_at(0, member.compress_size)
        if member.compress_type == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(RAW).decompress(data, cap)
            except zlib.error as error:
                self._refuse(member, f"compressed data is damaged ({error})")
        if zlib.crc32(data) != member.CRC:
            self._refuse(member, "its checksum is wrong")
        return data

    def _packed(self, member: zipfile.ZipInfo) -> Source:
        if member.flag_bits & ENCRYPTED:
            self._refuse(member, "it is encrypted")
        if member.compress_type not in READABLE:
            self._refuse(member, f"its compression ({method(member)}) is not read here")
        header = read_struct(View(self.file), LOCAL_FILE_HEADER, member.header_offset)
        if header.signature != MAGIC:
            self._refuse(member, "it is not where the directory says")
        start = member.header_offset + LOCAL_FILE_HEADER.size
        start += header.file_name_length + header.extra_field_length
        return SliceSource(self.file, start, member.compress_size)

    @staticmethod
    def _refuse(member: zipfile.ZipInfo, why: str) -> NoReturn:
        raise ReadError(f"{member.filename} in the zip file: {why}")


def method(member: zipfile.ZipInfo) -> str | None:
    """The method of a member's compression, None where it is stored."""
    return METHODS.get(member.compress_type, str(member.compress_type))


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)
