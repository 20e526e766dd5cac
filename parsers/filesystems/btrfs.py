"""Btrfs.

Layout: btrfs.readthedocs.io, "On-disk format", "Superblock"
https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html#superblock
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from construct import Bytes, Const, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import (
    FileReader,
    Format,
    Identity,
    Json,
    KernelMount,
    Membership,
    NotThisFormat,
    Signature,
    Usage,
)
from pyimount.formats.allocation import Allocation, Elsewhere, Reader, TooMuch
from pyimount.formats.checksums import crc32c, xxh64
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import flag_names, text, uuid_text
from pyimount.parsers.filesystems.btrfs_allocation import (
    SYSTEM_CHUNKS_AT,
    SYSTEM_CHUNKS_SIZE,
    FileSystem,
    count_free,
    device_items,
)
from pyimount.problems import Code, Problem
from pyimount.records import EMPTY
from pyimount.sources.view import ShortRead, View

MAGIC = b"_BHRfS_M"
SUPERBLOCK = layout(
    lambda: Struct(
        "csum" / Bytes(32),
        "fsid" / Bytes(16),
        "bytenr" / Int64ul,
        "flags" / Int64ul,
        "magic" / Const(MAGIC),
        "generation" / Int64ul,
        "root" / Int64ul,
        "chunk_root" / Int64ul,
        "log_root" / Int64ul,
        "log_root_transid" / Int64ul,
        "total_bytes" / Int64ul,
        "bytes_used" / Int64ul,
        "root_dir_objectid" / Int64ul,
        "num_devices" / Int64ul,
        "sectorsize" / Int32ul,
        "nodesize" / Int32ul,
        "leafsize" / Int32ul,
        "stripesize" / Int32ul,
        "sys_chunk_array_size" / Int32ul,
        "chunk_root_generation" / Int64ul,
        "compat_flags" / Int64ul,
        "compat_ro_flags" / Int64ul,
        "incompat_flags" / Int64ul,
        "csum_type" / Int16ul,
        "root_level" / Int8ul,
        "chunk_root_level" / Int8ul,
        "log_root_level" / Int8ul,
        "dev_item"
        / Struct(
            "devid" / Int64ul,
            "total_bytes" / Int64ul,
            "bytes_used" / Int64ul,
            "io_align" / Int32ul,
            "io_width" / Int32ul,
            "sector_size" / Int32ul,
            "type" / Int64ul,
            "generation" / Int64ul,
            "start_offset" / Int64ul,
            "dev_group" / Int32ul,
            "seek_speed" / Int8ul,
            "bandwidth" / Int8ul,
            "uuid" / Bytes(16),
            "fsid" / Bytes(16),
        ),
        "label" / Bytes(256),
        "cache_generation" / Int64ul,
        "uuid_tree_generation" / Int64ul,
        "metadata_uuid" / Bytes(16),
    )
)
SIZE = 4096
PRIMARY = 64 << 10
COPIES = (64 << 20, 256 << 30)
_MAGIC_AT = 0x40
_CSUM_SIZE = 32

COMPAT: dict[int, str] = {}
COMPAT_RO = {
    0x1: "free_space_tree",
    0x2: "free_space_tree_valid",
    0x4: "verity",
    0x8: "block_group_tree",
}
INCOMPAT = {
    0x1: "mixed_backref",
    0x2: "default_subvol",
    0x4: "mixed_groups",
    0x8: "compress_lzo",
    0x10: "compress_zstd",
    0x20: "big_metadata",
    0x40: "extended_iref",
    0x80: "raid56",
    0x100: "skinny_metadata",
    0x200: "no_holes",
    0x400: "metadata_uuid",
    0x800: "raid1c34",
    0x1000: "zoned",
    0x2000: "extent_tree_v2",
    0x4000: "raid_stripe_tree",
    0x10000: "simple_quota",
    0x20000: "remap_tree",
}
METADATA_UUID = 0x400
BLOCK_GROUP_TREE = 0x8
FLAGS = {
    0x1: "written",
    0x2: "reloc",
    0x4: "error",
    1 << 32: "seeding",
    1 << 33: "metadump",
    1 << 34: "metadump_v2",
    1 << 35: "changing_fsid",
    1 << 36: "changing_fsid_v2",
    1 << 38: "changing_bg_tree",
    1 << 39: "changing_data_csum",
    1 << 40: "changing_meta_csum",
}
ERROR = 0x4
SEEDING = 1 << 32


def _crc32c(data: bytes) -> bytes:
    return (crc32c(data) ^ 0xFFFFFFFF).to_bytes(4, "little")


def _xxhash64(data: bytes) -> bytes:
    return xxh64(data).to_bytes(8, "little")


def _sha256(data: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(data).digest()


def _blake2(data: bytes) -> bytes:
    import hashlib

    return hashlib.blake2b(data, digest_size=32).digest()


# By csum_type: the name, and the function where there is one for it here.
CHECKSUMS: dict[int, tuple[str, Callable[[bytes], bytes] | None]] = {
    0: ("crc32c", _crc32c),
    1: ("xxhash64", _xxhash64),
    2: ("sha256", _sha256),
    3: ("blake2", _blake2),
}


def parse(view: View) -> Identity:
    """The identity of a btrfs file system or a device of one, from a superblock's copy if need be."""
    try:
        primary = _identity(view, PRIMARY)
    except (NotThisFormat, ShortRead):
        primary = None
    if primary is not None and not any(p.code is Code.BAD_CHECKSUM for p in primary.problems):
        return primary
    for offset in COPIES:
        if view.peek(offset + _MAGIC_AT, len(MAGIC)) == MAGIC:
            message = f"the superblock at {PRIMARY} is unusable; the facts come from the copy at {offset}"
            try:
                copy = _identity(view, offset, Problem(Code.BACKUP_USED, message))
            except (NotThisFormat, ShortRead):
                continue
            if primary is None or copy.checked:
                return copy
    if primary is None:
        raise NotThisFormat("no usable superblock")
    return primary


def _identity(view: View, offset: int, *problems_so_far: Problem) -> Identity:
    data = view.read(offset, SIZE)
    sb = parse_struct(data, SUPERBLOCK)
    problems = list(problems_so_far)
    name, function = CHECKSUMS.get(sb.csum_type, (str(sb.csum_type), None))
    checked = False
    if function is not None:
        wanted = function(data[_CSUM_SIZE:])
        checked = sb.csum[: len(wanted)] == wanted
        if not checked:
            message = f"the checksum of the superblock at {offset} does not match"
            problems.append(Problem(Code.BAD_CHECKSUM, message))
    wrong = _contradictions(sb, offset)
    if len(wrong) > 2 and not checked:
        # The magic alone would be enough to tell btrfs from anything else, but not to tell more of it.
        raise NotThisFormat("; ".join(wrong))
    problems += [Problem(Code.DAMAGED, message) for message in wrong]
    device = sb.dev_item
    uuid = uuid_text(sb.fsid)
    group = None
    if sb.num_devices > 1 and uuid is not None:
        group = Membership(
            type="btrfs",
            uuid=uuid,
            name=text(sb.label),
            role=str(device.devid),
            members=sb.num_devices,
            identity=uuid_text(device.uuid),
            as_of=(sb.generation, sb.root),
        )
    # Without a log to replay nothing tells whether it was unmounted: every commit is consistent.
    state = "error" if sb.flags & ERROR else "dirty" if sb.log_root else None
    return Identity(
        type="btrfs",
        fstype="btrfs",
        label=text(sb.label),
        uuid=uuid,
        uuid_sub=uuid_text(device.uuid),
        block_size=sb.sectorsize,
        fs_size=device.total_bytes or None,
        state=state,
        group=group,
        lends_to="btrfs" if sb.flags & SEEDING else None,
        offset=offset,
        checked=checked,
        details=_details(sb, name) | ({} if offset == PRIMARY else {"copy_at": offset}),
        problems=tuple(problems),
        allocation=None if wrong else Allocation(view, partial(count_free, _trees(sb, data))),
    )


def devices(view: View) -> Mapping[str, str]:
    """The UUIDs of all devices that the file system on this one says it has, with their numbers.

    Those of its seeds are among them, whose own superblocks name another file system. None where the tree
    that says it lies on other devices, or is damaged. Raises ReadError and BudgetError as the source does.
    """
    try:
        data = view.read(parse(view).offset, SIZE)
        items = device_items(_trees(parse_struct(data, SUPERBLOCK), data), Reader(view))
        return {uuid: str(number) for number, raw in items if (uuid := uuid_text(raw)) is not None}
    except (Elsewhere, NotThisFormat, ShortRead, TooMuch):
        return EMPTY


def _trees(sb: Any, data: bytes) -> FileSystem:
    return FileSystem(
        device=sb.dev_item.devid,
        devices=sb.num_devices,
        total=sb.dev_item.total_bytes,
        all_total=sb.total_bytes,
        used=sb.bytes_used,
        node_size=sb.nodesize,
        root=sb.root,
        chunk_root=sb.chunk_root,
        system=data[SYSTEM_CHUNKS_AT:][: min(sb.sys_chunk_array_size, SYSTEM_CHUNKS_SIZE)],
        block_group_tree=bool(sb.compat_ro_flags & BLOCK_GROUP_TREE),
    )


def _contradictions(sb: Any, offset: int) -> list[str]:
    """What no superblock that btrfs wrote here says; a sentence each."""
    wrong = []
    if sb.bytenr != offset:
        wrong.append(f"the superblock at {offset} says that it is the one at {sb.bytenr}")
    if not 512 <= sb.sectorsize <= 65536 or sb.sectorsize & (sb.sectorsize - 1):
        wrong.append(f"sector size {sb.sectorsize}")
    if not sb.sectorsize <= sb.nodesize <= 65536 or sb.nodesize & (sb.nodesize - 1):
        wrong.append(f"node size {sb.nodesize}")
    if sb.num_devices == 0 or sb.dev_item.total_bytes == 0 or sb.total_bytes < sb.dev_item.total_bytes:
        wrong.append(
            f"{sb.total_bytes} bytes on {sb.num_devices} devices, {sb.dev_item.total_bytes} on this one"
        )
    if sb.bytes_used > sb.total_bytes:
        wrong.append(f"{sb.bytes_used} bytes used, of {sb.total_bytes}")
    if max(sb.root_level, sb.chunk_root_level, sb.log_root_level) > 7:
        wrong.append("a tree of more than 8 levels")
    return wrong


def _details(sb: Any, checksum: str) -> dict[str, Json]:
    device = sb.dev_item
    details: dict[str, Json] = {
        "features": [
            *flag_names(sb.compat_flags, COMPAT, "compat"),
            *flag_names(sb.compat_ro_flags, COMPAT_RO, "compat_ro"),
            *flag_names(sb.incompat_flags, INCOMPAT, "incompat"),
        ],
        "flags": [*flag_names(sb.flags, FLAGS, "flag")],
        "generation": sb.generation,
        "checksum_type": checksum,
        "sector_size": sb.sectorsize,
        "node_size": sb.nodesize,
        "stripe_size": sb.stripesize,
        "total_bytes": sb.total_bytes,
        "bytes_used": sb.bytes_used,
        "devices": sb.num_devices,
        "device": {
            "id": device.devid,
            "uuid": uuid_text(device.uuid),
            "total_bytes": device.total_bytes,
            "bytes_allocated": device.bytes_used,
        },
        "log_replay_needed": sb.log_root != 0,
    }
    if sb.incompat_flags & METADATA_UUID:
        details["metadata_uuid"] = uuid_text(sb.metadata_uuid)
    return details


FORMAT = Format(
    name="btrfs",
    title="Btrfs",
    specification="https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html",
    usage=Usage.FILESYSTEM,
    types=("btrfs",),
    parse=parse,
    signatures=(
        Signature(MAGIC, PRIMARY + _MAGIC_AT),
        *(Signature(MAGIC, copy + _MAGIC_AT, copy=True, lasting=copy == COPIES[0]) for copy in COPIES),
    ),
    mounts=(
        KernelMount(
            "btrfs",
            ("rescue=nologreplay",),
            written=(),
            every_member=True,
            incomplete=("degraded",),
            since=(5, 9),
        ),
        KernelMount(
            "btrfs", ("norecovery",), written=(), every_member=True, incomplete=("degraded",), since=(4, 5)
        ),
    ),
    files=(FileReader("dissect", "dissect.btrfs", "dissect.btrfs"),),
)
