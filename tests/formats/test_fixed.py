"""The fast way to read a declaration is held equal to construct, which it is made from."""

import importlib
import pkgutil
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import construct
import pytest
from construct import (
    Array,
    Bytes,
    Const,
    Enum,
    Flag,
    Int8ub,
    Int16sb,
    Int16ub,
    Int24ul,
    Int32sl,
    Int32ul,
    Struct,
)

import pyimount.parsers
from fixtures.workshop import Fixture, fixtures
from pyimount.formats import NotThisFormat
from pyimount.formats.fixed import fixed_struct
from pyimount.formats.layouts import STRUCT_CAP, Layout, layout, parse_struct
from pyimount.scanning import detect


def _declared() -> Iterator[tuple[str, Layout]]:
    for module in pkgutil.walk_packages(pyimount.parsers.__path__, "pyimount.parsers."):
        for name, value in vars(importlib.import_module(module.name)).items():
            found = value.items() if isinstance(value, dict) else [(None, value)]
            for key, each in found:
                if isinstance(each, Layout):
                    yield f"{module.name.removeprefix('pyimount.parsers.')}.{name}{key or ''}", each


_WITHOUT = {
    "hpt37x-raid",
    "hpt45x-raid",
    "lsi-mega-raid",
    "mbr-empty",
    "promise-fasttrack-raid",
    "promise-fasttrack-raid-rare",
    "swap-version-0",
}
"""Images of which no more is read than a few bytes of their own."""

DECLARED = dict(_declared())


def _plain(value: Any) -> Any:
    """Fields as a dict, without what construct adds of its own."""
    if isinstance(value, SimpleNamespace):
        value = vars(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if key != "_io"}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _by(read: Callable[[], Any]) -> object:
    """What a reading gives: its fields, or what it says is wrong."""
    try:
        return _plain(read())
    except NotThisFormat as error:
        return str(error)


def _by_construct(declared: Layout, data: bytes) -> object:
    try:
        return _plain(declared.construct.parse(data))
    except construct.ConstructError as error:
        return str(error)


def _samples(declared: Layout) -> Iterator[bytes]:
    size = declared.size
    dice = random.Random(size)  # noqa: S311
    yield bytes(size)
    yield b"\xff" * size
    for _ in range(4):
        yield dice.randbytes(size)
    # And with its constants in their places, each of them damaged once.
    good, places = bytearray(dice.randbytes(size)), []
    at = 0
    for each in declared.construct.subcons:
        if isinstance(each.subcon, Const):
            places.append(at)
            good[at : at + each.sizeof()] = each.subcon.build(None)
        at += each.sizeof()
    yield bytes(good)
    for at in places:
        damaged = bytearray(good)
        damaged[at] ^= 0x20
        yield bytes(damaged)


@pytest.mark.parametrize("name", DECLARED)
def test_every_declaration_is_read_as_construct_reads_it(name: str) -> None:
    declared = DECLARED[name]
    for data in _samples(declared):
        assert _by(lambda data=data: parse_struct(data, declared)) == _by_construct(declared, data)
        behind = b"\x5a" * 7 + data + b"\xa5"
        assert _by(lambda behind=behind: parse_struct(behind, declared, 7)) == _by_construct(declared, data)
    for short in (b"", bytes(declared.size - 1)):
        with pytest.raises(NotThisFormat, match=f"{declared.size} bytes wanted at 0, {len(short)} there"):
            parse_struct(short, declared)


@pytest.mark.parametrize("fixture", fixtures(), ids=lambda fixture: fixture.name)
def test_what_fixtures_hold_is_read_as_construct_reads_it(
    fixture: Fixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse, read = Layout.parse, []

    def both(declared: Layout, data: bytes, offset: int = 0) -> Any:
        there = data[offset : offset + declared.size]
        assert _by(lambda: parse(declared, data, offset)) == _by_construct(declared, there)
        read.append(declared)
        return parse(declared, data, offset)

    image = fixture.unpack(tmp_path)
    monkeypatch.setattr(Layout, "parse", both)
    detect(image)
    assert bool(read) != (fixture.name in _WITHOUT)


def test_all_declarations_but_these_are_read_the_fast_way() -> None:
    slow = {name for name, declared in DECLARED.items() if fixed_struct(declared.construct) is None}
    assert slow == set()


Word = "word" / Int16ub


@pytest.mark.parametrize(
    "declared",
    [
        Struct("number" / Int24ul),
        Struct("choice" / Enum(Int8ub, one=1)),
        Struct("flag" / Flag),
        Struct("text" / construct.PaddedString(8, "ascii")),
        Struct("bits" / construct.BitStruct("high" / construct.Nibble, "low" / construct.Nibble)),
        Struct("list" / Array(2, Struct("choice" / Enum(Int8ub, one=1)))),
        Struct("checked" / construct.Check(lambda context: False)),
        Struct("computed" / construct.Computed(3)),
        Struct("told" / construct.Hex(Int8ub)),
        Struct("told" / Int8ub * (lambda value, context: None)),
        Struct("number" / Int16ub, construct.Padding(2)),
        Array(3, Int16ub),
        Bytes(3),
    ],
    ids=lambda declared: type(getattr(declared, "subcons", [declared])[0]).__name__,
)
def test_what_has_other_fields_is_left_to_construct(declared: construct.Construct) -> None:
    assert fixed_struct(declared) is None
    size = declared.sizeof()
    for data in (bytes(size), b"\x01" * size, b"\xff" * size, b"ab" * 9):
        made = layout(lambda: declared)
        assert _by(lambda data=data, made=made: parse_struct(data, made)) == _by_construct(made, data[:size])


@pytest.mark.parametrize(
    "declared",
    [
        Struct("list" / Array(3, Int16ub), "last" / Int16sb),
        Struct(
            "magic" / Const(b"AB"), "inner" / Struct("one" / Word, "list" / Array(2, Struct("two" / Word)))
        ),
        Struct("magic" / Const(7, Int32ul), "list" / Array(2, Bytes(3))),
        Struct("big" / Int16sb, "little" / Int32sl, "list" / Array(2, Int32sl), "again" / Int16ub),
        Struct("list" / Array(2, Const(b"xy"))),
        Struct("list" / Array(2, Array(2, Int8ub))),
        Struct("nothing" / Array(0, Int8ub), "empty" / Bytes(0), "byte" / Int8ub),
        Struct("single" / construct.Float32l, "double" / construct.Float64l),
    ],
)
def test_lists_inner_structures_and_both_byte_orders(declared: Struct) -> None:
    made = layout(lambda: declared)
    assert fixed_struct(declared) is not None
    good = declared.build(_filled(declared))
    for data in (good, bytes(len(good)), b"\xfe" + good[1:], good[:-1] + b"\x80"):
        assert repr(_by(lambda data=data: parse_struct(data, made))) == repr(_by_construct(made, data))


def _filled(declared: construct.Construct) -> Any:
    if isinstance(declared, Struct):
        return {each.name: _filled(each.subcon) for each in declared.subcons}
    if isinstance(declared, Array):
        return [_filled(declared.subcon) for _ in range(declared.count)]
    if isinstance(declared, Const):
        return declared.value
    return b"\x91" * declared.length if isinstance(declared, Bytes) else 0x55


def test_a_number_in_the_other_order_that_is_no_whole_one_is_left_to_construct() -> None:
    assert fixed_struct(Struct("one" / Int16ub, "two" / construct.Float32l)) is None


def test_no_structure_is_larger_than_allowed() -> None:
    with pytest.raises(ValueError, match="are allowed"):
        parse_struct(b"", layout(lambda: Struct("much" / Bytes(STRUCT_CAP + 1))))
