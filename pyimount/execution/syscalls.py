"""The system calls that Python has no name for."""

import ctypes
import os
import sys

AT_FDCWD = -100
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND = 4096
MS_PRIVATE = 1 << 18

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

_PR_SET_PDEATHSIG = 1

_OPENAT2 = 437
"""The same number on every architecture."""

if sys.platform == "linux":  # elsewhere this module can be loaded, no more
    _libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _checked(result: int, path: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def mount(source: str, target: str, flags: int, kind: str | None = None, data: str | None = None) -> None:
    """``mount(2)``; ``kind``, ``data``: type and options, where a file system is mounted. Raises OSError."""
    said = [None if each is None else os.fsencode(each) for each in (source, target, kind, data)]
    _checked(_libc.mount(*said[:3], ctypes.c_ulong(flags), said[3]), target)


def end_with_parent(number: int) -> None:
    """``prctl(PR_SET_PDEATHSIG)``: be sent this signal when the parent ends. Raises OSError."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number)), "")


def umount(target: str, flags: int) -> None:
    """``umount2(2)``. Raises OSError."""
    _checked(_libc.umount2(os.fsencode(target), flags), target)


def openat2(folder: int, path: str, flags: int, resolve: int) -> int:
    """``openat2(2)``: a descriptor. Raises OSError; ENOSYS before Linux 5.6."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    made = _libc.syscall(
        ctypes.c_long(_OPENAT2),
        folder,
        os.fsencode(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    return _checked(made, path)
