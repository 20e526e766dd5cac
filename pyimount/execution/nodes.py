"""The nodes in /dev that mounting needs: a container's /dev lacks them, whatever its kernel can do.

A node that is not there is made where that is allowed, and stays, as the kernel's own do: it gives nothing to
anybody but root. Where it is not allowed, or the container's rules keep root from the device behind it, that
is what is said.
"""

import errno
import os
import stat
from collections.abc import Mapping

from pyimount.execution import rights
from pyimount.execution.errors import StepFailed

FUSE = "/dev/fuse"
LOOP_CONTROL = "/dev/loop-control"
_LOOP = "/dev/loop"
_LOOP_MAJOR = 7
_MISC_MAJOR = 10
_IN_MISC: Mapping[str, tuple[str, int]] = {FUSE: ("fuse", 229), LOOP_CONTROL: ("loop-control", 237)}
"""What /proc/misc calls them, and the number of each (Linux, Documentation/admin-guide/devices)."""

_FOR: Mapping[str, str] = {FUSE: "FUSE", LOOP_CONTROL: "loop devices"}
_RULES: Mapping[str, str] = {FUSE: "c 10:229 rwm", LOOP_CONTROL: "c 10:237 rwm", _LOOP: "b 7:* rwm"}


def open_node(path: str, flags: int) -> int:
    """A descriptor of a node, which is made where it lacks. Raises StepFailed, which says what to do."""
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        make(path)
    except OSError as error:
        raise _forbidden(path, error) from error
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise _forbidden(path, error) from error


def make(path: str) -> None:
    """Make a node, if it is not there. Raises StepFailed."""
    if os.path.exists(path):
        return
    kind, number = _number(path)
    try:
        os.mknod(path, kind | 0o600, number)
    except FileExistsError:
        return
    except OSError as error:
        why = "this root may not make it (it has not the capability CAP_MKNOD)"
        if error.errno != errno.EPERM or rights.has(rights.MKNOD):
            why = f"it cannot be made: {error.strerror}"
        raise StepFailed(f"{path} is not there, and {why}", remedy(path)) from error


def why_not(path: str) -> str | None:
    """What will keep this process from a node, looked up without a change; None: nothing that can be seen.

    A user has root make it, so only root is told that it cannot be made.
    """
    if os.path.exists(path) or os.geteuid() != 0 or rights.has(rights.MKNOD):
        return None
    return f"{path} is not there, and this root may not make it (it has not the capability CAP_MKNOD)"


def _number(path: str) -> tuple[int, int]:
    """The kind and the number of a node's device. Raises StepFailed where the kernel has no such device."""
    if path in _IN_MISC:
        name, usual = _IN_MISC[path]
        if _misc(name) is None and not _is_loadable(name):
            raise StepFailed(f"this kernel has no {_FOR[path]}", f"modprobe {name.partition('-')[0]}")
        return stat.S_IFCHR, os.makedev(_MISC_MAJOR, _misc(name) or usual)
    return stat.S_IFBLK, os.makedev(_LOOP_MAJOR, int(path.removeprefix(_LOOP)))


def _misc(name: str) -> int | None:
    try:
        with open("/proc/misc") as file:
            numbers = {line.split()[1]: int(line.split()[0]) for line in file if len(line.split()) == 2}
    except OSError:
        return None
    return numbers.get(name)


def _is_loadable(name: str) -> bool:
    """Whether the kernel may load the module when its node is opened."""
    folder = f"/lib/modules/{os.uname().release}"
    wanted = f"/{name.partition('-')[0]}.ko"
    try:
        with open(f"{folder}/modules.dep") as file:
            return any(wanted in line.partition(":")[0] for line in file)
    except OSError:
        return False


def _forbidden(path: str, error: OSError) -> StepFailed:
    if error.errno in (errno.EPERM, errno.EACCES):
        why = f"{path} may not be opened ({error.strerror}): a container's rules for devices do that"
        return StepFailed(why, remedy(path))
    if error.errno in (errno.ENXIO, errno.ENODEV) and path in _FOR:
        return StepFailed(f"this kernel has no {_FOR[path]} ({path}: {error.strerror})", "modprobe fuse loop")
    return StepFailed(f"{path}: {error.strerror}")


def remedy(path: str) -> str:
    """What gives a container this node."""
    rule = _RULES.get(path, _RULES[_LOOP])
    return f"start the container with --privileged, or --device {path} --device-cgroup-rule '{rule}'"


def state(path: str) -> str:
    """What a check says of a node: ``there``, or that it is made when it is needed, or why it will not be."""
    if os.path.exists(path):
        return "there"
    return why_not(path) or f"{path} is not there: mount makes it, where root may"
