"""ZFS's name-value lists in their XDR encoding (RFC 4506).

Layout: OpenZFS, module/nvpair; "ZFS On-Disk Specification" (Sun Microsystems, 2006), section 1.3.3.
"""

from struct import Struct, error
from typing import TypeAlias

from pyimount.formats import NotThisFormat

Value: TypeAlias = "bool | int | str | bytes | list[Value] | NvList"
NvList: TypeAlias = "dict[str, Value]"

BOOLEAN, BYTE, STRING, BOOLEAN_VALUE = 1, 2, 9, 21
STRING_ARRAY, NVLIST, NVLIST_ARRAY = 17, 19, 20
_INTEGERS = {
    BYTE: "i", 3: "i", 4: "I", 5: "i", 6: "I", 7: "q", 8: "Q", 18: "q", BOOLEAN_VALUE: "I", 22: "i", 23: "I",
}  # fmt: skip
_INTEGER_ARRAYS = {11: "i", 12: "I", 13: "i", 14: "I", 15: "q", 16: "Q", 24: "I", 25: "i", 26: "I"}

XDR = 1
DEPTH = 16
"""Lists do not lie deeper in one another."""
PAIRS = 4096
"""No list of more pairs is read, those inside it counted."""

_HEADER = Struct(">BBxxII")
_LIST = Struct(">II")
_PAIR = Struct(">IIi")
_WORD = Struct(">I")
_KIND = Struct(">Ii")


class _Open:
    """A list whose pairs are being read; ``more``: further lists of the same array follow it."""

    __slots__ = ("more", "pairs", "siblings")

    def __init__(self, siblings: "list[Value] | None", more: int) -> None:
        self.pairs: NvList = {}
        self.siblings = siblings
        self.more = more


def parse_nvlist(data: bytes) -> NvList:
    """The list that ``data`` begins with, its lists inside it included. Raises NotThisFormat."""
    try:
        return _parse(data)
    except error as short:  # struct's own: the bytes end inside a pair
        raise NotThisFormat(f"the list is cut off: {short}") from short


def _parse(data: bytes) -> NvList:
    encoding, _, version, _ = _HEADER.unpack_from(data)
    if encoding != XDR or version != 0:
        raise NotThisFormat(f"a list of encoding {encoding}, version {version}")
    top = _Open(None, 0)
    stack = [top]
    at = _HEADER.size
    for _ in range(PAIRS):
        here = stack[-1]
        encoded, decoded = _LIST.unpack_from(data, at)
        if encoded == 0 and decoded == 0:
            at += _LIST.size
            stack.pop()
            if not stack:
                return top.pairs
            if here.more:
                at += _LIST.size
                _open(stack, here.siblings, here.more - 1)
            continue
        _, _, length = _PAIR.unpack_from(data, at)
        start = at + _PAIR.size
        name = _text(data, start, length)
        start += length + 3 & ~3
        kind, count = _KIND.unpack_from(data, start)
        start += _KIND.size
        end = at + encoded
        if not start <= end <= len(data) or count < 0:
            raise NotThisFormat(f"the pair {name!r:.40} is {encoded} bytes long, of {count} elements")
        if kind in (NVLIST, NVLIST_ARRAY):
            # What lies inside such a pair is a list again, each with a head of its own.
            if kind == NVLIST_ARRAY:
                siblings: list[Value] = []
                here.pairs[name] = siblings
                at = start
                if count:
                    at += _LIST.size
                    _open(stack, siblings, count - 1)
            else:
                at = start + _LIST.size
                here.pairs[name] = _open(stack, None, 0)
            continue
        here.pairs[name] = _value(data, start, end, kind, count)
        at = end
    raise NotThisFormat(f"more than {PAIRS} pairs")


def _open(stack: list[_Open], siblings: "list[Value] | None", more: int) -> NvList:
    if len(stack) >= DEPTH:
        raise NotThisFormat(f"lists more than {DEPTH} deep")
    opened = _Open(siblings, more)
    if siblings is not None:
        siblings.append(opened.pairs)
    stack.append(opened)
    return opened.pairs


def _value(data: bytes, start: int, end: int, kind: int, count: int) -> Value:
    if kind == BOOLEAN:
        return True
    if kind == STRING:
        (length,) = _WORD.unpack_from(data, start)
        if length > end - start:
            raise NotThisFormat(f"a string of {length} bytes in {end - start}")
        return _text(data, start + 4, length)
    if kind in _INTEGERS:
        (number,) = Struct(">" + _INTEGERS[kind]).unpack_from(data, start)
        return bool(number) if kind == BOOLEAN_VALUE else int(number)
    if kind in _INTEGER_ARRAYS:
        element = Struct(">" + _INTEGER_ARRAYS[kind])
        start += 4  # XDR's own count stands in front
        if count * element.size > end - start:
            raise NotThisFormat(f"{count} numbers in {end - start} bytes")
        return [element.unpack_from(data, start + number * element.size)[0] for number in range(count)]
    if kind == STRING_ARRAY:
        strings: list[Value] = []
        for _ in range(min(count, PAIRS)):
            (length,) = _WORD.unpack_from(data, start)
            after = start + 4 + (length + 3 & ~3)
            if after > end:
                raise NotThisFormat(f"a string of {length} bytes in {end - start}")
            strings.append(_text(data, start + 4, length))
            start = after
        return strings
    return data[start:end]


def _text(data: bytes, at: int, length: int) -> str:
    if not 0 <= length <= len(data) - at:
        raise NotThisFormat(f"a string of {length} bytes")
    return data[at : at + length].decode("utf-8", "backslashreplace")
