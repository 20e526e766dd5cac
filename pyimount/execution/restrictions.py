"""What no mount of ours is without, whoever made it: set where it lacks, then read back from the kernel.

mount(8), a program with its own idea of options, our server, a bind: all pass here before a step has
succeeded. A program that mounts by itself (FUSE) may forget ``nodev``, and a device node in the evidence
would be live.
"""

import os
from contextlib import suppress

from pyimount.execution import folders, mount_api, mounts, syscalls
from pyimount.execution.errors import Refused, StepFailed
from pyimount.execution.mounts import MountPoint
from pyimount.planning.steps import ALWAYS

_FLAGS = {
    "ro": syscalls.MS_RDONLY, "nosuid": syscalls.MS_NOSUID, "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
}  # fmt: skip


def restrict(path: str, *, read_only: bool) -> MountPoint:
    """Restrict what has just been mounted at a path, and look again whether it is; returns it as it is then.

    Nothing may stand below it there but the folder's bind onto itself. Raises StepFailed: who mounted it
    takes it down.
    """
    stack = mounts.mounted_at(path)
    if not stack:
        raise StepFailed(f"nothing is mounted at {path}")
    mount = stack[-1]
    if any(not mounts.is_bound_on_itself(each) for each in stack[:-1]):
        raise StepFailed(f"{path}: something else was mounted there at the same time")
    wanted = (*ALWAYS, *(("ro",) if read_only else ()))
    if not lacking(mount, wanted) and not mount.shared:
        return mount
    at = folders.open_folder(path)
    try:
        found = mounts.mount_of(at)
        if found is None or found.id != mount.id:
            raise Refused(f"{path}: something else was mounted there at the same time")
        _set(at, found, wanted)
        mount = mounts.mount_of(at) or mount
    finally:
        os.close(at)
    left = lacking(mount, wanted)
    if left:
        raise StepFailed(
            f"{path}: the kernel does not make it {', '.join(left)}, and without it stays unmounted"
        )
    return mount


def lacking(mount: MountPoint, wanted: tuple[str, ...] = (*ALWAYS, "ro")) -> list[str]:
    """Those of the options that a mount does not have."""
    has = set(mount.options.split(","))
    return [option for option in wanted if option not in has]


def _set(at: int, mount: MountPoint, wanted: tuple[str, ...]) -> None:
    """Give the mount of a descriptor these options, and what it has already."""
    has = set(mount.options.split(","))
    flags = sum(flag for name, flag in _FLAGS.items() if name in wanted or name in has)
    try:
        mount_api.mount_setattr(at, flags)
    except OSError:
        # Before Linux 5.12, or in a sandbox that does not know the call. What fails here is read back.
        with suppress(OSError):
            syscalls.mount("none", folders.through(at), syscalls.MS_BIND | syscalls.MS_REMOUNT | flags)
            syscalls.mount("none", folders.through(at), syscalls.MS_PRIVATE)
