"""``--export``: the scan as blocks of ``KEY=value`` lines, as ``blkid -o export`` prints them.

Keys that libblkid has carry its names; the others are the report's, in capitals.
"""

from collections.abc import Iterator
from typing import Any

from pyimount.layers import DiskLayer, Scan, VolumeLayer

_SECTOR = 512
_ESCAPED = " \\\"'$`<>"

_BLKID_DETAILS = (
    "sec_type",
    "label_fatboot",
    "ext_journal",
    "system_id",
    "publisher_id",
    "application_id",
    "boot_system_id",
    "volume_id",
    "logical_volume_id",
    "volume_set_id",
    "data_preparer_id",
)
"""The further values of libblkid, which parsers keep in ``details`` under these names."""

_FACTS = ("fstype", "free", "used", "created", "modified", "mounted", "last_mountpoint", "state")


def blocks(scan: Scan, outermost: str | None = None) -> Iterator[str]:
    """One block for every disk and every volume, without the empty line between them.

    Those of the images in a volume's files follow it; ``outermost``: the path of the image that they are in.
    """
    for disk in scan.disks:
        yield _block(_of_disk(disk, outermost))
        for volume in scan.walk(disk):
            yield _block(_of_volume(scan, disk, volume, outermost))
            if volume.id in scan.within:
                for image in scan.within[volume.id].images:
                    yield from blocks(image.scan, outermost or disk.paths[0])


def _of_disk(disk: DiskLayer, outermost: str | None) -> Iterator[tuple[str, Any]]:
    yield "DEVNAME", disk.paths[0]
    yield "WITHIN", outermost
    yield "INDEX", disk.index
    yield "CONTAINER", disk.container.get("type")
    yield "SIZE", disk.size
    yield "SECTOR_SIZE", disk.sector_size
    yield "PTTYPE", disk.pttype
    yield "PTUUID", disk.ptuuid
    yield "PROBLEMS", ",".join(problem.code for problem in disk.problems)


def _of_volume(
    scan: Scan, disk: DiskLayer, volume: VolumeLayer, outermost: str | None
) -> Iterator[tuple[str, Any]]:
    yield "DEVNAME", disk.paths[0]
    yield "WITHIN", outermost
    yield "INDEX", volume.index
    yield "NAME", volume.name
    yield "FLAG", volume.flag
    yield "OFFSET", volume.disk_offset
    yield "SIZE", volume.size
    for name in ("label", "uuid", "uuid_sub", "version", "block_size"):
        yield name.upper(), getattr(volume, name)
    yield "FSSIZE", volume.fs_size
    yield "TYPE", volume.type
    yield "USAGE", volume.usage
    yield "PTTYPE", volume.pttype
    yield "PTUUID", volume.ptuuid
    for name in _BLKID_DETAILS:
        yield name.upper(), volume.details.get(name)
    if volume.slot is not None:
        parent = scan.parents(volume)[0]
        yield "PART_ENTRY_SCHEME", parent.pttype
        yield "PART_ENTRY_NAME", volume.part_name
        yield "PART_ENTRY_UUID", volume.part_uuid
        yield "PART_ENTRY_TYPE", volume.part_type
        yield "PART_ENTRY_FLAGS", ",".join(volume.part_flags)
        yield "PART_ENTRY_NUMBER", volume.index.rsplit(".", 1)[-1]
        if volume.disk_offset is not None and volume.size is not None:
            yield "PART_ENTRY_OFFSET", volume.disk_offset // _SECTOR
            yield "PART_ENTRY_SIZE", volume.size // _SECTOR
        yield "PART_TYPE_NAME", volume.part_type_name
    for name in _FACTS:
        yield name.upper(), getattr(volume, name)
    if volume.locked is not None:
        yield "LOCKED", int(volume.locked)
    if volume.group is not None:
        yield "GROUP_TYPE", volume.group.type
        yield "GROUP_UUID", volume.group.uuid
        yield "GROUP_NAME", volume.group.name
        yield "GROUP_ROLE", volume.group.role
        yield "GROUP_MEMBERS", volume.group.members
        yield "GROUP_PRESENT", volume.group.present
    found = scan.within[volume.id].problems if volume.id in scan.within else ()
    yield "PROBLEMS", ",".join(problem.code for problem in (*volume.problems, *found))


def _block(pairs: Iterator[tuple[str, Any]]) -> str:
    return "\n".join(f"{key}={_escaped(str(value))}" for key, value in pairs if value not in (None, ""))


def _escaped(value: str) -> str:
    return "".join(
        f"\\{char}"
        if char in _ESCAPED
        else char
        if char.isprintable()
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in value
    )
