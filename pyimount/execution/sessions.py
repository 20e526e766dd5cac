"""What stands on this machine, by the ledgers of its sessions."""

import os
from collections.abc import Mapping
from typing import Any

from pyimount.execution import ledger as ledgers
from pyimount.execution import mounts
from pyimount.execution.errors import LedgerError, NoSession
from pyimount.execution.ledger import BASE, Entry
from pyimount.planning.steps import (
    READABLE,
    BindMount,
    Mount,
    MountWithTool,
    Place,
    Result,
    ShowDirectory,
    shown_readable,
)
from pyimount.records import Record


class Mounted(Record, kw_only=True):
    """A file system that a session mounted. ``stands``: it is mounted now; ``layer``: the scan's.

    ``type``: the driver or the program that reads it; ``bind`` for what stands elsewhere too, ``dir`` for a
    folder.
    """

    step: int
    layer: int | None
    path: str
    device: str | None
    type: str | None
    stands: bool

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "step": self.step,
            "mountpoint": self.path,
            "device": self.device,
            "type": self.type,
            "stands": self.stands,
        }


class Session(Record, kw_only=True):
    """One ``mount`` that has not been taken down.

    ``images``: its images' paths; ``pid``, ``owner`` and ``time`` (seconds since 1970): the process that
    began it, for which user, and when. ``entries``: all steps as its ledger has them.
    ``damaged``: why its ledger cannot be read, if so.
    """

    id: str
    images: tuple[str, ...] = ()
    pid: int | None = None
    owner: int | None = None
    time: float | None = None
    entries: tuple[Entry, ...] = ()
    mounts: tuple[Mounted, ...] = ()
    damaged: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The session as JSON values, without its steps."""
        return {
            "session": self.id,
            "images": list(self.images),
            "pid": self.pid,
            "owner": self.owner,
            "time": self.time,
            "mounts": [mount.to_dict() for mount in self.mounts],
            "damaged": self.damaged,
        }


def sessions(base: str = BASE) -> list[Session]:
    """All sessions, the oldest first. Raises LedgerError when the folder of ledgers cannot be read."""
    standing = {(mount.path, mount.id) for mount in mounts.mounts()}
    found = []
    for name in ledgers.all_sessions(base):
        try:
            story = ledgers.read(base, name)
        except NoSession:
            continue
        except LedgerError as error:
            found.append(Session(id=name, damaged=str(error)))
            continue
        shown = tuple(
            made for entry in story.entries if (made := _mounted(entry, standing, story.entries)) is not None
        )
        if story.header is None:
            found.append(Session(id=name, entries=story.entries, mounts=shown))
        else:
            found.append(
                Session(
                    id=name, images=story.header.images, pid=story.header.pid, time=story.header.time,
                    owner=story.header.owner,
                    entries=story.entries, mounts=shown,
                )
            )  # fmt: skip
    return sorted(found, key=lambda each: (each.time or 0.0, each.id))


def _mounted(entry: Entry, standing: set[tuple[str, int]], entries: tuple[Entry, ...]) -> Mounted | None:
    step = entry.step
    if not isinstance(step, Mount | MountWithTool | ShowDirectory | BindMount):
        return None
    if step.id in shown_readable(each.step for each in entries):
        return None
    if entry.undone or entry.made is None or entry.made.place is None:
        return None
    places = {each.step.id: each.made.place for each in entries if each.made is not None}
    looked_at: Mount | MountWithTool | ShowDirectory | BindMount = step
    if isinstance(step, MountWithTool) and step.tool == READABLE and isinstance(step.source, Result):
        # What counts is what it shows.
        by_id = {each.step.id: each.step for each in entries}
        beneath = by_id.get(step.source.step)
        looked_at = beneath if isinstance(beneath, Mount | MountWithTool) else step
    source = _source(looked_at)
    return Mounted(
        step=step.id, layer=step.layer, path=entry.made.place,
        device=source if isinstance(source, str) else places.get(source.step),
        type=_kind(looked_at),
        stands=(entry.made.place, entry.made.identity.get("mount", -1)) in standing,
    )  # fmt: skip


def _source(step: Mount | MountWithTool | ShowDirectory | BindMount) -> Place:
    if isinstance(step, ShowDirectory):
        return step.path
    return step.device if isinstance(step, Mount) else step.source


def _kind(step: Mount | MountWithTool | ShowDirectory | BindMount) -> str | None:
    """The driver, the program, ``dir`` or ``bind``."""
    if isinstance(step, Mount):
        return step.type
    if isinstance(step, ShowDirectory):
        return "dir"
    return step.tool if isinstance(step, MountWithTool) else "bind"


def meant(what: str, session: Mapping[str, Any]) -> set[int] | None:
    """What a person means by ``what`` of a session, which is given as ``to_dict`` has it.

    ``what`` is the session's name, the path of one of its images, a mount point or a folder above some; links
    in it are followed. None: all of the session; a set: the steps of these mounts; empty: nothing of it.
    """
    path = os.path.abspath(what)
    paths = {path, os.path.realpath(path)}
    if what == session["session"] or paths & set(session["images"]):
        return None
    return {mount["step"] for mount in session["mounts"] if _within(mount["mountpoint"], paths)}


def _within(mountpoint: str, paths: set[str]) -> bool:
    return any(mountpoint == path or mountpoint.startswith(f"{path.rstrip('/')}/") for path in paths)
