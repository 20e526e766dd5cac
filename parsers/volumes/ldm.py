"""Windows dynamic disks: members of a disk group of the Logical Disk Manager, on MBR and on GPT.

Layout: Richard Russon and others, LDM documentation of the Linux-NTFS project ("ldmdoc").
https://flatcap.github.io/linux-ntfs/ldm/
The GPT variant: Microsoft, "Windows and GPT FAQ"; names of later fields: libldm. Sectors of 4096 bytes:
all places count in them, and structures stand at the start of theirs (DiskAccessLibrary writes such disks).
"""

from collections.abc import Iterator

from pyimount.formats import (
    Format,
    Identity,
    Json,
    Membership,
    NotThisFormat,
    Precedence,
    Signature,
    TableRule,
    Usage,
)
from pyimount.formats.notation import filetime, text
from pyimount.parsers.volumes.ldm_header import COPIES, MAGIC, MBR_SECTOR, PrivateHeader, header_at
from pyimount.problems import Code, Problem
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

SECTOR_SIZES = (512, 4096)
_GPT_MAGIC = b"EFI PART"
METADATA_TYPE = "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3"
OWN_PARTITIONS = {
    "0x42": "ldm_data",
    METADATA_TYPE: "ldm_metadata",
    "af9b60a0-1431-4f62-bc68-3311714a69ad": "ldm_data",
}
"""Types of the partitions that a dynamic disk has for show: its volumes lie in them as they like."""
_METADATA_TYPE_RAW = bytes.fromhex("aac808588f7ee04285d2e1e90434cfb3")
_GPT_ENTRIES = 16384
_DATABASE_SECTORS = 2048


def parse(view: View) -> Identity:
    """Read the private header, and the group's database as far as it is there."""
    header = find_header(view)
    problems = [*header.problems]
    details: dict[str, Json] = {
        "disk_id": header.disk_id,
        "host_id": text(header.said.host_id),
        "disk_group_id": header.group_id,
        "disk_group_name": header.group_name,
        "sector_size": header.unit,
        "metadata_offset": header.private[0],
        "metadata_size": header.private[1],
        "data_offset": header.public[0],
        "data_size": header.public[1],
        "header_offset": header.at,
    }
    name, members = None, None
    as_of: tuple[int, ...] = ()
    try:
        # Behind the signature: no other disk needs it.
        from pyimount.parsers.volumes.ldm_database import database_facts, read_database

        database = read_database(view, header)
    except (NotThisFormat, ShortRead, ReadError) as error:
        problems.append(Problem(Code.DAMAGED, f"the database of the disk group cannot be read: {error}"))
    else:
        problems += database.problems
        members = len(database.disks) or None
        as_of = (database.commit_sequence,)
        name = next((disk.name for disk in database.disks.values() if disk.guid == header.disk_id), None)
        details |= {"disk_name": name, **database_facts(database, header.unit)}
    major, minor = header.said.version_major, header.said.version_minor
    return Identity(
        type="ldm_member",
        label=header.group_name,
        uuid=header.group_id,
        uuid_sub=header.disk_id,
        version=f"{major}.{minor}",
        modified=filetime(header.said.last_update),
        group=Membership(
            type="ldm",
            uuid=header.group_id,
            name=header.group_name,
            role=name,
            members=members,
            identity=header.disk_id,
            as_of=as_of,
        ),
        offset=header.at,
        checked=header.checked,
        details=details,
        problems=tuple(problems),
        owns=OWN_PARTITIONS,
    )


def find_header(view: View) -> PrivateHeader:
    """The first private header that is sound, else the first plausible one. Raises NotThisFormat."""
    damaged: PrivateHeader | None = None
    used = 0
    for at, unit in _places(view):
        header = header_at(view, at, unit)
        if header is None:
            used += 1
            continue
        if header.checked:
            if damaged is None and not used:
                return header
            what = "damaged" if damaged else "missing"
            problem = Problem(Code.BACKUP_USED, f"the private header is {what}; the copy at {at} was read")
            return header.replaced(problems=(problem,))
        damaged = damaged or header
    if damaged is None:
        raise NotThisFormat("no private header of this disk")
    message = f"the checksum of the private header at {damaged.at} does not match"
    return damaged.replaced(problems=(Problem(Code.BAD_CHECKSUM, message),))


def _places(view: View) -> Iterator[tuple[int, int]]:
    """Where the header and its copies may lie, and the sector size that goes with it; the first one first."""
    partitions = list(_metadata_partitions(view))
    if partitions:
        for start, end, unit in partitions:
            yield end - unit, unit
            yield start + COPIES[0] * unit, unit
        return
    sizes = [unit for unit in SECTOR_SIZES if view.glance(MBR_SECTOR * unit, len(MAGIC)) == MAGIC]
    for unit in sizes or SECTOR_SIZES[:1]:
        yield MBR_SECTOR * unit, unit
        last = view.size // unit
        yield (last - 1) * unit, unit
        yield (last - _DATABASE_SECTORS + COPIES[0]) * unit, unit


def _metadata_partitions(view: View) -> Iterator[tuple[int, int, int]]:
    """Start, end and sector size of what a GUID partition table calls LDM metadata."""
    for unit in SECTOR_SIZES:
        tail = view.size // unit * unit - unit
        for at, entries in ((unit, 2 * unit), (tail, tail - _GPT_ENTRIES)):
            if view.glance(at, len(_GPT_MAGIC)) != _GPT_MAGIC:
                continue
            # Few disks are dynamic: the table is read only when the type stands in it somewhere.
            if _METADATA_TYPE_RAW not in view.glance(max(0, entries), _GPT_ENTRIES):
                continue
            from pyimount.parsers.partitions import gpt

            try:
                table = gpt.parse(view)
            except (NotThisFormat, ShortRead):
                continue
            for partition in table.partitions:
                if partition.type == METADATA_TYPE:
                    yield partition.offset, partition.offset + partition.size, table.sector_size
            return


FORMAT = Format(
    name="ldm",
    title="Windows dynamic disk",
    specification="https://flatcap.github.io/linux-ntfs/ldm/",
    usage=Usage.RAID,
    types=("ldm_member", "ldm_data", "ldm_metadata"),
    parse=parse,
    signatures=(
        Signature(MAGIC, MBR_SECTOR * SECTOR_SIZES[0]),
        Signature(MAGIC, MBR_SECTOR * SECTOR_SIZES[1]),
        Signature(MAGIC, -SECTOR_SIZES[0], align=SECTOR_SIZES[0]),
        Signature(_GPT_MAGIC, SECTOR_SIZES[0]),
        Signature(_GPT_MAGIC, SECTOR_SIZES[1]),
        Signature(_GPT_MAGIC, -SECTOR_SIZES[0], align=SECTOR_SIZES[0]),
    ),
    precedence=Precedence.VOLUME_GROUP,
    with_table=TableRule.SHARES,
)
