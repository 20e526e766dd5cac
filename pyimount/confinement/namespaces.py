"""Namespaces of its own: a process that sees no network, no process and no shared memory of the machine."""

import ctypes
import os

_CLONE_NEWIPC, _CLONE_NEWPID, _CLONE_NEWNET = 0x08000000, 0x20000000, 0x40000000


def leave_namespaces() -> bool:
    """Leave the machine's network, IPC and process namespaces, where this process may (as root).

    The process namespace is that of children that are started from now on. False where it may not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(_CLONE_NEWIPC | _CLONE_NEWPID | _CLONE_NEWNET) == 0)


def go_on_in_a_child() -> None:
    """Go on in a child, which is the first process of its namespace; this one waits, and ends as it does."""
    child = os.fork()
    if child == 0:
        return
    os.closerange(0, 3)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
