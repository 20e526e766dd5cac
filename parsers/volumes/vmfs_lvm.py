"""VMware's volume manager beneath VMFS: devices that hold extents of VMFS volumes, versions 3 to 6.

No specification is published; layout after vmfs-tools (libvmfs/vmfs_volume.h, vmfs_lvm.h) and dissect.vmfs
(c_lvm.py, after ESXi's lvmdriver). https://github.com/glandium/vmfs-tools
"""

from collections.abc import Iterator
from struct import Struct as Packed
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

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
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

DEVICE = layout(
    lambda: Struct(
        "magic" / Int32ul,
        "majorVersion" / Int32ul,
        "minorVersion" / Int32ul,
        "diskType" / Int8ul,
        "idLength" / Int8ul,
        "lun" / Int16ul,
        "deviceType" / Int8ul,
        "scsiLevel" / Int8ul,
        "vendor" / Bytes(8),
        "model" / Bytes(16),
        "revision" / Bytes(4),
        "id" / Bytes(44),
        "diskBlockSize" / Int32ul,
        "totalBytes" / Int64ul,
        "numVolumes" / Int32ul,
        "numPEs" / Int32ul,
        "lastPEIndex" / Int32ul,
        "generation" / Int64ul,
        "dataOffset" / Int64ul,
        "devID" / Bytes(16),
        "initTimeUS" / Int64ul,
        "modTimeUS" / Int64ul,
        "lockedBy" / Bytes(16),
        "lockedWhenUS" / Int64ul,
        "unknown" / Int32ul,
        "numPEMaps" / Int32ul,
        "extDevMetadataOffset" / Int64ul,
        "mdAlignment" / Int32ul,
        "numPEs6" / Int32ul,
        "flags" / Int32ul,
    )
)

EXTENDED = layout(
    lambda: Struct(
        "magic" / Int32ul,
        "numPEMaps" / Int32ul,
        "dataOffset" / Int64ul,
        "nextOffset" / Int64ul,
    )
)

VOLUME = layout(
    lambda: Struct(
        "logicalSize" / Int64ul,
        "generation" / Int64ul,
        "state" / Int32ul,
        "name" / Bytes(64),
        "uuid" / Bytes(16),
        "snapID" / Int32ul,
        "creationTimeUS" / Int64ul,
        "volumeID" / Int32ul,
        "numPEs" / Int32ul,
        "firstPE" / Int64ul,
        "lastPE" / Int64ul,
        "modTimeUS" / Int64ul,
        "numDevs" / Int32ul,
        "padding" / Bytes(124),
        "consumedPEs" / Int32ul,
    )
)

# LVM_PETableEntry: used, and then peID, volumeID, pOffset, lOffset, length of LVM_PEDescriptor.
_EXTENT = Packed("<?IIQQQ")

MAGIC = b"\x0d\xd0\x01\xc0"
HEADER_AT = 1 << 20
BLOCK = 512
VOLUME_SIZE = 512
EXTENT_SIZE = 128
EXTENTS_PER_MAP = 8192
MAPS_PER_REGION = 8
_UUID_AT, _UUID_LENGTH = 0x214, 35

VOLUMES_CAP = 512
EXTENTS_CAP = 1 << 20
"""Extents have 256 MiB, so that this is 256 TiB; ESXi's largest device has 64."""

STATES = ("invalid", "normal", "resignature pending", "resignature done", "sentinel")


class Extent(Record):
    """A used run of the device: ``length`` bytes at ``physical`` are at ``logical`` in ``volume``."""

    volume: int
    logical: int
    physical: int
    length: int


def vmfs_uuid(raw: bytes) -> str | None:
    """An identifier as VMware writes it: time, time, random number, MAC address."""
    if not any(raw):
        return None
    return f"{raw[3::-1].hex()}-{raw[7:3:-1].hex()}-{raw[9:7:-1].hex()}-{raw[10:].hex()}"


def read_device(view: View) -> Any:
    """The device's header. Raises NotThisFormat and ShortRead."""
    device = read_struct(view, DEVICE, HEADER_AT)
    if device.magic.to_bytes(4, "little") != MAGIC or not 1 <= device.majorVersion <= 0xFF:
        raise NotThisFormat(f"no device header: magic {device.magic:#x}, version {device.majorVersion}")
    return device


def read_volumes(view: View, device: Any) -> list[Any]:
    """The volumes that have extents on the device. Raises NotThisFormat and ShortRead."""
    most = VOLUMES_CAP if device.majorVersion < 6 else 1
    if not 0 <= device.numVolumes <= most:
        raise NotThisFormat(f"{device.numVolumes} volumes on one device")
    raw = view.read(HEADER_AT + _header_size(device), device.numVolumes * VOLUME_SIZE)
    return [parse_struct(raw, VOLUME, number * VOLUME_SIZE) for number in range(device.numVolumes)]


def read_extents(view: View, device: Any) -> Iterator[Extent]:
    """The extents in use, in the order of the device. Raises NotThisFormat, ShortRead and ReadError."""
    left = device.numPEs
    if left > EXTENTS_CAP:
        raise NotThisFormat(f"{left} extents on one device")
    for place in _tables(view, device):
        count = min(left, EXTENTS_PER_MAP)
        raw = view.source.read_at(place, count * EXTENT_SIZE)
        if len(raw) != count * EXTENT_SIZE:
            raise ShortRead(f"a table of extents at {place}")
        for at in range(0, len(raw), EXTENT_SIZE):
            used, _, volume, physical, logical, length = _EXTENT.unpack_from(raw, at)
            if used:
                yield Extent(volume, logical, physical, length)
        left -= count
        if not left:
            return
    raise NotThisFormat(f"the tables of extents end {left} extents early")


def _header_size(device: Any) -> int:
    """From version 6 on, structures are as large as the disk's blocks want."""
    if device.majorVersion < 6:
        return BLOCK
    size: int = device.mdAlignment
    if size not in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536):
        raise NotThisFormat(f"metadata aligned to {size} bytes")
    return size


def _tables(view: View, device: Any) -> Iterator[int]:
    """Where the tables of extents lie, 8192 extents each, each behind a bitmap."""
    # Volumes, names of devices and what is reserved take 512 KiB in all versions.
    first = _header_size(device) + 1024 * BLOCK
    bitmap = (
        EXTENTS_PER_MAP // 8 if device.majorVersion < 6 else max(_header_size(device), EXTENTS_PER_MAP // 8)
    )
    region, maps, following = HEADER_AT, device.numPEMaps or 1, device.extDevMetadataOffset
    seen = {region}
    while True:
        for number in range(min(maps, MAPS_PER_REGION)):
            yield region + first + bitmap + number * (bitmap + EXTENTS_PER_MAP * EXTENT_SIZE)
        if not following or following in seen or len(seen) > EXTENTS_CAP // EXTENTS_PER_MAP:
            return
        seen.add(following)
        extended = read_struct(view, EXTENDED, following)
        if extended.magic != device.magic:
            return
        region, maps, following = following, extended.numPEMaps, extended.nextOffset


def _time(stamp: int) -> str | None:
    return unix_time(stamp // 1_000_000, stamp % 1_000_000 * 1000)


def _volume_facts(volume: Any) -> Json:
    return {
        "name": text(volume.name),
        "uuid": vmfs_uuid(volume.uuid),
        "snapshot_id": volume.snapID,
        "size": volume.logicalSize,
        "state": STATES[volume.state] if volume.state < len(STATES) else str(volume.state),
        "generation": volume.generation,
        "created": _time(volume.creationTimeUS),
        "devices": volume.numDevs,
        "first_extent": volume.firstPE,
        "last_extent": volume.lastPE,
    }


def parse(view: View) -> Identity:
    """Read the device's header and the volumes on it."""
    device = read_device(view)
    problems: list[Problem] = []
    volumes: list[Any] = []
    try:
        volumes = read_volumes(view, device)
    except (NotThisFormat, ShortRead, ReadError) as error:
        problems.append(Problem(Code.DAMAGED, f"the volumes of the device cannot be read: {error}"))
    if device.totalBytes > view.size:
        message = f"the device has {device.totalBytes} bytes; here are {view.size}"
        problems.append(Problem(Code.TRUNCATED, message))
    details: dict[str, Json] = {
        "version": f"{device.majorVersion}.{device.minorVersion}",
        "device_id": vmfs_uuid(device.devID),
        "vendor": text(device.vendor),
        "model": text(device.model),
        "disk_id": text(device.id),
        "lun": device.lun,
        "disk_block_size": device.diskBlockSize,
        "total_bytes": device.totalBytes,
        "data_offset": device.dataOffset,
        "extents": device.numPEs,
        "generation": device.generation,
        "locked_by": vmfs_uuid(device.lockedBy),
        "volumes": [_volume_facts(volume) for volume in volumes],
    }
    # libblkid looks at one place for the name of the first volume, where version 6 does not have it.
    said = view.glance(HEADER_AT + _UUID_AT, _UUID_LENGTH)
    group = None
    if volumes:
        first = volumes[0]
        group = Membership(
            type="vmfs_lvm",
            uuid=f"{vmfs_uuid(first.uuid)}" + (f"-snap-{first.snapID:x}" if first.snapID > 1 else ""),
            name=text(first.name),
            role=f"extents {first.firstPE} to {first.lastPE}",
            members=first.numDevs or None,
            identity=vmfs_uuid(device.devID),
        )
    return Identity(
        type="VMFS_volume_member",
        fstype="vmfs",
        uuid=(text(said) or "").strip() or None,
        uuid_sub=vmfs_uuid(device.devID),
        version=str(device.majorVersion),
        created=_time(device.initTimeUS),
        modified=_time(device.modTimeUS),
        group=group,
        offset=HEADER_AT,
        details=details,
        problems=tuple(problems),
    )


FORMAT = Format(
    name="vmfs_lvm",
    title="VMFS volume member",
    specification="https://github.com/glandium/vmfs-tools",
    usage=Usage.RAID,
    types=("VMFS_volume_member",),
    parse=parse,
    signatures=(Signature(MAGIC, HEADER_AT),),
    precedence=Precedence.VOLUME_GROUP,
)
