"""seccomp: the system calls that a process may still make; every other one fails as if it were not allowed.

Kernel documentation, userspace-api/seccomp_filter:
https://docs.kernel.org/userspace-api/seccomp_filter.html
The filter is a list of what is needed to read open files, to reckon and to answer; not of what is dangerous,
which grows with every kernel.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Mapping

from pyimount.confinement.syscall_numbers import AARCH64, CLONE3, X86_64
from pyimount.records import Record

_SECCOMP_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_ARGUMENTS_AT = (16, 24)
"""Where the lower half of the first and the second argument lies: all of these are as long."""
_CLONE_THREAD = 0x10000

# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ: no lock, whose
# file may be others' too, and no signal to another process.
_FCNTL = (0, 1, 2, 3, 4, 1030, 1031, 1032)


class _Machine(Record, kw_only=True):
    """An architecture: what audit calls it, the number of seccomp(2), and of the calls by their names."""

    audit: int
    seccomp: int
    calls: Mapping[str, int]


_MACHINES = {
    "x86_64": _Machine(audit=0xC000003E, seccomp=317, calls=X86_64),
    "aarch64": _Machine(audit=0xC00000B7, seccomp=277, calls=AARCH64),
}
_OPENING = ("openat",)


def is_known() -> bool:
    """Whether there is a filter for this kind of processor."""
    return platform.machine() in _MACHINES


def allow_only_reading(*, opening: bool) -> bool:
    """Let this process, all its threads, read what is open, reckon and answer; nothing else, and for good.

    ``opening``: it may open files as well, where something else says which. What is denied fails with EPERM.
    False where the kernel has no seccomp, or the processor is none that is known here. Raises OSError.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    numbers = [number for name, number in machine.calls.items() if opening or name not in _OPENING]
    filter_ = _program(machine, numbers)
    # struct sock_fprog: how many instructions, and where they are.
    code = ctypes.create_string_buffer(filter_, len(filter_))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(filter_) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(
        ctypes.c_long(machine.seccomp),
        ctypes.c_long(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_long(_FLAG_TSYNC),
        header,
    )
    if result == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, f"seccomp: {os.strerror(number)}")


def _program(machine: _Machine, numbers: Iterable[int]) -> bytes:
    """The filter, in classic BPF.

    A clone passes only for a thread; a signal and limits only for this process itself. A clone3, whose flags
    no filter sees, fails as if the kernel had none, so that the C library takes clone.
    """
    deny = _RETURN, 0, 0, _ERRNO | errno.EPERM
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, machine.audit),
        deny,
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_EQUAL, 0, 1, CLONE3),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_JUMP_EQUAL, 0, 4, machine.calls["clone"]),
        (_LOAD, 0, 0, _ARGUMENTS_AT[0]),
        (_JUMP_SET, 1, 0, _CLONE_THREAD),
        deny,
        (_RETURN, 0, 0, _ALLOW),
    ]
    held = {
        machine.calls["tgkill"]: (0, (os.getpid(),)),
        machine.calls["prlimit64"]: (0, (0,)),
        machine.calls["fcntl"]: (1, _FCNTL),
    }
    for number in sorted(set(numbers) - {machine.calls["clone"], *held}):
        code += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for number, (argument, values) in held.items():
        checks = [(_LOAD, 0, 0, _ARGUMENTS_AT[argument])]
        for value in values:
            checks += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
        checks.append(deny)
        code += [(_JUMP_EQUAL, 0, len(checks), number), *checks]
    code.append(deny)
    return b"".join(struct.pack("HBBI", *each) for each in code)
