"""zonefs, which shows each zone of a zoned device as a file.

Layout: linux/fs/zonefs/zonefs.h, ``struct zonefs_super``
https://www.kernel.org/doc/html/latest/filesystems/zonefs.html
"""

import zlib

from construct import Bytes, Const, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import flag_names, text, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

MAGIC = b"SFOZ"
SUPERBLOCK = layout(
    lambda: Struct(
        "s_magic" / Const(MAGIC),
        "s_crc" / Int32ul,
        # libblkid takes it for 32 bytes, and so reads the UUID from the label's second half.
        "s_label" / Bytes(64),
        "s_uuid" / Bytes(16),
        "s_features" / Int64ul,
        "s_uid" / Int32ul,
        "s_gid" / Int32ul,
        "s_perm" / Int32ul,
        "s_reserved" / Bytes(3988),
    )
)
BLOCK_SIZE = 4096
_CRC_AT = 4

UID, GID, PERM = 0x2, 0x4, 0x8
FEATURES = {0x1: "aggregate_conventional", UID: "uid", GID: "gid", PERM: "perm"}


def parse(view: View) -> Identity:
    """The identity of a zonefs file system."""
    data = view.read(0, SUPERBLOCK.size)
    sb = parse_struct(data, SUPERBLOCK)
    if sb.s_features >= 1 << len(FEATURES) or any(sb.s_reserved):
        raise NotThisFormat(f"features {sb.s_features:#x}, or something in what is reserved")
    # Started from all ones, and not inverted.
    crc = zlib.crc32(data[:_CRC_AT] + bytes(4) + data[_CRC_AT + 4 :]) ^ 0xFFFFFFFF
    problems: tuple[Problem, ...] = ()
    if crc != sb.s_crc:
        problems = (Problem(Code.BAD_CHECKSUM, "the checksum of the superblock does not match"),)
    details: dict[str, Json] = {"features": [*flag_names(sb.s_features, FEATURES, "feature")]}
    if sb.s_features & UID:
        details["uid"] = sb.s_uid
    if sb.s_features & GID:
        details["gid"] = sb.s_gid
    if sb.s_features & PERM:
        details["permissions"] = f"{sb.s_perm:04o}"
    return Identity(
        type="zonefs",
        fstype="zonefs",
        free_unknown="each zone is a file: what is written of it, the drive alone tells",
        label=text(sb.s_label),
        uuid=uuid_text(sb.s_uuid),
        block_size=BLOCK_SIZE,
        checked=not problems,
        details=details,
        problems=problems,
    )


FORMAT = Format(
    name="zonefs",
    title="zonefs",
    specification="https://www.kernel.org/doc/html/latest/filesystems/zonefs.html",
    usage=Usage.FILESYSTEM,
    types=("zonefs",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    unmountable="its driver wants a zoned device, which no loop device is",
)
