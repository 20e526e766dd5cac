"""What ``pyimount check`` says of the prison: which of the bars around who reads hostile bytes hold here."""

import os
from typing import Any

from pyimount.confinement import limits, own_modules
from pyimount.confinement.namespaces import KINDS
from pyimount.confinement.users import FIRST, LAST, borrowed_user
from pyimount.exceptions import StepFailed
from pyimount.records import Record

_WITHOUT_LANDLOCK = "not in this kernel, or turned off: all is loaded first, then nothing is opened any more"
_WITHOUT_SECCOMP = "not in this kernel, or not known for this processor: any system call may be tried"


class Bar(Record, kw_only=True):
    """One of them. ``holds``: None where only root can tell. ``means``: what it does, or why it is missing.

    ``key``: its name in JSON.
    """

    key: str
    name: str
    holds: bool | None
    means: str


def bars() -> tuple[tuple[Bar, ...], int]:
    """The bars, asked of a process that shuts itself in as a scan of root's does; and Landlock's version.

    Without root, it is as a plain user's server of layers does. Raises StepFailed.
    """
    root = os.geteuid() == 0
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with borrowed_user() as user:
            said = own_modules.ask("pyimount.confinement.prison", nothing, str(user))
    finally:
        os.close(nothing)
    version = int(said["landlock"])
    gib, hours, mib = limits.ADDRESS_SPACE >> 30, limits.PROCESSOR_TIME // 3600, limits.FILE_SIZE >> 20
    # They are counted by user: of one that others have as well, none could be started.
    threads = f", threads {limits.PROCESSES}" if said["user"] else ""
    found = [
        Bar(
            key="limits",
            name="limits",
            holds=bool(said["limits"]),
            means=f"memory {gib} GiB, processor {hours} h, files {mib} MiB{threads}",
        ),
        *(_namespace(name, name in said["namespaces"], root=root) for name in KINDS),
        Bar(
            key="landlock",
            name=f"Landlock {version}" if version else "Landlock",
            holds=version > 0,
            means="opens no file but the program's own, to read" if version else _WITHOUT_LANDLOCK,
        ),
        Bar(
            key="seccomp",
            name="seccomp",
            holds=bool(said["seccomp"]),
            means="makes no system call but to read and reckon" if said["seccomp"] else _WITHOUT_SECCOMP,
        ),
    ]
    if said["user"] or not root:
        own = "is a user that no other process has"
    else:
        own = (
            f"is nobody, as others may be: users {FIRST} to {LAST} are not mapped here, or /run is read-only"
        )
    found.append(Bar(key="own_user", name="own user", holds=bool(said["user"]) if root else None, means=own))
    return tuple(found), version


def _namespace(name: str, holds: bool, *, root: bool) -> Bar:
    means = f"sees no {name} of this machine's"
    if root and not holds:
        means = f"this kernel has no namespace of its own for {name}, or it may not be made here"
    return Bar(key=name.replace(" ", "_"), name=name, holds=holds if root else None, means=means)


def as_json() -> dict[str, Any]:
    """The bars as JSON values: each true, false, or null where only root can tell."""
    try:
        found, version = bars()
    except StepFailed as error:
        return {"error": str(error)}
    return {
        "landlock_version": version,
        **{each.key: each.holds for each in found},
    }


def lines() -> list[str]:
    """The bars for a person to read."""
    try:
        found, _ = bars()
    except StepFailed as error:
        return [f"  no   shut in         {error}"]
    words = {True: "yes", False: "no", None: "?"}
    said = [f"  {words[each.holds]:3}  {each.name:15} {each.means}" for each in found]
    if any(each.holds is None for each in found):
        said.append("  ?: root's processes alone may; 'sudo pyimount check' tells")
    return said
