"""YAFFS2, on NAND flash.

Layout: yaffs2, ``struct yaffs_obj_hdr`` (yaffs_guts.h) and
``struct yaffs_packed_tags2_tags_only`` (yaffs_packedtags2.h)
https://yaffs.net/documents/yaffs-direct-interface

It has no superblock and no magic. Each chunk of data is followed by its spare area, where the tags say to
which object it belongs; an object's first chunk is its header. The first object of an image is the root
directory, or lies in it.
"""

from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK
from typing import Any

from construct import Bytes, Int16ub, Int16ul, Int32ub, Int32ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.sources.view import View


def _header(u16: Any, u32: Any) -> Any:
    return Struct(
        "type" / u32,
        "parent_obj_id" / u32,
        "sum_no_longer_used" / u16,
        "name" / Bytes(256),
        "padding" / Bytes(2),
        "yst_mode" / u32,
        "yst_uid" / u32,
        "yst_gid" / u32,
        "yst_atime" / u32,
        "yst_mtime" / u32,
        "yst_ctime" / u32,
        "file_size_low" / u32,
        "equiv_id" / u32,
        "alias" / Bytes(160),
        "yst_rdev" / u32,
        "win_times_to_is_shrink" / Bytes(48),
    )


def _tags(u32: Any) -> Any:
    return Struct("seq_number" / u32, "obj_id" / u32, "chunk_id" / u32, "n_bytes" / u32)


HEADER = {
    "little": layout(lambda: _header(Int16ul, Int32ul)),
    "big": layout(lambda: _header(Int16ub, Int32ub)),
}
TAGS = {"little": layout(lambda: _tags(Int32ul)), "big": layout(lambda: _tags(Int32ub))}
FILE, SYMLINK, DIRECTORY, HARDLINK, SPECIAL = 1, 2, 3, 4, 5
TYPES = {FILE: "file", SYMLINK: "symlink", DIRECTORY: "directory", HARDLINK: "hardlink", SPECIAL: "special"}
MODES = {
    FILE: {S_IFREG},
    SYMLINK: {S_IFLNK},
    DIRECTORY: {S_IFDIR},
    SPECIAL: {S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK},
}
ROOT = 1
MAX_NAME = 255
NONE = 0xFFFFFFFF
LAYOUTS = ((2048, 64), (4096, 128), (4096, 224), (8192, 256), (512, 16), (1024, 32), (16384, 512))
"""Bytes in a chunk and in its spare area, as NAND chips have them."""
TAGS_AT = (0, 2, 30)
"""Where in the spare area the tags may stand: behind the mark of a bad block, or behind the ECC."""
LOWEST_SEQUENCE, HIGHEST_SEQUENCE = 0x1000, 0xEFFFFF00
MAX_OBJECT = 0x3FFFF
EXTRA_HEADER = 0x80000000
"""Of a tag's chunk_id: it is of a header, and the parent stands there too."""


def parse(view: View) -> Identity:
    """The identity of a YAFFS2 image with its spare areas."""
    start = view.read(0, 4)
    order = "little" if start[0] else "big"
    header = read_struct(view, HEADER[order], 0)
    _plausible(header)
    chunk, spare, tags_at, tags = _spare_area(view, order, header)
    details: dict[str, Json] = {
        "byte_order": order,
        "chunk_size": chunk,
        "spare_size": spare,
        "tags_offset": tags_at,
        "chunks": view.size // (chunk + spare),
        "first_object": {
            "id": tags.obj_id,
            "type": TYPES[header.type],
            "name": text(header.name[:MAX_NAME]),
            "modified": unix_time(header.yst_mtime),
        },
    }
    return Identity(
        type="yaffs2",
        fstype="yaffs2",
        details=details,
        free_unknown="a log: only reading all of its chunks tells",
    )


def _plausible(header: Any) -> None:
    """Whether this can be the header of the root directory, or of an object in it."""
    mode = header.yst_mode
    if header.parent_obj_id != ROOT or header.sum_no_longer_used != 0xFFFF:
        raise NotThisFormat(f"an object in directory {header.parent_obj_id}")
    if header.type not in TYPES or mode >> 16 or S_IFMT(mode) not in MODES.get(header.type, {S_IFMT(mode)}):
        raise NotThisFormat(f"an object of type {header.type} with mode {mode:#o}")
    # mkyaffs2image writes a name of MAX_NAME bytes, filled up with zeros, over a header of ones: the field
    # has one byte more. Other writers leave ones behind the first zero.
    name, _, rest = header.name[:MAX_NAME].partition(b"\0")
    if (rest.strip(b"\0") and rest.strip(b"\xff")) or header.name[MAX_NAME] not in (0, 0xFF):
        raise NotThisFormat("something behind the name of the object")
    if (not name and header.type != DIRECTORY) or b"/" in name or any(byte < 0x20 for byte in name):
        raise NotThisFormat("no name of an object")
    if header.type != HARDLINK and header.equiv_id not in (0, NONE):
        raise NotThisFormat(f"a second name of object {header.equiv_id}, and no hard link")


def _spare_area(view: View, order: str, header: Any) -> tuple[int, int, int, Any]:
    """Sizes of chunk and spare area, the place of the tags, and the first tags.

    They must be the header's, and followed by those of another chunk that fit.
    """
    for chunk, spare in LAYOUTS:
        for at in TAGS_AT:
            if at + TAGS[order].size > spare:
                continue
            first = _tags_of(view, order, chunk + at)
            if first is None or not _is_header(first, header):
                continue
            second = _tags_of(view, order, 2 * chunk + spare + at)
            if second is None:
                continue
            if _follows(first, second, header) or _erased(view, chunk + spare, chunk + spare):
                return chunk, spare, at, first
    raise NotThisFormat("no tags in a spare area")


def _tags_of(view: View, order: str, at: int) -> Any:
    raw = view.glance(at, TAGS[order].size)
    return parse_struct(raw, TAGS[order]) if len(raw) == TAGS[order].size else None


def _is_header(tags: Any, header: Any) -> bool:
    parent = tags.chunk_id & 0x0FFFFFFF if tags.chunk_id & EXTRA_HEADER else header.parent_obj_id
    return bool(
        LOWEST_SEQUENCE <= tags.seq_number <= HIGHEST_SEQUENCE
        and (tags.chunk_id & EXTRA_HEADER or (tags.chunk_id == 0 and tags.n_bytes <= 0xFFFF))
        and parent == header.parent_obj_id
        and tags.obj_id & MAX_OBJECT
    )


def _follows(first: Any, second: Any, header: Any) -> bool:
    """Whether the second chunk's tags can stand behind the first's."""
    if not LOWEST_SEQUENCE <= second.seq_number <= HIGHEST_SEQUENCE:
        return False
    if second.obj_id == first.obj_id and not second.chunk_id & EXTRA_HEADER:
        return bool(header.type == FILE and second.chunk_id <= 1)
    return bool(second.obj_id & MAX_OBJECT and (second.chunk_id == 0 or second.chunk_id & EXTRA_HEADER))


def _erased(view: View, at: int, length: int) -> bool:
    raw = view.glance(at, length)
    return len(raw) == length == raw.count(0xFF)


FORMAT = Format(
    name="yaffs2",
    title="YAFFS2",
    specification="https://yaffs.net/documents/yaffs-direct-interface",
    usage=Usage.FILESYSTEM,
    types=("yaffs2",),
    parse=parse,
    # The type, and that the object lies in the root directory.
    signatures=tuple(
        Signature(kind.to_bytes(4, order) + ROOT.to_bytes(4, order) + b"\xff\xff", 0)
        for order in ("little", "big")
        for kind in TYPES
    ),
    precedence=Precedence.WEAK,
    unmountable="its driver, which Linux itself has not, wants a flash chip, not a disk",
)
