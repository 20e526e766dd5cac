"""bcache: cache and backing devices.

Layout: Linux, drivers/md/bcache/bcache_ondisk.h, ``struct cache_sb_disk``
https://github.com/torvalds/linux/blob/master/drivers/md/bcache/bcache_ondisk.h
"""

from typing import Any

from construct import Bytes, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import (
    Extent,
    Format,
    Identity,
    Json,
    Membership,
    NotThisFormat,
    Precedence,
    Signature,
    Usage,
)
from pyimount.formats.checksums import crc64
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import flag_names, text, unix_time, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

SECTOR = 512
PLACE = 4096
MAGIC = bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")
MAGIC_AT = 24
JOURNAL_BUCKETS = 256

SUPERBLOCK = layout(
    lambda: Struct(
        "csum" / Int64ul,
        "offset" / Int64ul,
        "version" / Int64ul,
        "magic" / Bytes(16),
        "uuid" / Bytes(16),
        "set_uuid" / Bytes(16),
        "label" / Bytes(32),
        "flags" / Int64ul,
        "seq" / Int64ul,
        "feature_compat" / Int64ul,
        "feature_incompat" / Int64ul,
        "feature_ro_compat" / Int64ul,
        "pad" / Bytes(5 * 8),
        # A cache device's number of buckets, a backing device's data_offset.
        "nbuckets_or_data_offset" / Int64ul,
        "block_size" / Int16ul,
        "bucket_size" / Int16ul,
        "nr_in_set" / Int16ul,
        "nr_this_dev" / Int16ul,
        "last_mount" / Int32ul,
        "first_bucket" / Int16ul,
        "keys" / Int16ul,
    )
)
# Behind the journal's buckets; a larger bucket's upper half in a format that is not written any more.
OBSOLETE_BUCKET_SIZE_HI_AT = 208 + JOURNAL_BUCKETS * 8

CDEV, BDEV, CDEV_WITH_UUID, BDEV_WITH_OFFSET, CDEV_WITH_FEATURES, BDEV_WITH_FEATURES = 0, 1, 3, 4, 5, 6
CACHE = (CDEV, CDEV_WITH_UUID, CDEV_WITH_FEATURES)
BACKING = (BDEV, BDEV_WITH_OFFSET, BDEV_WITH_FEATURES)
DEFAULT_DATA_START = 16
"""Where a backing device's data begins before versions that say so; sectors."""

CACHE_MODES = ("writethrough", "writeback", "writearound", "none")
BACKING_STATES = ("detached", "clean", "dirty", "inconsistent")
REPLACEMENT = ("lru", "fifo", "random")
INCOMPATIBLE = {0x1: "obso_large_bucket", 0x2: "log_large_bucket_size"}
OBSO_LARGE_BUCKET, LOG_LARGE_BUCKET = 0x1, 0x2


def parse(view: View) -> Identity:
    """The identity of a cache or backing device."""
    raw = view.read(PLACE, SUPERBLOCK.size)
    sb = parse_struct(raw, SUPERBLOCK)
    if sb.magic != MAGIC or sb.offset * SECTOR != PLACE or sb.version not in CACHE + BACKING:
        raise NotThisFormat(f"version {sb.version}, written for sector {sb.offset}")
    if sb.keys > JOURNAL_BUCKETS or not 0 < sb.block_size <= 128:
        raise NotThisFormat(f"{sb.keys} journal buckets, blocks of {sb.block_size} sectors")
    covered = raw + view.read(PLACE + SUPERBLOCK.size, sb.keys * 8)
    checked = crc64(covered[8:]) ^ (1 << 64) - 1 == sb.csum
    problems = []
    if not checked:
        # libblkid takes this for no superblock at all, the kernel refuses it.
        problems.append(
            Problem(Code.BAD_CHECKSUM, f"the checksum of the bcache superblock at {PLACE} does not match")
        )
    cache = sb.version in CACHE
    set_uuid = uuid_text(sb.set_uuid)
    details: dict[str, Json] = {
        "role": "cache" if cache else "backing",
        "set_uuid": set_uuid,
        "seq": sb.seq,
        "block_size": sb.block_size * SECTOR,
        "features_compat": [*flag_names(sb.feature_compat, {}, "compat")],
        "features_incompat": [*flag_names(sb.feature_incompat, INCOMPATIBLE, "incompat")],
        "features_ro_compat": [*flag_names(sb.feature_ro_compat, {}, "ro_compat")],
        "last_mount": unix_time(sb.last_mount),
    }
    size, start = None, 0
    if cache:
        bucket = _bucket_size(view, sb) * SECTOR
        size = sb.nbuckets_or_data_offset * bucket
        details |= {
            "buckets": sb.nbuckets_or_data_offset,
            "bucket_size": bucket,
            "first_bucket": sb.first_bucket,
            "journal_buckets": sb.keys,
            "devices_in_set": sb.nr_in_set,
            "device_number": sb.nr_this_dev,
            "synchronous": bool(sb.flags & 1),
            "discard": bool(sb.flags >> 1 & 1),
            "replacement_policy": _name(REPLACEMENT, sb.flags >> 2 & 7),
        }
    else:
        start = (DEFAULT_DATA_START if sb.version == BDEV else sb.nbuckets_or_data_offset) * SECTOR
        problems += _of_backing(view, start, sb.flags >> 61 & 3)
        details |= {
            "data_offset": start,
            "cache_mode": _name(CACHE_MODES, sb.flags & 15),
            "state": _name(BACKING_STATES, sb.flags >> 61 & 3),
        }
    return Identity(
        type="bcache",
        fstype="bcache",
        label=text(sb.label),
        uuid=uuid_text(sb.uuid),
        version=str(sb.version),
        block_size=sb.block_size * SECTOR,
        fs_size=size,
        state=None if cache else _name(BACKING_STATES, sb.flags >> 61 & 3),
        group=Membership(
            type="bcache",
            uuid=set_uuid,
            role=f"cache-{sb.nr_this_dev}" if cache else "backing",
            # The kernel knows sets of one cache only; how many devices it backs, it does not say itself.
            members=None if cache else 2,
            identity=uuid_text(sb.uuid),
        )
        if set_uuid
        else None,
        offset=PLACE,
        checked=checked,
        details=details,
        problems=tuple(problems),
        contents=(Extent(offset=start, size=view.size - start, name="data"),)
        if start < view.size and not cache
        else (),
    )


def _of_backing(view: View, start: int, state: int) -> list[Problem]:
    """What is wrong with the data of a backing device, which begins ``start`` bytes in."""
    if start >= view.size:
        message = f"the data begins at byte {start}, and here are {view.size}"
        return [Problem(Code.TRUNCATED, message)]
    if BACKING_STATES[state] == "dirty":
        message = (
            "what was written last lies in the cache device alone, which is not read: the data here is older"
        )
        return [Problem(Code.UNSUPPORTED, message)]
    if BACKING_STATES[state] == "inconsistent":
        message = "the cache was lost with data that was not written back: the data here is older"
        return [Problem(Code.DAMAGED, message)]
    return []


def _bucket_size(view: View, sb: Any) -> int:
    """In sectors."""
    if sb.version != CDEV_WITH_FEATURES:
        return int(sb.bucket_size)
    if sb.feature_incompat & LOG_LARGE_BUCKET:
        if sb.bucket_size > 32:
            raise NotThisFormat(f"buckets of 2**{sb.bucket_size} sectors")
        return 1 << int(sb.bucket_size)
    if sb.feature_incompat & OBSO_LARGE_BUCKET:
        high = view.read(PLACE + OBSOLETE_BUCKET_SIZE_HI_AT, 2)
        return int(sb.bucket_size) | int.from_bytes(high, "little") << 16
    return int(sb.bucket_size)


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else str(number)


FORMAT = Format(
    name="bcache",
    title="bcache device",
    specification="https://github.com/torvalds/linux/blob/master/drivers/md/bcache/bcache_ondisk.h",
    usage=Usage.OTHER,
    types=("bcache",),
    parse=parse,
    signatures=(Signature(MAGIC, PLACE + MAGIC_AT),),
    precedence=Precedence.VOLUME_GROUP,
    opaque="a cache: it has pieces of what its backing devices hold, and is not read",
)
