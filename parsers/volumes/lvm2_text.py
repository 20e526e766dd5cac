"""LVM2's text format, in which the metadata of a volume group is kept.

The grammar: lvm.conf(5), "SYNTAX".
https://man7.org/linux/man-pages/man5/lvm.conf.5.html
"""

import re
from functools import cache
from typing import TypeAlias

from pyimount.formats import NotThisFormat

Scalar: TypeAlias = "str | int | float"
Value: TypeAlias = "Scalar | list[Scalar] | Section"
Section: TypeAlias = "dict[str, Value]"

TOKENS = 1_000_000
"""No text of more tokens is read, blanks counted; eight thousand logical volumes have that many."""
DEPTH = 16
"""Sections do not lie deeper in one another."""

_TOKEN = rb"""
      (?P<between> [\s,]+ | \#[^\n]* )
    | (?P<word> [\w@.+/-]+ )
    | "(?P<string> [^"\\]* (?: \\. [^"\\]* )* )"
    | (?P<sign> [={}\[\]] )
    | (?P<end> \0 )
    | (?P<other> . )
"""
_NUMBER = r"[+-]?\d{1,20}(\.\d{0,20})?"


@cache
def _patterns() -> tuple[re.Pattern[bytes], re.Pattern[str]]:
    """Tokens and numbers, compiled on first use: at import that would cost every start 1.5 ms."""
    return re.compile(_TOKEN, re.VERBOSE | re.DOTALL), re.compile(_NUMBER, re.ASCII)


class TooLong(Exception):  # noqa: N818  (an answer, not an error)
    """The text has more than TOKENS tokens."""


def parse_text(data: bytes) -> Section:
    """The sections and values of a text, up to its first NUL.

    A list keeps its order; of values of the same name the last counts, sections of the same name
    are one. Raises NotThisFormat where the text breaks the grammar, TooLong.
    """
    top: Section = {}
    open_sections = [top]
    name: str | None = None
    assigning = False
    values: list[Scalar] | None = None
    count = 0
    tokens, numbers = _patterns()
    for found in tokens.finditer(data):
        count += 1
        if count > TOKENS:
            raise TooLong(f"more than {TOKENS} tokens")
        kind = found.lastgroup
        if kind == "between":
            continue
        if kind == "end":
            break
        raw = found[kind or 0]
        here = open_sections[-1]
        if kind in ("word", "string") and (assigning or values is not None):
            value = _string(raw) if kind == "string" else _word(raw, numbers)
            if values is not None:
                values.append(value)
            elif name is not None:
                here[name], name, assigning = value, None, False
        elif kind == "word" and name is None:
            name = raw.decode("utf-8", "backslashreplace")
        elif raw == b"=" and name is not None and not assigning:
            assigning = True
        elif raw == b"[" and name is not None and assigning and values is None:
            values = []
        elif raw == b"]" and name is not None and values is not None:
            here[name], name, assigning, values = values, None, False, None
        elif raw == b"{" and name is not None and not assigning:
            if len(open_sections) >= DEPTH:
                raise NotThisFormat(f"sections more than {DEPTH} deep")
            inner = here.setdefault(name, {})
            if not isinstance(inner, dict):
                raise NotThisFormat(f"{name} is a value and a section")
            open_sections.append(inner)
            name = None
        elif raw == b"}" and name is None and len(open_sections) > 1:
            open_sections.pop()
        else:
            raise NotThisFormat(f"{raw[:20]!r} stands where it makes no sense")
    if len(open_sections) > 1 or name is not None:
        raise NotThisFormat("the text ends inside a section or a value")
    return top


def _string(raw: bytes) -> str:
    text = raw.decode("utf-8", "backslashreplace")
    # Two characters are escaped: the quote, and the backslash itself.
    return "\\".join(piece.replace('\\"', '"') for piece in text.split("\\\\")) if "\\" in text else text


def _word(raw: bytes, numbers: re.Pattern[str]) -> Scalar:
    text = raw.decode("utf-8", "backslashreplace")
    number = numbers.fullmatch(text)
    if number is None:
        return text
    return float(text) if number[1] else int(text)
