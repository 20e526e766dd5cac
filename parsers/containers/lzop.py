"""lzop: a file packed by LZO. It is recognised, and not read.

Layout: lzop's source, src/lzop.c, write_header, https://www.lzop.org/; magic and fields also in
https://github.com/file/file/blob/master/magic/Magdir/compress
"""

import zlib

from construct import Bytes, Int8ub, Int16ub, Int32ub, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Signature
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.parsers.containers.unread import open_unread
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

HEADER = layout(
    lambda: Struct(
        "magic" / Bytes(9),
        "version" / Int16ub,
        "lib_version" / Int16ub,
        "version_needed_to_extract" / Int16ub,
        "method" / Int8ub,
        "level" / Int8ub,
        "flags" / Int32ub,
    )
)

MAGIC = b"\x89LZO\0\r\n\x1a\n"
OLDEST = 0x0940
"""The version since which the header is as above."""
METHODS = {1: "lzo1x-1", 2: "lzo1x-1(15)", 3: "lzo1x-999"}
FILTER, HEADER_CRC32 = 0x800, 0x1000


def parse(view: View) -> Container:
    """What the header says."""
    header = read_struct(view, HEADER, 0)
    if header.version < OLDEST or header.method not in METHODS:
        raise NotThisFormat(f"version {header.version:#x}, method {header.method}")
    at = HEADER.size + (4 if header.flags & FILTER else 0) + 4  # the file's mode is of no matter
    low, high = (int.from_bytes(view.read(at + shift, 4), "big") for shift in (0, 4))
    length = view.read(at + 8, 1)[0]
    name = view.read(at + 9, length)
    end = at + 9 + length
    covered = view.read(len(MAGIC), end - len(MAGIC))
    sum_of = zlib.crc32 if header.flags & HEADER_CRC32 else zlib.adler32
    problems: tuple[Problem, ...] = ()
    if sum_of(covered) != int.from_bytes(view.read(end, 4), "big"):
        problems = (Problem(Code.BAD_CHECKSUM, "the checksum of the header is wrong"),)
    details: dict[str, Json] = {
        "stored_size": view.size,
        "compression": METHODS[header.method],
        "name": text(name),
        "modified": unix_time(high << 32 | low),
        "unpacked_by": "lzop -d",
    }
    return Container(type="lzop", details=details, problems=problems)


FORMAT = ContainerFormat(
    name="lzop",
    title="lzop (LZO), recognised only",
    mapped=False,
    specification="https://www.lzop.org/",
    parse=parse,
    open=open_unread,
    signatures=(Signature(MAGIC, 0),),
    types=("lzop",),
    wraps=True,
)
