"""tar archives: POSIX, GNU.

Layout: POSIX.1, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from typing import Any

from construct import Bytes, Struct

from pyimount.formats import FileReader, Format, Identity, Json, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text, unix_time
from pyimount.parsers.archives.payloads import no_disk
from pyimount.sources.view import View

HEADER = layout(
    lambda: Struct(
        "name" / Bytes(100),
        "mode" / Bytes(8),
        "uid" / Bytes(8),
        "gid" / Bytes(8),
        "size" / Bytes(12),
        "mtime" / Bytes(12),
        "chksum" / Bytes(8),
        "typeflag" / Bytes(1),
        "linkname" / Bytes(100),
        "magic" / Bytes(6),
        "version" / Bytes(2),
        "uname" / Bytes(32),
        "gname" / Bytes(32),
        "devmajor" / Bytes(8),
        "devminor" / Bytes(8),
        "prefix" / Bytes(155),
        "pad" / Bytes(12),
    )
)
BLOCK = 512
CHECKSUM = slice(148, 156)
MAGIC_AT = 257
POSIX, GNU = b"ustar\0", b"ustar "
TYPES = {
    b"\0": "file",
    b"0": "file",
    b"1": "hard link",
    b"2": "symbolic link",
    b"3": "character device",
    b"4": "block device",
    b"5": "directory",
    b"6": "fifo",
    b"7": "file",
    b"g": "pax global header",
    b"x": "pax header",
    b"D": "directory",
    b"K": "long link name",
    b"L": "long name",
    b"M": "rest of a file",
    b"S": "sparse file",
    b"V": "volume label",
}
GNUS_OWN = (b"D", b"K", b"L", b"M", b"S", b"V")
BASE_256 = 0x80


def parse(view: View) -> Identity:
    """The identity of a tar archive."""
    return identity(view.read(0, BLOCK))


def identity(raw: bytes) -> Identity:
    """The same by its first block."""
    header = parse_struct(raw, HEADER)
    if number(header.chksum) != checksum(raw):
        raise NotThisFormat("the checksum of the first header does not match")
    kind = TYPES.get(header.typeflag)
    size, mode = number(header.size), number(header.mode)
    if kind is None or size is None or mode is None or not header.name[0]:
        raise NotThisFormat(f"a member of type {header.typeflag!r}")
    label = text(header.name) if header.typeflag == b"V" else None
    first: dict[str, Json] = {
        "name": _path(header),
        "type": kind,
        "size": size,
        "modified": unix_time(number(header.mtime) or 0),
    }
    if header.magic in (POSIX, GNU):
        first |= {"user": text(header.uname), "group": text(header.gname)}
    return Identity(
        type="tar",
        label=label,
        checked=True,
        details={"variant": _variant(header), "first_member": first},
        problems=(no_disk("a tar archive", "tar -t lists it"),),
    )


def checksum(raw: bytes) -> int:
    """The sum of a header's bytes, with blanks for the sum itself."""
    return sum(raw) - sum(raw[CHECKSUM]) + 8 * 0x20


def number(field: bytes) -> int | None:
    """A number in octal digits, or in GNU's base 256; None where it is neither."""
    if field[0] & BASE_256:
        return int.from_bytes(field[1:], "big") if field[0] == BASE_256 else None
    digits = field.strip(b" \0")
    if not digits:
        return 0
    return int(digits, 8) if digits.isdigit() and b"8" not in digits and b"9" not in digits else None


def _variant(header: Any) -> str:
    if header.magic == GNU or header.typeflag in GNUS_OWN:
        return "gnu"
    if header.magic != POSIX:
        return "v7"
    return "pax" if header.typeflag in (b"g", b"x") else "ustar"


def _path(header: Any) -> str | None:
    name = text(header.name)
    prefix = text(header.prefix) if header.magic == POSIX else None
    return f"{prefix}/{name}" if prefix else name


FORMAT = Format(
    name="tar",
    title="tar archive",
    specification="https://www.gnu.org/software/tar/manual/html_node/Standard.html",
    usage=Usage.OTHER,
    types=("tar",),
    parse=parse,
    signatures=tuple(Signature(magic, MAGIC_AT) for magic in (POSIX, GNU)),
    precedence=Precedence.WEAK,
    unmountable="it is an archive, not a file system: tar -x unpacks it",
    files=(FileReader("archives", "tarfile", "Python"),),
)
