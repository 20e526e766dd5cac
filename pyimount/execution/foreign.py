"""Steps that other programs do, which parse an image's bytes themselves.

Those that mount through FUSE are built on its second version here: only root mounts with it so that others,
root's own loop devices among them, may read. They run as root, then, without most of its powers; whether they
may is the policy's to say. What needs no mount runs as nobody.
"""

import os
import stat
from collections.abc import Mapping
from typing import Any

from pyimount.execution import folders, mounts, nodes, tools
from pyimount.execution.errors import Held, Refused, StepFailed
from pyimount.execution.ledger import Entry, Made
from pyimount.execution.step_acts import Act, Given, mounted, soon, type_of
from pyimount.planning.steps import (
    Carve,
    ExposeShadows,
    MountWithTool,
    Names,
    Result,
    RunImageMounter,
    Step,
)

NOBODY = 65534
_APPEARS_WITHIN = 60.0
_ENDS_WITHIN = 10.0
_CARVES_WITHIN = 24 * 60 * 60.0


def start(
    argv: tuple[str, ...],
    at: str,
    *,
    data: bytes = b"",
    pass_fds: tuple[int, ...] = (),
    fstype: str | None = None,
) -> Made:
    """Run a program that mounts at a folder of ours and stays in the background.

    ``data``: for its standard input; ``pass_fds``: descriptors that it gets; ``fstype``: what it shows.
    Raises StepFailed.
    """
    os.close(mounts.open_mountpoint(at))
    nodes.make(nodes.FUSE)
    tools.start_daemon(argv, data=data, pass_fds=pass_fds, timeout=_APPEARS_WITHIN)
    if not soon(lambda: not mounts.is_free(at), _APPEARS_WITHIN):
        raise StepFailed(f"{argv[0]} mounted nothing")
    made = mounted(at, fstype=fstype)
    return Made(at, {**made.identity, "pids": tools.marked(argv[0], at)})


def end(tool: str, at: str, *, lazy: bool) -> None:
    """Unmount what a program shows at a folder of ours; it then ends by itself."""

    def gone() -> bool:
        # Again and again: one that was just starting when we were killed may mount yet.
        for mount in reversed(mounts.mounted_at(at)):
            if mount.type.startswith("fuse"):
                mounts.unmount(mount, lazy=lazy)
        return not tools.marked(tool, at)

    if not soon(gone, _ENDS_WITHIN):
        if lazy:
            raise Held(f"files of {at} are in use; {tool} ends when they are closed")
        for pid in tools.marked(tool, at):
            tools.end(pid, at)
        if not soon(lambda: not tools.marked(tool, at), _ENDS_WITHIN):
            raise Held(f"{tool} does not end")


class _RunImageMounter(Act[RunImageMounter]):
    """The disk in a container as a file, by a program that was asked for."""

    def perform(self, step: RunImageMounter, names: Names, given: Given) -> Made:  # noqa: ARG002
        for image in map(names, step.images):
            if not image.startswith("/"):
                raise Refused(f"{tools.printable(image)} is no path")
        return start(step.argv(names), names(step.at))

    def undo(self, entry: Entry, step: RunImageMounter, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        end(step.tool, names(step.at), lazy=lazy)


class _ExposeShadows(Act[ExposeShadows]):
    """Shadow copies as files, by vshadowmount."""

    def perform(self, step: ExposeShadows, names: Names, given: Given) -> Made:  # noqa: ARG002
        return start(step.argv(names), names(step.at))

    def undo(self, entry: Entry, step: ExposeShadows, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        end("vshadowmount", names(step.at), lazy=lazy)


class _MountWithTool(Act[MountWithTool]):
    """A file system, by a program of its own."""

    def perform(self, step: MountWithTool, names: Names, given: Given) -> Made:
        if not isinstance(step.source, Result):
            raise Refused(f"{step.source} was not made in this session")
        return start(step.argv(names), names(step.at), fstype=type_of(given.scan, step.layer))

    def undo(self, entry: Entry, step: MountWithTool, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        end(step.tool, names(step.at), lazy=lazy)


class _Carve(Act[Carve]):
    """Files carved from a device of ours, by photorec, which runs as nobody."""

    def before(self, step: Carve, names: Names, given: Given) -> dict[str, int]:  # noqa: ARG002
        is_ = os.stat(names(step.source), follow_symlinks=True)
        return {"uid": is_.st_uid, "mode": stat.S_IMODE(is_.st_mode)}

    def perform(self, step: Carve, names: Names, given: Given) -> Made:
        source = names(step.source)
        if not isinstance(step.source, Result) or not stat.S_ISBLK(os.stat(source).st_mode):
            raise Refused(f"{source} is no device of this session")
        folders.make(step.at)
        at = folders.open_folder(step.at)
        before = os.stat(source)
        try:
            if not folders.is_empty(at):
                raise Refused(f"{step.at} is not empty")
            os.chown(folders.through(at), NOBODY, NOBODY)
            os.chown(source, NOBODY, -1)
            argv = step.replaced(at=folders.through(at)).argv(names)
            tools.run(argv, user=NOBODY, pass_fds=(at, *given.hold), timeout=_CARVES_WITHIN)
        finally:
            os.chown(source, before.st_uid, -1)
            _own(at)
            os.close(at)
        return Made(None, {"at": step.at})

    def undo(self, entry: Entry, step: Carve, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        source = names(step.source)
        if entry.made is None and os.path.exists(source) and os.stat(source).st_uid == NOBODY:
            os.chown(source, entry.before["uid"], -1)


def _own(folder: int) -> None:
    """Take over what was written in a folder, following no link in it."""
    us, ours = os.geteuid(), os.getegid()
    for _, _, names, inner in os.fwalk(".", dir_fd=folder, follow_symlinks=False):
        os.chown(".", us, ours, dir_fd=inner, follow_symlinks=False)
        for name in names:
            os.chown(name, us, ours, dir_fd=inner, follow_symlinks=False)


ACTS: Mapping[type[Step], Act[Any]] = {
    RunImageMounter: _RunImageMounter(),
    ExposeShadows: _ExposeShadows(),
    MountWithTool: _MountWithTool(),
    Carve: _Carve(),
}
"""How each of these steps is done."""
