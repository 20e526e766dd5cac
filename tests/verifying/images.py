"""Images with one byte changed, each at a place that is named: in the data, a checksum, a hash, a table."""

import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from fixtures.workshop import fixtures
from pyimount.parsers.containers import aff, dmg, ewf2_sections, ewf_sections
from tests.kept import kept

Place = Callable[[bytes], int]
"""Where in a file the byte is that is to be changed."""


def unpacked(name: str, folder: Path) -> Path:
    """The committed image of this name, its first file, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return next(fixture for fixture in fixtures() if fixture.name == name).unpack(folder)


def changed(data: bytes, at: int) -> bytes:
    """The same with one bit of one byte turned."""
    image = bytearray(data)
    image[at] ^= 0x04
    return bytes(image)


def ewf_section(kind: str, number: int = 0) -> Callable[[bytes], tuple[int, int]]:
    """Where the data of a section of an E01 start and end."""

    def find(data: bytes) -> tuple[int, int]:
        offset, left = ewf_sections.FILE_HEADER.size, number
        while True:
            descriptor = ewf_sections.SECTION_DESCRIPTOR.construct.parse(data[offset:])
            if descriptor.type.rstrip(b"\0").decode() == kind:
                if left == 0:
                    return offset + ewf_sections.SECTION_DESCRIPTOR.size, offset + descriptor.size
                left -= 1
            if descriptor.next_offset <= offset:
                raise LookupError(kind)
            offset = descriptor.next_offset

    return find


def in_ewf(kind: str, at: int, number: int = 0) -> Place:
    """A byte of a section's data; of a negative number, from its end."""

    def place(data: bytes) -> int:
        start, end = ewf_section(kind, number)(data)
        return start + at if at >= 0 else end + at

    return place


def descriptor_of_ewf(kind: str, at: int) -> Place:
    """A byte of a section's descriptor."""
    return lambda data: ewf_section(kind)(data)[0] - ewf_sections.SECTION_DESCRIPTOR.size + at


def in_ewf2(kind: int, at: int, *, of_descriptor: bool = False) -> Place:
    """A byte of a section of an Ex01, or of its descriptor."""

    def place(data: bytes) -> int:
        size = ewf2_sections.SECTION_DESCRIPTOR.size
        offset = len(data) - size
        while True:
            descriptor = ewf2_sections.SECTION_DESCRIPTOR.construct.parse(data[offset:])
            if descriptor.type == kind:
                return offset + at if of_descriptor else offset - descriptor.data_size + at
            offset = descriptor.previous_offset

    return place


def in_aff(name: str, at: int) -> Place:
    """A byte of the value of a segment of an AFF; a negative one, of its end."""

    def place(data: bytes) -> int:
        found = data.index(name.encode(), len(aff.HEADER))
        head = aff.SEGMENT_HEAD.construct.parse(data[found - aff.SEGMENT_HEAD.size :])
        start = found + head.name_len
        return start + at if at >= 0 else start + head.data_len - at - 1

    return place


def in_member(pattern: str, at: int, *, header: bool = False) -> Place:
    """A byte of a member of a zip file, by what its name ends in; of the directory's entry for its CRC."""

    def place(data: bytes) -> int:
        import io

        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = next(each for each in archive.infolist() if re.search(pattern, each.filename))
        if header:
            name = member.orig_filename.encode()
            return data.rindex(b"PK\1\2", 0, data.rindex(name)) + 16 + at
        name_size, extra = struct.unpack_from("<2H", data, member.header_offset + 26)
        return member.header_offset + 30 + name_size + extra + at

    return place


def in_koly(field: str, at: int = 0) -> Place:
    """A byte of a field of a DMG's trailer."""
    offset, sizes = 0, {}
    for each in dmg.KOLY.construct.subcons:
        sizes[each.name] = offset
        offset += each.sizeof()
    return lambda data: len(data) - dmg.KOLY.size + sizes[field] + at


def at(offset: int) -> Place:
    """A byte by its place; a negative one from the end."""
    return lambda data: offset if offset >= 0 else len(data) + offset


CHANGES: tuple[tuple[str, str, Place], ...] = (
    ("ewf", "data of a chunk", in_ewf("sectors", 40)),
    ("ewf", "the last chunk's checksum", in_ewf("sectors", -1)),
    ("ewf", "an entry of the table", in_ewf("table", 24)),
    ("ewf", "the base of the table", in_ewf("table", 8)),
    ("ewf", "the checksum of the table's entries", in_ewf("table", -1)),
    ("ewf", "an entry of the table's copy", in_ewf("table2", 28)),
    ("ewf", "the MD5", in_ewf("hash", 3)),
    ("ewf", "what stands behind the MD5", in_ewf("hash", 20)),
    ("ewf", "the checksum of the MD5", in_ewf("hash", 33)),
    ("ewf", "the SHA-1", in_ewf("digest", 20)),
    ("ewf", "the MD5 beside the SHA-1", in_ewf("digest", 2)),
    ("ewf", "the padding of the SHA-1", in_ewf("digest", 50)),
    ("ewf", "the volume's number of sectors", in_ewf("volume", 16)),
    ("ewf", "the padding of the volume section", in_ewf("volume", 400)),
    ("ewf", "the copy of the volume section", in_ewf("data", 70)),
    ("ewf", "the header's values", in_ewf("header", 20)),
    ("ewf", "the values in UTF-16", in_ewf("header2", 20)),
    ("ewf", "the copy of the values", in_ewf("header2", 20, number=1)),
    ("ewf", "the descriptor of the sectors", descriptor_of_ewf("sectors", 30)),
    ("ewf", "the descriptor of the end", descriptor_of_ewf("done", 40)),
    ("ewf", "the checksum of a descriptor", descriptor_of_ewf("table2", 73)),
    ("ewf", "the file header", at(8)),
    ("ewf-segments", "data stored as they are", in_ewf("sectors", 5000)),
    ("ewf-segments", "the checksum of a chunk stored as it is", in_ewf("sectors", 8192)),
    ("ewf-smart", "data of a chunk", in_ewf("table", 24 + 4 * 64 + 20)),
    ("ewf-smart", "the MD5", in_ewf("hash", 1)),
    ("ewf2", "data stored as they are", in_ewf2(3, 100)),
    ("ewf2", "the checksum of a chunk stored as it is", in_ewf2(3, 32769)),
    ("ewf2", "an entry of the table", in_ewf2(ewf2_sections.SECTOR_TABLE, 32 + 3 * 16)),
    ("ewf2", "the header of the table", in_ewf2(ewf2_sections.SECTOR_TABLE, 8)),
    ("ewf2", "the MD5", in_ewf2(ewf2_sections.MD5_HASH, 0)),
    ("ewf2", "the checksum of the MD5", in_ewf2(ewf2_sections.MD5_HASH, 17)),
    ("ewf2", "a descriptor", in_ewf2(ewf2_sections.MD5_HASH, 30, of_descriptor=True)),
    ("aff", "data of a page", in_aff("page0", 30)),
    ("aff", "the MD5", in_aff("md5", 4)),
    ("aff", "the SHA-1", in_aff("sha1", 4)),
    ("aff", "the end of a segment", in_aff("page0", -6)),
    ("aff-lzma", "data of a page", in_aff("page0", 30)),
    ("aff4", "data of a segment", in_member(r"/00000000$", 200)),
    ("aff4", "the index of a segment", in_member(r"/00000000\.index$", 5)),
    ("aff4", "the map", in_member(r"/map$", 3)),
    ("aff4", "a member's CRC", in_member(r"/00000000$", 1, header=True)),
    ("aff4-striped", "data of a segment, without any hash", in_member(r"/00000000$", 100)),
    ("dmg", "data of a chunk", at(60)),
    ("dmg", "the checksum of the data fork", in_koly("DataChecksum", 9)),
    ("dmg", "the master checksum", in_koly("MasterChecksum", 9)),
    ("gzip", "data", at(300)),
    ("gzip", "the CRC-32", at(-7)),
    ("gzip", "the length", at(-2)),
    ("bzip2", "data", at(60)),
    ("bzip2", "the CRC of the first block", at(11)),
    ("bzip2", "the CRC of the stream", at(-3)),
    ("xz", "data", at(300)),
    ("zstd", "data", at(300)),
    ("zstd", "the checksum of a frame", at(-1)),
    ("lz4", "data", at(300)),
    ("lz4", "the checksum of a frame", at(-1)),
    ("zip", "data", at(300)),
    ("zip", "the CRC-32 in the directory", in_member(r"\.img$", 0, header=True)),
    ("zip-deflate64", "data", at(300)),
    ("gzip-qcow2", "data of a container within", at(200)),
    ("vmdk-stream", "data of a grain", at(128 * 512 + 200)),
    ("vhd-dynamic", "the footer", at(-512 + 60)),
    ("vhd-dynamic", "the footer's copy", at(60)),
    ("vhd-dynamic", "the dynamic disk header", at(512 + 100)),
    ("vhd-fixed", "the footer", at(-512 + 70)),
    ("vhdx-dynamic", "the first header", at((64 << 10) + 100)),
    ("vhdx-dynamic", "the second header", at((128 << 10) + 100)),
    ("vhdx-dynamic", "the first region table", at((192 << 10) + 40)),
    ("vhdx-dynamic", "the second region table", at((256 << 10) + 40)),
    ("vdi-dynamic", "the number of blocks that are there", at(0x184)),
)
"""The committed image, what of it is changed, and where. All of these are to be found."""

WHOLE = (
    *dict.fromkeys(name for name, _, _ in CHANGES),
    *(
        "afm",
        "lz4-legacy",
        "vhd-differencing",
        "vhdx-differencing",
        "vhdx-fixed",
        "vdi-fixed",
        "vdi-differencing",
    ),
    *(
        "qcow2-compressed",
        "qcow",
        "qed",
        "parallels",
        "vmdk-sparse",
        "vmdk-split",
        "android-sparse",
        "vma",
    ),
)
"""Committed images of which nothing may be said to be wrong."""

UNHASHED = frozenset(
    (
        *("lz4-legacy", "qcow2-compressed", "qcow", "qed", "parallels", "vmdk-sparse", "vmdk-split"),
        *("android-sparse", "vma", "vdi-dynamic", "vdi-fixed", "vdi-differencing"),
        *("vhd-dynamic", "vhd-fixed", "vhd-differencing"),
        *("vhdx-dynamic", "vhdx-fixed", "vhdx-differencing"),
    )
)
"""Those of them that keep nothing of the disk's bytes."""


def first_bytes(name: str) -> bytes:
    """The bytes of the first file of a committed image."""
    return bytes(kept(name))
