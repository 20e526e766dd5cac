"""What a volume's files say of the system in it, read through ``files``; judged by ``planning.reconstruct``.

The same facts as ``execution.mounted_trees`` reads of what is mounted. Links are not followed.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial

from pyimount.files.records import Kind
from pyimount.files.system import Entry, FileSystem
from pyimount.planning.facts import HOME_SIGNS, HOMES_CAP, NAMES_CAP, SUBVOLUMES, TEXT_CAP, Facts
from pyimount.planning.hives import Read, name_of, version_of


def observe(files: FileSystem) -> Facts:
    """The facts about a volume; what cannot be read is not there."""
    names = tuple(_names(files, ()))
    within = _root_subvolume(files, names)
    top = tuple(within.split("/")) if within else ()
    return Facts(
        layer=files.volume.id,
        names=names,
        homes=tuple(_homes(files, names)),
        fstab=text_of(files, (*top, "etc", "fstab")),
        crypttab=text_of(files, (*top, "etc", "crypttab")),
        # The one is a link to the other.
        os_release=text_of(files, (*top, "etc", "os-release"))
        or text_of(files, (*top, "usr", "lib", "os-release")),
        hostname=_first_line(text_of(files, (*top, "etc", "hostname"))),
        windows=_windows(files, names),
        subvolume=within,
    )


_NO_CHARACTER = re.compile("[\ud800-\udfff]")
"""Bytes that are no UTF-8, and halves of UTF-16's characters, as Python has them in names."""


def _root_subvolume(files: FileSystem, names: tuple[str, ...]) -> str | None:
    if "etc" in names or files.type != "btrfs":
        return None
    for name in SUBVOLUMES:
        if name in names and {"etc", "usr"} <= set(_names(files, (name,))):
            return name
    return None


def _names(files: FileSystem, path: tuple[str, ...]) -> Iterator[str]:
    try:
        folder = files.by_names(path, fold=False)
        for _, entry in zip(range(NAMES_CAP), folder.entries(), strict=False):
            yield _NO_CHARACTER.sub("\ufffd", entry.name)
    except OSError:
        return


def _homes(files: FileSystem, names: tuple[str, ...]) -> Iterator[str]:
    folders = (name for name in names if not name.startswith("."))
    for _, name in zip(range(HOMES_CAP), folders, strict=False):
        if HOME_SIGNS & set(_names(files, (name,))):
            yield name


def file_of(files: FileSystem, path: tuple[str, ...]) -> Entry | None:
    """The regular file at a path, None where there is none."""
    try:
        entry = files.by_names(path)
    except OSError:
        return None
    return entry if entry.kind is Kind.FILE else None


def text_of(files: FileSystem, path: tuple[str, ...], cap: int = TEXT_CAP) -> str | None:
    """The text of a regular file, as much of it as counts; None where there is none, or it cannot be read."""
    entry = file_of(files, path)
    if entry is None:
        return None
    try:
        return b"".join(entry.pieces(length=cap)).decode("utf-8", "replace")
    except OSError:
        return None


def _first_line(text: str | None) -> str | None:
    line = (text or "").strip().partition("\n")[0].strip()
    return line[:255] if line.isprintable() and line else None


def hive_of(files: FileSystem, names: tuple[str, ...], hive: str) -> Entry | None:
    """A hive of the registry of the Windows that is in a volume; ``names``: those at its top."""
    for name in names:
        if name.lower() in ("windows", "winnt"):
            return file_of(files, (name, "System32", "config", hive))
    return None


def _windows(files: FileSystem, names: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    asked: tuple[tuple[str, Callable[[Read], dict[str, str]]], ...]
    asked = ("SOFTWARE", version_of), ("SYSTEM", name_of)
    for hive, ask in asked:
        entry = hive_of(files, names, hive)
        if entry is not None:
            found |= ask(partial(read_at, entry))
    return found


def read_at(entry: Entry, offset: int, size: int) -> bytes:
    """Bytes of a file; none where they cannot be read."""
    try:
        return b"".join(entry.pieces(offset, size))
    except OSError:
        return b""
