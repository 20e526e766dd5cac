"""What this process may do, by the kernel's account: whether root here is one that can mount.

Root of a container is often root by name alone. capabilities(7), user_namespaces(7).
"""

import os
import re

from pyimount.records import Record

SETGID, SETUID, SYS_ADMIN, MKNOD = 6, 7, 21, 27
"""The numbers of capabilities (linux/capability.h)."""

_ALL_USERS = 0xFFFFFFFF


class Hindrance(Record, kw_only=True):
    """Why nothing can be mounted here, and what to do about it."""

    cause: str
    remedy: str


_WITHOUT = "'pyimount detect' and 'pyimount export' need no such right"


def has(capability: int) -> bool:
    """Whether this process has a capability now."""
    return bool(_effective() >> capability & 1)


def _effective() -> int:
    try:
        with open("/proc/self/status") as file:
            found = re.search(r"^CapEff:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
    except OSError:
        found = None
    # Without /proc nothing is known; the kernel will say.
    return (1 << 64) - 1 if found is None else int(found[1], 16)


def in_user_namespace() -> bool:
    """Whether the users that this process sees are not the machine's own."""
    try:
        with open("/proc/self/uid_map") as file:
            ranges = [[int(number) for number in line.split()] for line in file]
    except (OSError, ValueError):
        return False
    return ranges != [[0, 0, _ALL_USERS]]


def may_change_users() -> bool:
    """Whether root here may have another user do something."""
    return has(SETUID) and has(SETGID) and not in_user_namespace()


def hindrance() -> Hindrance | None:
    """What keeps root here from mounting; None for a root who may, and for a user, who asks root."""
    if os.geteuid() != 0:
        return None
    if in_user_namespace():
        return Hindrance(
            cause="this root is root of a user namespace alone (unshare -r, a rootless container): there the "
            "kernel lets nobody attach or mount disks",
            remedy=f"run it as the machine's own root; {_WITHOUT}",
        )
    if not has(SYS_ADMIN):
        return Hindrance(
            cause="this root has not the capability CAP_SYS_ADMIN, as in most containers: it may not mount",
            remedy="start the container with --privileged, or with --cap-add SYS_ADMIN --device /dev/fuse "
            f"--device /dev/loop-control --security-opt apparmor=unconfined; {_WITHOUT}",
        )
    if not may_change_users():
        return Hindrance(
            cause="this root has not the capabilities CAP_SETUID and CAP_SETGID: it would read hostile "
            "bytes as root itself",
            remedy=f"start the container with --cap-add SETUID --cap-add SETGID; {_WITHOUT}",
        )
    return None
