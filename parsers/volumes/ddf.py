"""SNIA Common RAID Disk Data Format: members of arrays made by RAID controllers and by mdadm.

What its structures are and how they are found is in ``ddf_metadata.py``; here is what their values mean: SNIA
Common RAID Disk Data Format Specification 2.0, 4 and 5.
https://www.snia.org/tech_activities/standards/curr_standards/ddf
"""

from typing import Any

from pyimount.formats import Format, Identity, Json, Membership, Precedence, Signature, TableRule, Usage
from pyimount.formats.notation import flag_names, text, unix_time
from pyimount.parsers.volumes.ddf_metadata import (
    BLOCK,
    MAGIC_BIG,
    MAGIC_LITTLE,
    PLACES,
    UNSET,
    Element,
    Metadata,
    load,
)
from pyimount.sources.view import View

_EPOCH = 315532800
"""Times are seconds since 1980."""

LEVELS = {
    0x00: "raid0", 0x01: "raid1", 0x03: "raid3", 0x04: "raid4", 0x05: "raid5", 0x06: "raid6",
    0x11: "raid1e", 0x0F: "single", 0x1F: "concat", 0x15: "raid5e", 0x25: "raid5ee", 0x35: "raid5r",
    0x07: "mdf",
}  # fmt: skip
_ROTATED = {
    0: "rotating parity 0 with data restart",
    1: "rotating parity 0 with data restart",
    2: "rotating parity N with data restart",
    3: "rotating parity N with data continuation",
}
_FIXED = {0: "parity first", 1: "parity last"}
QUALIFIERS: dict[str, dict[int, str]] = {
    "raid0": {0: "simple"},
    "raid1": {0: "simple", 1: "multi"},
    "raid3": _FIXED,
    "raid4": _FIXED,
    "raid5": _ROTATED,
    "raid6": _ROTATED,
    "raid1e": {0: "adjacent", 1: "offset"},
}
SECONDARY_LEVELS = {0: "striped", 1: "mirrored", 2: "concatenated", 3: "spanned"}
_DISK_STATES = {
    0x1: "online", 0x2: "failed", 0x4: "rebuilding", 0x8: "transition", 0x10: "pfa",
    0x20: "unrecovered", 0x40: "missing",
}  # fmt: skip
_DISK_TYPES = {
    0x1: "forced guid", 0x2: "active", 0x4: "global spare", 0x8: "spare", 0x10: "foreign", 0x20: "legacy",
}  # fmt: skip
FAILED, REBUILDING, MISSING = 0x2, 0x4, 0x40
_VIRTUAL_STATES = (
    "optimal", "degraded", "deleted", "missing", "failed", "partially optimal", "offline", "reserved",
)  # fmt: skip
_INIT_STATES = ("not initialised", "quick initialisation", "fully initialised", "reserved")


def parse(view: View) -> Identity:
    """Read the anchor, then everything that the better of the two headers leads to."""
    return _identity(load(view))


def reference_text(reference: int | None) -> str | None:
    """A disk's reference as mdadm writes it."""
    return None if reference is None else f"{reference:08x}"


def level_facts(element: Element) -> dict[str, Json]:
    """Level and layout of a virtual disk, for the report."""
    level = LEVELS.get(element.level, f"{element.level:#04x}")
    facts: dict[str, Json] = {
        "level": level,
        "layout": QUALIFIERS.get(level, {}).get(element.qualifier),
        "chunk_size": element.strip,
    }
    if element.secondary_count > 1:
        number = element.secondary_level
        facts["secondary_level"] = SECONDARY_LEVELS.get(number, f"{number:#04x}")
        facts["secondary_elements"] = element.secondary_count
    return facts


def virtual_name(entry: Any) -> str | None:
    """The name of a virtual disk, from its entry in the records."""
    return text(entry.VD_Name.rstrip(b"\xff"))


def virtual_facts(entry: Any) -> dict[str, Json]:
    """State of a virtual disk, for the report."""
    return {
        "number": entry.VD_Number,
        "state": _VIRTUAL_STATES[entry.VD_State & 0x7],
        "consistent": not entry.VD_State & 0x10,
        "migrating": bool(entry.VD_State & 0x8),
        "init_state": _INIT_STATES[entry.Init_State & 0x3],
    }


def _stamp(seconds: int) -> str | None:
    return None if seconds in (0, UNSET) else unix_time(seconds + _EPOCH)


def _identity(found: Metadata) -> Identity:
    header = found.header
    uuid = text(header.DDF_Header_GUID)
    elements = {element.guid: element for element in reversed(found.elements)}
    virtual: list[Json] = []
    for entry in found.virtual:
        guid = entry.VD_GUID.hex()
        facts: dict[str, Json] = {"guid": guid, "name": virtual_name(entry), **virtual_facts(entry)}
        if guid in elements:
            facts |= {
                **level_facts(elements[guid]),
                "size": elements[guid].size,
                "disks": [
                    {
                        "reference": reference_text(reference),
                        "offset": start,
                        "size": elements[guid].block_count,
                    }
                    for reference, start in elements[guid].disks
                ],
            }
        virtual.append(facts)
    own = next((entry for entry in found.disks if entry.PD_Reference == found.reference), None)
    details: dict[str, Json] = {
        "header_guid": header.DDF_Header_GUID.hex(),
        "byte_order": found.order,
        "sequence_number": header.Sequence_Number,
        "open": header.Open_Flag != 0,
        "foreign": header.Foreign_Flag not in (0, 0xFF),
        "controller_guid": found.controller,
        "product_id": found.product,
        "reference": reference_text(found.reference),
        "disk_guid": found.guid,
        "physical_disks": [
            {
                "reference": reference_text(entry.PD_Reference),
                "guid": entry.PD_GUID.hex(),
                "path": text(entry.Path_Information.strip(b"\0\xff")),
                "size": entry.Configured_Size * _block_size(entry),
                "type": [*flag_names(entry.PD_Type & 0xFFF, _DISK_TYPES, "type")],
                "state": [*flag_names(entry.PD_State, _DISK_STATES, "state")],
            }
            for entry in found.disks
        ],
        "virtual_disks": virtual,
    }
    names = [name for name in map(virtual_name, found.virtual) if name]
    return Identity(
        type="ddf_raid_member",
        fstype="raid",
        uuid=uuid,
        version=text(header.DDF_rev),
        modified=_stamp(header.TimeStamp),
        state=virtual_facts(found.virtual[0])["state"] if len(found.virtual) == 1 else None,  # type: ignore[arg-type]
        group=Membership(
            type="ddf",
            uuid=header.DDF_Header_GUID.hex(),
            name=", ".join(names) or None,
            role=_role(own),
            members=len(found.disks) or None,
            identity=found.guid,
            as_of=(header.Sequence_Number, header.TimeStamp),
        ),
        offset=found.at,
        checked=found.checked,
        details=details,
        problems=found.problems,
    )


def _block_size(entry: Any) -> int:
    return entry.Block_Size if entry.Block_Size not in (0, 0xFFFF) else BLOCK


def _role(own: Any) -> str | None:
    """What the records say of this disk."""
    if own is None:
        return None
    if own.PD_State & FAILED:
        return "faulty"
    return "active" if own.PD_Type & 0x2 else "spare" if own.PD_Type & 0xC else None


FORMAT = Format(
    name="ddf",
    title="SNIA DDF RAID member",
    specification="https://www.snia.org/tech_activities/standards/curr_standards/ddf",
    usage=Usage.RAID,
    types=("ddf_raid_member",),
    parse=parse,
    signatures=tuple(
        Signature(magic, place, align=BLOCK) for place in PLACES for magic in (MAGIC_BIG, MAGIC_LITTLE)
    ),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES_WHEN_BEHIND,
)
