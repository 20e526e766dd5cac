"""What an adapter gives of its library: a volume, and the nodes in it. Works in the reader alone.

Whatever a library raises on damaged bytes is caught by who calls an adapter, and becomes a problem of the
path that it was called for.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pyimount.files.records import Kind, Run, Stat, Stream
from pyimount.problems import Code
from pyimount.records import Record
from pyimount.sources.source import Source


class Unreadable(Exception):  # noqa: N818
    """Something that cannot be read, for a reason that is known: ``code``, and a sentence."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class Refused(Unreadable):
    """A library does not take this volume."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNSUPPORTED, message)


class Forgotten(LookupError):  # noqa: N818
    """A key is none of this reader's, which was started anew: the node is to be found by its names."""


class Broken(Record, kw_only=True):
    """An entry of a folder that cannot be read: what of its name is known, and why."""

    name: str | None
    why: str


class Node(ABC):
    """A file, folder, link … as a library gives it.

    ``name``: text, with bytes that are no UTF-8 as surrogates. What a node does not have it leaves as it is
    here. All methods raise what the library raises.
    """

    __slots__ = ("name",)

    name: str

    @abstractmethod
    def stat(self) -> Stat:
        """Its figures."""

    def children(self) -> Iterator["Node | Broken"]:
        """What lies in a folder, without ``.`` and ``..``; one broken record hides no other."""
        raise NotADirectoryError(self.name)

    def child(self, name: str) -> "Node | None":
        """The child of exactly this name, where that is found more quickly than by looking at all."""
        return next((each for each in self.children() if isinstance(each, Node) and each.name == name), None)

    def open(self) -> Source:
        """Its data."""
        raise Unreadable(Code.UNSUPPORTED, "it has no data")

    def target(self) -> str:
        """Where a link leads, as it stands there."""
        raise OSError("not a link")

    def streams(self) -> Sequence[Stream]:
        """Alternate data streams, forks, extended attributes."""
        return ()

    def open_stream(self, name: str) -> Source:
        """The data of one of these."""
        raise FileNotFoundError(name)

    def runs(self) -> Sequence[Run] | None:
        """Where the data lies in the volume, as far as it is told; None: not told."""
        return None


class Volume(Record, kw_only=True):
    """A volume that an adapter has opened.

    ``folds``: how names are compared where no exact one is found: ``exact``, ``upper`` (NTFS, FAT), ``nfd``
    (HFS+, APFS). ``key_of``, ``at``: what a node is found by again, where there is something better than its
    path, and how. ``errors``: what the library raises of its own on damage.
    """

    root: Node
    folds: str = "exact"
    errors: tuple[type[Exception], ...] = ()
    at: Callable[[Any], Node] | None = None
    key_of: Callable[[Node], Any] | None = None

    def key(self, node: Node) -> Any:
        """By what ``found`` finds the node again, as JSON; None: by its path alone."""
        return None if self.key_of is None else self.key_of(node)

    def found(self, key: Any) -> Node:
        """The node of a key that ``key`` gave; raises Forgotten, and what the library raises."""
        if self.at is None:
            raise LookupError("no node is found so")
        return self.at(key)


def is_folder(node: Node) -> bool:
    """Whether it is a folder."""
    return node.stat().kind is Kind.FOLDER
