"""What a reader does: it answers questions about the files of one volume, one after the other.

A question is JSON: ``do``, and which node is meant, by the ``key`` that an adapter gave it or by the
``names`` that lead to it from the root. An answer is JSON too, with bytes beside it where data was asked for.
Nothing that a library raises passes: it is the answer, for that path alone.
"""

import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, TypeAlias

from pyimount.files.reading import Broken, Forgotten, Node, Unreadable, Volume
from pyimount.files.records import Kind
from pyimount.files.wire import BATCH, PIECE, stat_values
from pyimount.problems import Code
from pyimount.sources.errors import FOREIGN_ERRORS, SourceError
from pyimount.sources.source import Source

MISSING, NO_FOLDER = "missing", "no-folder"
"""Errors that are none of the volume's: there is no such name, it is no folder."""

Answer: TypeAlias = "tuple[dict[str, Any], bytes]"
DAMAGE: tuple[type[BaseException], ...] = (*FOREIGN_ERRORS, MemoryError, SourceError, Unreadable)
"""What a library, or the bytes below it, may raise."""
_CACHED = 256
_LISTINGS = 64


class NoFolder(Exception):  # noqa: N818
    """A name is looked for in what is no folder."""


class NoEntry(Exception):  # noqa: N818
    """There is no such name."""


class Session:
    """Answers for one volume. ``renew`` is called before each piece of work, to give it its share of time."""

    def __init__(self, volume: Volume, renew: Callable[[], None]) -> None:
        self._volume = volume
        self._renew = renew
        self._damage: tuple[type[BaseException], ...] = (*DAMAGE, *volume.errors)
        self._nodes: OrderedDict[str, Node] = OrderedDict()
        self._open: OrderedDict[tuple[str, str | None], Source] = OrderedDict()
        self._listed: OrderedDict[int, _Listing] = OrderedDict()
        self._listings = 0

    def answer(self, question: Mapping[str, Any]) -> Answer:
        """The answer."""
        self._renew()
        try:
            node = self._node(question)
            return _ANSWERS[question["do"]](self, node, question)
        except NoEntry as error:
            return {"error": MISSING, "message": str(error)}, b""
        except NoFolder as error:
            return {"error": NO_FOLDER, "message": str(error)}, b""
        except self._damage as error:
            return {"error": code_of(error), "message": reason(error)}, b""

    def _node(self, question: Mapping[str, Any]) -> Node:
        key = question.get("key")
        if key is not None and self._volume.at is not None:
            with suppress(Forgotten):
                return self._cached(repr(key), lambda: self._volume.found(key))
        node, folds = self._volume.root, question.get("fold", True)
        for name in question.get("names", ()):
            node = self._child(node, name, folds=folds)
        return node

    def _cached(self, key: str, make: Callable[[], Node]) -> Node:
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = make()
            if len(self._nodes) > _CACHED:
                self._nodes.popitem(last=False)
        else:
            self._nodes.move_to_end(key)
        return node

    def _child(self, node: Node, name: str, *, folds: bool) -> Node:
        if node.stat().kind is not Kind.FOLDER:
            raise NoFolder(name)
        try:
            exact = node.child(name)
        except self._damage:
            exact = None  # an index that is damaged; the names may still be read one by one
        if exact is not None and exact.name == name:
            return exact
        fold = _FOLDS[self._volume.folds if folds else "exact"]
        wanted = fold(name)
        folded = None
        for number, each in enumerate(node.children()):
            if number % BATCH == 0:
                self._renew()
            if isinstance(each, Node):
                if each.name == name:
                    return each
                if folded is None and fold(each.name) == wanted:
                    folded = each
        if folded is None:
            raise NoEntry(name)
        return folded

    def _find(self, node: Node, _: Mapping[str, Any]) -> Answer:
        return {"name": node.name, "key": self._volume.key(node), "stat": stat_values(node.stat())}, b""

    def _list(self, node: Node, question: Mapping[str, Any]) -> Answer:
        """A batch of a folder's entries; ``more``: under what to ask for the next one."""
        listing = self._listed.pop(question.get("more", -1), None)
        if listing is None:
            if node.stat().kind is not Kind.FOLDER:
                raise NoFolder(node.name)
            listing = _Listing(node.children(), self._renew, self._damage)
            listing.pass_over(question.get("skip", 0))
        entries = [self._line(each) for each in listing.next_ones()]
        if listing.ended:
            return {"entries": entries, "problems": listing.problems}, b""
        self._listings += 1
        self._listed[self._listings] = listing
        if len(self._listed) > _LISTINGS:
            self._listed.popitem(last=False)
        return {"entries": entries, "more": self._listings}, b""

    def _line(self, each: Node | Broken) -> list[Any]:
        """A line of a listing: name, key, figures, and what is wrong with it, as code and sentence."""
        if isinstance(each, Broken):
            return [each.name, None, None, [Code.DAMAGED, each.why]]
        try:
            return [each.name, self._volume.key(each), stat_values(each.stat()), None]
        except self._damage as error:
            return [each.name, None, None, [code_of(error), reason(error)]]

    def _read(self, node: Node, question: Mapping[str, Any]) -> Answer:
        """Bytes from ``offset`` on: as many as there are, and as one answer may have."""
        source = self._source(node, question)
        return {}, source.read_at(question["offset"], min(PIECE, question["length"]))

    def _source(self, node: Node, question: Mapping[str, Any]) -> Source:
        stream = question.get("stream")
        key = repr(question.get("key") or question.get("names")), stream
        source = self._open.get(key)
        if source is None:
            if stream is None and node.stat().kind is Kind.FOLDER:
                raise IsADirectoryError("it is a folder")
            source = node.open() if stream is None else node.open_stream(stream)
            self._open[key] = source
            if len(self._open) > 8:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(key)
        return source

    def _size(self, node: Node, question: Mapping[str, Any]) -> Answer:
        return {"size": self._source(node, question).size}, b""

    def _target(self, node: Node, _: Mapping[str, Any]) -> Answer:
        return {"target": node.target()}, b""

    def _streams(self, node: Node, _: Mapping[str, Any]) -> Answer:
        return {"streams": [[each.name, each.kind, each.size] for each in node.streams()]}, b""

    def _runs(self, node: Node, _: Mapping[str, Any]) -> Answer:
        runs = node.runs()
        said = None if runs is None else [[run.at, run.size, run.place] for run in runs]
        return {"runs": said}, b""


class _Listing:
    """A folder that is being listed."""

    def __init__(
        self,
        children: Iterator[Node | Broken],
        renew: Callable[[], None],
        damage: tuple[type[BaseException], ...],
    ) -> None:
        self._children = children
        self._renew = renew
        self._damage = damage
        self.problems: list[list[str]] = []
        self.ended = False

    def next_ones(self) -> Iterator[Node | Broken]:
        """As many as one answer has."""
        given = 0
        try:
            for each in islice(self._children, BATCH):
                given += 1
                yield each
        except self._damage as error:
            self.problems.append([code_of(error), reason(error)])
            given = 0
        self.ended = given < BATCH

    def pass_over(self, count: int) -> None:
        """Go on after so many, which were given before."""
        for number, _ in enumerate(islice(self._children, count)):
            if number % BATCH == 0:
                self._renew()


_ANSWERS: Mapping[str, Callable[[Session, Node, Mapping[str, Any]], Answer]] = {
    "find": Session._find,
    "list": Session._list,
    "read": Session._read,
    "size": Session._size,
    "target": Session._target,
    "streams": Session._streams,
    "runs": Session._runs,
}


def _nfd(name: str) -> str:
    return unicodedata.normalize("NFD", name).casefold()


_FOLDS: Mapping[str, Callable[[str], str]] = {"exact": str, "upper": str.upper, "nfd": _nfd}


def code_of(error: BaseException) -> str:
    """The code of a problem that something raised is."""
    if isinstance(error, Unreadable):
        return error.code
    if isinstance(error, MemoryError):
        return Code.OUT_OF_MEMORY
    if isinstance(error, SourceError):
        return Code.READ_ERROR
    if isinstance(error, NotImplementedError):
        return Code.UNSUPPORTED
    return Code.DAMAGED


def reason(error: BaseException) -> str:
    """A sentence for what was raised: its own first line, bounded."""
    if isinstance(error, MemoryError):
        return "it takes more memory than a reader may have"
    line = str(error).strip().partition("\n")[0][:300]
    return line if isinstance(error, Unreadable | SourceError) and line else f"{type(error).__name__}: {line}"
