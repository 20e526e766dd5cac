"""What stands on this machine, by the ledgers of its sessions."""

from collections.abc import Iterator, Mapping
from typing import Any

from pyimount.execution import ledger as ledgers
from pyimount.execution import mounts
from pyimount.execution.errors import LedgerError, NoSession
from pyimount.execution.ledger import BASE, Entry
from pyimount.planning.steps import (
    READABLE,
    BindMount,
    ExposeRaw,
    MakeDirectory,
    Mount,
    MountWithTool,
    Place,
    Result,
    ShowDirectory,
    Step,
    results,
    shown_readable,
)
from pyimount.records import Record


class Mounted(Record, kw_only=True):
    """A file system that a session mounted. ``stands``: it is mounted now; ``covered``: another over it.

    ``layer``: the scan's. ``path``: where it is now, also where a folder above was renamed.

    ``type``: of the file system; ``bind`` for what stands elsewhere too, ``dir`` for a folder. ``by``: the
    driver or the program that reads it. ``files``: the image or folder behind it, or all of several.
    """

    step: int
    layer: int | None
    path: str
    device: str | None
    type: str | None
    by: str | None
    files: tuple[str, ...]
    stands: bool
    covered: bool = False

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "step": self.step,
            "mountpoint": self.path,
            "device": self.device,
            "type": self.type,
            "by": self.by,
            "files": list(self.files),
            "stands": self.stands,
            "covered": self.covered,
        }


class Session(Record, kw_only=True):
    """One ``mount`` that has not been taken down.

    ``images``: its images' paths, ``files``: what lay there (``wanted.identity``). ``devices``: what it made,
    by the steps that did; ``cache``: the folder of what is written. ``pid``, ``owner`` and ``time`` (seconds
    since 1970): the process that began it, for which user, and when. ``entries``: all steps as its ledger has
    them. ``damaged``: why its ledger cannot be read, if so.
    """

    id: str
    images: tuple[str, ...] = ()
    files: tuple[tuple[int, int, int] | None, ...] = ()
    pid: int | None = None
    owner: int | None = None
    time: float | None = None
    entries: tuple[Entry, ...] = ()
    mounts: tuple[Mounted, ...] = ()
    damaged: str | None = None

    @property
    def devices(self) -> Mapping[int, str]:
        """The devices that stand, by the steps that made them."""
        return {
            entry.step.id: entry.made.place
            for entry in self.entries
            if entry.step.yields == "device" and not entry.undone and entry.made and entry.made.place
        }

    @property
    def cache(self) -> str | None:
        """The folder of what is written over the images, if anything can be."""
        steps = (entry.step for entry in self.entries if not entry.undone)
        return next((step.cache for step in steps if isinstance(step, ExposeRaw) and step.cache), None)

    def to_dict(self) -> dict[str, Any]:
        """The session as JSON values, without its steps."""
        return {
            "session": self.id,
            "images": list(self.images),
            "files": [None if file is None else list(file) for file in self.files],
            "devices": [{"step": step, "device": device} for step, device in self.devices.items()],
            "cache": self.cache,
            "pid": self.pid,
            "owner": self.owner,
            "time": self.time,
            "mounts": [mount.to_dict() for mount in self.mounts],
            "damaged": self.damaged,
        }


def sessions(base: str = BASE) -> list[Session]:
    """All sessions, the oldest first. Raises LedgerError when the folder of ledgers cannot be read."""
    standing = mounts.mounts()
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
                    id=name, images=story.header.images, files=story.header.files,
                    pid=story.header.pid, time=story.header.time, owner=story.header.owner,
                    entries=story.entries, mounts=shown,
                )
            )  # fmt: skip
    return sorted(found, key=lambda each: (each.time or 0.0, each.id))


def _mounted(entry: Entry, standing: list[mounts.MountPoint], entries: tuple[Entry, ...]) -> Mounted | None:
    step = entry.step
    if not isinstance(step, Mount | MountWithTool | ShowDirectory | BindMount):
        return None
    if step.id in shown_readable(each.step for each in entries):
        return None
    if entry.undone or entry.made is None or entry.made.place is None:
        return None
    places = {each.step.id: each.made.place for each in entries if each.made is not None}
    looked_at: Mount | MountWithTool | ShowDirectory | BindMount = step
    identity = entry.made.identity
    if isinstance(step, MountWithTool) and step.tool == READABLE and isinstance(step.source, Result):
        # What counts is what it shows.
        beneath = next((each for each in entries if each.step.id == step.source.step), entry)
        if isinstance(beneath.step, Mount | MountWithTool) and beneath.made is not None:
            looked_at, identity = beneath.step, beneath.made.identity
    source = _source(looked_at)
    now = mounts.same(standing, entry.made.identity, entry.made.place)
    path = entry.made.place if now is None else now.path
    return Mounted(
        step=step.id, layer=step.layer, path=path,
        device=source if isinstance(source, str) else places.get(source.step),
        type=_type(looked_at, identity),
        by=_kind(looked_at),
        files=tuple(dict.fromkeys(_behind(looked_at, {each.step.id: each for each in entries}))),
        stands=now is not None,
        covered=now is not None and [each for each in standing if each.path == path][-1].id != now.id,
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


def _type(step: Mount | MountWithTool | ShowDirectory | BindMount, identity: Mapping[str, Any]) -> str | None:
    if isinstance(step, ShowDirectory):
        return "dir"
    said = identity.get("fstype")
    if isinstance(said, str):
        return said
    # A ledger of before, or a step that is of no scan: what the kernel calls it.
    kernel = identity.get("type")
    return kernel if isinstance(step, Mount) and isinstance(kernel, str) else _kind(step)


def _behind(step: Step, entries: Mapping[int, Entry]) -> Iterator[str]:
    """The images that a step's bytes are of, through all that lies between."""
    if isinstance(step, ShowDirectory):
        yield step.path
    for name in ("backing", "image", "images"):
        value = getattr(step, name, ())
        yield from (
            each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, str)
        )
    for place in results(step):
        entry = entries.get(place.step)
        if entry is None or isinstance(entry.step, MakeDirectory) or entry.made is None:
            continue
        if isinstance(entry.step, ExposeRaw):
            yield from entry.made.identity.get("images", {}).get(place.file, ())
        else:
            yield from _behind(entry.step, entries)
