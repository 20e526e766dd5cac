"""A walk through the folders of a hostile image: one that holds itself is entered once, depth is bounded."""

from collections.abc import Iterator
from typing import Any

from pyimount.files.records import Kind
from pyimount.files.system import Damaged
from pyimount.inside.tree import Files, Place
from pyimount.problems import Code, Problem
from pyimount.records import Record

DEPTH_CAP = 500
"""Folders within one another that are entered."""


class Step(Record, kw_only=True):
    """Where a walk is: ``depth`` from its start; ``leaving``: a folder whose contents were given before."""

    place: Place
    depth: int
    leaving: bool = False
    entered: bool = False


class Walk:
    """Everything below a place, each folder before what is in it, and told again when it is left.

    ``problems``: what could not be looked at, by its place.
    """

    def __init__(self, files: Files, start: Place, *, deepest: int = DEPTH_CAP) -> None:
        self._files = files
        self._start = start
        self._deepest = min(deepest, DEPTH_CAP)
        self.problems: list[tuple[Place, Problem]] = []

    def __iter__(self) -> Iterator[Step]:
        if self._start.entry.kind is not Kind.FOLDER:
            yield Step(place=self._start, depth=0)
            return
        yield Step(place=self._start, depth=0, entered=True)
        # The folders that are open, with what identifies each, and what is left in them.
        above = [(self._start, _identity(self._start), self._children(self._start))]
        while above:
            place, _, children = above[-1]
            child = next(children, None)
            if child is None:
                above.pop()
                yield Step(place=place, depth=len(above), leaving=True)
                continue
            self.problems += [(child, problem) for problem in child.entry.problems]
            depth = len(above)
            enters = child.entry.kind is Kind.FOLDER and self._may_enter(
                child, [each[1] for each in above], depth
            )
            yield Step(place=child, depth=depth, entered=enters)
            if enters:
                above.append((child, _identity(child), self._children(child)))

    def _may_enter(self, child: Place, above: list[Any], depth: int) -> bool:
        identity = _identity(child)
        if identity is not None and identity in above:
            self.problems.append(
                (child, Problem(Code.LOOP, "the folder holds itself; it is not entered again"))
            )
            return False
        if depth >= DEPTH_CAP:
            self.problems.append(
                (
                    child,
                    Problem(
                        Code.BUDGET, f"folders lie more than {DEPTH_CAP} deep; what is below is left out"
                    ),
                )
            )
            return False
        return depth < self._deepest

    def _children(self, place: Place) -> Iterator[Place]:
        try:
            yield from self._files.children(place)
        except Damaged as error:
            self.problems.append((place, error.problem))
        except OSError as error:
            self.problems.append((place, Problem(Code.DAMAGED, error.strerror or str(error))))
        known = len(place.entry.problems)
        self.problems += [(place, problem) for problem in place.entry.problems[:known]]


def _identity(place: Place) -> Any:
    """What tells a folder from others of its volume; None: nothing does."""
    key = place.entry.key
    return None if key is None else (place.entry.files.volume.id, key[0], repr(key[1]))
