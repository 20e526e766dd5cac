"""Mounts of files that an ordinary user made: read from the kernel's table, which alone knows what stands.

The source of such a mount is ``SESSION:IMAGE``; nothing else is written down, and nothing is left to undo
when it is gone.
"""

import os
import shutil
import subprocess
from typing import Any

from pyimount.execution import mounts
from pyimount.execution.tools import SEARCH_PATH, printable

KIND = "pyimount-files"
"""What such mounts are called: their type in the table is ``fuse.pyimount-files``."""


def user_mounts() -> list[dict[str, Any]]:
    """As ``Session.to_dict`` has them: a session each, of this user; root sees all."""
    found = []
    for number, mount in enumerate(mounts.mounts()):
        session, colon, image = (mount.source or "").partition(":")
        if mount.type != f"fuse.{KIND}" or not colon or not _is_ours(mount):
            continue
        found.append(
            {
                "session": session, "images": [image], "pid": None, "owner": os.getuid(), "time": None,
                "damaged": None,
                "mounts": [
                    {"step": number, "mountpoint": mount.path, "device": None, "type": KIND, "stands": True}
                ],
            }
        )  # fmt: skip
    return found


def _is_ours(mount: mounts.MountPoint) -> bool:
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
    left = [] if reason is None else [{"place": mount["mountpoint"], "step": "mount", "reason": reason}]
    return {"session": session["session"], "left": left}


def argv_of(session: dict[str, Any], *, lazy: bool) -> tuple[str, ...]:
    """The command that unmounts it."""
    tool = shutil.which("fusermount3", path=":".join(SEARCH_PATH)) or "fusermount3"
    (mount,) = session["mounts"]
    return (tool, "-u", *(("-z",) if lazy else ()), "--", mount["mountpoint"])
