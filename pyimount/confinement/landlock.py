"""Landlock: files that a process may no longer open, whoever it is.

Kernel documentation, userspace-api/landlock: https://docs.kernel.org/userspace-api/landlock.html
The numbers are those of include/uapi/linux/landlock.h; the system calls have the same everywhere.
"""

import ctypes
import os
import site
import sys
import sysconfig
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3

# All that a version can deny: of files (from execute on), of TCP, of what lies outside a process's own ring.
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK = {4: (1 << 2) - 1}
_SCOPES = {6: (1 << 2) - 1}

_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/local/lib")


class _Ruleset(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("files", "network", "scopes"))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The version that the kernel has; 0: none, or it is turned off."""
    found = _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(0, found)


def program_folders() -> tuple[str, ...]:
    """Where the interpreter, its libraries and this package lie: what is read to go on importing."""
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    places = {ours, *sys.path, *_LIBRARIES, *site.getsitepackages(), *sysconfig.get_paths().values()}
    if sys.prefix != "/usr":
        places |= {sys.prefix}
    if sys.base_prefix != "/usr":
        places |= {sys.base_prefix}
    return tuple(sorted(place for place in places if place and os.path.isdir(place)))


def allow_only(folders: Iterable[int]) -> bool:
    """Let this process open nothing but files below these folders, for reading, from now on and for good.

    ``folders``: descriptors. What is open stays so. False where the kernel has no Landlock. Raises OSError.
    The process must not be able to gain privileges.
    """
    found = version()
    if found == 0:
        return False
    handled = _Ruleset(_newest(_FILES, found), _newest(_NETWORK, found), _newest(_SCOPES, found))
    # Before version 4 the structure has one field, before 6 two.
    size = 8 if found < 4 else 16 if found < 6 else 24
    ruleset = _checked(_call(_CREATE_RULESET, ctypes.byref(handled), size, 0))
    try:
        for folder in folders:
            rule = _PathBeneath(_READ_FILE | _READ_DIR, folder)
            _checked(_call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0))
        _checked(_call(_RESTRICT_SELF, ruleset, 0, 0))
    finally:
        os.close(ruleset)
    return True


def _newest(rights: dict[int, int], version_: int) -> int:
    return max((value for since, value in rights.items() if since <= version_), default=0)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(ctypes.c_long(number), *map(_argument, arguments)))


def _argument(value: object) -> object:
    return ctypes.c_long(value) if isinstance(value, int) else value


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
