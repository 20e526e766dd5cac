"""bcachefs.

Layout: Linux (6.7 to 6.17), fs/bcachefs/bcachefs_format.h, ``struct bch_sb`` and its fields
https://github.com/torvalds/linux/blob/v6.12/fs/bcachefs/bcachefs_format.h
"""

from collections.abc import Iterator
from struct import iter_unpack, unpack_from
from typing import Any

from construct import Array, Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import (
    Format,
    Identity,
    Json,
    KernelMount,
    Membership,
    NotThisFormat,
    Signature,
    Usage,
)
from pyimount.formats.checksums import crc32c, crc64, xxh64
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import flag_names, text, unix_time, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

SECTOR = 512
PLACE = 8 * SECTOR
LAYOUT_PLACE = 7 * SECTOR
MAGIC_AT = 24
BCACHE_MAGIC = bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")
BCHFS_MAGIC = bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")
MAGICS = (BCACHE_MAGIC, BCHFS_MAGIC)

SUPERBLOCK = layout(
    lambda: Struct(
        "csum" / Bytes(16),
        "version" / Int16ul,
        "version_min" / Int16ul,
        "pad" / Bytes(4),
        "magic" / Bytes(16),
        "uuid" / Bytes(16),
        "user_uuid" / Bytes(16),
        "label" / Bytes(32),
        "offset" / Int64ul,
        "seq" / Int64ul,
        "block_size" / Int16ul,
        "dev_idx" / Int8ul,
        "nr_devices" / Int8ul,
        "u64s" / Int32ul,
        "time_base_lo" / Int64ul,
        "time_base_hi" / Int32ul,
        "time_precision" / Int32ul,
        "flags" / Array(7, Int64ul),
        "write_time" / Int64ul,
        "features" / Int64ul,
        "features_1" / Int64ul,
        "compat" / Int64ul,
        "compat_1" / Int64ul,
        "layout" / Bytes(512),
    )
)
LAYOUT = layout(
    lambda: Struct(
        "magic" / Bytes(16),
        "layout_type" / Int8ul,
        "sb_max_size_bits" / Int8ul,
        "nr_superblocks" / Int8ul,
        "pad" / Bytes(5),
        "sb_offset" / Array(61, Int64ul),
    )
)
# What a member has in every version.
MEMBER = layout(
    lambda: Struct(
        "uuid" / Bytes(16),
        "nbuckets" / Int64ul,
        "first_bucket" / Int16ul,
        "bucket_size" / Int16ul,
        "btree_bitmap_shift_and_pad" / Bytes(4),
        "last_mount" / Int64ul,
        "flags" / Int64ul,
    )
)
MEMBER_V1_SIZE = 56
GROUP_SIZE = 48

JOURNAL, MEMBERS_V1, CRYPT, DISK_GROUPS, CLEAN, MEMBERS_V2 = 0, 1, 2, 5, 6, 11
CLEAN_HEAD, ENTRY_HEAD, USAGE_HEAD = 16, 8, 32
"""Bytes before the clean section's first entry, of an entry's head, before a device's counts."""
DEVICE_USAGE = 8
"""The type of an entry of the journal that says how many buckets a device has of each kind."""
USABLE = (0, 5, 8, 9)
"""Kinds of buckets that new data may take: free, cached, awaiting garbage collection, and discard."""
ENTRIES = 4096
"""So many entries are walked, at most."""
FIELDS = 64
"""So many fields are walked, at most; there are fifteen kinds."""
SUPERBLOCK_CAP = 1 << 20
MAX_SIZE_BITS = 16
COPIES = 8
"""So many copies are looked for, at most; there are three as a rule."""
# Where the first copy lies by default: behind the largest superblock, at the next bucket.
FIRST_COPIES = tuple(sector * SECTOR for sector in (2056, 2560, 3072, 4096))
LAST_COPY = -2048 * SECTOR

FEATURES = dict(
    enumerate(
        (
            "lz4", "gzip", "zstd", "atomic_nlink", "ec", "journal_seq_blacklist_v3", "reflink", "new_siphash",
            "inline_data", "new_extent_overwrite", "incompressible", "btree_ptr_v2",
            "extents_above_btree_updates", "btree_updates_journalled", "reflink_inline_data", "new_varint",
            "journal_no_flush", "alloc_v2", "extents_across_btree_nodes", "incompat_version_field",
            "casefolding", "no_alloc_info", "small_image",
        )
    )
)  # fmt: skip
COMPAT = {
    0x1: "alloc_info",
    0x2: "alloc_metadata",
    0x4: "extents_above_btree_updates_done",
    0x8: "bformat_overflow_done",
}
CHECKSUMS = {
    0: "none",
    1: "crc32c_nonzero",
    2: "crc64_nonzero",
    3: "chacha20_poly1305_80",
    4: "chacha20_poly1305_128",
    5: "crc32c",
    6: "crc64",
    7: "xxhash",
}
CHECKSUM_OPTIONS = ("none", "crc32c", "crc64", "xxhash")
COMPRESSION = ("none", "lz4", "gzip", "zstd")
ON_ERRORS = ("continue", "ro", "panic", "fix_safe")
MEMBER_STATES = ("rw", "ro", "evacuating", "spare")
DATA_TYPES = ("sb", "journal", "btree", "user", "cached", "parity")
_ALL = (1 << 64) - 1


def parse(view: View) -> Identity:
    """The identity of a member, from a copy of the superblock where the first one is unusable."""
    problems: list[Problem] = []
    first: Identity | None = None
    why = "there is none"
    if view.glance(PLACE + MAGIC_AT, 16) in MAGICS:
        try:
            first = _identity(view, PLACE)
        except (NotThisFormat, ShortRead) as error:
            why = str(error)
    if first is not None and Code.BAD_CHECKSUM not in [problem.code for problem in first.problems]:
        return first
    for offset in _copies(view):
        try:
            copy = _identity(view, offset)
        except (NotThisFormat, ShortRead):
            continue
        if Code.BAD_CHECKSUM in [problem.code for problem in copy.problems]:
            continue
        if first is not None:
            why = "its checksum does not match"
        message = f"the superblock at {PLACE} is unusable: {why}; the facts come from the copy at {offset}"
        problems.append(Problem(Code.BACKUP_USED, message))
        return copy.replaced(problems=(*problems, *copy.problems))
    if first is None:
        raise NotThisFormat(f"no superblock of bcachefs; the first: {why}")
    return first


def _copies(view: View) -> Iterator[int]:
    """Where copies may lie: as the layout before the superblock says, else where they are by default."""
    places: list[int] = []
    if view.glance(LAYOUT_PLACE, 16) in MAGICS:
        table = read_struct(view, LAYOUT, LAYOUT_PLACE)
        places = [sector * SECTOR for sector in table.sb_offset[: min(table.nr_superblocks, COPIES)]]
    places += [*FIRST_COPIES, view.size // SECTOR * SECTOR + LAST_COPY]
    for place in dict.fromkeys(places):
        if place != PLACE and view.glance(place + MAGIC_AT, 16) in MAGICS:
            yield place


def _identity(view: View, offset: int) -> Identity:
    sb = read_struct(view, SUPERBLOCK, offset)
    size = SUPERBLOCK.size + sb.u64s * 8
    if sb.offset * SECTOR != offset or sb.nr_devices == 0 or sb.dev_idx >= sb.nr_devices:
        raise NotThisFormat(f"a superblock for sector {sb.offset}, device {sb.dev_idx} of {sb.nr_devices}")
    if size > SUPERBLOCK_CAP or not 0 < sb.block_size <= 1024:
        raise NotThisFormat(f"a superblock of {size} bytes, blocks of {sb.block_size} sectors")
    raw = view.read(offset, size)
    kind = sb.flags[0] >> 2 & 0x3F
    checked = _checksum(kind, raw) == sb.csum
    problems = []
    if not checked and kind in (1, 2, 5, 6, 7):
        message = f"the checksum of the bcachefs superblock at {offset} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    fields = dict(_fields(raw))
    groups = _groups(fields.get(DISK_GROUPS, b""))
    members = _members(fields, groups)[: sb.nr_devices]
    this = members[sb.dev_idx] if sb.dev_idx < len(members) else {}
    uuid, block_size = uuid_text(sb.user_uuid), sb.block_size * SECTOR
    own = this.get("size")
    bucket, buckets = this.get("bucket_size"), this.get("buckets")
    usable = _usable_buckets(fields.get(CLEAN, b""), sb.dev_idx)
    if not isinstance(bucket, int) or not isinstance(buckets, int) or (usable or 0) > buckets:
        bucket, usable = 0, None
    encrypted = CRYPT in fields and bool(sb.flags[1] >> 10 & 15)
    if encrypted:
        problems.append(Problem(Code.LOCKED, "the contents are encrypted; a passphrase opens them"))
    if not members:
        problems.append(Problem(Code.DAMAGED, "the superblock names no members"))
    table = parse_struct(sb.layout, LAYOUT)
    copies: list[Json] = []
    if table.magic in MAGICS:
        copies = [sector * SECTOR for sector in table.sb_offset[: min(table.nr_superblocks, 61)]]
    clean = bool(sb.flags[0] & 2)
    details: dict[str, Json] = {
        "internal_uuid": uuid_text(sb.uuid),
        "version_min": _version(sb.version_min),
        "features": _bits(sb.features, FEATURES),
        "compat": [*flag_names(sb.compat, COMPAT, "compat")],
        "seq": sb.seq,
        "device_index": sb.dev_idx,
        "devices": sb.nr_devices,
        "superblock_size": size,
        "superblocks": copies,
        "superblock_checksum": CHECKSUMS.get(kind, str(kind)),
        "written": unix_time(sb.write_time),
        "initialized": bool(sb.flags[0] & 1),
        "on_errors": _name(ON_ERRORS, sb.flags[0] >> 8 & 15),
        "btree_node_size": (sb.flags[0] >> 12 & 0xFFFF) * SECTOR,
        "metadata_checksum": _name(CHECKSUM_OPTIONS, sb.flags[0] >> 40 & 15),
        "data_checksum": _name(CHECKSUM_OPTIONS, sb.flags[0] >> 44 & 15),
        "metadata_replicas": sb.flags[0] >> 48 & 15,
        "data_replicas": sb.flags[0] >> 52 & 15,
        "compression": _name(COMPRESSION, sb.flags[1] >> 4 & 15),
        "has_errors": bool(sb.flags[0] >> 60 & 1),
        "encrypted": encrypted,
        "label_sub": this.get("label"),
        "members": [*members],
    }
    seconds = (sb.time_base_lo | sb.time_base_hi << 64) // 1_000_000_000
    return Identity(
        type="bcachefs",
        fstype="bcachefs",
        free=None if usable is None or not clean else usable * bucket,
        free_from="device usage in the superblock's clean section" if usable is not None and clean else None,
        free_unknown="its counters lie in its b-trees, which are not read",
        label=text(sb.label),
        uuid=uuid,
        uuid_sub=_string(this.get("uuid")),
        version=_version(sb.version),
        block_size=block_size,
        fs_size=own if isinstance(own, int) else None,
        created=unix_time(seconds),
        modified=unix_time(sb.write_time),
        mounted=_string(this.get("last_mount")),
        state="clean" if clean else "dirty",
        locked=True if encrypted else None,
        group=Membership(
            type="bcachefs",
            uuid=uuid,
            name=text(sb.label),
            role=str(sb.dev_idx),
            members=sb.nr_devices,
            identity=_string(this.get("uuid")),
            as_of=(sb.seq, sb.write_time),
        )
        if uuid and sb.nr_devices > 1
        else None,
        offset=offset,
        checked=checked and kind != 0,
        details=details,
        problems=tuple(problems),
    )


def _usable_buckets(clean: bytes, device: int) -> int | None:
    """How many buckets of a device new data may take: free, or as soon as they are discarded; None: not told.

    It was written when the file system was last unmounted, up to version 1.9 (Linux 6.10): later ones count
    in a b-tree. Cached data give way, too, and so does Linux count them.
    """
    at = CLEAN_HEAD
    for _ in range(ENTRIES):
        if at + ENTRY_HEAD > len(clean):
            break
        u64s, kind = unpack_from("<HxxB", clean, at)
        end = at + ENTRY_HEAD + u64s * 8
        if end > len(clean):
            break
        if kind == DEVICE_USAGE and end - at >= USAGE_HEAD and unpack_from("<I", clean, at + 8)[0] == device:
            counts = [count for count, _, _ in iter_unpack("<QQQ", _whole(clean[at + USAGE_HEAD : end], 24))]
            return sum(counts[state] for state in USABLE if state < len(counts)) if counts else None
        at = end
    return None


def _whole(data: bytes, size: int) -> bytes:
    """As much of these bytes as whole entries of a size take."""
    return data[: len(data) // size * size]


def _checksum(kind: int, raw: bytes) -> bytes | None:
    """What the ``csum`` field should be; None where this is not known."""
    covered = raw[16:]
    if kind == 0:
        return bytes(16)
    if kind in (1, 5):
        number = crc32c(covered) ^ 0xFFFFFFFF if kind == 1 else crc32c(covered, 0)
    elif kind in (2, 6):
        number = crc64(covered) ^ _ALL if kind == 2 else crc64(covered, 0)
    elif kind == 7:
        number = xxh64(covered)
    else:
        return None
    return number.to_bytes(16, "little")


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The superblock's optional fields: the kind of each, and what follows its head."""
    at = SUPERBLOCK.size
    for _ in range(FIELDS):
        if at + 8 > len(raw):
            return
        u64s, kind = unpack_from("<II", raw, at)
        if u64s == 0 or at + u64s * 8 > len(raw):
            return
        yield kind, raw[at + 8 : at + u64s * 8]
        at += u64s * 8


def _groups(field: bytes) -> list[str | None]:
    """The labels of disk groups; None for those that have been deleted."""
    whole = field[: len(field) // GROUP_SIZE * GROUP_SIZE]
    return [None if flags & 1 else text(label) for label, flags, _ in iter_unpack("<32sQQ", whole)]


def _members(fields: dict[int, bytes], groups: list[str | None]) -> list[dict[str, Json]]:
    field, each, start = fields.get(MEMBERS_V1, b""), MEMBER_V1_SIZE, 0
    if len(fields.get(MEMBERS_V2, b"")) >= 8:
        field = fields[MEMBERS_V2]
        each, start = int.from_bytes(field[:2], "little"), 8
    if each < MEMBER.size:
        return []
    places = range(start, len(field) - each + 1, each)[:256]
    return [_member(parse_struct(field, MEMBER, at), groups) for at in places]


def _member(member: Any, groups: list[str | None]) -> dict[str, Json]:
    bucket, flags = member.bucket_size * SECTOR, member.flags
    group, durability = flags >> 20 & 0xFF, flags >> 28 & 3
    return {
        "uuid": uuid_text(member.uuid),
        "size": member.nbuckets * bucket,
        "bucket_size": bucket,
        "buckets": member.nbuckets,
        "first_bucket": member.first_bucket,
        "last_mount": unix_time(member.last_mount),
        "state": _name(MEMBER_STATES, flags & 15),
        "discard": bool(flags >> 14 & 1),
        "data_allowed": [name for bit, name in enumerate(DATA_TYPES) if flags >> 15 >> bit & 1 and bit < 5],
        # Both are stored one higher; 0 is "not set".
        "label": groups[group - 1] if 0 < group <= len(groups) else None,
        "durability": durability - 1 if durability else 1,
    }


def _version(number: int) -> str:
    return f"{number >> 10}.{number & 0x3FF}"


def _bits(value: int, names: dict[int, str]) -> list[Json]:
    return [*flag_names(value, {1 << bit: name for bit, name in names.items()}, "feature")]


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else str(number)


def _string(value: Json) -> str | None:
    return value if isinstance(value, str) else None


FORMAT = Format(
    name="bcachefs",
    title="bcachefs",
    specification="https://github.com/torvalds/linux/blob/v6.12/fs/bcachefs/bcachefs_format.h",
    usage=Usage.FILESYSTEM,
    types=("bcachefs",),
    parse=parse,
    signatures=(
        *(Signature(magic, PLACE + MAGIC_AT) for magic in MAGICS),
        *(Signature(magic, LAYOUT_PLACE, copy=True) for magic in MAGICS),
        *(Signature(magic, place + MAGIC_AT, copy=True) for magic in MAGICS for place in FIRST_COPIES),
        *(Signature(magic, LAST_COPY + MAGIC_AT, align=SECTOR, copy=True) for magic in MAGICS),
    ),
    mounts=(KernelMount("bcachefs", ("nochanges",), maintained=False),),
)
