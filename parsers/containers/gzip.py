"""gzip: a disk image, or another container, in a compressed file.

Layout: RFC 1952.
"""

from construct import Bytes, Int8ul, Int32ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.formats.stored import Pieces
from pyimount.parsers.containers.deflate import GZIP, DeflateStream
from pyimount.parsers.containers.packed import EndsEarlyError, Input, PackedSource, open_packed
from pyimount.sources.errors import ReadError
from pyimount.sources.view import View

HEADER = layout(
    lambda: Struct(
        "ID" / Bytes(2), "CM" / Int8ul, "FLG" / Int8ul, "MTIME" / Int32ul, "XFL" / Int8ul, "OS" / Int8ul
    )
)

MAGIC = b"\x1f\x8b\x08"
FEXTRA, FNAME, RESERVED = 0x04, 0x08, 0xE0
_NAME_CAP = 1024


def parse(view: View) -> Container:
    """What the first member's header says; that it can be unpacked is tried."""
    header = read_struct(view, HEADER, 0)
    if header.FLG & RESERVED:
        raise NotThisFormat(f"flags {header.FLG:#x}")
    try:
        DeflateStream(Input(view.source), GZIP).read()
    except EndsEarlyError:
        pass  # cut off, and gzip no less
    except ReadError as error:
        raise NotThisFormat(str(error)) from error
    at = HEADER.size
    if header.FLG & FEXTRA:
        at += 2 + int.from_bytes(view.read(at, 2), "little")
    name = text(view.peek(at, _NAME_CAP), "latin-1") if header.FLG & FNAME else None
    details: dict[str, Json] = {
        "stored_size": view.size,
        "compression": "deflate",
        "name": name,
        "modified": unix_time(header.MTIME),
    }
    return Container(type="gzip", details=details)


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The file inside, all members one after the other."""
    source = PackedSource(lambda _: DeflateStream(Input(image.files[0]), GZIP), image.meter)
    return open_packed(container, source, Pieces(algorithm="CRC-32", what="member", in_order=True))


FORMAT = ContainerFormat(
    name="gzip",
    title="gzip",
    specification="https://www.rfc-editor.org/rfc/rfc1952",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC, 0),),
    types=("gzip",),
    wraps=True,
)
