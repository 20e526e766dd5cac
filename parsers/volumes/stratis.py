"""Stratis: block devices of pools.

Layout: "Stratis Software Design", "Blockdev Data Area"; stratisd, strat_engine/metadata
https://stratis-storage.github.io/StratisSoftwareDesign.pdf
"""

from typing import Any

from construct import Bytes, Int8ul, Int32ul, Int64ul, Struct

from pyimount.formats import (
    Format,
    Identity,
    Json,
    Membership,
    NotThisFormat,
    Precedence,
    Signature,
    Usage,
)
from pyimount.formats.checksums import crc32c
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text, unix_time
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

SECTOR = 512
SIGBLOCK = layout(
    lambda: Struct(
        "crc32" / Int32ul,
        "magic" / Bytes(16),
        "sectors" / Int64ul,
        "sigblock_version" / Int8ul,
        "reserved" / Bytes(3),
        "pool_uuid" / Bytes(32),
        "dev_uuid" / Bytes(32),
        "mda_size" / Int64ul,
        "reserved_size" / Int64ul,
        "flags" / Int64ul,
        "initialization_time" / Int64ul,
    )
)
MDA_REGION = layout(
    lambda: Struct(
        "hdr_crc" / Int32ul,
        "data_crc" / Int32ul,
        "used" / Int64ul,
        "secs" / Int64ul,
        "nsecs" / Int32ul,
        "region_hdr_version" / Int8ul,
        "metadata_version" / Int8ul,
        "reserved" / Bytes(2),
    )
)
MAGIC = b"!Stra0tis\x86\xff\x02^\x41rh"
MAGIC_AT = 4
PLACES = (1 * SECTOR, 9 * SECTOR)
MDA_AT, MDA_REGIONS = 16 * SECTOR, 4
MDA_READ = 1 << 20
"""So much of the pool's metadata is read, at most; bytes."""


def parse(view: View) -> Identity:
    """The identity of a pool's device, from the second signature block if need be."""
    found: list[tuple[int, Any]] = []
    for at in PLACES:
        try:
            found.append((at, _sigblock(view, at)))
        except NotThisFormat:
            continue
    if not found:
        raise NotThisFormat("neither signature block holds")
    at, block = found[0]
    problems: list[Problem] = []
    if at != PLACES[0]:
        message = f"the signature block at {PLACES[0]} is unusable; the facts come from the copy at {at}"
        problems.append(Problem(Code.BACKUP_USED, message))
    elif len(found) == 2 and found[1][1].initialization_time > block.initialization_time:
        message = f"the signature block at {PLACES[1]} was written later, and is not used"
        problems.append(Problem(Code.COPIES_DIFFER, message))
    pool = _dashed(block.pool_uuid)
    details: dict[str, Json] = {
        "pool_uuid": pool,
        "blockdev_sectors": block.sectors,
        "sigblock_version": block.sigblock_version,
        "metadata_size": block.mda_size * SECTOR,
        "reserved_size": block.reserved_size * SECTOR,
        "flags": block.flags,
    }
    name = None
    try:
        metadata = _metadata(view, block)
    except (NotThisFormat, ShortRead) as error:
        problems.append(Problem(Code.DAMAGED, f"the pool's metadata cannot be read: {error}"))
    else:
        if metadata is not None:
            name = _word(metadata[1].get("name"))
            details["metadata_written"] = metadata[0]
            details["pool_name"] = name
    return Identity(
        type="stratis",
        fstype="stratis",
        uuid=_dashed(block.dev_uuid),
        fs_size=block.sectors * SECTOR,
        created=unix_time(block.initialization_time),
        group=Membership(type="stratis", uuid=pool, name=name, identity=_dashed(block.dev_uuid)),
        offset=at,
        checked=True,
        details=details,
        problems=tuple(problems),
    )


def _sigblock(view: View, at: int) -> Any:
    raw = view.read(at, SECTOR)
    block = parse_struct(raw, SIGBLOCK)
    if block.magic != MAGIC or crc32c(raw[4:]) ^ 0xFFFFFFFF != block.crc32:
        raise NotThisFormat(f"no signature block at {at}")
    return block


def _dashed(raw: bytes) -> str:
    """A UUID that is stored as its 32 digits."""
    digits = text(raw, "ascii") or ""
    if len(digits) != 32 or not digits.isalnum():
        raise NotThisFormat(f"a UUID of {digits!r:.40}")
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _metadata(view: View, block: Any) -> tuple[str | None, dict[str, Any]] | None:
    """When the pool's metadata was last written, and it; None where none was written yet."""
    from json import loads

    size = block.mda_size * SECTOR // MDA_REGIONS
    regions = []
    for number in range(MDA_REGIONS):
        at = MDA_AT + number * size
        raw = view.read(at, MDA_REGION.size)
        region = parse_struct(raw, MDA_REGION)
        if region.used == 0:
            continue
        if crc32c(raw[4:]) ^ 0xFFFFFFFF != region.hdr_crc or region.used > size - MDA_REGION.size:
            continue
        regions.append((region.secs, region.nsecs, at, region))
    for _, _, at, region in sorted(regions, key=lambda one: one[:3], reverse=True):
        if region.used > MDA_READ:
            raise NotThisFormat(f"{region.used} bytes of it")
        data = view.read(at + MDA_REGION.size, region.used)
        if crc32c(data) ^ 0xFFFFFFFF != region.data_crc:
            continue
        try:
            document = loads(data)
        except (ValueError, RecursionError) as error:
            raise NotThisFormat("no JSON") from error
        if isinstance(document, dict):
            return unix_time(region.secs, min(region.nsecs, 999_999_999)), document
    if regions:
        raise NotThisFormat("no copy of it is sound")
    return None


def _word(value: object) -> str | None:
    return value[:256] if isinstance(value, str) else None


FORMAT = Format(
    name="stratis",
    title="Stratis block device",
    specification="https://stratis-storage.github.io/StratisSoftwareDesign.pdf",
    usage=Usage.RAID,
    types=("stratis",),
    parse=parse,
    signatures=tuple(Signature(MAGIC, at + MAGIC_AT) for at in PLACES),
    precedence=Precedence.VOLUME_GROUP,
)
