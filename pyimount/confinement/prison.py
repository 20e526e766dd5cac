"""A process that looks at hostile bytes, shut in: what is taken from it, in this order, and what holds here.

Whoever takes such a process over reaches nothing: no file but the program's own, no network, no other
process, no privilege, and no more of the machine than the limits let it. Where the kernel lacks a part, the
others hold.
``python -m pyimount.confinement.prison USER`` shuts itself in, as that user, and prints which: ``pyimount
check`` asks it.
"""

import json
import os
import sys
from collections.abc import Callable

from pyimount.confinement import landlock, seccomp
from pyimount.confinement.limits import set_limits
from pyimount.confinement.namespaces import PROCESSES, go_on_in_a_child, leave_namespaces
from pyimount.confinement.process import NOBODY, end_with_parent, give_up_privileges
from pyimount.records import Record


class Bars(Record, kw_only=True):
    """Which parts hold.

    ``limits``: on memory, processor, processes, files; ``user``: one that no other process has;
    ``namespaces``: those that are its own, as ``namespaces.KINDS`` has them; ``landlock``: its version, 0
    where there is none.
    """

    limits: bool
    user: bool
    namespaces: tuple[str, ...]
    landlock: int
    seccomp: bool


def shut_in(
    user: int = NOBODY,
    *,
    namespaces: tuple[str, ...] = (),
    with_parent: bool = False,
    lasting: bool = False,
    writes: bool = False,
    memory: int | None = None,
    load_first: Callable[[], None] | None = None,
) -> Bars:
    """Give up everything that reading open files does not need, for good. Raises OSError when that fails.

    ``user``: whom to become, if this is root. ``namespaces``: which were left before.
    ``with_parent``: to be killed when whoever started it ends. ``lasting``,
    ``writes``, ``memory``: as ``set_limits`` has them. ``load_first``: loads every module that is needed
    later, where Landlock cannot say which files may be opened: none may be then.
    """
    version = landlock.version()
    if not version and load_first is not None:
        load_first()
    folders = [os.open(folder, os.O_PATH | os.O_CLOEXEC) for folder in landlock.program_folders()]
    own = user != NOBODY and os.geteuid() == 0
    give_up_privileges(user, user)
    if with_parent:
        end_with_parent()
    set_limits(alone=own, lasting=lasting, writes=writes, memory=memory)
    holds = version > 0 and landlock.allow_only(folders)
    for folder in folders:
        os.close(folder)
    return Bars(
        limits=True,
        user=own,
        namespaces=namespaces,
        landlock=version if holds else 0,
        seccomp=seccomp.allow_only_reading(opening=holds),
    )


def main() -> int:
    """Shut this process in, and print what holds, as JSON."""
    left = leave_namespaces() if os.geteuid() == 0 else ()
    if PROCESSES in left:
        go_on_in_a_child()
    bars = shut_in(os.getuid() or int(sys.argv[1]), namespaces=left)
    print(json.dumps({name: getattr(bars, name) for name in bars.fields}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
