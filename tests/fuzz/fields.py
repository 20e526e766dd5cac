"""Where the fields of an image's structures are, by the parsers' declarations; and where checksums are."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from construct import Array, BytesInteger, Construct, FormatField, Struct, Subconstruct

from tests.fuzz.tracing import Sum, Trace

Order = Literal["little", "big"]
Rule = Literal["as it is", "inverted", "makes the sum zero", "makes the exclusive or zero"]
PLACES_CAP = 3
"""So many copies of a structure are looked for."""
_ARRAY_CAP = 16
_REPEATED_CAP = 256
"""exFAT fills a sector with its checksum."""
_NAMED = re.compile(r"ch?(ec)?k_?sum|csum", re.IGNORECASE)


@dataclass(frozen=True)
class Field:
    """A field of a structure, or of a file: ``offset`` and ``size`` in bytes; ``order``: of a number."""

    name: str
    offset: int
    size: int
    order: Order | None


@dataclass(frozen=True)
class Window:
    """Bytes of a file, from ``start`` on, in which structures are looked for."""

    path: Path
    start: int
    data: bytes

    def of(self, field: Field) -> bytes:
        """The bytes of a field."""
        return self.data[field.offset - self.start : field.offset - self.start + field.size]


@dataclass(frozen=True)
class Placed:
    """A field, and the file that it is in."""

    path: Path
    field: Field


@dataclass(frozen=True)
class Kept:
    """A checksum that is kept in a field: which one, and how what it came to becomes what stands there."""

    sum: Sum
    at: Placed
    rule: Rule


def fields_of(declared: Construct, at: int = 0, name: str = "") -> Iterator[Field]:
    """The fields of a declaration, in their order."""
    if isinstance(declared, Struct):
        for part in declared.subcons:
            yield from fields_of(part, at, part.name or name)
            at += part.sizeof()
    elif isinstance(declared, Array):
        each = declared.subcon.sizeof()
        for number in range(min(declared.count, _ARRAY_CAP)):
            yield from fields_of(declared.subcon, at + number * each, f"{name}[{number}]")
    elif isinstance(declared, FormatField):
        order: Order = "big" if declared.fmtstr[0] == ">" else "little"
        if declared.fmtstr[0] == "=":
            order = sys.byteorder
        yield Field(name, at, declared.sizeof(), order)
    elif isinstance(declared, BytesInteger):
        yield Field(name, at, declared.sizeof(), "little" if declared.swapped else "big")
    elif isinstance(declared, Subconstruct):
        yield from fields_of(declared.subcon, at, name)
    elif declared.sizeof():
        yield Field(name, at, declared.sizeof(), None)


def placed(trace: Trace, windows: Sequence[Window]) -> list[tuple[Placed, bytes]]:
    """The fields of all structures that a scan has parsed from these bytes, and what they hold.

    Structures are found by their bytes; one that is all zeros, or was unpacked or decrypted, is not.
    """
    found: dict[Placed, bytes] = {}
    for (_, data), declared in trace.structures.items():
        if data.count(0) == len(data):
            continue
        fields = list(fields_of(declared))
        for window in windows:
            for at in _all(window.data, data, PLACES_CAP):
                for field in fields:
                    moved = Field(field.name, window.start + at + field.offset, field.size, field.order)
                    found[Placed(window.path, moved)] = window.of(moved)
    return list(found.items())


def _all(data: bytes, what: bytes, most: int) -> Iterator[int]:
    """Where ``what`` stands in ``data``, the first places."""
    at = data.find(what)
    while at >= 0 and most:
        yield at
        most -= 1
        at = data.find(what, at + 1)


def checksums(trace: Trace, fields: Sequence[tuple[Placed, bytes]], windows: Sequence[Window]) -> list[Kept]:
    """The checksums that a scan of a sound image has taken, and where they stand: in fields, or elsewhere."""
    numbers: dict[int, list[Placed]] = {}
    zeroing = []
    for each, data in fields:
        field = each.field
        if field.order is not None and field.size in {2, 4, 8}:
            value = int.from_bytes(data, field.order)
            if value:
                numbers.setdefault(value, []).append(each)
            if _NAMED.search(field.name):
                zeroing.append(each)
    kept: list[Kept] = []
    for taken, result in trace.sums.items():
        if isinstance(result, bytes):
            kept += [Kept(taken, each, "as it is") for each in _anywhere(result, None, windows)]
        elif result == 0:
            kept += [
                Kept(
                    taken,
                    each,
                    "makes the exclusive or zero" if each.field.size == 2 else "makes the sum zero",
                )
                for each in zeroing
            ]
        else:
            found = [Kept(taken, each, "as it is") for each in numbers.get(result, ())]
            for size in (2, 4, 8):
                same = numbers.get(result ^ _ones(size), ())
                found += [Kept(taken, each, "inverted") for each in same if each.field.size == size]
            kept += found or _raw(taken, result, windows)
    return kept


def _ones(size: int) -> int:
    return (1 << 8 * size) - 1


def _raw(taken: Sum, result: int, windows: Sequence[Window]) -> Iterator[Kept]:
    """Where a checksum of 32 or 64 bits stands that is in no number that was parsed."""
    orders: tuple[Order, ...] = ("little", "big")
    size = 4 if result < 1 << 32 else 8
    for order in orders if result >= 1 << 16 else ():
        for each in _anywhere(result.to_bytes(size, order), order, windows):
            yield Kept(taken, each, "as it is")
        for each in _anywhere((result ^ _ones(size)).to_bytes(size, order), order, windows):
            yield Kept(taken, each, "inverted")


def _anywhere(data: bytes, order: Order | None, windows: Sequence[Window]) -> Iterator[Placed]:
    for window in windows:
        for at in _all(window.data, data, _REPEATED_CAP):
            yield Placed(window.path, Field("", window.start + at, len(data), order))


def repaired(
    trace: Trace, kept: Sequence[Kept], read: Callable[[Placed], bytes]
) -> list[tuple[Path, int, bytes]]:
    """What has to be written for the checksums to be as a scan has taken them; ``read``: what is there."""
    edits = []
    for each in kept:
        field, result = each.at.field, trace.sums.get(each.sum)
        if isinstance(result, bytes):
            data = result
        elif result is None or field.order is None:
            continue
        else:
            old = int.from_bytes(read(each.at), field.order)
            value = {
                "as it is": result,
                "inverted": ~result,
                "makes the sum zero": old - result,
                "makes the exclusive or zero": old ^ result,
            }[each.rule]
            data = (value & _ones(field.size)).to_bytes(field.size, field.order)
        edits.append((each.at.path, field.offset, data))
    return edits
