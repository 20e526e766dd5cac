"""APFS: the container, and the volumes that its newest checkpoint names.

Layout: Apple, "Apple File System Reference" (2020-06-22), "Container", "Object Maps", "B-Trees", "Volumes"
https://developer.apple.com/support/downloads/Apple-File-System-Reference.pdf
"""

from collections.abc import Iterator
from struct import unpack
from typing import Any

from construct import Array, Bytes, Int32ul, Int64ul, Struct

from pyimount.formats import FileReader, Format, Identity, Json, NotThisFormat, Signature, ToolMount, Usage
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import flag_names, uuid_text
from pyimount.parsers.filesystems.apfs_objects import (
    OBJECT,
    TYPE_CHECKPOINT_MAP,
    TYPE_NX_SUPERBLOCK,
    TYPE_SPACEMAN,
    ObjectMap,
    is_whole,
)
from pyimount.parsers.filesystems.apfs_volume import volume_at
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

NX_SUPERBLOCK = layout(
    lambda: Struct(
        "o_cksum" / Int64ul,
        "o_oid" / Int64ul,
        "o_xid" / Int64ul,
        "o_type" / Int32ul,
        "o_subtype" / Int32ul,
        "nx_magic" / Bytes(4),
        "nx_block_size" / Int32ul,
        "nx_block_count" / Int64ul,
        "nx_features" / Int64ul,
        "nx_readonly_compatible_features" / Int64ul,
        "nx_incompatible_features" / Int64ul,
        "nx_uuid" / Bytes(16),
        "nx_next_oid" / Int64ul,
        "nx_next_xid" / Int64ul,
        "nx_xp_desc_blocks" / Int32ul,
        "nx_xp_data_blocks" / Int32ul,
        "nx_xp_desc_base" / Int64ul,
        "nx_xp_data_base" / Int64ul,
        "nx_xp_desc_next" / Int32ul,
        "nx_xp_data_next" / Int32ul,
        "nx_xp_desc_index" / Int32ul,
        "nx_xp_desc_len" / Int32ul,
        "nx_xp_data_index" / Int32ul,
        "nx_xp_data_len" / Int32ul,
        "nx_spaceman_oid" / Int64ul,
        "nx_omap_oid" / Int64ul,
        "nx_reaper_oid" / Int64ul,
        "nx_test_type" / Int32ul,
        "nx_max_file_systems" / Int32ul,
        "nx_fs_oid" / Bytes(100 * 8),
        "nx_counters" / Bytes(32 * 8),
        "nx_blocked_out_prange" / Bytes(16),
        "nx_evict_mapping_tree_oid" / Int64ul,
        "nx_flags" / Int64ul,
        "nx_efi_jumpstart" / Int64ul,
        "nx_fusion_uuid" / Bytes(16),
        "nx_keylocker_start" / Int64ul,
        "nx_keylocker_count" / Int64ul,
        "nx_ephemeral_info" / Bytes(4 * 8),
        "nx_test_oid" / Int64ul,
        "nx_fusion_mt_oid" / Int64ul,
        "nx_fusion_wbc_oid" / Int64ul,
        "nx_fusion_wbc" / Bytes(16),
        "nx_newest_mounted_version" / Int64ul,
    )
)
CHECKPOINT_MAP = layout(
    lambda: Struct(
        "object" / Bytes(32),
        "cpm_flags" / Int32ul,
        "cpm_count" / Int32ul,
    )
)
CHECKPOINT_MAPPING = layout(
    lambda: Struct(
        "cpm_type" / Int32ul,
        "cpm_subtype" / Int32ul,
        "cpm_size" / Int32ul,
        "cpm_pad" / Int32ul,
        "cpm_fs_oid" / Int64ul,
        "cpm_oid" / Int64ul,
        "cpm_paddr" / Int64ul,
    )
)
SPACEMAN = layout(
    lambda: Struct(
        "object" / Bytes(32),
        "sm_block_size" / Int32ul,
        "sm_blocks_per_chunk" / Int32ul,
        "sm_chunks_per_cib" / Int32ul,
        "sm_cibs_per_cab" / Int32ul,
        "devices" / Array(2, Struct(
            "sm_block_count" / Int64ul,
            "sm_chunk_count" / Int64ul,
            "sm_cib_count" / Int32ul,
            "sm_cab_count" / Int32ul,
            "sm_free_count" / Int64ul,
            "sm_addr_offset" / Int32ul,
            "sm_reserved" / Bytes(12),
        )),
    )
)  # fmt: skip

NX_MAGIC = b"NXSB"
MAGIC_AT = 32
SMALLEST_BLOCK = 4096
BLOCK_SIZES = (4096, 8192, 16384, 32768, 65536)
MAX_FILE_SYSTEMS = 100
# What one parse looks at, however long the checkpoint ring or the object map.
MAX_CHECKPOINT_BLOCKS = 512
MAX_MAPS = 16
SCATTERED = 1 << 63
"""Of nx_xp_desc_base: the ring is not one run, but named by a tree."""

NX_FEATURES = {0x1: "defrag", 0x2: "low_capacity_fusion"}
NX_INCOMPATIBLE = {0x1: "version_1", 0x2: "version_2", 0x100: "fusion"}
FUSION = 0x100
NX_FLAGS = {0x4: "software_cryptography"}


def parse(view: View) -> Identity:
    """The identity of an APFS container, with its volumes."""
    offset, main = _main(view)
    problems: list[Problem] = []
    if offset:
        message = f"the container superblock at 0 is unusable; the facts come from the copy at {offset}"
        problems.append(Problem(Code.BACKUP_USED, message))
    container = _Container(view, main, offset)
    sb, whole = container.newest(problems)
    if not whole:
        message = "the checksum of the container superblock does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    try:
        volumes = tuple(container.volumes(sb))
    except (NotThisFormat, ShortRead) as error:
        volumes = ()
        problems.append(Problem(Code.DAMAGED, f"the volumes cannot be found: {error}"))
    free = container.free(sb)
    problems.extend(container.problems)
    size = sb.nx_block_size
    details: dict[str, Json] = {
        "blocks": sb.nx_block_count,
        "features": [
            *flag_names(sb.nx_features, NX_FEATURES, "feature"),
            *flag_names(sb.nx_incompatible_features, NX_INCOMPATIBLE, "incompatible"),
            *flag_names(sb.nx_readonly_compatible_features, {}, "readonly_compatible"),
        ],
        "flags": [*flag_names(sb.nx_flags & ~0x3, NX_FLAGS, "flag")],
        "transaction": sb.o_xid,
        "checkpoint_blocks": sb.nx_xp_desc_blocks & 0x7FFFFFFF,
        "max_volumes": sb.nx_max_file_systems,
        "keylocker": bool(sb.nx_keylocker_start and sb.nx_keylocker_count),
        "fusion": uuid_text(sb.nx_fusion_uuid),
        "newest_mounted_version": _version(sb.nx_newest_mounted_version),
    }
    return Identity(
        type="apfs",
        fstype="apfs",
        uuid=uuid_text(sb.nx_uuid),
        block_size=size,
        # A Fusion container has blocks on two devices.
        fs_size=None if sb.nx_incompatible_features & FUSION else sb.nx_block_count * size,
        free=free,
        free_from="space manager",
        offset=offset,
        checked=whole,
        details=details,
        problems=tuple(problems),
        volumes=volumes,
    )


def _main(view: View) -> tuple[int, Any]:
    """A container superblock to start from and its offset: that at 0, else one of the checkpoint ring.

    The ring mostly begins at block 1, with a map; a superblock follows.
    """
    for block_size in (None, *BLOCK_SIZES):
        offset = 0 if block_size is None else 2 * block_size
        if view.peek(offset + MAGIC_AT, 4) != NX_MAGIC:
            continue
        try:
            found = _plausible(read_struct(view, NX_SUPERBLOCK, offset))
        except NotThisFormat:
            continue
        if block_size in (None, found.nx_block_size):
            return offset, found
    raise NotThisFormat("no container superblock")


def _plausible(sb: Any) -> Any:
    """``sb``, if its figures can be true together."""
    if sb.nx_magic != NX_MAGIC or sb.o_type & 0xFFFF != TYPE_NX_SUPERBLOCK or sb.o_subtype:
        raise NotThisFormat(f"type {sb.o_type:#x}, subtype {sb.o_subtype:#x}")
    if sb.nx_block_size not in BLOCK_SIZES:
        raise NotThisFormat(f"blocks of {sb.nx_block_size} bytes")
    if sb.nx_block_count == 0 or sb.nx_max_file_systems > MAX_FILE_SYSTEMS:
        raise NotThisFormat(f"{sb.nx_block_count} blocks, {sb.nx_max_file_systems} volumes")
    return sb


class _Container:
    """A container's bytes, by block."""

    def __init__(self, view: View, main: Any, offset: int) -> None:
        self._view = view
        self._main = main
        self._offset = offset
        self._size: int = main.nx_block_size
        self.problems: list[Problem] = []

    def _block(self, number: int) -> bytes:
        return self._view.read(number * self._size, self._size)

    def newest(self, problems: list[Problem]) -> tuple[Any, bool]:
        """The superblock of the newest checkpoint, and whether its checksum holds.

        That at block 0 was written at the last mount or unmount; the ring goes on from there.
        """
        main = self._main
        blocks, base = main.nx_xp_desc_blocks, main.nx_xp_desc_base
        if base & SCATTERED or not 0 < blocks <= main.nx_block_count or base > main.nx_block_count:
            message = "the checkpoints are not one run of blocks; they were not looked at"
            problems.append(Problem(Code.UNSUPPORTED, message))
            ring: tuple[int, ...] = ()
        else:
            # Where block 0 is damaged, the checkpoint that it is a copy of may be whole.
            twin = base + (main.nx_xp_desc_index + main.nx_xp_desc_len - 1) % blocks
            ring = (twin, *self._later(base, blocks))
        for number in reversed(ring[1:]):
            if found := self._checkpoint(number):
                return found, True
        if is_whole(self._view.peek(self._offset, self._size), self._size):
            return main, True
        if ring and (found := self._checkpoint(ring[0])):
            message = "the checksum of the superblock does not match; the facts come from its checkpoint"
            problems.append(Problem(Code.BACKUP_USED, message))
            return found, True
        return main, False

    def _checkpoint(self, number: int) -> Any:
        """The superblock at a block of the ring; None where it is not whole."""
        block = self._view.peek(number * self._size, self._size)
        if block[MAGIC_AT : MAGIC_AT + 4] != NX_MAGIC or not is_whole(block, self._size):
            return None
        try:
            return _plausible(parse_struct(block, NX_SUPERBLOCK))
        except NotThisFormat:
            return None

    def _later(self, base: int, blocks: int) -> Iterator[int]:
        """The blocks of the superblocks after that at block 0, oldest first."""
        at, last = self._main.nx_xp_desc_next, self._main.o_xid
        for _ in range(min(blocks, MAX_CHECKPOINT_BLOCKS)):
            number = base + at % blocks
            head = self._view.peek(number * self._size, 64)
            if len(head) < 64:
                return
            header = parse_struct(head, OBJECT)
            kind = header.o_type & 0xFFFF
            if header.o_xid <= self._main.o_xid or header.o_xid < last:
                return
            if kind not in (TYPE_CHECKPOINT_MAP, TYPE_NX_SUPERBLOCK):
                return
            last = header.o_xid
            if kind == TYPE_NX_SUPERBLOCK and head[MAGIC_AT : MAGIC_AT + 4] == NX_MAGIC:
                yield number
            at += 1

    def free(self, sb: Any) -> int | None:
        """Free bytes, by the space manager that the checkpoint's map names."""
        base, blocks = sb.nx_xp_desc_base, sb.nx_xp_desc_blocks
        if base & SCATTERED or blocks == 0:
            return None
        for step in range(min(sb.nx_xp_desc_len, MAX_MAPS)):
            number = base + (sb.nx_xp_desc_index + step) % blocks
            try:
                raw = self._block(number)
                header = parse_struct(raw, OBJECT)
                if header.o_type & 0xFFFF != TYPE_CHECKPOINT_MAP or header.o_xid != sb.o_xid:
                    continue
                count = parse_struct(raw, CHECKPOINT_MAP).cpm_count
                for entry in range(min(count, (self._size - CHECKPOINT_MAP.size) // CHECKPOINT_MAPPING.size)):
                    at = CHECKPOINT_MAP.size + entry * CHECKPOINT_MAPPING.size
                    mapping = parse_struct(raw, CHECKPOINT_MAPPING, at)
                    if mapping.cpm_oid == sb.nx_spaceman_oid and mapping.cpm_type & 0xFFFF == TYPE_SPACEMAN:
                        place = mapping.cpm_paddr * self._size
                        spaceman = parse_struct(self._view.read(place, SPACEMAN.size), SPACEMAN)
                        free = sum(device.sm_free_count for device in spaceman.devices)
                        return free * self._size if free <= sb.nx_block_count else None
            except (NotThisFormat, ShortRead):
                break
        self.problems.append(Problem(Code.DAMAGED, "the space manager cannot be found"))
        return None

    def volumes(self, sb: Any) -> Iterator[Identity]:
        """The volumes of a checkpoint, in the order of the container's list."""
        oids = [oid for oid in unpack(f"<{MAX_FILE_SYSTEMS}Q", sb.nx_fs_oid)[: sb.nx_max_file_systems] if oid]
        if not oids:
            return
        omap = ObjectMap(self._view, self._size, sb.nx_omap_oid)
        for oid in oids:
            try:
                yield volume_at(self._view, self._size, omap.block_of(oid, sb.o_xid), oid)
            except (NotThisFormat, ShortRead) as error:
                self.problems.append(Problem(Code.DAMAGED, f"volume {oid:#x} cannot be read: {error}"))


def _version(packed: int) -> str | None:
    """A version of the driver: three decimal digits a part, the first part before them."""
    if packed == 0:
        return None
    parts = [packed // 1000**power % (1000 if power < 4 else 1 << 64) for power in (4, 3, 2, 1, 0)]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return ".".join(map(str, parts))


FORMAT = Format(
    name="apfs",
    title="APFS",
    specification="https://developer.apple.com/support/downloads/Apple-File-System-Reference.pdf",
    usage=Usage.FILESYSTEM,
    types=("apfs",),
    parse=parse,
    signatures=(
        Signature(NX_MAGIC, MAGIC_AT),
        *(Signature(NX_MAGIC, 2 * size + MAGIC_AT, copy=True) for size in BLOCK_SIZES),
    ),
    mounts=(ToolMount("fsapfsmount", ("-f", "all", "{source}", "{at}")),),
    files=(
        FileReader("dissect", "dissect.apfs", "dissect.apfs"),
        FileReader("libyal", "pyfsapfs", "libfsapfs-python"),
    ),
)
