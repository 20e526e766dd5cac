"""cramfs, the compressed ROM file system, in both byte orders.

Layout: linux/include/uapi/linux/cramfs_fs.h, ``struct cramfs_super``
https://www.kernel.org/doc/html/latest/filesystems/cramfs.html
"""

import zlib
from stat import S_ISDIR
from typing import Any

from construct import Bytes, Int16ub, Int16ul, Int32ub, Int32ul, Struct

from pyimount.formats import FileReader, Format, Identity, Json, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View


def _superblock(u16: Any, u32: Any) -> Any:
    return Struct(
        "magic" / Bytes(4),
        "size" / u32,
        "flags" / u32,
        "future" / u32,
        "signature" / Bytes(16),
        "crc" / u32,
        "edition" / u32,
        "blocks" / u32,
        "files" / u32,
        "name" / Bytes(16),
        "root_mode" / u16,
        "root_uid_to_offset" / Bytes(10),
    )


SUPERBLOCK = layout(lambda: _superblock(Int16ul, Int32ul))
SUPERBLOCK_BE = layout(lambda: _superblock(Int16ub, Int32ub))
LITTLE, BIG = b"\x45\x3d\xcd\x28", b"\x28\xcd\x3d\x45"
SIGNATURE = b"Compressed ROMFS"
# A boot sector may stand in front.
OFFSETS = (0, 512)
_CRC_AT = 32
CRC_CAP = 1 << 20
"""The checksum covers all of the image; of larger ones, bytes, it is not verified."""

FSID_VERSION_2, WRONG_SIGNATURE = 0x1, 0x200
FLAGS = {
    FSID_VERSION_2: "fsid_version_2",
    0x2: "sorted_dirs",
    0x100: "holes",
    WRONG_SIGNATURE: "wrong_signature",
    0x400: "shifted_root_offset",
    0x800: "ext_block_pointers",
}


def parse(view: View) -> Identity:
    """The identity of a cramfs file system."""
    for offset in OFFSETS:
        magic = view.read(offset, 4)
        if magic in (LITTLE, BIG):
            return _identity(view, offset, big=magic == BIG)
    raise NotThisFormat("no magic")


def _identity(view: View, offset: int, *, big: bool) -> Identity:
    sb = read_struct(view, SUPERBLOCK_BE if big else SUPERBLOCK, offset)
    signed = sb.signature == SIGNATURE or sb.flags & WRONG_SIGNATURE
    # As the kernel does: other flags than these are another format.
    if not signed or sb.flags & ~(0xFF | sum(FLAGS)):
        raise NotThisFormat(f"signature {sb.signature!r}, flags {sb.flags:#x}")
    if not S_ISDIR(sb.root_mode):
        raise NotThisFormat(f"the root has mode {sb.root_mode:#o}")
    details: dict[str, Json] = {
        "flags": [*flag_names(sb.flags, FLAGS, "flag")],
        "future": sb.future,
        "byte_order": "big" if big else "little",
    }
    checked, problems, fs_size = False, [], None
    if sb.flags & FSID_VERSION_2:
        if sb.size < offset + SUPERBLOCK.size:
            raise NotThisFormat(f"a size of {sb.size} bytes")
        fs_size = sb.size
        details |= {"edition": sb.edition, "blocks": sb.blocks, "files": sb.files}
        matches = _crc_matches(view, sb, offset)
        checked = matches is True
        if matches is False:
            problems.append(Problem(Code.BAD_CHECKSUM, "the checksum of the image does not match"))
    return Identity(
        type="cramfs",
        fstype="cramfs",
        label=text(sb.name),
        version="2" if sb.flags & FSID_VERSION_2 else "1",
        fs_size=fs_size,
        free=0,
        free_from="a format that is written once",
        offset=offset,
        checked=checked,
        details=details,
        problems=tuple(problems),
    )


def _crc_matches(view: View, sb: Any, offset: int) -> bool | None:
    """Whether the checksum over all of the image matches; None where it cannot be told."""
    if sb.size > CRC_CAP:
        return None
    try:
        data = view.read(offset, sb.size - offset)
    except ShortRead:
        return None
    covered = data[:_CRC_AT] + bytes(4) + data[_CRC_AT + 4 :]
    return bool(zlib.crc32(covered) == sb.crc)


FORMAT = Format(
    name="cramfs",
    title="cramfs",
    specification="https://www.kernel.org/doc/html/latest/filesystems/cramfs.html",
    usage=Usage.FILESYSTEM,
    types=("cramfs",),
    parse=parse,
    signatures=tuple(Signature(magic, offset) for offset in OFFSETS for magic in (LITTLE, BIG)),
    mounts=(KernelMount("cramfs"),),
    files=(FileReader("dissect", "dissect.cramfs", "dissect.cramfs"),),
)
