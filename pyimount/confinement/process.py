"""How a process that looks at an image's bytes gives up what it does not need for that."""

import ctypes
import os
import resource
import signal
import sys

NOBODY = 65534
"""The user and the group that own nothing."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def give_up_privileges(user: int = NOBODY, group: int = NOBODY) -> None:
    """Become a user without rights, for good, if this is root; keep no core, let nobody look inside.

    Raises OSError when the system refuses; the caller then looks at nothing.
    """
    if os.geteuid() == 0:
        held = _hold_program()
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
        if os.geteuid() != user or os.getegid() != group:
            raise PermissionError("cannot give up the privileges of root")
        _find_program_by(held)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _ask_kernel(_PR_SET_NO_NEW_PRIVS, 1)
    _ask_kernel(_PR_SET_DUMPABLE, 0)


def end_with_parent() -> None:
    """Be killed when the thread that started this process ends; giving up privileges would undo that.

    Raises OSError when the system refuses.
    """
    _ask_kernel(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ask_kernel(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, int(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _hold_program() -> dict[str, int]:
    """Open the folders that modules are loaded from: they may lie in root's own home."""
    held = {}
    for place in {*sys.path, *(place for places in _package_folders() for place in places)}:
        try:
            held[place] = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue  # no folder: an archive, or nothing at all
    return held


def _find_program_by(held: dict[str, int]) -> None:
    """Where a folder can no longer be reached by its name, look for modules in what was opened of it."""
    instead = {}
    for place, descriptor in held.items():
        if os.access(place, os.R_OK | os.X_OK):
            os.close(descriptor)
        else:
            instead[place] = f"/proc/self/fd/{descriptor}"
    sys.path[:] = [instead.get(place, place) for place in sys.path]
    for places in _package_folders():
        places[:] = [instead.get(place, place) for place in places]


def _package_folders() -> list[list[str]]:
    """The folders in which each package that is loaded looks for its modules."""
    found = (getattr(module, "__path__", None) for module in sys.modules.copy().values())
    return [places for places in found if isinstance(places, list)]
