"""7z archives. They are recognised, and not read.

Layout: I. Pavlov, "7z Format description", DOC/7zFormat.txt of https://github.com/ip7z/7zip
"""

import zlib

from construct import Bytes, Int8ul, Int32ul, Int64ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Signature
from pyimount.formats.layouts import layout, read_struct
from pyimount.parsers.containers.unread import open_unread
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

SIGNATURE_HEADER = layout(
    lambda: Struct(
        "kSignature" / Bytes(6),
        "Major" / Int8ul,
        "Minor" / Int8ul,
        "StartHeaderCRC" / Int32ul,
        "NextHeaderOffset" / Int64ul,
        "NextHeaderSize" / Int64ul,
        "NextHeaderCRC" / Int32ul,
    )
)

MAGIC = b"7z\xbc\xaf\x27\x1c"
_START_HEADER = 12


def parse(view: View) -> Container:
    """What the first header says."""
    header = read_struct(view, SIGNATURE_HEADER, 0)
    start = view.read(_START_HEADER, SIGNATURE_HEADER.size - _START_HEADER)
    if header.Major or zlib.crc32(start) != header.StartHeaderCRC:
        raise NotThisFormat("the checksum of the first header does not match")
    end = SIGNATURE_HEADER.size + header.NextHeaderOffset + header.NextHeaderSize
    problems: tuple[Problem, ...] = ()
    if end > view.size:
        message = f"the file has {view.size} bytes, and the archive ends at {end}"
        problems = (Problem(Code.TRUNCATED, message),)
    details: dict[str, Json] = {
        "stored_size": view.size,
        "version": f"{header.Major}.{header.Minor}",
        "unpacked_by": "7z x",
    }
    return Container(type="7z", details=details, problems=problems)


FORMAT = ContainerFormat(
    name="7z",
    title="7z, recognised only",
    mapped=False,
    specification="https://github.com/ip7z/7zip",
    parse=parse,
    open=open_unread,
    signatures=(Signature(MAGIC, 0),),
    types=("7z",),
    wraps=True,
)
