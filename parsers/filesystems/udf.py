"""UDF, the OSTA Universal Disk Format, 1.02 to 2.60, on any block size.

ECMA-167, parts 2 "Volume Recognition" and 3 "Volume Structure" (descriptors: ``udf_descriptors.py``);
OSTA, "Universal Disk Format Specification", 2 "Basic Restrictions & Requirements"
https://ecma-international.org/publications-and-standards/standards/ecma-167/
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from construct import Array, Int8ul, Int16ul, Struct

from pyimount.formats import Format, Identity, Json, KernelMount, NotThisFormat, Signature, TableRule, Usage
from pyimount.formats.allocation import Allocation
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import text
from pyimount.parsers.filesystems.ecma import recorded_time
from pyimount.parsers.filesystems.udf_allocation import count_free, has_space
from pyimount.parsers.filesystems.udf_descriptors import (
    ANCHOR,
    INTEGRITY,
    INTEGRITY_USE,
    LOGICAL,
    LOGICAL_ID,
    LV_INFO,
    PRIMARY_ID,
    USE_ID,
    last_integrity,
    read_descriptor,
    read_sequence,
)
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

TIMESTAMP = layout(
    lambda: Struct(
        "TypeAndTimezone" / Int16ul,
        "Year" / Int16ul,
        "fields" / Array(8, Int8ul),  # month, day, hour, minute, second, 1/100 s, 1/10000 s, 1/1000000 s
    )
)

RECOGNITION = 32768
SECTOR = 2048
BLOCK_SIZES = (2048, 512, 4096, 1024, 8192, 16384, 32768)
ANCHORS = (256, 512)
ANCHORS_FROM_END = (1, 257)

MAX_RECOGNITION = 64
MAX_PARTITIONS = 64

STRUCTURES = (b"BEA01", b"BOOT2", b"CD001", b"CDW02", b"NSR02", b"NSR03", b"TEA01")
COMPRESSED_UNICODE = b"\0OSTA Compressed Unicode"
DOMAIN = b"\0*OSTA UDF Compliant"
OPEN, CLOSED = 0, 1
UNKNOWN = 0xFFFFFFFF
ACCESS = {0: "pseudo-overwritable", 1: "read-only", 2: "write-once", 3: "rewritable", 4: "overwritable"}
VIRTUAL = "*UDF Virtual Partition"


def parse(view: View) -> Identity:
    """The identity of a UDF file system.

    One that was formatted anew with blocks of another size keeps the anchors of before: the reading that was
    recorded last counts.
    """
    structures = _recognition(view)
    readings, why = [], NotThisFormat("no anchor volume descriptor pointer")
    for anchor in _anchors(view):
        try:
            readings.append(_read(view, structures, anchor))
        except NotThisFormat as error:
            why = error
    if not readings:
        raise why
    # Of equal worth the first: the usual size of blocks.
    chosen = max(readings, key=lambda reading: (reading.checked, _recorded(reading)))
    others = [reading for reading in readings if reading is not chosen]
    if not others:
        return chosen
    said = ", ".join(
        f"blocks of {other.block_size}: {other.label or other.uuid}, {_recorded(other) or 'no time'}"
        for other in others
    )
    first = f"formatted more than once; with blocks of {chosen.block_size} it was recorded last"
    message = f"{first}. Also reads with {said}"
    return chosen.replaced(problems=(*chosen.problems, Problem(Code.AMBIGUOUS, message)))


def _recorded(reading: Identity) -> str:
    """When a reading was written last, as far as it tells."""
    return max((reading.created or "")[:19], (reading.modified or "")[:19])


def _read(view: View, structures: list[str], pointed: tuple[int, int, Any]) -> Identity:
    """What the volume is, going by one anchor: its block size, its block, and what it says."""
    block_size, anchor_at, anchor = pointed
    nsr = next((name for name in structures if name.startswith("NSR")), None)
    problems: list[Problem] = []
    if nsr is None:
        # Without it no system mounts the volume; an anchor with a checksum that holds is no accident.
        problems.append(Problem(Code.DAMAGED, "the volume recognition sequence names no UDF"))
    sequence = read_sequence(view, block_size, anchor.MainLocation, anchor.MainLength)
    if not sequence.complete:
        reserve = read_sequence(view, block_size, anchor.ReserveLocation, anchor.ReserveLength)
        if reserve.complete or (reserve.found and not sequence.found):
            message = "the main volume descriptor sequence is unusable; the facts come from the reserve one"
            problems.append(Problem(Code.BACKUP_USED, message))
            sequence = reserve
    if sequence.broken:
        message = f"volume descriptors with a wrong checksum at blocks {', '.join(map(str, sequence.broken))}"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    if not sequence.complete:
        if nsr is None:
            raise NotThisFormat("neither recognition sequence nor volume descriptors")
        problems.append(Problem(Code.DAMAGED, "the primary or the logical volume descriptor is missing"))
    primary, _ = sequence.found.get(PRIMARY_ID, (None, b""))
    logical, logical_raw = sequence.found.get(LOGICAL_ID, (None, b""))
    use, _ = sequence.found.get(USE_ID, (None, b""))
    details: dict[str, Json] = {"recognition": [*structures], "anchor": anchor_at}
    revision, label, created, maps = 0, None, None, list[str]()
    if primary is not None:
        created = _time(primary.RecordingDateandTime)
        details |= _of_primary(primary)
    if logical is not None:
        if logical.DomainIdentifier.rstrip(b"\0") == DOMAIN:
            revision = logical.UDFRevision
        if logical.DescriptorCharacterSet.rstrip(b"\0") == COMPRESSED_UNICODE:
            label = _dstring(logical.LogicalVolumeIdentifier)
        maps = [*_partition_maps(logical_raw, logical)]
        details |= {
            "logical_volume_id": label,
            "logical_block_size": logical.LogicalBlockSize,
            "hard_write_protect": bool(logical.DomainFlags & 1),
            "soft_write_protect": bool(logical.DomainFlags & 2),
            "partition_maps": [*maps],
        }
    if use is not None and use.ImplementationIdentifier[:24].rstrip(b"\0") == LV_INFO:
        details["publisher_id"] = _dstring(use.LVInfo1)
        details["organization"] = _dstring(use.LVInfo2)
        details["contact"] = _dstring(use.LVInfo3)
    details["partitions"] = [
        {
            "number": number,
            "offset": partition.PartitionStartingLocation * block_size,
            "size": partition.PartitionLength * block_size,
            "access": ACCESS.get(partition.AccessType, str(partition.AccessType)),
            "contents": text(partition.PartitionContents[1:24]),
        }
        for number, partition in sorted(sequence.partitions.items())
    ]
    end = max(
        (entry.PartitionStartingLocation + entry.PartitionLength for entry in sequence.partitions.values()),
        default=0,
    )
    # A write-once disc's partition is all that could be recorded, not what was.
    growing = VIRTUAL in maps or any(entry.AccessType == 2 for entry in sequence.partitions.values())
    free, modified, state = None, None, None
    partitions = tuple(sequence.partitions.values())
    if logical is not None and logical.NumberofPartitionMaps and logical.IntegrityLength:
        try:
            integrity = last_integrity(view, block_size, logical.IntegrityLocation, logical.IntegrityLength)
        except (NotThisFormat, ShortRead):
            problems.append(Problem(Code.DAMAGED, "the logical volume integrity descriptor cannot be read"))
        else:
            at, descriptor, whole = integrity
            if not whole:
                message = f"the checksum of the logical volume integrity descriptor at block {at} is wrong"
                problems.append(Problem(Code.BAD_CHECKSUM, message))
            modified = _time(descriptor.RecordingDateandTime)
            free, facts = _space_and_use(view, at * block_size, block_size, descriptor)
            if growing:
                free = None  # the descriptor cannot be written again
            else:
                state = {OPEN: "dirty", CLOSED: "clean"}.get(descriptor.IntegrityType)
            # Some writers of 2.60 put 2.50 in one of the places.
            revision = max((revision, *(facts.get(f"udf_{kind}_revision", 0) for kind in ("read", "write"))))
            details |= {
                name: _revision(value) if name.endswith("_revision") else value
                for name, value in facts.items()
            }
    return Identity(
        type="udf",
        fstype="udf",
        label=label,
        uuid=_uuid(primary),
        version=_revision(revision) if revision else None,
        block_size=block_size,
        fs_size=None if growing or not end else end * block_size,
        free=free if state == "clean" else None,
        free_from="logical volume integrity descriptor",
        created=created,
        modified=modified,
        state=state,
        offset=RECOGNITION,
        checked=not sequence.broken and sequence.complete,
        details=details,
        problems=tuple(problems),
        allocation=Allocation(view, partial(count_free, partitions, block_size))
        if has_space(partitions) and not growing
        else None,
        free_unknown="what is left of a medium that is written once, its drive alone tells"
        if growing
        else "its partitions name no bitmap or table of free space",
    )


def _recognition(view: View) -> list[str]:
    """The names in the volume recognition sequence, up to NSR and its end."""
    found: list[str] = []
    # Structures lie 2048 bytes apart, or one to a block where blocks are larger.
    for step in (SECTOR, *(size for size in BLOCK_SIZES if size > SECTOR)):
        found = []
        for number in range(MAX_RECOGNITION):
            name = view.peek(RECOGNITION + number * step + 1, 5)
            if name not in STRUCTURES:
                break
            found.append(name.decode("ascii"))
            if name == b"TEA01" and any(entry.startswith("NSR") for entry in found):
                break
        if any(entry.startswith("NSR") for entry in found):
            break
    return found


def _anchors(view: View) -> list[tuple[int, int, Any]]:
    """For each block size with an anchor: its bytes, the anchor's block, and what the anchor says.

    Those at the end count only where there is none in front.
    """
    known = (view.sector_size,) if view.sector_size in BLOCK_SIZES else ()
    sizes = tuple(dict.fromkeys((*known, *BLOCK_SIZES)))
    for places in (ANCHORS, tuple(-place for place in ANCHORS_FROM_END)):
        found = []
        for block_size in sizes:
            for place in places:
                block = place if place > 0 else view.size // block_size + place
                if block <= 0 or view.peek(block * block_size, 512)[:2] != b"\x02\x00":
                    continue
                try:
                    raw, whole = read_descriptor(view, block, block_size)
                except (NotThisFormat, ShortRead):
                    continue
                if whole:
                    found.append((block_size, block, parse_struct(raw, ANCHOR)))
                    break
        if found:
            return found
    return []


def _space_and_use(
    view: View, at: int, block_size: int, descriptor: Any
) -> tuple[int | None, dict[str, Any]]:
    """Free bytes, and the implementation use of the integrity descriptor at ``at``."""
    count = descriptor.NumberofPartitions
    tables = at + INTEGRITY.size
    if count > MAX_PARTITIONS or tables + 8 * count > at + block_size:
        return None, {}
    raw = view.read(tables, 4 * count)
    blocks = [int.from_bytes(raw[i : i + 4], "little") for i in range(0, len(raw), 4)]
    known = [number for number in blocks if number != UNKNOWN]
    free = sum(known) * block_size if known else None
    if descriptor.LengthofImplementationUse < INTEGRITY_USE.size:
        return free, {}
    use = read_struct(view, INTEGRITY_USE, tables + 8 * count)
    return free, {
        "files": use.NumberofFiles,
        "directories": use.NumberofDirectories,
        "udf_read_revision": use.MinimumUDFReadRevision,
        "udf_write_revision": use.MinimumUDFWriteRevision,
        "udf_max_write_revision": use.MaximumUDFWriteRevision,
    }


def _of_primary(primary: Any) -> dict[str, Json]:
    unicode = primary.DescriptorCharacterSet.rstrip(b"\0") == COMPRESSED_UNICODE
    application = primary.ApplicationIdentifier[1:24] or b""
    if not application.lstrip(b"*").strip(b"\0"):
        application = primary.ImplementationIdentifier[1:24]
    return {
        "volume_id": _dstring(primary.VolumeIdentifier) if unicode else None,
        "volume_set_id": _dstring(primary.VolumeSetIdentifier) if unicode else None,
        "application_id": text(application.removeprefix(b"*")),
        "volume_sequence_number": primary.VolumeSequenceNumber,
        "max_volume_sequence_number": primary.MaximumVolumeSequenceNumber,
    }


def _partition_maps(raw: bytes, logical: Any) -> Iterator[str]:
    """The kinds of the partition maps behind a logical volume descriptor."""
    at, end = LOGICAL.size, LOGICAL.size + logical.MapTableLength
    for _ in range(min(logical.NumberofPartitionMaps, MAX_PARTITIONS)):
        piece = raw[at : min(end, at + 64)]
        if len(piece) < 6 or piece[1] < 6:
            return
        yield "physical" if piece[0] == 1 else text(piece[5:28]) or f"type {piece[0]}"
        at += piece[1]


def _dstring(raw: bytes) -> str | None:
    """A name in OSTA Compressed Unicode; the last byte is its length."""
    body = raw[1 : max(1, min(raw[-1], len(raw) - 1))]
    if raw[0] == 8:
        return text(body, "latin-1")
    return text(body, "utf-16-be") if raw[0] == 16 else None


def _uuid(primary: Any) -> str | None:
    """The UUID as libblkid makes it: of the first 16 bytes of the volume set identifier.

    Hexadecimal digits as they are; else the digits of the first 8 and the codes of 4 more, or the
    codes of the first 8.
    """
    if primary is None or primary.DescriptorCharacterSet.rstrip(b"\0") != COMPRESSED_UNICODE:
        return None
    raw: bytes = primary.VolumeSetIdentifier
    body = raw[1 : max(1, min(raw[-1], len(raw) - 1))]
    if raw[0] not in (8, 16):
        return None
    decoded = body.decode("latin-1" if raw[0] == 8 else "utf-16-be", "replace").split("\0", 1)[0]
    name = decoded.encode()[:16]
    if len(name) < 8:
        return None
    digits = b"0123456789abcdefABCDEF"
    plain = next((at for at, byte in enumerate(name.ljust(16, b"\0")) if byte not in digits), 16)
    name = name.ljust(16, b"\0")
    if plain < 8:
        return name[:8].hex()
    if plain < 16:
        return name[:8].decode("ascii").lower() + name[8:12].hex()
    return name.decode("ascii").lower()


def _time(raw: bytes) -> str | None:
    stamp = parse_struct(raw, TIMESTAMP)
    *calendar, centi, hundred_micro, micro = stamp.fields
    zone = stamp.TypeAndTimezone & 0xFFF
    zone -= 0x1000 if zone & 0x800 else 0  # minutes, 12 bits, signed; -2047: not told
    return recorded_time(
        (stamp.Year, *calendar),
        microsecond=centi * 10_000 + hundred_micro * 100 + micro,
        zone=zone if stamp.TypeAndTimezone >> 12 == 1 and -1440 <= zone <= 1440 else None,
    )


def _revision(value: int) -> str:
    """A revision of UDF: 0x0201 is 2.01."""
    return f"{value >> 8:x}.{value & 0xFF:02x}"


FORMAT = Format(
    name="udf",
    title="UDF",
    specification="https://ecma-international.org/publications-and-standards/standards/ecma-167/",
    usage=Usage.FILESYSTEM,
    types=("udf",),
    parse=parse,
    signatures=(
        *(Signature(name, RECOGNITION + 1) for name in STRUCTURES),
        *(
            Signature(b"\x02\x00" + version + b"\x00", 256 * size, copy=True)
            for size in (512, 2048, 4096)
            for version in (b"\x02", b"\x03")
        ),
    ),
    tolerates=frozenset({"iso9660", "hfs", "hfsplus"}),
    with_table=TableRule.SHARES,
    mounts=(KernelMount("udf"),),
)
