"""Disks of Oracle's Automatic Storage Management.

The label is oracleasm-support's; the rest of the header has no published specification, its fields are
named and placed as Oracle's own ``kfed read`` prints them.
https://oss.oracle.com/projects/oracleasm/
"""

from typing import Any

from construct import Bytes, Const, Int8ul, Int16ub, Int16ul, Int32ub, Int32ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text
from pyimount.sources.view import View

MAGIC = b"ORCLDISK"


def _header(u16: Any, u32: Any) -> Any:
    return Struct(
        "kfbh_endian" / Int8ul,
        "kfbh_hard" / Int8ul,
        "kfbh_type" / Int8ul,
        "kfbh_datfmt" / Int8ul,
        "kfbh_block_to_spare2" / Bytes(28),
        "dl_tag" / Const(MAGIC),
        "dl_id" / Bytes(24),
        "compat" / u32,
        "dsknum" / u16,
        "grptyp" / Int8ul,
        "hdrsts" / Int8ul,
        "dskname" / Bytes(32),
        "grpname" / Bytes(32),
        "fgname" / Bytes(32),
        "capname" / Bytes(32),
        "crestmp_hi" / u32,
        "crestmp_lo" / u32,
        "mntstmp_hi" / u32,
        "mntstmp_lo" / u32,
        "secsize" / u16,
        "blksize" / u16,
        "ausize" / u32,
        "mfact" / u32,
        "dsksize" / u32,
    )


HEADER = layout(lambda: _header(Int16ul, Int32ul))
HEADER_BE = layout(lambda: _header(Int16ub, Int32ub))
MAGIC_AT = 32

DISK_HEADER = 1
REDUNDANCIES = {1: "external", 2: "normal", 3: "high"}
MEMBER = 3


def parse(view: View) -> Identity:
    """The identity of an ASM disk: its label, and once it is in a disk group, what the group wrote."""
    header = read_struct(view, HEADER, 0)
    if header.kfbh_type != DISK_HEADER:
        # Labelled, and not yet given to a disk group.
        return _identity(header, {}, None)
    if header.kfbh_endian == 0:
        header = read_struct(view, HEADER_BE, 0)
    if header.ausize & (header.ausize - 1) or header.blksize & (header.blksize - 1):
        raise NotThisFormat(f"allocation units of {header.ausize} bytes, blocks of {header.blksize}")
    details: dict[str, Json] = {
        "disk_name": text(header.dskname),
        "disk_number": header.dsknum,
        "group_name": text(header.grpname),
        "failure_group": text(header.fgname),
        "redundancy": REDUNDANCIES.get(header.grptyp, str(header.grptyp)),
        "header_status": "member" if header.hdrsts == MEMBER else str(header.hdrsts),
        # 0x0a100000 is 10.1.0.0.0.
        "compatible": ".".join(str(part) for part in _version(header.compat)),
        "created": _time(header.crestmp_hi, header.crestmp_lo),
        "mounted": _time(header.mntstmp_hi, header.mntstmp_lo),
        "sector_size": header.secsize,
        "metadata_block_size": header.blksize,
        "allocation_unit_size": header.ausize,
        "allocation_units": header.dsksize,
        "byte_order": "big" if header.kfbh_endian == 0 else "little",
    }
    return _identity(header, details, header.dsksize * header.ausize)


def _identity(header: Any, details: dict[str, Json], size: int | None) -> Identity:
    return Identity(
        type="oracleasm",
        fstype="oracleasm",
        label=text(header.dl_id),
        fs_size=size or None,
        details=details,
        free_unknown="its allocation tables are not read",
    )


def _version(packed: int) -> tuple[int, ...]:
    return packed >> 24, packed >> 20 & 0xF, packed >> 16 & 0xF, packed >> 8 & 0xFF, packed & 0xFF


def _time(high: int, low: int) -> str | None:
    """A time stamp, which has no zone: hours, days, months and years; micro- and milliseconds to minutes."""
    hour, day, month, year = high & 0x1F, high >> 5 & 0x1F, high >> 10 & 0xF, high >> 14
    second, minute = low >> 20 & 0x3F, low >> 26
    micros = (low >> 10 & 0x3FF) * 1000 + (low & 0x3FF)
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and 1 <= year <= 9999):
        return None
    if minute > 59 or second > 59 or micros > 999_999:
        return None
    fraction = f".{micros:06}" if micros else ""
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}"


FORMAT = Format(
    name="oracleasm",
    title="Oracle ASM disk",
    specification="https://oss.oracle.com/projects/oracleasm/",
    # As libblkid has it.
    usage=Usage.FILESYSTEM,
    types=("oracleasm",),
    parse=parse,
    signatures=(Signature(MAGIC, MAGIC_AT),),
    unmountable="it holds a database's files for Oracle ASM alone, and no directories",
)
