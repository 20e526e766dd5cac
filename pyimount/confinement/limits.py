"""Limits that the kernel holds a process to: backstops, far above what any budget of a scan allows."""

import resource

ADDRESS_SPACE = 8 << 30
"""Bytes that may be mapped: Argon2 takes up to 4 GiB."""
PROCESSOR_TIME = 12 * 3600
"""Seconds of processor time of a process that comes to an end by itself."""
PROCESSES = 32
"""Processes and threads of a user that has no others: libraries start a thread or two."""
FILE_SIZE = 1 << 20
"""Bytes that a file may be written to: what is said to standard error, if that is a file."""


def set_limits(
    *, alone: bool, lasting: bool = False, writes: bool = False, memory: int | None = None
) -> None:
    """Give this process its limits, for good. Raises OSError.

    ``alone``: its user has no other process. ``lasting``: it works for as long as it is wanted.
    ``writes``: it writes files of any size. ``memory``: bytes that it may take for itself, None: what the
    address space has.
    """
    wanted = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, ADDRESS_SPACE)]
    if alone:
        wanted.append((resource.RLIMIT_NPROC, PROCESSES))
    if not lasting:
        wanted.append((resource.RLIMIT_CPU, PROCESSOR_TIME))
    if memory is not None:
        # What is mapped of libraries does not count, so that it is the same wherever they are.
        wanted.append((resource.RLIMIT_DATA, memory))
    if not writes:
        wanted.append((resource.RLIMIT_FSIZE, FILE_SIZE))
    for kind, most in wanted:
        _, hard = resource.getrlimit(kind)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))


def limit_memory(most: int) -> None:
    """Let this process map no more bytes than this, for good, and write no core. Raises OSError."""
    for kind, wanted in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, most)):
        _, hard = resource.getrlimit(kind)
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (limit, limit))
