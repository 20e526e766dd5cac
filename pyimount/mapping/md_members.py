"""Members of a Linux md array: which of them count, in which slots, and how much of each is to be trusted.

As mdadm and the kernel decide it: Assemble.c of mdadm; super_1_validate and analyze_sbs in drivers/md/md.c.
"""

from collections.abc import Sequence
from functools import partial

from pyimount.formats.notation import decimal
from pyimount.mapping.assembly import Member
from pyimount.mapping.recipes import number_of
from pyimount.problems import Code, Problem

EVENT_MARGIN = 1
"""Superblocks are written one after the other: a member whose count is one behind was there until the end."""

figure_of = partial(number_of, most=1 << 80)
"""A number in a superblock's facts, as large as superblocks can say."""


def newest_of(members: Sequence[Member]) -> Member:
    """The member whose superblock is believed: of those with a right checksum the one with the most events.

    An active member goes before a spare: it knows its own place.
    """
    return max(
        members,
        key=lambda member: (
            member.details.get("checksum_correct") is not False,
            figure_of(member.details, "events"),
            _slot(member) is not None,
        ),
    )


def sorted_out(members: Sequence[Member], newest: Member) -> tuple[list[Member], list[Member], list[Problem]]:
    """The active members, those that are too old, and what is wrong with the others."""
    active: list[Member] = []
    stale: list[Member] = []
    problems: list[Problem] = []
    for member in members:
        if _slot(member) is None:
            continue
        behind = figure_of(newest.details, "events") - figure_of(member.details, "events")
        if not _same_geometry(member, newest):
            message = f"member {member.index} describes another array than the others do; it is not used"
            problems.append(Problem(Code.COPIES_DIFFER, message))
        elif behind < 0:
            message = (
                f"member {member.index} has a wrong checksum and more events than the others; it is not used"
            )
            problems.append(Problem(Code.COPIES_DIFFER, message))
        elif behind > EVENT_MARGIN or (behind and not _knows(newest, member)):
            stale.append(member)
        elif not (_knows(newest, member) and _knows(member, newest)):
            message = (
                f"members {newest.index} and {member.index} each say that the other has failed: "
                f"both went on alone; {member.index} is not used"
            )
            problems.append(Problem(Code.AMBIGUOUS, message))
        else:
            active.append(member)
    return active, stale, problems


def _same_geometry(one: Member, other: Member) -> bool:
    keys = ("level", "layout_number", "chunk_size", "raid_disks", "used_size")
    return all(one.details.get(key) == other.details.get(key) for key in keys)


def _knows(one: Member, other: Member) -> bool:
    """Whether ``one`` says of the place of ``other`` what that says itself."""
    roles, number = one.details.get("roles"), other.details.get("device_number")
    slot = _slot(other)
    if one is other or slot is None or not isinstance(roles, list) or not isinstance(number, int):
        return True
    # Of version 0.90, None: a device without device numbers, of which nothing is said.
    return number < len(roles) and roles[number] in (str(slot), None)


def _slot(member: Member) -> int | None:
    role = member.details.get("device_role")
    return decimal(role) if isinstance(role, str) else None


def by_slot(active: Sequence[Member], disks: int) -> list[Member | None]:
    """The members by slot. A device that replaces another counts only where that is missing."""
    slots: list[Member | None] = [None] * disks
    for member in sorted(
        active, key=lambda each: (has_flag(each, "features", "replacement"), _lacking(each))
    ):
        slot = _slot(member)
        if slot is not None and slot < disks and slots[slot] is None:
            slots[slot] = member
    return slots


def trusted_bytes(member: Member) -> int | None:
    """Bytes of the member's data that are rebuilt so far; None when all are."""
    recovered = member.details.get("recovery_offset")
    return recovered if isinstance(recovered, int) else None


def _lacking(member: Member) -> int:
    recovered = trusted_bytes(member)
    return 0 if recovered is None else max(0, figure_of(member.details, "data_size") - recovered)


def has_flag(member: Member, key: str, flag: str) -> bool:
    """Whether a flag is in the list that the member's superblock has under ``key``."""
    flags = member.details.get(key)
    return isinstance(flags, list) and flag in flags
