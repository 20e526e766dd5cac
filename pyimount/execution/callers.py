"""For whom this process acts: its own user, or who had sudo start it."""

import os
import pwd
import re
from collections.abc import Mapping

from pyimount.planning.owner import Owner


def owner(environment: Mapping[str, str] | None = None) -> Owner:
    """Who reads what is mounted: the caller, and of root the user who called sudo, where there is one."""
    said = os.environ if environment is None else environment
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and said.get("SUDO_UID", "").isdecimal() and said.get("SUDO_GID", "").isdecimal():
        uid, gid = int(said["SUDO_UID"]), int(said["SUDO_GID"])
    return Owner(uid=uid, gid=gid, umask=_umask())


def _umask() -> int:
    """This process's umask, which cannot be asked for without changing it, but in /proc."""
    try:
        with open("/proc/self/status") as file:
            found = re.search(r"^Umask:\s*([0-7]+)$", file.read(), re.MULTILINE)
    except OSError:
        found = None
    return 0o077 if found is None else int(found[1], 8) & 0o777


def groups_of(uid: int) -> frozenset[int]:
    """The groups that a user is in; none for a user without a name."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))


def name_of(uid: int) -> str:
    """What a user is called, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
