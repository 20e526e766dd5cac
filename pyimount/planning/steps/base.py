"""What every step is: frozen data with a command line; and what a step calls the results of others."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeAlias

from pyimount.records import Record

PREFIX = "pyimount"
"""Begins every name that we give to something on the machine."""


class Result(Record):
    """What the step with this id made: its device or its path; ``file``: a file within that path."""

    step: int
    file: str | None = None


Place: TypeAlias = str | Result
"""A path on this machine, or what an earlier step made."""


class Names:
    """What a session calls things: what places stand for, and the names of what it makes.

    ``places``: what earlier steps made, by their ids. A step that has not run stands as a shell variable.
    """

    def __init__(self, session: str, places: Mapping[int, str] | None = None) -> None:
        self.session = session
        self.places: dict[int, str] = dict(places or {})

    def __call__(self, place: Place) -> str:
        """The path or device that a place stands for."""
        if isinstance(place, str):
            return place
        made = self.places.get(place.step, f"$STEP{place.step}")
        return made if place.file is None else f"{made}/{place.file}"

    def mark(self, step: int) -> str:
        """The name of what this step makes."""
        return f"{PREFIX}-{self.session}-{step}"


class TableLine(Record):
    """One line of a device-mapper table: ``start`` and ``length`` in sectors, target and its arguments."""

    start: int
    length: int
    target: str
    arguments: tuple[str | int | Result, ...]

    def text(self, names: Names) -> str:
        """The line as dmsetup reads it."""
        said = (names(one) if isinstance(one, Result) else str(one) for one in self.arguments)
        return " ".join((str(self.start), str(self.length), self.target, *said))


class Step(Record, ABC, kw_only=True):
    """Base of all steps. ``layer``: the id of the scan's layer that it is for."""

    verb: ClassVar[str] = ""
    yields: ClassVar[str | None] = None
    """``device``, ``path`` or None: what a Result of this step is."""
    undo: ClassVar[tuple[str, ...]] = ()
    """The command that takes back what this step made, which comes after it."""

    id: int
    layer: int | None = None

    @abstractmethod
    def argv(self, names: Names) -> tuple[str, ...]:
        """The command line of this step."""

    def undo_argv(self, made: str) -> tuple[str, ...]:
        """The command line that takes back what this step made; empty where nothing is to be done."""
        return (*self.undo, made) if self.undo else ()

    def needs(self) -> tuple[int, ...]:
        """The ids of the steps whose results this one names."""
        return tuple(sorted({place.step for place in results(self)}))

    def to_dict(self) -> dict[str, Any]:
        """The step as JSON values."""
        return {"step": type(self).__name__} | {name: _plain(getattr(self, name)) for name in self.fields}


def results(step: Step) -> Iterator[Result]:
    """What a step names of what earlier ones made."""
    pending: list[Any] = [getattr(step, name) for name in reversed(step.fields)]
    while pending:
        value = pending.pop()
        if isinstance(value, Result):
            yield value
        elif isinstance(value, tuple):
            pending.extend(reversed(value))
        elif isinstance(value, TableLine):
            pending.append(value.arguments)


def _plain(value: Any) -> Any:
    if isinstance(value, Result):
        return {"result": value.step} | ({} if value.file is None else {"file": value.file})
    if isinstance(value, TableLine):
        return {"table": [_plain(getattr(value, name)) for name in value.fields]}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return value
