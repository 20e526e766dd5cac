"""cpio archives: binary in both byte orders, odc, newc and crc.

Layout: cpio(5) of libarchive
https://man.freebsd.org/cgi/man.cgi?query=cpio&sektion=5
"""

from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK
from typing import Any

from construct import Array, Bytes, Int16ub, Int16ul, Struct

from pyimount.formats import FileReader, Format, Identity, Json, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.parsers.archives.payloads import no_disk
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import View


def _binary(u16: Any) -> Any:
    return Struct(
        "c_magic" / u16,
        "c_dev" / u16,
        "c_ino" / u16,
        "c_mode" / u16,
        "c_uid" / u16,
        "c_gid" / u16,
        "c_nlink" / u16,
        "c_rdev" / u16,
        # Two halves, the higher first whatever the byte order.
        "c_mtime" / Array(2, u16),
        "c_namesize" / u16,
        "c_filesize" / Array(2, u16),
    )


BINARY, BINARY_BE = layout(lambda: _binary(Int16ul)), layout(lambda: _binary(Int16ub))
ODC = layout(
    lambda: Struct(
        "c_magic" / Bytes(6),
        "c_dev" / Bytes(6),
        "c_ino" / Bytes(6),
        "c_mode" / Bytes(6),
        "c_uid" / Bytes(6),
        "c_gid" / Bytes(6),
        "c_nlink" / Bytes(6),
        "c_rdev" / Bytes(6),
        "c_mtime" / Bytes(11),
        "c_namesize" / Bytes(6),
        "c_filesize" / Bytes(11),
    )
)
NEWC = layout(
    lambda: Struct(
        "c_magic" / Bytes(6),
        "c_ino" / Bytes(8),
        "c_mode" / Bytes(8),
        "c_uid" / Bytes(8),
        "c_gid" / Bytes(8),
        "c_nlink" / Bytes(8),
        "c_mtime" / Bytes(8),
        "c_filesize" / Bytes(8),
        "c_devmajor" / Bytes(8),
        "c_devminor" / Bytes(8),
        "c_rdevmajor" / Bytes(8),
        "c_rdevminor" / Bytes(8),
        "c_namesize" / Bytes(8),
        "c_check" / Bytes(8),
    )
)
ASCII = {b"070701": "newc", b"070702": "crc", b"070707": "odc"}
BINARIES = {b"\xc7\x71": "little", b"\x71\xc7": "big"}
ALIGNMENT = {"newc": 4, "crc": 4, "odc": 1, "bin": 2}
TRAILER = "TRAILER!!!"
_DIGITS = b"0123456789abcdefABCDEF"
MAX_NAME = 4096
TYPES = {
    S_IFREG: "file",
    S_IFDIR: "directory",
    S_IFLNK: "symbolic link",
    S_IFCHR: "character device",
    S_IFBLK: "block device",
    S_IFIFO: "fifo",
    S_IFSOCK: "socket",
    0: None,  # of the trailer, and of some devices' files
}


class _Member(Record, kw_only=True):
    """A member's header, its name, and where the next one's is."""

    variant: str
    order: str | None
    mode: int
    mtime: int
    size: int
    name: str
    next: int


def parse(view: View) -> Identity:
    """The identity of a cpio archive, by its first member and the magic of the second."""
    magic = view.read(0, 6)
    variant, order = ASCII.get(magic), BINARIES.get(magic[:2])
    if variant is None and order is None:
        raise NotThisFormat("no magic")
    first = _member(view, variant or "bin", order)
    last = first.name == TRAILER
    problems = [no_disk("a cpio archive", "cpio -t lists it")]
    if not last:
        if S_IFMT(first.mode) not in TYPES or not S_IFMT(first.mode):
            raise NotThisFormat(f"a member with mode {first.mode:#o}")
        if first.next >= view.size and variant is not None:
            message = f"the first member ends at {first.next}; here are {view.size} bytes"
            problems.append(Problem(Code.TRUNCATED, message))
        elif view.read(first.next, 6 if variant else 2) not in (magic, magic[:2]):
            raise NotThisFormat(f"no second member at {first.next}")
    elif order is not None:
        raise NotThisFormat("a trailer of two bytes' magic alone")
    details: dict[str, Json] = {"variant": first.variant, "byte_order": first.order, "first_member": None}
    if not last:
        details["first_member"] = {
            "name": first.name,
            "type": TYPES[S_IFMT(first.mode)],
            "size": first.size,
            "modified": unix_time(first.mtime),
        }
    return Identity(type="cpio", details=details, problems=tuple(problems))


def _member(view: View, variant: str, order: str | None) -> _Member:
    if variant == "bin":
        declared = BINARY_BE if order == "big" else BINARY
        header = read_struct(view, declared, 0)
        mode, length = header.c_mode, header.c_namesize
        mtime, size = (high << 16 | low for high, low in (header.c_mtime, header.c_filesize))
    else:
        declared, base = (ODC, 8) if variant == "odc" else (NEWC, 16)
        header = read_struct(view, declared, 0)
        fields = (header.c_mode, header.c_namesize, header.c_mtime, header.c_filesize)
        mode, length, mtime, size = (_number(field, base) for field in fields)
    if not 1 < length <= MAX_NAME:
        raise NotThisFormat(f"a name of {length} bytes")
    raw = view.read(declared.size, length)
    name = text(raw)
    if raw.find(b"\0") != length - 1 or name is None:
        raise NotThisFormat("a name that does not end where it should")
    align = ALIGNMENT[variant]
    data = _aligned(declared.size + length, align)
    return _Member(
        variant=variant, order=order, mode=mode, mtime=mtime, size=size, name=name,
        next=_aligned(data + size, align),
    )  # fmt: skip


def _number(field: bytes, base: int) -> int:
    if field.strip(_DIGITS):
        raise NotThisFormat(f"{field!r} is no number")
    try:
        return int(field, base)
    except ValueError as error:
        raise NotThisFormat(f"{field!r} is no number") from error


def _aligned(offset: int, unit: int) -> int:
    return -(-offset // unit) * unit


FORMAT = Format(
    name="cpio",
    title="cpio archive",
    specification="https://man.freebsd.org/cgi/man.cgi?query=cpio&sektion=5",
    usage=Usage.OTHER,
    types=("cpio",),
    parse=parse,
    signatures=tuple(Signature(magic, 0) for magic in (*ASCII, *BINARIES)),
    precedence=Precedence.WEAK,
    unmountable="it is an archive, not a file system: cpio -i unpacks it",
    files=(FileReader("archives", "struct", "Python"),),
)
