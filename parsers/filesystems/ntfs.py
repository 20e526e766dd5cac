"""NTFS.

Layout: linux-ntfs project, "NTFS Documentation" (Richard Russon, Yuval Fledel): $Boot, FILE record, $Volume
https://flatcap.github.io/linux-ntfs/ntfs/
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from construct import Bytes, Int8sl, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import (
    FileReader,
    Format,
    Identity,
    Json,
    KernelMount,
    NotThisFormat,
    Signature,
    TableRule,
    ToolMount,
    Usage,
)
from pyimount.formats.allocation import Allocation
from pyimount.formats.layouts import Layout, layout, parse_struct
from pyimount.formats.notation import filetime, flag_names, guid_text, text
from pyimount.parsers.filesystems.ntfs_allocation import count_free
from pyimount.parsers.filesystems.ntfs_records import (
    AT_ATTRIBUTE_LIST,
    AT_DATA,
    Volume,
    attributes,
    data_size,
    with_extensions,
)
from pyimount.parsers.filesystems.ntfs_state import ROOT, hibernation, log_state
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

BOOT_SECTOR = layout(
    lambda: Struct(
        "jump" / Bytes(3),
        "oem_id" / Bytes(8),
        "bytes_per_sector" / Int16ul,
        "sectors_per_cluster" / Int8ul,
        "reserved_fats_entries_sectors" / Bytes(7),  # a FAT has them, here they are zero
        "media_type" / Int8ul,
        "sectors_per_fat" / Int16ul,  # zero
        "geometry" / Bytes(4),
        "hidden_sectors" / Int32ul,
        "large_sectors" / Int32ul,  # zero
        "drive_and_flags" / Bytes(4),
        "number_of_sectors" / Int64ul,
        "mft_lcn" / Int64ul,
        "mftmirr_lcn" / Int64ul,
        "clusters_per_mft_record" / Int8sl,
        "reserved0" / Bytes(3),
        "clusters_per_index_record" / Int8sl,
        "reserved1" / Bytes(3),
        "volume_serial_number" / Int64ul,
    )
)
STANDARD_INFORMATION = layout(lambda: Struct("creation_time" / Int64ul, "last_data_change_time" / Int64ul))
VOLUME_INFORMATION = layout(
    lambda: Struct("reserved" / Bytes(8), "major_ver" / Int8ul, "minor_ver" / Int8ul, "flags" / Int16ul)
)

OEM_ID = b"NTFS    "
_OEM_AT = 3
BOOT_SIZE = 512
END_MARK = b"\x55\xaa"
SECTOR_SIZES = (512, 1024, 2048, 4096)
MAX_CLUSTER = 2 << 20
MAX_RECORD = 64 << 10
MFT, LOG_FILE, VOLUME = 0, 2, 3
MIRRORED = 4
"""Records of the $MFT that $MFTMirr repeats."""

AT_STANDARD_INFORMATION = 0x10
AT_OBJECT_ID = 0x40
AT_VOLUME_NAME = 0x60
AT_VOLUME_INFORMATION = 0x70
WANTED = {
    MFT: frozenset((AT_ATTRIBUTE_LIST, AT_DATA)),
    LOG_FILE: frozenset((AT_ATTRIBUTE_LIST, AT_DATA)),
    VOLUME: frozenset((AT_STANDARD_INFORMATION, AT_OBJECT_ID, AT_VOLUME_NAME, AT_VOLUME_INFORMATION)),
}

DIRTY = 0x1
VOLUME_FLAGS = {
    0x1: "dirty",
    0x2: "resize_log_file",
    0x4: "upgrade_on_mount",
    0x8: "mounted_on_nt4",
    0x10: "delete_usn_underway",
    0x20: "repair_object_id",
    0x4000: "chkdsk_underway",
    0x8000: "modified_by_chkdsk",
}


class _Geometry:
    """The figures of a boot sector, if they can be true together; sizes and offsets are bytes."""

    __slots__ = ("boot", "cluster", "mft", "mirror", "record", "size")

    def __init__(self, boot: Any) -> None:
        sector, per_cluster = boot.bytes_per_sector, boot.sectors_per_cluster
        if boot.oem_id != OEM_ID:
            raise NotThisFormat(f"an OEM id of {boot.oem_id!r}")
        if not 256 <= sector <= 4096 or sector & (sector - 1):
            raise NotThisFormat(f"sectors of {sector} bytes")
        if 240 <= per_cluster <= 249:  # a negative power of two, where 128 sectors do not suffice
            per_cluster = 1 << (256 - per_cluster)
        elif per_cluster == 0 or per_cluster > 128 or per_cluster & (per_cluster - 1):
            raise NotThisFormat(f"clusters of {per_cluster} sectors")
        if any(boot.reserved_fats_entries_sectors) or boot.sectors_per_fat or boot.large_sectors:
            raise NotThisFormat("has what only a FAT has")
        self.boot = boot
        self.cluster: int = sector * per_cluster
        self.record = _record_size(boot.clusters_per_mft_record, self.cluster)
        self.size: int = boot.number_of_sectors * sector
        clusters = boot.number_of_sectors // per_cluster
        if not 0 < self.size < 1 << 63 or self.cluster > MAX_CLUSTER or not 256 <= self.record <= MAX_RECORD:
            raise NotThisFormat(f"{self.size} bytes, clusters of {self.cluster}, records of {self.record}")
        if not 0 < boot.mft_lcn <= clusters or boot.mftmirr_lcn > clusters:
            raise NotThisFormat(f"$MFT at {boot.mft_lcn}, $MFTMirr at {boot.mftmirr_lcn}, of {clusters}")
        self.mft: int = boot.mft_lcn * self.cluster
        self.mirror: int = boot.mftmirr_lcn * self.cluster


def _record_size(clusters: int, cluster: int) -> int:
    """Bytes in a record of so many clusters; a negative number is a power of two."""
    return clusters * cluster if clusters >= 0 else 1 << min(-clusters, 31)


def parse(view: View) -> Identity:
    """The identity of an NTFS, from a backup boot sector if need be."""
    try:
        return _identity(view, 0)
    except NotThisFormat:
        for offset in _copies(view):
            if view.peek(offset + _OEM_AT, 8) == OEM_ID:
                try:
                    return _identity(view, offset)
                except (NotThisFormat, ShortRead):
                    continue
        raise


def _copies(view: View) -> Iterator[int]:
    """Where a backup boot sector may lie: the last sector; before NT 4 the one in the middle."""
    for sector in SECTOR_SIZES:
        yield view.size - sector
    for sector in SECTOR_SIZES:
        yield view.size // sector // 2 * sector


def _identity(view: View, offset: int) -> Identity:
    raw = view.read(offset, BOOT_SIZE)
    boot = parse_struct(raw, BOOT_SECTOR)
    geometry = _Geometry(boot)
    problems = []
    if offset:
        # The copy must know where it is, and what it says of the $MFT must be true.
        behind = offset - geometry.size
        if not 0 <= behind < geometry.cluster and abs(offset - geometry.size // 2) >= geometry.cluster:
            raise NotThisFormat("no backup boot sector of this place")
        _records(view, geometry, geometry.mft)
        message = f"the boot sector at 0 is unusable; the facts come from the copy at {offset}"
        problems.append(Problem(Code.BACKUP_USED, message))
    elif not raw.endswith(END_MARK):
        problems.append(Problem(Code.DAMAGED, "the boot sector does not end in 55 AA"))
    details: dict[str, Json] = {
        "cluster_size": geometry.cluster,
        "sectors": boot.number_of_sectors,
        "hidden_sectors": boot.hidden_sectors,
        "mft_offset": geometry.mft,
        "mft_record_size": geometry.record,
        "mftmirr_offset": geometry.mirror,
        "index_record_size": _record_size(boot.clusters_per_index_record, geometry.cluster),
    }
    if offset:
        details["copy_at"] = offset
    label = created = modified = state = allocation = None
    before = len(problems)
    files = _system_files(view, geometry, problems)
    if files and len(problems) > before:
        details["mft_from_mirror"] = True
    if files:
        named = files[VOLUME]
        label = text(named.get(AT_VOLUME_NAME, b""), "utf-16-le")
        # $Volume is made with the file system, and changed when that is renamed or upgraded.
        if times := _parsed(named, AT_STANDARD_INFORMATION, STANDARD_INFORMATION):
            created, modified = filetime(times.creation_time), filetime(times.last_data_change_time)
        if noted := _parsed(named, AT_VOLUME_INFORMATION, VOLUME_INFORMATION):
            state = "dirty" if noted.flags & DIRTY else "clean"
            details["ntfs_version"] = f"{noted.major_ver}.{noted.minor_ver}"
            details["volume_flags"] = [*flag_names(noted.flags, VOLUME_FLAGS, "flag")]
        if len(object_id := named.get(AT_OBJECT_ID, b"")) >= 16:
            details["object_id"] = guid_text(object_id[:16])
        if (volume := _volume(view, geometry, files)) is not None:
            state = _left(volume, files, details) or state
            clusters = boot.number_of_sectors * boot.bytes_per_sector // geometry.cluster
            allocation = Allocation(view, partial(count_free, volume, clusters))
    return Identity(
        type="ntfs",
        fstype="ntfs",
        label=label,
        uuid=f"{boot.volume_serial_number:016X}" if boot.volume_serial_number else None,
        block_size=boot.bytes_per_sector,
        fs_size=geometry.size,
        created=created,
        modified=modified,
        state=state,
        offset=offset,
        details=details,
        problems=tuple(problems),
        allocation=allocation,
    )


def _volume(view: View, geometry: _Geometry, files: dict[int, dict[int, bytes]]) -> Volume | None:
    """The volume by its $MFT; None where that has no runs."""
    base = files[MFT].get(AT_DATA, b"")
    try:
        data_size(base)
    except NotThisFormat:
        return None
    volume = Volume(view.glance, geometry.cluster, geometry.record, (base,))
    try:
        whole = with_extensions(volume, files[MFT], frozenset((AT_DATA,)))
    except NotThisFormat:
        return volume
    return volume.replaced(mft=whole[AT_DATA])


def _left(volume: Volume, files: dict[int, dict[int, bytes]], details: dict[str, Json]) -> str | None:
    """How the log and the hibernation file say that it was left, into ``details`` too; None: no objection."""
    details["mft_size"] = data_size(volume.mft[0])
    try:
        journal = with_extensions(volume, files[LOG_FILE], frozenset((AT_DATA,)))
    except NotThisFormat:
        journal = {}
    log = log_state(volume, journal.get(AT_DATA, ()))
    sleep = hibernation(volume)
    details["log"] = None if log is None else {**log}
    details["hiberfil"] = sleep
    if sleep is not None and sleep["hibernated"]:
        return "hibernated"
    return None if log is None or log["clean"] else "dirty"


def _system_files(view: View, geometry: _Geometry, problems: list[Problem]) -> dict[int, dict[int, bytes]]:
    """The attributes of $MFT and $Volume, by record number; none where both copies are unusable."""
    try:
        return _records(view, geometry, geometry.mft)
    except NotThisFormat as error:
        damage = f"the $MFT at {geometry.mft} is unusable ({error})"
    try:
        found = _records(view, geometry, geometry.mirror)
    except NotThisFormat:
        message = f"{damage}, and so is its mirror at {geometry.mirror}: label and state are not known"
        problems.append(Problem(Code.DAMAGED, message))
        return {}
    problems.append(Problem(Code.BACKUP_USED, f"{damage}; the facts come from its mirror"))
    return found


def _records(view: View, geometry: _Geometry, offset: int) -> dict[int, dict[int, bytes]]:
    size = geometry.record
    # As far as the root directory, which is wanted next.
    raw = view.glance(offset, (MIRRORED if offset == geometry.mirror else ROOT + 1) * size)
    return {
        number: attributes(raw[number * size : (number + 1) * size], size, wanted)
        for number, wanted in WANTED.items()
    }


def _parsed(attributes: dict[int, bytes], kind: int, declared: Layout) -> Any:
    """What an attribute holds; None where there is none, or it is too short."""
    value = attributes.get(kind, b"")
    return parse_struct(value, declared) if len(value) >= declared.size else None


FORMAT = Format(
    name="ntfs",
    title="NTFS",
    specification="https://flatcap.github.io/linux-ntfs/ntfs/",
    usage=Usage.FILESYSTEM,
    types=("ntfs",),
    parse=parse,
    signatures=(
        Signature(OEM_ID, _OEM_AT),
        *(Signature(OEM_ID, _OEM_AT - sector, copy=True, lasting=True) for sector in SECTOR_SIZES),
    ),
    with_table=TableRule.HIDES,
    mounts=(
        # What it replays of a dirty volume's log stays in memory, when mounted read-only.
        # $MFT and the like are evidence as well.
        KernelMount(
            "ntfs3",
            ("iocharset=utf8", "showmeta"),
            written=("iocharset=utf8",),
            owner=("uid", "gid", "umask"),
        ),
        ToolMount(
            "ntfs-3g",
            ("-o", "ro,show_sys_files,streams_interface=windows", "{source}", "{at}"),
            owner=("uid", "gid", "umask"),
            on_device=True,
            stands_in=True,
        ),
    ),
    files=(
        FileReader("libyal", "pyfsntfs", "libfsntfs-python"),
        FileReader("ntfs", "dissect.ntfs", "dissect.ntfs"),
    ),
)
