"""VMA: Proxmox VE's archive of a virtual machine: its configuration and the disks it had.

Layout: https://git.proxmox.com/?p=pve-qemu.git, vma_spec.txt
"""

import hashlib
from array import array
from bisect import bisect_left
from typing import Any

from construct import Array, Bytes, Int16ub, Int32ub, Int64sb, Int64ub, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import text, unix_time, uuid_text
from pyimount.parsers.containers.clusters import integers
from pyimount.parsers.containers.runs import Run, RunSource
from pyimount.problems import Code, Problem
from pyimount.sources.errors import MissingBytes
from pyimount.sources.source import Source
from pyimount.sources.view import View

HEADER = layout(
    lambda: Struct(
        "magic" / Bytes(4),
        "version" / Int32ub,
        "uuid" / Bytes(16),
        "ctime" / Int64sb,
        "md5sum" / Bytes(16),
        "blob_buffer_offset" / Int32ub,
        "blob_buffer_size" / Int32ub,
        "header_size" / Int32ub,
        "reserved" / Bytes(1984),
        "config_names" / Array(256, Int32ub),
        "config_data" / Array(256, Int32ub),
        "reserved1" / Bytes(4),
    )
)
DEV_INFO = layout(
    lambda: Struct(
        "devname_ptr" / Int32ub,
        "reserved0" / Int32ub,
        "size" / Int64ub,
        "reserved1" / Int64ub,
        "reserved2" / Int64ub,
    )
)
EXTENT_HEADER = layout(
    lambda: Struct(
        "magic" / Bytes(4),
        "reserved1" / Int16ub,
        "block_count" / Int16ub,
        "uuid" / Bytes(16),
        "md5sum" / Bytes(16),
        "blockinfo" / Bytes(8 * 59),
    )
)

MAGIC, EXTENT_MAGIC = b"VMA\0", b"VMAE"
DEVICES = 256
BLOCK, BLOCKS, CLUSTER = 4096, 16, 65536
MD5_AT, MD5_SIZE = 32, 16
SIDE_DEVICES = ("efidisk", "tpmstate", "vmstate")
"""Devices that a machine has beside its disks."""

_HEADER_CAP = 16 << 20
_CLUSTERS_CAP = 1 << 24
"""A TiB; the index then takes 200 MB."""
_CONFIG_CAP = 4096
_SIZE_CAP = 1 << 48


def parse(view: View) -> Container:
    """What the header says: the devices, and the machine's configuration."""
    header = read_struct(view, HEADER, 0)
    if header.magic != MAGIC or header.version != 1:
        raise NotThisFormat(f"version {header.version}")
    if not HEADER.size + DEVICES * DEV_INFO.size <= header.header_size <= _HEADER_CAP:
        raise NotThisFormat(f"a header of {header.header_size} bytes")
    if header.blob_buffer_offset + header.blob_buffer_size > header.header_size:
        raise NotThisFormat("strings that lie behind the header")
    problems = []
    whole = view.read(0, header.header_size)
    cleared = whole[:MD5_AT] + bytes(MD5_SIZE) + whole[MD5_AT + MD5_SIZE :]
    if hashlib.md5(cleared, usedforsecurity=False).digest() != header.md5sum:
        problems.append(Problem(Code.BAD_CHECKSUM, "the header's MD5 is wrong"))
    blobs = whole[header.blob_buffer_offset : header.blob_buffer_offset + header.blob_buffer_size]
    devices = _devices(view, blobs)
    chosen = _chosen(devices)
    configs: dict[str, Json] = {
        _name(blobs, name) or str(number): text(_blob(blobs, data)[:_CONFIG_CAP])
        for number, (name, data) in enumerate(zip(header.config_names, header.config_data, strict=True))
        if name and data
    }
    listed: list[Json] = [
        {"number": number, "name": name, "size": size} for number, (name, size) in devices.items()
    ]
    details: dict[str, Json] = {
        "version": header.version,
        "stored_size": view.size,
        "uuid": uuid_text(header.uuid),
        "created": unix_time(header.ctime),
        "devices": listed,
        "device": chosen,
        "configuration": configs,
    }
    size = devices[chosen][1] if chosen is not None else None
    return Container(type="vma", size=size, sector_size=512, details=details, problems=tuple(problems))


def _blob(blobs: bytes, at: int) -> bytes:
    """A string: its size in two bytes, little-endian, and itself. Nothing where it lies outside."""
    size = int.from_bytes(blobs[at : at + 2], "little")
    return blobs[at + 2 : at + 2 + size]


def _name(blobs: bytes, at: int) -> str | None:
    return text(_blob(blobs, at))


def _devices(view: View, blobs: bytes) -> dict[int, tuple[str | None, int]]:
    """The devices' names and sizes by their numbers, which begin at 1."""
    table = view.read(HEADER.size, DEVICES * DEV_INFO.size)
    found = {}
    for number in range(1, DEVICES):
        device = parse_struct(table, DEV_INFO, number * DEV_INFO.size)
        if device.size and device.devname_ptr:
            if device.size > _SIZE_CAP:
                raise NotThisFormat(f"a device of {device.size} bytes")
            found[number] = (_name(blobs, device.devname_ptr), int(device.size))
    return found


def _chosen(devices: dict[int, tuple[str | None, int]]) -> int | None:
    """The first disk; the first device, where none is a disk."""
    disks = [
        number
        for number, (name, _) in devices.items()
        if not any(word in (name or "") for word in SIDE_DEVICES)
    ]
    return next(iter(disks or devices), None)


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The first disk: an image is one disk here, and the others are only named."""
    view = View(image.files[0])
    header = read_struct(view, HEADER, 0)
    problems = list(container.problems)
    number, devices = container.details["device"], container.details["devices"]
    if not isinstance(number, int) or not isinstance(devices, list):
        problems.append(Problem(Code.UNSUPPORTED, "the archive holds no disk"))
        return Opened(container=container.replaced(problems=tuple(problems)), source=None)
    if len(devices) > 1:
        message = f"the archive holds {len(devices)} devices; only device {number} is looked at"
        problems.append(Problem(Code.UNSUPPORTED, message))
    index = _Index(image.files[0], header, number)
    problems += index.problems
    size = container.size or 0
    if not index.problems and len(index.clusters) < -(-size // CLUSTER):
        message = f"{len(index.clusters)} of {-(-size // CLUSTER)} clusters are in the archive"
        problems.append(Problem(Code.DAMAGED, message))
    return Opened(
        container=container.replaced(problems=tuple(problems)), source=RunSource(size, index.locate)
    )


class _Index:
    """Where the clusters of one device stand: found by going from extent to extent, as no table says it."""

    def __init__(self, file: Source, header: Any, device: int) -> None:
        self._file = file
        self.problems: list[Problem] = []
        self.clusters, self._places, self._masks = array("L"), array("Q"), array("H")
        at = header.header_size
        while at < file.size:
            if len(self.clusters) > _CLUSTERS_CAP:
                message = f"more than {_CLUSTERS_CAP} clusters; the rest is not read"
                self.problems.append(Problem(Code.UNSUPPORTED, message))
                break
            following = self._extent(at, header.uuid, device)
            if following is None:
                break
            at = following
        ascending = all(
            self.clusters[number - 1] < self.clusters[number] for number in range(1, len(self.clusters))
        )
        if not ascending:
            # A machine that runs while it is saved has what it overwrites saved first.
            order = sorted(range(len(self.clusters)), key=self.clusters.__getitem__)
            self.clusters = array("L", map(self.clusters.__getitem__, order))
            self._places = array("Q", map(self._places.__getitem__, order))
            self._masks = array("H", map(self._masks.__getitem__, order))

    def _extent(self, at: int, uuid: bytes, device: int) -> int | None:
        """Take in an extent; where the next one begins, None where this one is no extent."""
        data = self._file.read_at(at, EXTENT_HEADER.size)
        if len(data) < EXTENT_HEADER.size:
            self._wrong(Code.TRUNCATED, f"the file ends within the extent at byte {at}")
            return None
        extent = parse_struct(data, EXTENT_HEADER)
        cleared = data[:24] + bytes(MD5_SIZE) + data[24 + MD5_SIZE :]
        if extent.magic != EXTENT_MAGIC or extent.uuid != uuid:
            self._wrong(Code.DAMAGED, f"no extent of this archive stands at byte {at}")
            return None
        if hashlib.md5(cleared, usedforsecurity=False).digest() != extent.md5sum:
            self._wrong(Code.BAD_CHECKSUM, f"the MD5 of the extent at byte {at} is wrong")
            return None
        place = at + EXTENT_HEADER.size
        for info in integers(extent.blockinfo, 8, "big"):
            mask, owner, cluster = info >> 48, info >> 32 & 0xFF, info & 0xFFFFFFFF
            if owner == device:
                self.clusters.append(cluster)
                self._places.append(place)
                self._masks.append(mask)
            place += mask.bit_count() * BLOCK if owner else 0
        if place != at + EXTENT_HEADER.size + extent.block_count * BLOCK:
            self._wrong(Code.DAMAGED, f"the extent at byte {at} contradicts itself")
            return None
        if place > self._file.size:
            self._wrong(Code.TRUNCATED, f"the file ends within the extent at byte {at}")
            return None
        return place

    def _wrong(self, code: Code, message: str) -> None:
        self.problems.append(Problem(code, f"{message}; what follows is not read"))

    def locate(self, offset: int) -> Run:
        """The run at this byte of the disk, within its block; a block that is not stored is zeros."""
        cluster, within = divmod(offset, CLUSTER)
        number = bisect_left(self.clusters, cluster)
        if number == len(self.clusters) or self.clusters[number] != cluster:
            raise MissingBytes("clusters of the disk are not in the archive")
        block, within = divmod(within, BLOCK)
        mask = self._masks[number]
        if not mask >> block & 1:
            return Run(None, 0, BLOCK - within)
        before = (mask & (1 << block) - 1).bit_count()
        return Run(self._file, self._places[number] + before * BLOCK + within, BLOCK - within)


FORMAT = ContainerFormat(
    name="vma",
    title="Proxmox VE backup (VMA)",
    specification="https://git.proxmox.com/?p=pve-qemu.git",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC + b"\0\0\0\1", 0),),
    types=("vma",),
)
