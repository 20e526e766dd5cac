"""What two libraries see differently in one volume: two independent readers that agree are evidence."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice

from pyimount.files.records import Kind, Stat
from pyimount.files.system import CannotRead, Entry, FileSystem
from pyimount.inside.tree import Files, Place
from pyimount.inside.walking import DEPTH_CAP
from pyimount.records import Record
from pyimount.sources.errors import SourceError

_COMPARED = (
    "kind",
    "size",
    "mode",
    "uid",
    "gid",
    "links",
    "modified",
    "accessed",
    "changed",
    "born",
    "device",
)
_ENTRIES_CAP = 1 << 20


class Difference(Record, kw_only=True):
    """Something that two libraries see differently: at which path, what, and what each says."""

    path: str
    what: str
    seen: tuple[tuple[str, str], ...]


def compare(start: Place, *, hashes: bool) -> Iterator[Difference] | None:
    """The differences below a folder; None where one library alone reads the volume.

    ``hashes``: compare the data of files too, all of it.
    """
    opened = start.entry.files
    if len(opened.libraries) < 2:
        return None
    return _differences(start.owner, opened, start.entry.names, hashes=hashes)


def _differences(
    files: Files, opened: FileSystem, names: tuple[str, ...], *, hashes: bool
) -> Iterator[Difference]:
    first, second = opened.libraries[:2]
    with ExitStack() as stack:
        starts = []
        for library in (first, second):
            try:
                starts.append(
                    stack.enter_context(files.by(opened.volume, library)).by_names(names, fold=False)
                )
            except (CannotRead, SourceError, OSError) as error:
                why = library, _reason(error)
                both = ((first, "yes"), why) if library == second else (why, (second, "not asked"))
                yield _told(_path(names), "can be read", *both)
                return
        pending = [(starts[0], starts[1])]
        seen = set[object]()
        while pending:
            left, right = pending.pop()
            if left.key is not None and repr(left.key) in seen:
                continue
            seen.add(repr(left.key) if left.key is not None else left.path)
            (ours, wrong), (theirs, its_wrong) = _listed(left), _listed(right)
            if (wrong is None) != (its_wrong is None):
                yield _told(left.path, "can be listed", (first, wrong or "yes"), (second, its_wrong or "yes"))
            for name in sorted(ours.keys() | theirs.keys()):
                mine, its = ours.get(name), theirs.get(name)
                path = _path((*left.names, name))
                if mine is None or its is None:
                    yield _told(path, "is there", (first, mine is not None), (second, its is not None))
                    continue
                yield from _of_entry(path, (first, mine), (second, its), hashes=hashes)
                if mine.kind is Kind.FOLDER is its.kind and len(mine.names) < DEPTH_CAP:
                    pending.append((mine, its))


def _path(names: tuple[str, ...]) -> str:
    return "/" + "/".join(names)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _listed(folder: Entry) -> tuple[dict[str, Entry], str | None]:
    """What lies in a folder, by name, and why that is not all."""
    found: dict[str, Entry] = {}
    try:
        for each in islice(folder.entries(), _ENTRIES_CAP):
            found[each.name] = each
    except OSError as error:
        return found, _reason(error)
    return found, "; ".join(problem.message for problem in folder.problems) or None


def _of_entry(
    path: str, one: tuple[str, Entry], other: tuple[str, Entry], *, hashes: bool
) -> Iterator[Difference]:
    first, second = _figures(one[1]), _figures(other[1])
    if isinstance(first, str) or isinstance(second, str):
        if type(first) is not type(second):
            yield _told(path, "can be read", (one[0], _short(first)), (other[0], _short(second)))
        return
    for name in _COMPARED:
        mine, its = getattr(first, name), getattr(second, name)
        if name == "size" and first.kind is Kind.FOLDER:
            continue  # what a folder's size is, each has its own idea of
        if mine is not None and its is not None and mine != its:
            yield _told(path, name, (one[0], mine), (other[0], its))
    if first.kind is Kind.LINK is second.kind:
        mine, its = _target(one[1]), _target(other[1])
        if mine != its:
            yield _told(path, "target", (one[0], mine), (other[0], its))
    if hashes and first.kind is Kind.FILE is second.kind:
        mine, its = _hash(one[1]), _hash(other[1])
        if mine != its:
            yield _told(path, "sha256", (one[0], mine), (other[0], its))


def _told(path: str, what: str, one: tuple[str, object], other: tuple[str, object]) -> Difference:
    return Difference(path=path, what=what, seen=((one[0], str(one[1])), (other[0], str(other[1]))))


def _short(seen: "Stat | str") -> str:
    return seen if isinstance(seen, str) else "yes"


def _figures(entry: Entry) -> "Stat | str":
    try:
        return entry.stat()
    except OSError as error:
        return error.strerror or str(error)


def _target(entry: Entry) -> str:
    try:
        return entry.target()
    except OSError as error:
        return error.strerror or str(error)


def _hash(entry: Entry) -> str:
    made = hashlib.sha256()
    try:
        for piece in entry.pieces():
            made.update(piece)
    except OSError as error:
        return error.strerror or str(error)
    return made.hexdigest()
