"""Namespaces of its own: a process that sees no network, no process and no shared memory of the machine."""

import ctypes
import os

PROCESSES = "processes"
KINDS = {"network": 0x40000000, "shared memory": 0x08000000, PROCESSES: 0x20000000}
"""What each keeps apart, and the kernel's flag for it: CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWPID."""


def leave_namespaces() -> tuple[str, ...]:
    """Leave the machine's namespaces, those that this process may leave (as root); which, as KINDS has them.

    That of processes is of children that are started from now on. Where the kernel was built without one,
    or a container forbids it, the others hold.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return tuple(name for name, flag in KINDS.items() if libc.unshare(flag) == 0)


def go_on_in_a_child() -> None:
    """Go on in a child, which is the first process of its namespace; this one waits, and ends as it does."""
    child = os.fork()
    if child == 0:
        return
    os.closerange(0, 3)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
