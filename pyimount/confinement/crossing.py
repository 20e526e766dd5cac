"""What may cross from the confined side of a scan to the side that opens files: one table, and nothing else.

The child parses hostile bytes, so what it says may be anything. It asks for files, by a path that it was
given or by a name that an image has; it asks for names in a folder; and it ends with a report. Whatever it
says is held against this table before anything is opened, listed or believed.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pyimount.exceptions import StepFailed
from pyimount.records import Record
from pyimount.sources.broker import FOLDERS
from pyimount.sources.errors import OpenError

NAME_CAP = 4096
"""Characters of a name that an image gives."""
NAMES_CAP = 1 << 17
"""As many names of a folder are asked for at most."""
_PATH_KEYS = ("paths", "header", "allow")
# What in a recipe is paths: of files, of a detached header, of folders that the user allowed.
_DEPTH_CAP = 200
_REFUSED = "the scan asked for what it may not have"


class Question(Record, kw_only=True):
    """What the child asks for: the file that ``image`` calls ``named``, names beside it, or ``image`` itself.

    ``folder``: the one beside the image in which its format keeps such files; empty: the image's own.
    ``names``: how many names at most.
    """

    image: str
    named: str | None = None
    names: int | None = None
    folder: str = ""


def question_of(message: object, known: set[str]) -> Question:
    """A question of the child's. ``known``: the files that were opened for it. Raises OpenError."""
    if not isinstance(message, Mapping):
        raise OpenError(_REFUSED)
    if message.keys() == {"open"}:
        return Question(image=_known(message["open"], known))
    folder = message.get("folder")
    if not isinstance(folder, str) or (folder and folder not in FOLDERS):
        raise OpenError(_REFUSED)
    if message.keys() == {"named", "image", "folder"}:
        named = message["named"]
        if not isinstance(named, str) or not 0 < len(named) <= NAME_CAP or "\0" in named:
            raise OpenError(_REFUSED)
        return Question(image=_known(message["image"], known), named=named, folder=folder)
    if message.keys() == {"names", "folder", "cap"}:
        cap = message["cap"]
        if not isinstance(cap, int) or isinstance(cap, bool) or not 0 <= cap <= NAMES_CAP:
            raise OpenError(_REFUSED)
        return Question(image=_known(message["names"], known), names=cap, folder=folder)
    raise OpenError(_REFUSED)


def report_of(
    report: object, known: set[str], *, header: str | None = None, allow: Collection[str] = ()
) -> dict[str, Any]:
    """A report, if each path in it that anyone opens later is of a file that was opened for the child.

    ``header``, ``allow``: the detached header and the folders that the user named, absolute. That it is a
    report to the letter is for others to check. Raises StepFailed.
    """
    if not isinstance(report, dict):
        raise StepFailed("the scan gave no report")
    try:
        for layer in _layers(report):
            named = set(_texts(layer.get("paths", ())))
            headers, folders = set[Any](), set[str]()
            for key, value in _under(layer["recipe"], _PATH_KEYS):
                if key == "header":
                    headers.add(value)
                else:
                    (named if key == "paths" else folders).update(_texts(value))
            if not (named <= known and headers <= {None, header} and folders <= set(allow)):
                raise StepFailed("the scan speaks of files that it was not given")
    except (KeyError, TypeError, AttributeError) as error:
        raise StepFailed(f"the scan gave no report: {error}") from error
    return report


def _known(path: object, known: set[str]) -> str:
    if not isinstance(path, str) or path not in known:
        raise OpenError(_REFUSED)
    return path


def _layers(report: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    pending = [(disk, 0) for disk in report["disks"]]
    while pending:
        layer, depth = pending.pop()
        if depth > _DEPTH_CAP:
            raise StepFailed("the scan gave no report: its layers lie within one another without an end")
        yield layer
        pending.extend((volume, depth + 1) for volume in layer["volumes"])


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise TypeError("paths that are none")
    return tuple(value)


def _under(recipe: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Whatever stands in a recipe under one of these keys, however deep."""
    pending: list[Any] = [recipe["parameters"]]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            yield from ((key, each) for key, each in value.items() if key in keys)
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)
