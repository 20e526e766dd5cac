"""Who uses what lies at or below a path: processes, other mounts, devices made of it, and whose these are.

An image within a mounted image is held by the kernel, not by a process: the session that mounted it is named.
"""

import os
import re
from collections.abc import Iterator

from pyimount.execution import loop_state, mountinfo
from pyimount.execution.tools import printable

SHOWN = 5
"""So many of them are named."""

_BLOCK = "/sys/block"
_MARK = re.compile(r"pyimount-([0-9a-f]{8})-[0-9]+")


def by(path: str, *, besides: int | None = None) -> str:
    """`` by `` and who uses what lies at or below a path; empty where nobody is found.

    ``besides``: the process that is not meant.
    """
    who = list(dict.fromkeys(users(path, besides)))
    shown = ", ".join(who[:SHOWN])
    return f" by {shown}{' and others' if len(who) > SHOWN else ''}" if who else ""


def users(path: str, besides: int | None = None) -> Iterator[str]:
    """Who uses a path, each named once; ``besides``: the process that is not meant."""
    sessions: set[str] = set()
    paths = {path, os.path.realpath(path)} if path.startswith("/dev/") else {path}
    for pid, name in holders(paths):
        if pid == besides:
            continue
        mark = _mark_of(pid)
        if mark is None:
            yield f"{name} ({pid})"
        elif mark not in sessions:
            sessions.add(mark)
            yield f"session {mark} (its server, {pid})"
    for mount in mountinfo.mounts():
        at_it = any(mount.path.startswith(f"{each}/") for each in paths)
        if at_it or mount.source in paths:
            yield f"the mount {printable(mount.path)}"
    for device, name in _devices_over(paths):
        found = _MARK.fullmatch(name)
        if found is None:
            yield device
        elif found[1] not in sessions:
            sessions.add(found[1])
            yield f"session {found[1]} ({device})"


def holders(paths: set[str]) -> list[tuple[int, str]]:
    """The processes that use what lies at or below one of these paths: pid and name."""
    return sorted(
        (int(entry), _name(entry)) for entry in os.listdir("/proc")
        if entry.isdigit() and any(_within(each, path) for each in _used_by(entry) for path in paths)
    )  # fmt: skip


def _devices_over(paths: set[str]) -> Iterator[tuple[str, str]]:
    """Devices that the kernel makes of files or devices there: each, and the mark or name that it bears."""
    try:
        blocks = os.listdir(_BLOCK)
    except OSError:
        return
    for block in sorted(blocks):
        backing = _line(f"{_BLOCK}/{block}/loop/backing_file")
        if backing and any(_within(backing, path) for path in paths):
            loop = loop_state.read(f"/dev/{block}")
            yield f"/dev/{block}", "" if loop is None else loop.mark
    for path in sorted(paths):
        if path.startswith("/dev/"):
            for upper in _listed(f"{_BLOCK}/{os.path.basename(path)}/holders"):
                yield f"/dev/{upper}", _line(f"{_BLOCK}/{upper}/dm/name") or ""


def _line(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read().rstrip(b"\n"))
    except OSError:
        return None


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _mark_of(pid: int) -> str | None:
    """The session whose server a process is."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            said = [os.fsdecode(each) for each in file.read().split(b"\0")]
    except OSError:
        return None
    found = next((_MARK.fullmatch(each.removeprefix("--mark=")) for each in said if "--mark=" in each), None)
    return found[1] if found is not None and "pyimount.fuse" in said else None


def _within(used: str, path: str) -> bool:
    return used == path or used.startswith(f"{path.rstrip('/')}/")


def _name(process: str) -> str:
    try:
        with open(f"/proc/{process}/comm", "rb") as file:
            return printable(os.fsdecode(file.read().rstrip(b"\n")).encode("utf-8", "replace").decode())
    except OSError:
        return "?"


def _used_by(process: str) -> Iterator[str]:
    """The paths that a process uses: no file is touched, so one that hangs does no harm."""
    links = [f"/proc/{process}/{each}" for each in ("cwd", "root", "exe")]
    try:
        links += [f"/proc/{process}/fd/{each}" for each in os.listdir(f"/proc/{process}/fd")]
    except OSError:
        return  # It has ended.
    for link in links:
        try:
            yield os.readlink(link)
        except OSError:
            continue
    try:
        with open(f"/proc/{process}/maps", "rb") as file:
            for line in file:
                _, slash, path = line.rstrip(b"\n").partition(b"/")
                if slash:
                    yield os.fsdecode(slash + path)
    except OSError:
        return
