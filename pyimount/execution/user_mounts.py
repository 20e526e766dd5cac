"""Mounts of files that an ordinary user made: read from the kernel's table, which alone knows what stands.

The source of such a mount is ``SESSION:IMAGE``; nothing else is written down, and nothing is left to undo
when it is gone.
"""

import os
import shutil
import subprocess
from typing import Any

from pyimount.execution.mountinfo import MountPoint, mounts
from pyimount.execution.sessions import Mounted, Session
from pyimount.execution.tools import SEARCH_PATH, printable
from pyimount.execution.wanted import identity

KIND = "pyimount-files"
"""What such mounts are called: their type in the table is ``fuse.pyimount-files``."""


def user_mounts() -> list[dict[str, Any]]:
    """As ``Session.to_dict`` has them: a session each, of this user; root sees all."""
    found = []
    for number, mount in enumerate(mounts()):
        session, colon, image = (mount.source or "").partition(":")
        if mount.type != f"fuse.{KIND}" or not colon or not _is_ours(mount):
            continue
        shown = Mounted(
            step=number,
            layer=None,
            path=mount.path,
            device=None,
            type=KIND,
            by=None,
            files=(image,),
            stands=True,
        )
        held = Session(
            id=session, images=(image,), files=(identity(image),), owner=os.getuid(), mounts=(shown,)
        )
        found.append(held.to_dict())
    return found


def _is_ours(mount: MountPoint) -> bool:
    return os.getuid() == 0 or f"user_id={os.getuid()}" in mount.super_options.split(",")


def take_down(session: dict[str, Any], *, lazy: bool) -> dict[str, Any]:
    """Unmount; what was done and what is left, as ``undo_session`` tells it."""
    (mount,) = session["mounts"]
    argv = argv_of(session, lazy=lazy)
    try:
        done = subprocess.run(argv, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)  # noqa: S603
        reason = (
            printable(done.stderr.decode("utf-8", "backslashreplace").strip()) if done.returncode else None
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    left = [{"place": mount["mountpoint"], "step": "mount", "reason": reason, "beneath": False}]
    return {
        "session": session["session"],
        "ended": reason is None,
        "undone": int(reason is None),
        "left": [] if reason is None else left,
        "notes": [],
    }


def argv_of(session: dict[str, Any], *, lazy: bool) -> tuple[str, ...]:
    """The command that unmounts it."""
    tool = shutil.which("fusermount3", path=":".join(SEARCH_PATH)) or "fusermount3"
    (mount,) = session["mounts"]
    return (tool, "-u", *(("-z",) if lazy else ()), "--", mount["mountpoint"])
