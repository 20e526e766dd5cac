"""UBI: volumes on raw flash.

Layout: Linux, drivers/mtd/ubi/ubi-media.h
https://github.com/torvalds/linux/blob/master/drivers/mtd/ubi/ubi-media.h
"""

from typing import Any
from zlib import crc32

from construct import Bytes, Const, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.layouts import Layout, layout, parse_struct
from pyimount.formats.notation import flag_names, text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

EC_MAGIC, VID_MAGIC = b"UBI#", b"UBI!"

EC_HDR = layout(
    lambda: Struct(
        "magic" / Const(EC_MAGIC),
        "version" / Int8ub,
        "padding1" / Bytes(3),
        "ec" / Int64ub,
        "vid_hdr_offset" / Int32ub,
        "data_offset" / Int32ub,
        "image_seq" / Int32ub,
        "padding2" / Bytes(32),
        "hdr_crc" / Int32ub,
    )
)
VID_HDR = layout(
    lambda: Struct(
        "magic" / Const(VID_MAGIC),
        "version" / Int8ub,
        "vol_type" / Int8ub,
        "copy_flag" / Int8ub,
        "compat" / Int8ub,
        "vol_id" / Int32ub,
        "lnum" / Int32ub,
        "padding1" / Bytes(4),
        "data_size" / Int32ub,
        "used_ebs" / Int32ub,
        "data_pad" / Int32ub,
        "data_crc" / Int32ub,
        "padding2" / Bytes(4),
        "sqnum" / Int64ub,
        "padding3" / Bytes(12),
        "hdr_crc" / Int32ub,
    )
)
VTBL_RECORD = layout(
    lambda: Struct(
        "reserved_pebs" / Int32ub,
        "alignment" / Int32ub,
        "data_pad" / Int32ub,
        "vol_type" / Int8ub,
        "upd_marker" / Int8ub,
        "name_len" / Int16ub,
        "name" / Bytes(128),
        "flags" / Int8ub,
        "padding" / Bytes(23),
        "crc" / Int32ub,
    )
)
LAYOUT_VOLUME_ID = 0x7FFFFFFF - 4096
MAX_VOLUMES = 128
MAX_ERASECOUNTER = 0x7FFFFFFF
VOLUME_TYPES = {1: "dynamic", 2: "static"}
VOLUME_FLAGS = {0x1: "autoresize", 0x2: "skip-crc-check"}
# Physical eraseblocks as flash chips have them; nothing on the flash tells their size.
PEB_SIZES = tuple(1 << power for power in range(8, 25))
BLOCKS_READ = 256
"""In so many eraseblocks is the volume table looked for, at most."""


def parse(view: View) -> Identity:
    """The identity of a flash image, from the second eraseblock where the first is unusable."""
    problems: list[Problem] = []
    at, header = _first(view, problems)
    peb = _peb_size(view, at, header)
    details: dict[str, Json] = {
        "image_seq": header.image_seq,
        "erase_counter": header.ec,
        "vid_hdr_offset": header.vid_hdr_offset,
        "data_offset": header.data_offset,
        "peb_size": peb,
        "leb_size": peb - header.data_offset if peb else None,
        "pebs": view.size // peb if peb else None,
        "volumes": None,
    }
    if peb is not None:
        table = _volume_table(view, at, peb, header)
        if table is None:
            problems.append(Problem(Code.DAMAGED, "no volume table was found"))
        else:
            details["volumes"] = _volumes(table, peb - header.data_offset, problems)
    return Identity(
        type="ubi",
        fstype="ubi",
        uuid=str(header.image_seq),
        version=str(header.version),
        offset=at,
        checked=True,
        details=details,
        problems=tuple(problems),
    )


def _first(view: View, problems: list[Problem]) -> tuple[int, Any]:
    why = "there is none"
    for at in (0, *COPIES):
        if view.glance(at, len(EC_MAGIC)) != EC_MAGIC:
            continue
        try:
            header = _ec_header(view, at)
        except (NotThisFormat, ShortRead) as error:
            why = why if at else str(error)
            continue
        if at:
            message = f"the first eraseblock's header is unusable: {why}; the facts come from the one at {at}"
            problems.append(Problem(Code.BACKUP_USED, message))
        return at, header
    raise NotThisFormat(f"no erase counter header: {why}")


def _ec_header(view: View, at: int) -> Any:
    raw = view.read(at, EC_HDR.size)
    header = parse_struct(raw, EC_HDR)
    if header.version == 0 or header.ec > MAX_ERASECOUNTER or any(header.padding2):
        raise NotThisFormat(f"version {header.version}, erased {header.ec} times")
    if not EC_HDR.size <= header.vid_hdr_offset <= header.data_offset - VID_HDR.size < 1 << 20:
        raise NotThisFormat(f"volume header at {header.vid_hdr_offset}, data at {header.data_offset}")
    if _crc(raw) != header.hdr_crc:
        raise NotThisFormat("the header's checksum does not match")
    return header


def _crc(raw: bytes) -> int:
    """UBI's CRC-32, without the final inversion, over all but the four bytes that hold it."""
    return crc32(raw[:-4]) ^ 0xFFFFFFFF


def _peb_size(view: View, at: int, header: Any) -> int | None:
    """The size of a physical eraseblock: the next one has the same header, but for the counter."""
    for size in PEB_SIZES:
        if size > header.data_offset and view.glance(at + size, 4) == EC_MAGIC:
            try:
                other = _ec_header(view, at + size)
            except (NotThisFormat, ShortRead):
                continue
            if (other.vid_hdr_offset, other.data_offset) == (header.vid_hdr_offset, header.data_offset):
                return size
    return None


def _checked(raw: bytes, declared: Layout) -> Any:
    fields = parse_struct(raw, declared)
    if _crc(raw) != (fields.hdr_crc if declared is VID_HDR else fields.crc):
        raise NotThisFormat("a wrong checksum")
    return fields


def _volume_table(view: View, at: int, peb: int, header: Any) -> bytes | None:
    """The newest of the volume table's two copies."""
    best: tuple[int, int] | None = None
    for block in range(at, min(view.size, at + BLOCKS_READ * peb), peb):
        raw = view.glance(block + header.vid_hdr_offset, VID_HDR.size)
        if raw[:4] != VID_MAGIC:
            continue
        try:
            vid = _checked(raw, VID_HDR)
        except NotThisFormat:
            continue
        if vid.vol_id == LAYOUT_VOLUME_ID and (best is None or vid.sqnum > best[0]):
            best = vid.sqnum, block
    if best is None:
        return None
    length = min(peb - header.data_offset, MAX_VOLUMES * VTBL_RECORD.size)
    return view.glance(best[1] + header.data_offset, length)


def _volumes(table: bytes, leb: int, problems: list[Problem]) -> list[Json]:
    found: list[Json] = []
    for number in range(len(table) // VTBL_RECORD.size):
        raw = table[number * VTBL_RECORD.size : (number + 1) * VTBL_RECORD.size]
        if not any(raw[:-4]):
            continue
        try:
            record = _checked(raw, VTBL_RECORD)
        except NotThisFormat:
            problems.append(Problem(Code.BAD_CHECKSUM, f"the record of UBI volume {number} is damaged"))
            return found
        found.append(
            {
                "volume": number,
                "name": text(record.name[: min(record.name_len, 127)]),
                "type": VOLUME_TYPES.get(record.vol_type, str(record.vol_type)),
                "reserved_pebs": record.reserved_pebs,
                "size": record.reserved_pebs * max(0, leb - record.data_pad),
                "alignment": record.alignment,
                "update_unfinished": bool(record.upd_marker),
                "flags": [*flag_names(record.flags, VOLUME_FLAGS, "flag")],
            }
        )
    return found


COPIES = (0x20000, 0x40000)
"""The second eraseblock of the commonest chips."""

FORMAT = Format(
    name="ubi",
    title="UBI flash image",
    specification="https://github.com/torvalds/linux/blob/master/drivers/mtd/ubi/ubi-media.h",
    usage=Usage.RAID,
    types=("ubi",),
    parse=parse,
    signatures=(Signature(EC_MAGIC, 0), *(Signature(EC_MAGIC, at, copy=True) for at in COPIES)),
    precedence=Precedence.VOLUME_GROUP,
)
