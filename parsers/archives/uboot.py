"""U-Boot's legacy images.

Layout: U-Boot, include/image.h, ``struct legacy_img_hdr``
https://github.com/u-boot/u-boot/blob/master/include/image.h
"""

import zlib
from collections.abc import Iterator
from typing import Any

from construct import Bytes, Int8ub, Int32ub, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text, unix_time
from pyimount.parsers.archives.payloads import Part, described, no_disk
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"\x27\x05\x19\x56"
HEADER = layout(
    lambda: Struct(
        "ih_magic" / Bytes(4),
        "ih_hcrc" / Int32ub,
        "ih_time" / Int32ub,
        "ih_size" / Int32ub,
        "ih_load" / Int32ub,
        "ih_ep" / Int32ub,
        "ih_dcrc" / Int32ub,
        "ih_os" / Int8ub,
        "ih_arch" / Int8ub,
        "ih_type" / Int8ub,
        "ih_comp" / Int8ub,
        "ih_name" / Bytes(32),
    )
)
HCRC = slice(4, 8)
OS = dict(
    enumerate(
        (
            "invalid", "openbsd", "netbsd", "freebsd", "4_4bsd", "linux", "svr4", "esix", "solaris", "irix",
            "sco", "dell", "ncr", "lynxos", "vxworks", "psos", "qnx", "u-boot", "rtems", "artos", "unity",
            "integrity", "ose", "plan9", "openrtos", "arm-trusted-firmware", "tee", "opensbi", "efi", "elf",
        )
    )
)  # fmt: skip
ARCH = dict(
    enumerate(
        (
            "invalid", "alpha", "arm", "x86", "ia64", "mips", "mips64", "powerpc", "s390", "sh", "sparc",
            "sparc64", "m68k", "nios", "microblaze", "nios2", "blackfin", "avr32", "st200", "sandbox",
            "nds32", "or1k", "arm64", "arc", "x86_64", "xtensa", "riscv",
        )
    )
)  # fmt: skip
TYPES = dict(
    enumerate(
        (
            "invalid", "standalone", "kernel", "ramdisk", "multi", "firmware", "script", "filesystem",
            "flat_dt", "kwbimage", "imximage", "ublimage", "omapimage", "aisimage", "kernel_noload",
            "pblimage", "mxsimage", "gpimage", "atmelimage", "socfpgaimage", "x86_setup", "lpc32xximage",
            "loadable", "rkimage", "rksd", "rkspi", "zynqimage", "zynqmpimage", "zynqmpbif", "fpga",
        )
    )
)  # fmt: skip
COMPRESSIONS = ("none", "gzip", "bzip2", "lzma", "lzo", "lz4", "zstd")
MULTI, FILESYSTEM, RAMDISK = 4, 7, 3
MAY_HOLD_A_VOLUME = (RAMDISK, FILESYSTEM, 5)
MAX_PARTS = 32
CRC_CAP = 1 << 20
"""The second checksum covers all of the data; of more bytes than this it is not verified."""


def parse(view: View) -> Identity:
    """The identity of a legacy image."""
    raw = view.read(0, HEADER.size)
    header = parse_struct(raw, HEADER)
    if header.ih_magic != MAGIC or header.ih_size == 0:
        raise NotThisFormat(f"{header.ih_size} bytes of data")
    problems = [no_disk("an image for U-Boot", "its parts are told in the details")]
    checked = zlib.crc32(raw[: HCRC.start] + bytes(4) + raw[HCRC.stop :]) == header.ih_hcrc
    if not checked:
        if not _plausible(header):
            raise NotThisFormat("neither the checksum nor the figures of the header are right")
        problems.append(Problem(Code.BAD_CHECKSUM, "the checksum of the header does not match"))
    whole = _data_crc_holds(view, header)
    if whole is False:
        problems.append(Problem(Code.BAD_CHECKSUM, "the checksum of the data does not match"))
    told, contents = described(view, _parts(view, header))
    details: dict[str, Json] = {
        "os": OS.get(header.ih_os, str(header.ih_os)),
        "architecture": ARCH.get(header.ih_arch, str(header.ih_arch)),
        "image_type": TYPES.get(header.ih_type, str(header.ih_type)),
        "compression": _compression(header.ih_comp),
        "load_address": header.ih_load,
        "entry_point": header.ih_ep,
        "data_size": header.ih_size,
        "data_checksum_ok": whole,
        "parts": told,
    }
    return Identity(
        type="u-boot",
        label=text(header.ih_name),
        fs_size=HEADER.size + header.ih_size,
        created=unix_time(header.ih_time),
        checked=checked,
        details=details,
        contents=contents if header.ih_comp == 0 else (),
        problems=tuple(problems),
    )


def _plausible(header: Any) -> bool:
    return (
        header.ih_os in OS
        and header.ih_arch in ARCH
        and header.ih_type in TYPES
        and header.ih_comp < len(COMPRESSIONS)
        and bool(header.ih_os and header.ih_type)
    )


def _compression(number: int) -> str:
    return COMPRESSIONS[number] if number < len(COMPRESSIONS) else str(number)


def _data_crc_holds(view: View, header: Any) -> bool | None:
    """Whether the checksum of the data matches; None where it cannot be told."""
    if header.ih_size > CRC_CAP:
        return None
    try:
        return bool(zlib.crc32(view.read(HEADER.size, header.ih_size)) == header.ih_dcrc)
    except ShortRead:
        return None


def _parts(view: View, header: Any) -> Iterator[Part]:
    """The image's data; of a multi-file image the parts, whose sizes stand in front of them."""
    if header.ih_type != MULTI:
        kind = TYPES.get(header.ih_type, str(header.ih_type))
        volume = header.ih_type in MAY_HOLD_A_VOLUME
        yield Part(name=kind, offset=HEADER.size, size=header.ih_size, volume=volume, facts={})
        return
    sizes = []
    at, end = HEADER.size, HEADER.size + header.ih_size
    for _ in range(MAX_PARTS):
        size = int.from_bytes(view.glance(at, 4), "big")
        at += 4
        if size == 0:
            break
        sizes.append(size)
    for number, size in enumerate(sizes):
        if at + size > end:
            return
        # The first is the program that is started, by convention; the others are what it needs.
        yield Part(name=f"part {number}", offset=at, size=size, volume=number > 0, facts={})
        at += (size + 3) & ~3


FORMAT = Format(
    name="uboot",
    title="U-Boot legacy image",
    specification="https://github.com/u-boot/u-boot/blob/master/include/image.h",
    usage=Usage.OTHER,
    types=("u-boot",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    unmountable="it is a boot image, not a file system",
)
