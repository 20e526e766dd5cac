"""RDF in Turtle, as far as AFF4 uses it: no collections, no blank nodes.

Layout: https://www.w3.org/TR/turtle/
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pyimount.formats import NotThisFormat

RDF_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"

_STATEMENTS_CAP = 1 << 16
"""No more statements are kept than these: some 20 MB, whatever they say."""
# Nothing is matched in two ways: the text is anybody's, and going back over it could take for ever. Only
# single characters are repeated possessively: with whole groups Python before 3.11.5 errs (gh-106052).
_BLANK = r"\s*+(?:\#[^\n]*+\s*+)*"
_TOKEN = re.compile(
    _BLANK
    + r"""
    (?: <(?P<iri>[^<>"{}|^`\x00-\x20]*+)>
      | (?P<string>\"\"\"[^"\\]*+(?:(?:\\.|"(?!""))[^"\\]*+)*\"\"\"
                  |"[^"\\\n]*+(?:\\.[^"\\\n]*+)*"
                  |'[^'\\\n]*+(?:\\.[^'\\\n]*+)*')
      | (?P<prefix>@prefix|@base|PREFIX\b|BASE\b)
      | @(?P<language>[A-Za-z-]++)
      | (?P<mark>\^\^|[;,.])
      | (?P<number>[+-]?[0-9]++(?:[.eE+-]++[0-9]++)*)
      | (?P<name>[\w-]*+:[\w%/:+~-]*+(?:(?:\\.|\.(?=[\w%-]))[\w%/:+~-]*+)*)
      | (?P<word>\w++)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f"}


class Term(NamedTuple):
    """An object of a statement: an IRI, or a literal and its type's IRI (``""`` for none)."""

    text: str
    is_iri: bool
    datatype: str = ""


Graph = dict[str, dict[str, list[Term]]]
"""Objects by subject and predicate, both IRIs."""


def read_turtle(text: str) -> Graph:
    """The statements of a document; raises NotThisFormat where it is none, or not of this kind."""
    graph: Graph = {}
    reader = _Reader(text)
    while reader.statement(graph):
        pass
    return graph


class _Reader:
    """Reads statement by statement."""

    def __init__(self, text: str) -> None:
        self._prefixes: dict[str, str] = {}
        self._base = ""
        self._tokens = _tokens(text)
        self._held: list[tuple[str, str]] = []
        self._count = 0

    def statement(self, graph: Graph) -> bool:
        """Take in a statement, or what is said of one subject; False at the end."""
        kind, value = self._next()
        if not kind:
            return False
        if kind == "prefix":
            self._directive(value)
            return True
        subject = graph.setdefault(self._iri(kind, value), {})
        end = ";"
        while end == ";":
            kind, value = self._next()
            if (kind, value) == ("mark", "."):  # a semicolon may stand in front of it
                break
            predicate = RDF_TYPE if (kind, value) == ("word", "a") else self._iri(kind, value)
            end = ","
            while end == ",":
                self._count += 1
                if self._count > _STATEMENTS_CAP:
                    raise NotThisFormat(f"more than {_STATEMENTS_CAP} statements")
                subject.setdefault(predicate, []).append(self._object())
                kind, end = self._next()
                if kind != "mark":
                    raise NotThisFormat(f"{end!r} stands where a statement goes on")
        return True

    def _directive(self, word: str) -> None:
        name = self._next()[1] if "prefix" in word.lower() else ""
        kind, iri = self._next()
        if kind != "iri":
            raise NotThisFormat("a prefix that stands for nothing")
        if name:
            self._prefixes[name.removesuffix(":")] = iri
        else:
            self._base = iri
        if word.startswith("@") and self._next() != ("mark", "."):
            raise NotThisFormat("a prefix without an end")

    def _object(self) -> Term:
        kind, value = self._next()
        if kind in ("number", "word"):
            return Term(value, is_iri=False)
        if kind != "string":
            return Term(self._iri(kind, value), is_iri=True)
        quotes = 3 if value.startswith('"""') else 1
        literal = _ESCAPE.sub(_unescape, value[quotes:-quotes])
        kind, following = self._next()
        if kind == "language":
            return Term(literal, is_iri=False)
        if following == "^^":
            return Term(literal, is_iri=False, datatype=self._iri(*self._next()))
        self._held.append((kind, following))
        return Term(literal, is_iri=False)

    def _next(self) -> tuple[str, str]:
        return self._held.pop() if self._held else next(self._tokens)

    def _iri(self, kind: str, value: str) -> str:
        if kind == "iri":
            return value if ":" in value else self._base + value
        prefix, colon, local = value.partition(":")
        if kind != "name" or not colon or prefix not in self._prefixes:
            raise NotThisFormat(f"{value[:80]!r} stands where a name is due")
        return self._prefixes[prefix] + local


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """The tokens with their kinds, and then empty ones for ever."""
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            if not re.fullmatch(_BLANK, text[at:]):
                raise NotThisFormat(f"what stands at character {at} is no Turtle")
            break
        at = found.end()
        yield found.lastgroup or "", found[found.lastgroup or 0]
    while True:
        yield "", ""


def _unescape(found: re.Match[str]) -> str:
    code = found[1]
    if len(code) == 1:
        return _ESCAPED.get(code, code)
    number = int(code[1:], 16)
    return chr(number) if number < 0x110000 else "\ufffd"
