"""Where udev runs: keep it, and what it starts, from evidence that becomes a device.

Else a host assembles the arrays and activates the volume groups that it sees on our devices, mounts them on
its desktop, and has its own UUIDs in /dev/disk lead to them. Rules for the time of the session name our
devices before there are any; nothing reads their bytes then, so nothing knows what they are. A loop device is
known by its file, a mapping by its name, an array by its members. An array's superblock is read all the same;
what that found is taken out again before anything goes by it.
"""

import contextlib
import os
from collections.abc import Sequence

from pyimount.execution import folders
from pyimount.execution.errors import StepFailed
from pyimount.execution.tools import find, run
from pyimount.planning.steps import PREFIX

RULES = "/run/udev/rules.d"
CONTROL = "/run/udev/control"
# A file that is called so is not read: rules end in .rules.
_NEW = ".new"

# 60-persistent-storage.rules and its like read signatures unless told not to; LVM, md, systemd and udisks
# each go by what these found, and have a word of their own besides.
_SILENCE = ", ".join((
    'ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1"', 'ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1"',
    'ENV{DM_UDEV_DISABLE_OTHER_RULES_FLAG}="1"', 'ENV{DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG}="1"',
    'ENV{SYSTEMD_READY}="0"', 'ENV{UDISKS_IGNORE}="1"', 'ENV{UDISKS_AUTO}="0"', 'ENV{ID_FS_TYPE}=""',
    'OPTIONS+="nowatch"',
))  # fmt: skip


# What 63-md-raid-arrays.rules says of an array; its own name stays, for which mdadm waits.
_UNSAID = ", ".join((
    *(f'ENV{{ID_FS_{name}}}=""' for name in ("TYPE", "USAGE", "UUID", "UUID_ENC")),
    *(f'ENV{{ID_FS_{name}}}=""' for name in ("LABEL", "LABEL_ENC", "VERSION")),
    'ENV{SYSTEMD_WANTS}=""', 'SYMLINK="md/$env{MD_DEVNAME}"', 'OPTIONS+="nowatch"',
))  # fmt: skip


def paths_of(session: str) -> tuple[str, str]:
    """The rules of a session.

    The first come after device-mapper's own at 55 and before any that read a device, the second after those
    of arrays.
    """
    return f"{RULES}/59-{PREFIX}-{session}.rules", f"{RULES}/63-z-{PREFIX}-{session}.rules"


def rules(
    session: str, backing: Sequence[str], members: Sequence[str] = (), groups: Sequence[str] = ()
) -> tuple[str, str]:
    """The rules for loop devices over these files, for our mappings, and for arrays of these devices.

    ``groups``: the UUIDs of volume groups that LVM maps.
    """
    arrays = [f'KERNEL=="md*", TEST=="slaves/{pattern(os.path.basename(each))}"' for each in members]
    first = [
        *(f'KERNEL=="loop*", ATTR{{loop/backing_file}}=="{pattern(path)}"' for path in backing),
        f'KERNEL=="dm-*", ATTR{{dm/name}}=="{PREFIX}-{session}-*"',
        *(f'KERNEL=="dm-*", ATTR{{dm/uuid}}=="LVM-{pattern(each.replace("-", ""))}*"' for each in groups),
        *arrays,
    ]
    return (
        "".join(f'ACTION!="remove", {match}, {_SILENCE}\n' for match in first),
        "".join(f'ACTION!="remove", {match}, {_UNSAID}\n' for match in arrays),
    )


def pattern(path: str) -> str:
    """A path as a pattern of udev's that matches it; a hostile name ends neither the pattern nor the line."""
    return "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "/._- ,+@=~:") else "?"
        for byte in os.fsencode(path)
    )


class Guard:
    """The rules of one session, which grow with what it makes."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._backing: list[str] = []
        self._members: list[str] = []
        self._groups: list[str] = []

    def knows(self, backing: Sequence[str], members: Sequence[str], groups: Sequence[str] = ()) -> bool:
        """Add these files of loop devices, members of arrays and volume groups; whether any was new."""
        new = [path for path in backing if path not in self._backing]
        joining = [device for device in members if device not in self._members]
        self._backing += new
        self._members += joining
        mapped = [group for group in groups if group not in self._groups]
        self._groups += mapped
        return bool(new or joining or mapped)

    def before(self, backing: Sequence[str], members: Sequence[str], groups: Sequence[str] = ()) -> None:
        """Before there are loop devices over these files, arrays of these devices, volumes of these groups.

        Raises StepFailed: they are not to be made then.
        """
        if self.knows(backing, members, groups):
            self._lay()

    def _lay(self) -> None:
        if not os.path.exists(CONTROL):
            return
        folders.make(RULES)
        texts = rules(self._session, self._backing, self._members, self._groups)
        for path, text in zip(paths_of(self._session), texts, strict=True):
            try:
                if text:
                    _write(path, text)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
            except OSError as error:
                raise StepFailed(f"{path}: {error.strerror}") from error
        _reload()


def _write(path: str, text: str) -> None:
    """Put rules in the place of those before, at once: udev may look at any moment, and would find none."""
    new = path + _NEW
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(new, flags, 0o644), "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
    os.rename(new, path)


def release(session: str) -> None:
    """Remove the session's rules, if there are any. Raises StepFailed."""
    found = False
    paths = paths_of(session)
    for path in (*paths, *(each + _NEW for each in paths)):
        try:
            os.unlink(path)
            found = True
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StepFailed(f"{path}: {error.strerror}") from error
    if found:
        _reload()


def _reload() -> None:
    # udev looks at its rules' folder by itself only every few seconds.
    if find("udevadm") is not None and os.path.exists(CONTROL):
        run(("udevadm", "control", "--reload"), timeout=10.0)
