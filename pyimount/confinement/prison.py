"""A process that looks at hostile bytes, shut in: what is taken from it, in this order, and what holds here.

Whoever takes such a process over reaches nothing: no file but the program's own, no network, no other
process, no privilege, and no more of the machine than the limits let it. Where the kernel lacks a part, the
others hold.
``python -m pyimount.confinement.prison`` shuts itself in, and prints which: ``pyimount check`` asks it.
"""

import json
import os
import sys
from collections.abc import Callable

from pyimount.confinement import landlock, seccomp
from pyimount.confinement.limits import set_limits
from pyimount.confinement.namespaces import go_on_in_a_child, leave_namespaces
from pyimount.confinement.process import NOBODY, end_with_parent, give_up_privileges
from pyimount.confinement.users import FIRST, is_mapped
from pyimount.records import Record


class Bars(Record, kw_only=True):
    """Which parts hold. ``namespaces``: of network, IPC, processes; ``user``: one that no other has."""

    user: bool
    namespaces: bool
    landlock: bool
    seccomp: bool


def shut_in(
    user: int = NOBODY,
    *,
    namespaces: bool = False,
    with_parent: bool = False,
    lasting: bool = False,
    writes: bool = False,
    memory: int | None = None,
    load_first: Callable[[], None] | None = None,
) -> Bars:
    """Give up everything that reading open files does not need, for good. Raises OSError when that fails.

    ``user``: whom to become, if this is root. ``namespaces``: whether they were left before.
    ``with_parent``: to be killed when whoever started it ends. ``lasting``,
    ``writes``, ``memory``: as ``set_limits`` has them. ``load_first``: loads every module that is needed
    later, where Landlock cannot say which files may be opened: none may be then.
    """
    has_landlock = landlock.version() > 0
    if not has_landlock and load_first is not None:
        load_first()
    folders = [os.open(folder, os.O_PATH | os.O_CLOEXEC) for folder in landlock.program_folders()]
    own = user != NOBODY and os.geteuid() == 0
    give_up_privileges(user, user)
    if with_parent:
        end_with_parent()
    set_limits(alone=own, lasting=lasting, writes=writes, memory=memory)
    holds = has_landlock and landlock.allow_only(folders)
    for folder in folders:
        os.close(folder)
    return Bars(
        user=own, namespaces=namespaces, landlock=holds, seccomp=seccomp.allow_only_reading(opening=holds)
    )


def main() -> int:
    """Shut this process in, and print what holds, as JSON."""
    alone = False
    if os.geteuid() == 0:
        alone = leave_namespaces()
        go_on_in_a_child()
    user = os.getuid() or (FIRST if is_mapped() else NOBODY)
    bars = shut_in(user, namespaces=alone)
    print(json.dumps({name: getattr(bars, name) for name in bars.fields}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
