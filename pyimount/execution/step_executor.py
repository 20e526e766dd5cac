"""Carrying out one step, and taking it back.

``before`` looks, for the ledger, at what a step will find; ``perform`` acts; ``undo`` takes back what stands
of it. Undo goes by the mark of the step and the identity in the ledger or, where a crash kept that from being
written, by what only this step could have made; it may be repeated, and leaves alone what is not ours.
"""

import os
import stat
from collections.abc import Mapping
from functools import partial
from typing import Any

from pyimount.confinement.users import tidy
from pyimount.execution import (
    caches,
    drivers,
    flash,
    folders,
    foreign,
    loops,
    lvm_groups,
    mapped_devices,
    mounts,
    servers,
    unlocked,
)
from pyimount.execution.caches import Note
from pyimount.execution.errors import Held, Refused, StepFailed
from pyimount.execution.fuse_mounts import FUSE_TYPE, mount_fuse, open_shown
from pyimount.execution.ledger import Entry, Made
from pyimount.execution.making import MakingFolders
from pyimount.execution.scanned_files import open_scanned
from pyimount.execution.step_acts import Act, Given, mounted, soon, type_of, unmount_ours
from pyimount.planning.steps import (
    AttachLoop,
    BindMount,
    ExposeRaw,
    MakeDirectory,
    Mount,
    Names,
    Place,
    Result,
    ShowDirectory,
    Step,
)

_ENDS_WITHIN = 2.0


class _AttachLoop(Act[AttachLoop]):
    def before(self, step: AttachLoop, names: Names, given: Given) -> dict[str, Any]:
        descriptor = _open_backing(step.backing, names, given, read_only=True)
        try:
            return {"backing": list(loops.backing_of(descriptor))}
        finally:
            os.close(descriptor)

    def perform(self, step: AttachLoop, names: Names, given: Given) -> Made:
        descriptor = _open_backing(step.backing, names, given, read_only=step.read_only)
        try:
            loop = loops.attach(
                descriptor, names.mark(step.id), offset=step.offset, size=step.size,
                sector_size=step.sector_size, read_only=step.read_only,
            )  # fmt: skip
        finally:
            os.close(descriptor)
        return Made(loop.device, {"mark": loop.mark, "backing": list(loop.backing)})

    def undo(self, entry: Entry, step: AttachLoop, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        mark = names.mark(step.id)
        device, inode = entry.before["backing"]
        if entry.made is not None and entry.made.place is not None:
            device, inode = entry.made.identity["backing"]
            loops.detach(loops.Loop(device=entry.made.place, mark=mark, backing=(device, inode)))
            return
        found = loops.find(mark)
        if found is not None and found.backing == (device, inode):
            loops.detach(found)


def _open_backing(place: Place, names: Names, given: Given, *, read_only: bool) -> int:
    """A descriptor of a file or block device; an image itself is never opened for writing."""
    path = names(place)
    if isinstance(place, str):
        if not read_only:
            raise Refused(f"{path} is an image, and images are not written to")
        return open_scanned(path, given.files, given.opened)
    if place.file is not None:
        return open_shown(names(Result(place.step)), place.file, read_only=read_only)
    try:
        descriptor = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise StepFailed(f"{path}: {error.strerror}") from error
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISBLK(kind):
        os.close(descriptor)
        raise StepFailed(f"{path} is neither a file nor a disk")
    return descriptor


class _ExposeRaw(Act[ExposeRaw]):
    def before(self, step: ExposeRaw, names: Names, given: Given) -> dict[str, Any]:  # noqa: ARG002
        return caches.made_before(step)

    def perform(self, step: ExposeRaw, names: Names, given: Given) -> Made:
        at = names(step.at)
        if given.hand_over is not None:
            # The user serves it, with the rights that he has: root starts no program that is his.
            given.hand_over(mount_fuse(at, names.mark(step.id)))
            return mounted(at)
        keys = [each for each in given.keys if isinstance(each, Mapping)]
        server = servers.start(
            at,
            step.files,
            given.scan,
            names.mark(step.id),
            keys=keys,
            cache=step.cache,
            scanned=given.files,
            hold=given.hold,
        )
        made = mounted(at, read_only=step.cache is None)
        shown = {
            **made.identity, **server.identity(), "failed": dict(server.failed),
            "images": {name: servers.images_of(given.scan, layer) for layer, name in step.files},
        }  # fmt: skip
        return Made(at, shown)

    def undo(self, entry: Entry, step: ExposeRaw, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        mark = names.mark(step.id)
        at = names(step.at)
        for mount in reversed(mounts.mounts()):
            if mount.source == mark and mount.type == FUSE_TYPE:
                mounts.unmount(mount, lazy=lazy)
        # One that is just starting holds the ledger's lock until it is here to be found.
        while found := servers.find(mark):
            for server in found:
                # It ends by itself once it is unmounted, and nobody has a file of it open.
                if lazy and not soon(partial(_has_ended, server), _ENDS_WITHIN):
                    raise Held(f"files of {at} are in use; their server ends when they are closed")
                if not servers.stop(server):
                    raise Held(f"the FUSE server {server.pid} does not end")
        tidy()


def _has_ended(server: servers.Server) -> bool:
    return not servers.stands(server)


class _Mount(Act[Mount]):
    def perform(self, step: Mount, names: Names, given: Given) -> Made:
        for place in (step.device, *step.members):
            if not isinstance(place, Result):
                raise Refused(f"{place} was not made in this session")
        path = names(step.at)
        at = mounts.open_mountpoint(path)
        options = (*step.options, *step.member_options(names))
        try:
            drivers.mount_device(
                names(step.device), at, step.type, options, read_only=step.read_only, hold=given.hold
            )
        finally:
            os.close(at)
        return mounted(path, read_only=step.read_only, fstype=type_of(given.scan, step.layer))

    def undo(self, entry: Entry, step: Mount, names: Names, *, lazy: bool) -> None:
        unmount_ours(entry, names(step.at), names(step.device), lazy=lazy)


class _ShowDirectory(Act[ShowDirectory]):
    def before(self, step: ShowDirectory, names: Names, given: Given) -> dict[str, Any]:  # noqa: ARG002
        source = folders.open_folder(step.path)
        try:
            shown = mounts.mount_of(source)
        finally:
            os.close(source)
        return {"device": None if shown is None else shown.device}

    def perform(self, step: ShowDirectory, names: Names, given: Given) -> Made:  # noqa: ARG002
        path = names(step.at)
        source = folders.open_folder(step.path)
        try:
            mounts.show_folder(source, path)
        finally:
            os.close(source)
        return mounted(path)

    def undo(self, entry: Entry, step: ShowDirectory, names: Names, *, lazy: bool) -> None:
        for mount in reversed(mounts.mounted_at(names(step.at))):
            if entry.made is not None:
                ours = mount.id == entry.made.identity["mount"]
            else:
                ours = not mounts.is_bound_on_itself(mount)
            if ours and mount.device == entry.before["device"]:
                mounts.unmount(mount, lazy=lazy)


class _BindMount(Act[BindMount]):
    def before(self, step: BindMount, names: Names, given: Given) -> dict[str, Any]:  # noqa: ARG002
        source, target = _bind_ends(step, names)
        try:
            path, above, shown = folders.path_of(target), mounts.mount_of(target), mounts.mount_of(source)
            if above is not None and above.path == path:
                raise Refused(f"{path}: something is mounted there already")
            return {"at": path, "device": None if shown is None else shown.device}
        finally:
            os.close(source)
            os.close(target)

    def perform(self, step: BindMount, names: Names, given: Given) -> Made:  # noqa: ARG002
        source, target = _bind_ends(step, names)
        try:
            path = folders.path_of(target)
            shown = mounts.mount_of(source)
            # What is writable in this session stays so, what another mounted does not become so.
            read_only = isinstance(step.source, str) or shown is None or shown.read_only
            mounts.bind(source, target, read_only=read_only)
        finally:
            os.close(source)
            os.close(target)
        return mounted(path, read_only=read_only)

    def undo(self, entry: Entry, step: BindMount, names: Names, *, lazy: bool) -> None:
        root = names(step.root)
        for mount in reversed(mounts.mounted_at(entry.before["at"])):
            if entry.made is not None:
                ours = mount.id == entry.made.identity["mount"]
            else:
                ours = mount.path.startswith(f"{root}/")
            if ours and mount.device == entry.before["device"]:
                mounts.unmount(mount, lazy=lazy)


def _bind_ends(step: BindMount, names: Names) -> tuple[int, int]:
    """Descriptors of what is shown and of where, which lies within the root whatever links are on the way."""
    root = folders.open_folder(names(step.root))
    try:
        target = folders.open_in_root(root, step.target)
        above, within = folders.path_of(root), folders.path_of(target)
    finally:
        os.close(root)
    if not within.startswith(f"{above}/"):
        os.close(target)
        raise Refused(f"{step.target} is the root itself, or outside it")
    try:
        return folders.open_folder(names(step.source)), target
    except StepFailed:
        os.close(target)
        raise


_ACTS: Mapping[type[Step], Act[Any]] = {
    **foreign.ACTS,
    **mapped_devices.ACTS,
    **lvm_groups.ACTS,
    **flash.ACTS,
    **unlocked.ACTS,
    MakeDirectory: MakingFolders(),
    ExposeRaw: _ExposeRaw(),
    AttachLoop: _AttachLoop(),
    Mount: _Mount(),
    ShowDirectory: _ShowDirectory(),
    BindMount: _BindMount(),
}


def _act(step: Step) -> Act[Any]:
    act = _ACTS.get(type(step))
    if act is None:
        raise StepFailed(f"{type(step).__name__} cannot be done here")
    return act


def settled(step: Step, names: Names, given: Given) -> Step:
    """The step as it is to be run now, under a name that is free. Raises StepFailed."""
    try:
        found: Step = _act(step).settled(step, names, given)
    except OSError as error:
        raise _plain(error) from error
    return found


def before(step: Step, names: Names, given: Given) -> dict[str, Any]:
    """What a step will find, for taking it back after a crash. Raises StepFailed."""
    try:
        return _act(step).before(step, names, given)
    except OSError as error:
        raise _plain(error) from error


def perform(step: Step, names: Names, given: Given) -> Made:
    """Carry out a step. Raises StepFailed."""
    try:
        return _act(step).perform(step, names, given)
    except OSError as error:
        raise _plain(error) from error


def undo(entry: Entry, names: Names, *, lazy: bool = False, discard: bool = False) -> Note | None:
    """Take back what stands of a step, if anything does. Raises Held with what keeps it.

    Returns what is to be told of a cache, which ``discard`` removes also when something was written.
    """
    try:
        _act(entry.step).undo(entry, entry.step, names, lazy=lazy)
    except (OSError, StepFailed) as error:
        raise Held(str(error)) from error
    if isinstance(entry.step, ExposeRaw):
        return caches.closed(entry.step, entry.before, discard=discard)
    return None


def _plain(error: OSError) -> StepFailed:
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return StepFailed(f"{where}{error.strerror or error}")
