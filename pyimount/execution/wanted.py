"""What a person means by a word for something that is mounted: an image, a mount point, a device, a session.

A path means what lies there, however it is spelt: the device and inode of an image are in the ledger. Only
what is there no more, or could not be looked at, is known by its name.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from pyimount.records import Record


class Wanted(Record, kw_only=True):
    """What a word stands for on this machine.

    ``path``: the absolute path with all links resolved, ``spelt``: without. ``file``: the device and inode of
    what lies there, and, of a block device, its own number, else 0; None: nothing does, or it cannot be told.
    """

    word: str
    path: str
    spelt: str
    file: tuple[int, int, int] | None = None


def identity(path: str | int) -> tuple[int, int, int] | None:
    """Device, inode and number of what a path or descriptor leads to; None where that cannot be told."""
    try:
        is_ = os.stat(path)
    except (OSError, ValueError):
        return None
    return is_.st_dev, is_.st_ino, is_.st_rdev if stat.S_ISBLK(is_.st_mode) else 0


def look_at(word: str) -> Wanted:
    """What a word stands for, from the folder that this process is in."""
    spelt = os.path.abspath(word)
    return Wanted(word=word, path=os.path.realpath(word), spelt=spelt, file=identity(word))


def meant(wanted: Wanted, session: Mapping[str, Any]) -> set[int] | None:
    """What is meant of a session, which is given as ``sessions.Session.to_dict`` has it.

    Its name or one of its images: None, all of it. Otherwise the steps of those of its mounts that stand at
    this path or below it, and of a device that it made; empty: nothing of it.
    """
    if wanted.word == session["session"] or _is_image(wanted, session):
        return None
    found = {mount["step"] for mount in session["mounts"] if _is_at(wanted, mount["mountpoint"])}
    return found | {each["step"] for each in session.get("devices", ()) if _is_device(wanted, each["device"])}


def _is_image(wanted: Wanted, session: Mapping[str, Any]) -> bool:
    images: Sequence[str] = session["images"]
    files = [*session.get("files", ())]
    files += [None] * (len(images) - len(files))
    return any(_is_file(wanted, path, file) for path, file in zip(images, files, strict=False))


def _is_file(wanted: Wanted, path: str, file: Sequence[int] | None) -> bool:
    named = path in (wanted.path, wanted.spelt)
    if wanted.file is None or file is None:
        return named
    device, inode, number = file
    if number and wanted.file[2]:
        return number == wanted.file[2]
    # A network's folder that was mounted anew has another device.
    return wanted.file[1] == inode and (wanted.file[0] == device or named)


def _is_at(wanted: Wanted, mountpoint: str) -> bool:
    if any(f"{mountpoint}/".startswith(f"{path.rstrip('/')}/") for path in (wanted.path, wanted.spelt)):
        return True
    if wanted.file is None:
        return False
    # By another name of a folder above: a bind of it. The mount itself is not asked: it may hang.
    above, name = os.path.split(mountpoint)
    before, last = os.path.split(wanted.path)
    if last == name and (same := identity(before)) is not None and same == identity(above):
        return True
    while True:
        if identity(above) == wanted.file:
            return True
        if above == "/":
            return False
        above = os.path.dirname(above)


def _is_device(wanted: Wanted, device: str) -> bool:
    if device in (wanted.path, wanted.spelt):
        return True
    if wanted.file is None or not wanted.file[2]:
        return False
    made = identity(device)
    return made is not None and made[2] == wanted.file[2]
