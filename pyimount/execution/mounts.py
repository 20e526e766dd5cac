"""What is mounted where, by whom it is held, and how it is unmounted."""

import errno
import os
import time
from contextlib import suppress

from pyimount.execution import folders, holding, mount_api, syscalls
from pyimount.execution.errors import Held, Refused
from pyimount.execution.mountinfo import (
    MountPoint,
    device_of,
    is_bound_on_itself,
    is_free,
    mount_of,
    mounted_at,
    mounts,
    parse,
    same,
)

__all__ = [
    "MountPoint",
    "bind",
    "block_name",
    "device_of",
    "is_bound_on_itself",
    "is_free",
    "make_private",
    "mount_of",
    "mounted_at",
    "mounts",
    "open_mountpoint",
    "parse",
    "same",
    "show_folder",
    "unmount",
]

_TRIES = 5
_PAUSE = 0.1
"""Who only looks at what is new (an indexer, udev) is gone by then, in seconds."""

# Before Linux 5.12; or a sandbox that does not know the call yet.
_NO_SUCH_CALL = (errno.ENOSYS, errno.EPERM)
_RESTRICTED = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC


def open_mountpoint(path: str) -> int:
    """A descriptor of a folder to mount at.

    Raises Refused when it is not empty, something is mounted there, or a link leads to it.
    """
    if not is_free(path):
        raise Refused(f"{path}: something is mounted there")
    at = folders.open_folder(path)
    if not folders.is_empty(at):
        os.close(at)
        raise Refused(f"{path} is not empty")
    return at


def block_name(number: int) -> str:
    """What the kernel calls the block device of this number."""
    return os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))


def make_private(path: str) -> int | None:
    """Keep what is mounted below a folder from spreading to other mount namespaces.

    Where its file system is mounted shared, the folder is bound onto itself and the bind made private; the id
    of that mount then, else None.
    """
    at = folders.open_folder(path)
    try:
        above = mount_of(at)
        if above is None or not above.shared:
            return None
        syscalls.mount(folders.through(at), folders.through(at), syscalls.MS_BIND)
    finally:
        os.close(at)
    at = folders.open_folder(path)
    try:
        try:
            mount_api.mount_setattr(at, _RESTRICTED & ~syscalls.MS_RDONLY)
        except OSError as error:
            if error.errno not in _NO_SUCH_CALL:
                raise
            syscalls.mount("none", folders.through(at), syscalls.MS_PRIVATE)
        made = mount_of(at)
    finally:
        os.close(at)
    return None if made is None else made.id


def show_folder(source: int, at: str) -> None:
    """Show the folder of a descriptor at an empty one, read-only and private; raises OSError, StepFailed."""
    folder = open_mountpoint(at)
    try:
        try:
            _show_at_once(source, folder)
        except OSError as error:
            if error.errno not in _NO_SUCH_CALL:
                raise
            _show_in_steps(source, folder, at)
    finally:
        os.close(folder)


def _show_at_once(source: int, at: int) -> None:
    """The mount has its options before it has a place."""
    made = mount_api.open_tree(source)
    try:
        mount_api.mount_setattr(made)
        mount_api.move_mount(made, at)
    finally:
        os.close(made)


def _show_in_steps(source: int, at: int, path: str) -> None:
    """The same where the kernel cannot: for a moment it can be written to, by who may enter our folder."""
    syscalls.mount(folders.through(source), folders.through(at), syscalls.MS_BIND)
    shown = folders.open_folder(path)
    try:
        options = syscalls.MS_BIND | syscalls.MS_REMOUNT | _RESTRICTED
        syscalls.mount("none", folders.through(shown), options)
        syscalls.mount("none", folders.through(shown), syscalls.MS_PRIVATE)
    finally:
        os.close(shown)


def bind(source: int, at: int, *, read_only: bool) -> None:
    """Show what stands at the folder of one descriptor at that of another too. Raises OSError."""
    try:
        made = mount_api.open_tree(source)
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL:
            raise
        syscalls.mount(folders.through(source), folders.through(at), syscalls.MS_BIND)
        return
    try:
        # Where the kernel cannot, yet, who asked for this does it afterwards.
        with suppress(OSError):
            mount_api.mount_setattr(made, _RESTRICTED if read_only else _RESTRICTED & ~syscalls.MS_RDONLY)
        mount_api.move_mount(made, at)
    finally:
        os.close(made)


def unmount(mount: MountPoint, *, lazy: bool = False) -> None:
    """Unmount what is on top at a path. Raises Held with who holds it, or when another stands on top."""
    above, name = os.path.split(mount.path)
    for attempt in range(_TRIES):
        stack = mounted_at(mount.path)
        if all(each.id != mount.id for each in stack):
            return
        if stack[-1].id != mount.id:
            raise Held(f"{mount.path}: {stack[-1].type} ({stack[-1].source}) is mounted over it")
        at = folders.open_folder(above)
        try:
            flags = syscalls.UMOUNT_NOFOLLOW | (syscalls.MNT_DETACH if lazy else 0)
            syscalls.umount(f"{folders.through(at)}/{name}", flags)
        except OSError as error:
            if error.errno == errno.EINVAL:
                continue
            if error.errno != errno.EBUSY:
                raise Held(f"{mount.path}: {error.strerror}") from error
            if attempt + 1 == _TRIES:
                raise Held(f"{mount.path} is in use{holding.by(mount.path)}") from error
            time.sleep(_PAUSE)
        finally:
            os.close(at)
