"""Why a file cannot be opened, in words; and by FUSE's own rule not even by root.

What a user mounts through FUSE is for that user alone, unless it was mounted with ``allow_root`` or
``allow_other``: the kernel answers everybody else, root too, as if the permissions were wrong. fuse(8),
https://www.kernel.org/doc/html/latest/filesystems/fuse.html ("How do non-privileged mounts work?")
"""

import errno
import os
import re

_ESCAPE = re.compile(rb"\\([0-7]{3})")


def reason(path: str, error: Exception) -> str:
    """Why it was not opened, beginning in lower case; ValueError: a NUL in the path."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    said = f"{said[:1].lower()}{said[1:]}"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        kept = _kept_out(path)
        if kept is not None:
            return f"{said}: {kept}"
    return said


def _kept_out(path: str) -> str | None:
    """That the file lies on another user's FUSE mount, and what that user can do; None: it does not."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            table = file.read().split(b"\n")
        at = os.fsencode(os.path.realpath(path))
    except (OSError, ValueError):
        return None
    found: tuple[bytes, str, list[str]] | None = None
    for line in filter(None, table):
        before, _, after = line.partition(b" - ")
        place = _ESCAPE.sub(lambda octal: bytes((int(octal[1], 8),)), before.split(b" ")[4])
        within = at == place or at.startswith(place.rstrip(b"/") + b"/")
        if within and (found is None or len(place) >= len(found[0])):
            kind, _, options = (*after.split(b" "), b"", b"")[:3]
            found = place, kind.decode("utf-8", "replace"), options.decode("utf-8", "replace").split(",")
    if found is None or found[1].partition(".")[0] not in ("fuse", "fuseblk") or "allow_other" in found[2]:
        return None
    user = next((option.partition("=")[2] for option in found[2] if option.startswith("user_id=")), "")
    if user == str(os.geteuid()):
        return None
    where = os.fsdecode(found[0])
    return (
        f"it lies on a FUSE mount of user {user or '?'} ({where}), "
        "which FUSE keeps from everybody else, root too; "
        "mount that with -o allow_root or allow_other, or run pyimount as that user"
    )
