"""What is in one run of bytes: every reading that holds, and which of them is chosen.

``probe`` asks the formats whose signature stands at its place; ``choose`` is the rule by which
one reading is preferred, a pure function over what they answered.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from pyimount.formats import (
    Candidate,
    Format,
    Identity,
    NotThisFormat,
    Precedence,
    Table,
    TableFormat,
    TableRule,
    Usage,
)
from pyimount.problems import Code, Problem
from pyimount.recognition.registry import head_runs, table_signatures, tail_runs, volume_signatures
from pyimount.recognition.tail import tail_formats
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

Answer = TypeVar("Answer")


class Opaque(Record):
    """Of what holds others: what to say where none is shown, and whether it is an array's member."""

    reason: str
    array: bool


class Probe(Record):
    """What one run of bytes is.

    ``identity`` with ``usage``, or ``table``, or both, or neither; readings that were not chosen;
    problems of the choice itself and of reading (the readings have their own).
    """

    identity: Identity | None = None
    usage: str | None = None
    table: Table | None = None
    candidates: tuple[Candidate, ...] = ()
    problems: tuple[Problem, ...] = ()
    opaque: Opaque | None = None


class Reading(Record):
    """One format's answer for a volume."""

    format: Format
    identity: Identity


class TableReading(Record):
    """One format's answer for a partition table."""

    format: TableFormat
    table: Table


def probe(
    view: View,
    *,
    only: str | None = None,
    vstype: str | None = None,
    known_tables: frozenset[str] = frozenset(),
) -> Probe:
    """Recognise what ``view`` shows. Raises BudgetError.

    ``only``: a type, libblkid's or imagemounter's word; no other format of volumes is asked.
    ``vstype``: the same for partition tables; ``none`` asks for no table. ``known_tables``: types
    of table that stand in the same bytes one layer out, and would be found again here.
    """
    view.preload(head_runs())
    view.preload(tail_runs(view.size))
    tables = list(_tables(view, vstype, known_tables))
    readings = list(_readings(volume_signatures().hits(view), view, only))
    found = [reading.table for reading in tables], [reading.identity for reading in readings]
    readings += _readings(tail_formats(view, *found), view, only)
    if not readings and not tables:
        readings = list(_readings(volume_signatures().copy_hits(view), view, only))
    if not readings and not tables:
        readings = list(_readings(volume_signatures().unsigned(), view, only))
    chosen = choose(readings, tables, view.size)
    if chosen.table is None and len(readings) == 1:
        chosen = _with_left_over(chosen, readings[0], view)
    unread = view.unread
    return chosen.replaced(problems=(*unread, *chosen.problems)) if unread else chosen


def probe_beneath(view: View) -> Probe:
    """The same without the members of arrays: what else the bytes of a member show. Raises BudgetError."""
    view.preload(head_runs())
    view.preload(tail_runs(view.size))
    tables = list(_tables(view, None, frozenset()))
    hits = volume_signatures().hits(view)
    plain = (declared for declared in hits if declared.precedence is not Precedence.RAID)
    return choose(_readings(plain, view, None), tables, view.size)


def probe_as(view: View, declared: Iterable[Format | TableFormat]) -> Probe:
    """The same by these formats alone. Raises BudgetError."""
    readings: list[Reading] = []
    tables: list[TableReading] = []
    for entry in declared:
        if isinstance(entry, Format):
            readings.extend(_readings((entry,), view, None))
        elif (table := _ask(entry.parse, view)) is not None:
            tables.append(TableReading(entry, table))
    return choose(readings, tables, view.size)


def _tables(view: View, vstype: str | None, known: frozenset[str]) -> Iterable[TableReading]:
    for declared in table_signatures().hits(view):
        if (
            vstype is None
            or vstype == declared.name
            or vstype in declared.types
            or vstype in declared.vstypes
        ):
            table = _ask(declared.parse, view)
            if table is not None and table.pttype not in known:
                yield TableReading(declared, table)


def _readings(declared: Iterable[Format], view: View, only: str | None) -> Iterable[Reading]:
    for entry in declared:
        identity = _ask(entry.parse, view)
        if identity is not None and (only is None or only in (entry.name, identity.type, identity.fstype)):
            yield Reading(entry, identity)


def _ask(parse: Callable[[View], Answer], view: View) -> Answer | None:
    try:
        return parse(view)
    except (NotThisFormat, ShortRead):
        return None
    except ReadError:
        return None  # the view has noted it


def choose(readings: Iterable[Reading], tables: Iterable[TableReading], size: int | None = None) -> Probe:
    """Which of the readings of one run of ``size`` bytes counts: the rule, without a look at the bytes.

    - Of several tables, one that overrules the others by its declaration (GPT its protective MBR),
      else the first by name; but one without partitions gives way to one in the same bytes that has some.
    - Of several volumes: the lower ``Precedence``; then one whose superblock's checksum holds; then the
      one without problems; then the first by name. What an array or a lock holds may show through; any
      other second reading is a left-over, or the first is, and that is said.
    - Table and volume: as the volume's format declares in ``with_table``.
    """
    candidates: list[Candidate] = []
    problems: list[Problem] = []
    table = _choose_table(list(tables), candidates, problems)
    reading = _choose_reading(list(readings), candidates, problems)
    if table and reading:
        table, reading = _table_or_volume(table, reading, size, candidates, problems)
    return Probe(
        identity=reading.identity if reading else None,
        usage=_usage(reading) if reading else None,
        table=table.table if table else None,
        candidates=tuple(candidates),
        problems=tuple(problems),
        opaque=_opaque(reading.format) if reading and not reading.identity.is_empty else None,
    )


def _with_left_over(chosen: Probe, reading: Reading, view: View) -> Probe:
    """The same with what a copy of an older format's superblock tells, where the newer one left it."""
    if reading.format.precedence is not Precedence.FILESYSTEM:
        return chosen
    other_formats = [
        declared
        for declared in volume_signatures().lasting_hits(view)
        if declared is not reading.format
        and declared.name not in reading.format.tolerates
        and reading.format.name not in declared.tolerates
    ]
    if not other_formats:
        return chosen
    candidates, problems = [*chosen.candidates], [*chosen.problems]
    for other in _readings(other_formats, view, None):
        why = f"only copies of its superblock are left; {reading.format.title} was written over the first"
        candidates.append(Candidate(other.identity.type, other.identity.offset, why))
        if other.identity.checked:
            problems.append(_ambiguous(reading.identity.type, other.identity.type))
    return chosen.replaced(candidates=tuple(candidates), problems=tuple(problems))


def _opaque(declared: Format) -> Opaque | None:
    """That a volume of this format holds others; None where it holds none."""
    if declared.precedence > Precedence.VOLUME_GROUP:
        return None
    reason = declared.opaque or f"what lies in this {declared.title} is not read"
    return Opaque(reason, declared.precedence is Precedence.RAID)


def _choose_table(
    tables: list[TableReading], candidates: list[Candidate], problems: list[Problem]
) -> TableReading | None:
    for reading in tables:
        if (why := reading.table.left_over) is not None:
            candidates.append(Candidate(reading.table.pttype, 0, why))
            message = f"a {reading.format.title} is left over here, and may name what is still there: {why}"
            problems.append(Problem(Code.AMBIGUOUS, message))
    tables = [reading for reading in tables if reading.table.left_over is None]
    if not tables:
        return None
    names = {reading.format.name for reading in tables}
    chosen = max(tables, key=lambda reading: len(reading.format.over & names))
    fuller = None if _has_data(chosen) else _fuller(chosen, tables)
    if fuller is not None:
        why = f"it has no partitions, and {fuller.format.title} in the same bytes has"
        candidates.append(Candidate(chosen.table.pttype, 0, why))
        message = f"the {chosen.format.title} has no partitions, and the {fuller.format.title} in the same "
        message += "bytes has: those are shown"
        problems.append(Problem(Code.AMBIGUOUS, message))
        tables = [reading for reading in tables if reading is not chosen]
        chosen = fuller
    for other in tables:
        if other is chosen:
            continue
        if other.table.pttype in chosen.format.belongs:
            continue
        if other.format.name in chosen.format.over:
            why = f"{chosen.format.title} stands in front of it"
        else:
            why = f"{chosen.format.title} was read first"
            problems.append(_ambiguous(chosen.table.pttype, other.table.pttype))
        candidates.append(Candidate(other.table.pttype, 0, why))
    return chosen


def _has_data(reading: TableReading) -> bool:
    return any(not entry.meta for entry in reading.table.partitions)


def _fuller(empty: TableReading, tables: list[TableReading]) -> TableReading | None:
    """A table that has partitions where the one that overrules it has none: a part of it, or a sure one."""
    for other in tables:
        if _has_data(other) and (other.table.checked or other.table.pttype in empty.format.belongs):
            return other
    return None


def _choose_reading(
    readings: list[Reading], candidates: list[Candidate], problems: list[Problem]
) -> Reading | None:
    if not readings:
        return None
    chosen = min(
        readings,
        key=lambda reading: (
            reading.format.precedence,
            not reading.identity.checked,
            bool(reading.identity.problems),
            reading.format.name,
        ),
    )
    for other in readings:
        if other is chosen:
            continue
        if other.format.name in chosen.format.tolerates or chosen.format.name in other.format.tolerates:
            why = f"stands beside {chosen.format.title} by design"
        elif _are_one(other.identity, chosen.identity):
            why = f"the same file system, as {chosen.format.title} reads it from another of its copies"
        elif _shows_through(other, chosen):
            why = f"{chosen.format.title} takes the bytes beneath it"
        elif chosen.identity.checked and not other.identity.checked:
            why = f"the checksum of {chosen.format.title} holds, this one has none that does"
            problems.append(_ambiguous(chosen.identity.type, other.identity.type))
        else:
            why = f"nothing tells which is meant; {chosen.format.title} comes first by rule"
            problems.append(_ambiguous(chosen.identity.type, other.identity.type))
        candidates.append(Candidate(other.identity.type, other.identity.offset, why))
    return chosen


def _are_one(one: Identity, other: Identity) -> bool:
    """Whether two readings are of one file system, by all that it calls itself."""
    names = [(each.type, each.uuid, each.label, each.fs_size) for each in (one, other)]
    return one.uuid is not None and names[0] == names[1]


_BENEATH = frozenset((Usage.RAID, Usage.CRYPTO))


def _shows_through(other: Reading, chosen: Reading) -> bool:
    """Whether ``other`` is what the array or the lock that was chosen holds, and no left-over.

    An array's superblock may stand behind all that it holds, another array or a lock too.
    """
    if other.format.precedence <= chosen.format.precedence:
        return False
    return chosen.format.precedence is Precedence.RAID or (
        _usage(chosen) in _BENEATH and _usage(other) not in _BENEATH
    )


def _usage(reading: Reading) -> Usage:
    return reading.identity.usage or reading.format.usage


def _table_or_volume(
    table: TableReading,
    reading: Reading,
    size: int | None,
    candidates: list[Candidate],
    problems: list[Problem],
) -> tuple[TableReading | None, Reading | None]:
    pttype, identity = table.table.pttype, reading.identity
    rule = identity.with_table or reading.format.with_table
    partitions = [entry for entry in table.table.partitions if not entry.meta]
    inside = next((p for p in partitions if p.offset <= identity.offset < p.offset + p.size), None)
    if rule is TableRule.SHARES:
        return table, reading
    if rule is TableRule.HIDES:
        candidates.append(
            Candidate(pttype, 0, f"it lies in the boot sector or the contents of {reading.format.title}")
        )
        return None, reading
    beyond = size is not None and any(p.offset + p.size > size for p in partitions)
    if rule is TableRule.HIDES_WHEN_BEHIND and beyond:
        candidates.append(
            Candidate(pttype, 0, f"it is larger than this one member of {reading.format.title}")
        )
        return None, reading
    if inside is not None:
        # Those bytes are looked at again as the partition's own.
        return table, None
    if rule is TableRule.HIDES_WHEN_BEHIND and all(p.offset + p.size <= identity.offset for p in partitions):
        candidates.append(Candidate(pttype, 0, f"it is part of what {reading.format.title} holds"))
        return None, reading
    problems.append(_ambiguous(pttype, identity.type))
    return table, reading


def _ambiguous(chosen: str, other: str) -> Problem:
    return Problem(Code.AMBIGUOUS, f"reads as {chosen} and as {other}; one of the two may be left over")
