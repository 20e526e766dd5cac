"""Declarations whose fields are all of fixed kinds, read by one ``struct.Struct``.

construct reads a field at a time, through its stream and its context: for the plain structures that nearly
all formats are made of, that was a fifth of an ordinary scan and three quarters of one that reads thousands
of records. What is read is the same: made from the built declaration, and held equal to it by a test.
"""

import struct
from collections.abc import Callable, Iterator
from itertools import islice
from types import SimpleNamespace
from typing import Any, TypeAlias

from construct import Array, Bytes, Const, Construct, FormatField, Renamed, Struct

_Take: TypeAlias = Callable[[Iterator[Any]], Any]
"""Makes a field's value of as many unpacked ones as it takes."""

_WHOLE_NUMBERS = "bBhHiIlLqQ"


class FixedStruct:
    """Reads one declared structure."""

    __slots__ = ("_names", "_takes", "_unpack", "_wanted")

    def __init__(self, declared: Struct) -> None:
        """Raises NotFixedError for a declaration that has other fields as well."""
        flat = _Flattened(declared)
        self._unpack = struct.Struct(flat.order + "".join(flat.codes)).unpack_from
        self._wanted = flat.wanted
        self._names = [each.name for each in declared.subcons]
        self._takes = None if flat.is_plain else flat.take

    def read(self, data: bytes, offset: int) -> Any:
        """The fields at ``offset`` of ``data``, which must not end before them.

        None where a constant does not stand there: construct tells best what does.
        """
        values = self._unpack(data, offset)
        for place, value in self._wanted:
            if values[place] != value:
                return None
        if self._takes is None:
            return SimpleNamespace(**dict(zip(self._names, values, strict=True)))
        return self._takes(iter(values))


def fixed_struct(declared: Construct) -> FixedStruct | None:
    """What reads the declaration; None where only construct can."""
    try:
        return FixedStruct(declared) if type(declared) is Struct else None
    except NotFixedError:
        return None


class NotFixedError(Exception):
    """A declaration has a field of a kind that only construct reads."""


class _Flattened:
    """A declaration as the codes of ``struct``, and how its fields are made of what these unpack.

    ``wanted``: the constants, by their places among the unpacked values. ``is_plain``: a field is one value.
    """

    def __init__(self, declared: Struct) -> None:
        self.order = ""
        self.codes: list[str] = []
        self.wanted: list[tuple[int, object]] = []
        self.is_plain = True
        self.take = self._struct(declared)
        self.order = self.order or "<"

    def _struct(self, declared: Struct) -> _Take:
        fields = []
        for each in declared.subcons:
            if type(each) is not Renamed or each.parsed is not None:
                raise NotFixedError
            fields.append((each.name, self._field(each.subcon)))
        if all(take is next for _, take in fields):
            names = [name for name, _ in fields]
            return lambda values: SimpleNamespace(**dict(zip(names, islice(values, len(names)), strict=True)))
        return lambda values: SimpleNamespace(**{name: take(values) for name, take in fields})

    def _field(self, field: Construct) -> _Take:
        kind = type(field)
        if kind is Renamed and field.parsed is None:
            return self._field(field.subcon)
        if kind is Bytes and isinstance(field.length, int):
            self.codes.append(f"{field.length}s")
            return next
        if kind is FormatField:
            return self._number(field.fmtstr[0], field.fmtstr[1:])
        if kind is Const:
            place = len(self.codes)
            take = self._field(field.subcon)
            if take is not next:
                raise NotFixedError
            self.wanted.append((place, field.value))
            return next
        self.is_plain = False
        if kind is Struct:
            return self._struct(field)
        if kind is Array and isinstance(field.count, int):
            return self._array(field)
        raise NotFixedError

    def _number(self, order: str, code: str) -> _Take:
        if struct.calcsize(f"<{code}") == 1 or order == self.order:
            self.codes.append(code)
            return next
        if order not in "<>":
            raise NotFixedError
        if not self.order:
            self.order = order
            self.codes.append(code)
            return next
        # One in the other order, among the few that ISO 9660 and XFS have.
        if code not in _WHOLE_NUMBERS:
            raise NotFixedError
        self.is_plain = False
        self.codes.append(f"{struct.calcsize(f'<{code}')}s")
        other, signed = "little" if order == "<" else "big", code.islower()
        return lambda values: int.from_bytes(next(values), other, signed=signed)  # type: ignore[arg-type]

    def _array(self, field: Array) -> _Take:
        takes = [self._field(field.subcon) for _ in range(field.count)]
        if all(take is next for take in takes):
            return lambda values: list(islice(values, len(takes)))
        return lambda values: [take(values) for take in takes]
