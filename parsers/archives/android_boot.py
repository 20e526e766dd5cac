"""Android boot images, versions 0 to 4, and vendor boot images.

Layout: AOSP, system/tools/mkbootimg, include/bootimg/bootimg.h
https://source.android.com/docs/core/architecture/bootloader/boot-image-header
"""

from collections.abc import Iterator
from typing import Any

from construct import Bytes, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text
from pyimount.parsers.archives.payloads import Part, described, no_disk
from pyimount.sources.view import ShortRead, View

MAGIC, VENDOR_MAGIC = b"ANDROID!", b"VNDRBOOT"
# Versions 0, 1 and 2: each ends where the next one goes on.
BOOT = layout(
    lambda: Struct(
        "magic" / Bytes(8),
        "kernel_size" / Int32ul,
        "kernel_addr" / Int32ul,
        "ramdisk_size" / Int32ul,
        "ramdisk_addr" / Int32ul,
        "second_size" / Int32ul,
        "second_addr" / Int32ul,
        "tags_addr" / Int32ul,
        "page_size" / Int32ul,
        "header_version" / Int32ul,
        "os_version" / Int32ul,
        "name" / Bytes(16),
        "cmdline" / Bytes(512),
        "id" / Bytes(32),
        "extra_cmdline" / Bytes(1024),
    )
)
BOOT_1 = layout(
    lambda: Struct("recovery_dtbo_size" / Int32ul, "recovery_dtbo_offset" / Int64ul, "header_size" / Int32ul)
)
BOOT_2 = layout(lambda: Struct("dtb_size" / Int32ul, "dtb_addr" / Int64ul))
BOOT_3 = layout(
    lambda: Struct(
        "magic" / Bytes(8),
        "kernel_size" / Int32ul,
        "ramdisk_size" / Int32ul,
        "os_version" / Int32ul,
        "header_size" / Int32ul,
        "reserved" / Bytes(16),
        "header_version" / Int32ul,
        "cmdline" / Bytes(1536),
    )
)
BOOT_4 = layout(lambda: Struct("signature_size" / Int32ul))
VENDOR_BOOT = layout(
    lambda: Struct(
        "magic" / Bytes(8),
        "header_version" / Int32ul,
        "page_size" / Int32ul,
        "kernel_addr" / Int32ul,
        "ramdisk_addr" / Int32ul,
        "vendor_ramdisk_size" / Int32ul,
        "cmdline" / Bytes(2048),
        "tags_addr" / Int32ul,
        "name" / Bytes(16),
        "header_size" / Int32ul,
        "dtb_size" / Int32ul,
        "dtb_addr" / Int64ul,
    )
)
VENDOR_BOOT_4 = layout(
    lambda: Struct(
        "vendor_ramdisk_table_size" / Int32ul,
        "vendor_ramdisk_table_entry_num" / Int32ul,
        "vendor_ramdisk_table_entry_size" / Int32ul,
        "bootconfig_size" / Int32ul,
    )
)
RAMDISK_ENTRY = layout(
    lambda: Struct(
        "ramdisk_size" / Int32ul,
        "ramdisk_offset" / Int32ul,
        "ramdisk_type" / Int32ul,
        "ramdisk_name" / Bytes(32),
        "board_id" / Bytes(64),
    )
)
VERSION_AT = 40
PAGE_3 = 4096
"""Versions 3 and 4 of boot images have no field for it."""
PAGE_SIZES = tuple(1 << power for power in range(9, 18))
HEADER_SIZES = {1: 1648, 2: 1660, 3: 1580, 4: 1584}
VENDOR_HEADER_SIZES = {3: 2112, 4: 2128}
MAX_RAMDISKS = 64
RAMDISK_TYPES = {0: "none", 1: "platform", 2: "recovery", 3: "dlkm"}


class _Layout:
    """Gives each part its place: one after the other, each at the start of a page."""

    def __init__(self, page: int, at: int) -> None:
        self._page = page
        self.at = at

    def place(self, size: int) -> int:
        """The offset of a part of ``size`` bytes."""
        offset = self.at
        self.at += -(-size // self._page) * self._page
        return offset

    def part(self, name: str, size: int, *, volume: bool = False, **facts: Json) -> Part:
        """The next part."""
        return Part(name=name, offset=self.place(size), size=size, volume=volume, facts=facts)


def parse(view: View) -> Identity:
    """The identity of a boot image."""
    if view.read(0, 8) == VENDOR_MAGIC:
        return _vendor(view)
    version = int.from_bytes(view.read(VERSION_AT, 4), "little")
    if version in (3, 4):
        return _boot_3(view, version)
    return _boot(view)


def _boot(view: View) -> Identity:
    header = read_struct(view, BOOT, 0)
    version, page = header.header_version, header.page_size
    if page not in PAGE_SIZES or not header.kernel_size + header.ramdisk_size:
        raise NotThisFormat(f"pages of {page} bytes, a kernel of {header.kernel_size}")
    # Before there were versions, some put the size of a device tree here.
    device_tree = version if version > max(HEADER_SIZES) else 0
    version = 0 if device_tree else version
    more = after = None
    if version >= 1:
        more = read_struct(view, BOOT_1, BOOT.size)
        if more.header_size != HEADER_SIZES[version]:
            raise NotThisFormat(f"a header of {more.header_size} bytes in version {version}")
    if version >= 2:
        after = read_struct(view, BOOT_2, BOOT.size + BOOT_1.size)
    space = _Layout(page, page)
    parts = [
        space.part("kernel", header.kernel_size, address=header.kernel_addr),
        space.part("ramdisk", header.ramdisk_size, volume=True, address=header.ramdisk_addr),
        space.part("second", header.second_size, address=header.second_addr),
    ]
    if more:
        parts.append(space.part("recovery_dtbo", more.recovery_dtbo_size))
    if after:
        parts.append(space.part("dtb", after.dtb_size, address=after.dtb_addr))
    elif device_tree:
        parts.append(space.part("dt", device_tree))
    details: dict[str, Json] = {
        "page_size": page,
        **_os_version(header.os_version),
        "cmdline": text(header.cmdline.rstrip(b"\0") + header.extra_cmdline),
        "id": header.id.rstrip(b"\0").hex() or None,
        "tags_address": header.tags_addr,
    }
    return _identity(
        view, parts, kind="android_boot", version=version, label=text(header.name), details=details
    )


def _boot_3(view: View, version: int) -> Identity:
    header = read_struct(view, BOOT_3, 0)
    if header.header_size != HEADER_SIZES[version] or any(header.reserved):
        raise NotThisFormat(f"a header of {header.header_size} bytes in version {version}")
    space = _Layout(PAGE_3, PAGE_3)
    parts = [
        space.part("kernel", header.kernel_size),
        space.part("ramdisk", header.ramdisk_size, volume=True),
    ]
    if version >= 4:
        parts.append(space.part("boot_signature", read_struct(view, BOOT_4, BOOT_3.size).signature_size))
    details: dict[str, Json] = {
        "page_size": PAGE_3,
        **_os_version(header.os_version),
        "cmdline": text(header.cmdline),
    }
    return _identity(view, parts, kind="android_boot", version=version, label=None, details=details)


def _vendor(view: View) -> Identity:
    header = read_struct(view, VENDOR_BOOT, 0)
    version, page = header.header_version, header.page_size
    if header.header_size != VENDOR_HEADER_SIZES.get(version) or page not in PAGE_SIZES:
        raise NotThisFormat(f"version {version}, a header of {header.header_size} bytes, pages of {page}")
    space = _Layout(page, -(-header.header_size // page) * page)
    ramdisks = space.part(
        "vendor_ramdisk", header.vendor_ramdisk_size, volume=True, address=header.ramdisk_addr
    )
    parts = [ramdisks, space.part("dtb", header.dtb_size, address=header.dtb_addr)]
    if version >= 4:
        more = read_struct(view, VENDOR_BOOT_4, VENDOR_BOOT.size)
        table = space.part("vendor_ramdisk_table", more.vendor_ramdisk_table_size)
        found = list(_ramdisks(view, table, more, ramdisks))
        parts = [*(found or [ramdisks]), *parts[1:], table, space.part("bootconfig", more.bootconfig_size)]
    details: dict[str, Json] = {
        "page_size": page,
        "cmdline": text(header.cmdline),
        "tags_address": header.tags_addr,
        "kernel_address": header.kernel_addr,
    }
    label = text(header.name)
    return _identity(view, parts, kind="android_vendor_boot", version=version, label=label, details=details)


def _ramdisks(view: View, table: Part, header: Any, whole: Part) -> Iterator[Part]:
    """The parts of a vendor's ramdisk, as its table has them; none where the table cannot be read."""
    count, size = header.vendor_ramdisk_table_entry_num, header.vendor_ramdisk_table_entry_size
    if size < RAMDISK_ENTRY.size or count > MAX_RAMDISKS or count * size > table.size:
        return
    for number in range(count):
        try:
            entry = read_struct(view, RAMDISK_ENTRY, table.offset + number * size)
        except ShortRead:
            return
        yield Part(
            name=text(entry.ramdisk_name) or f"vendor_ramdisk{number}",
            offset=whole.offset + entry.ramdisk_offset,
            size=entry.ramdisk_size,
            volume=True,
            facts={"type": RAMDISK_TYPES.get(entry.ramdisk_type, str(entry.ramdisk_type))},
        )


def _os_version(packed: int) -> dict[str, Json]:
    """The version of Android, and the month of its security patches."""
    if packed == 0:
        return {"os_version": None, "os_patch_level": None}
    version, level = packed >> 11, packed & 0x7FF
    return {
        "os_version": f"{version >> 14}.{version >> 7 & 0x7F}.{version & 0x7F}",
        "os_patch_level": f"{2000 + (level >> 4)}-{level & 0xF:02}",
    }


def _identity(
    view: View, parts: list[Part], *, kind: str, version: int, label: str | None, details: dict[str, Json]
) -> Identity:
    present = [part for part in parts if part.size]
    told, contents = described(view, present)
    return Identity(
        type=kind,
        label=label,
        version=str(version),
        # The padding behind the last part may be missing.
        fs_size=max((part.offset + part.size for part in present), default=None),
        details={**details, "parts": told},
        contents=contents,
        problems=(no_disk("an Android boot image", "its parts are told in the details"),),
    )


FORMAT = Format(
    name="android_boot",
    title="Android boot image",
    specification="https://source.android.com/docs/core/architecture/bootloader/boot-image-header",
    usage=Usage.OTHER,
    types=("android_boot", "android_vendor_boot"),
    parse=parse,
    signatures=(Signature(MAGIC, 0), Signature(VENDOR_MAGIC, 0)),
    unmountable="it is a boot image, not a file system",
)
