"""What is mounted where, as /proc/self/mountinfo has it.

proc_pid_mountinfo(5): https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyimount.records import Record


class MountPoint(Record, kw_only=True):
    """One line of /proc/self/mountinfo. ``device``: major:minor; ``root``: the folder of it that shows.

    ``options``: the mount's own; ``super_options``: those of the file system, at all places where it stands.
    """

    id: int
    parent: int
    device: str
    root: str
    path: str
    options: str
    shared: bool
    type: str
    source: str
    super_options: str

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written through it."""
        return "ro" in self.options.split(",") or "ro" in self.super_options.split(",")


_ESCAPE = re.compile(rb"\\([0-7]{3})")


def _text(raw: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda found: bytes((int(found[1], 8),)), raw))


def parse(table: bytes) -> list[MountPoint]:
    """The mounts that a mountinfo file lists, in its order: of several at one path the last is on top."""
    made = []
    # By line feeds alone: a carriage return in a name stands as it is.
    for line in filter(None, table.split(b"\n")):
        before, _, after = line.partition(b" - ")
        number, parent, device, root, path, options, *optional = before.split(b" ")
        kind, source, above, *_ = (*after.split(b" "), b"", b"")
        made.append(
            MountPoint(
                id=int(number), parent=int(parent), device=device.decode(),
                root=_text(root), path=_text(path),
                options=options.decode(), shared=any(each.startswith(b"shared:") for each in optional),
                type=_text(kind), source=_text(source), super_options=above.decode("utf-8", "replace"),
            )
        )  # fmt: skip
    return made


def mounts() -> list[MountPoint]:
    """What this process sees mounted."""
    with open("/proc/self/mountinfo", "rb") as file:
        return parse(file.read())


def mounted_at(path: str) -> list[MountPoint]:
    """What is mounted at a folder, the uppermost last."""
    return [each for each in mounts() if each.path == path]


def is_free(path: str) -> bool:
    """Whether nothing is mounted at a folder but itself, as ``make_private`` does."""
    return all(map(is_bound_on_itself, mounted_at(path)))


def same(standing: Sequence[MountPoint], identity: Mapping[str, Any], path: str) -> MountPoint | None:
    """The mount that a ledger knows, which stood at ``path``, wherever a renamed folder has taken it.

    The kernel gives ids and devices anew as soon as they are free: elsewhere it has to be of the same source.
    """
    known = (identity.get("mount"), identity.get("device"))
    for each in standing:
        if (each.id, each.device) == known and (
            each.path == path or (each.type, each.source) == (identity.get("type"), identity.get("source"))
        ):
            return each
    return None


def mount_of(descriptor: int) -> MountPoint | None:
    """The mount that a descriptor was opened in."""
    with open(f"/proc/self/fdinfo/{descriptor}") as file:
        number = next((int(line.split()[1]) for line in file if line.startswith("mnt_id:")), None)
    return next((each for each in mounts() if each.id == number), None)


def is_bound_on_itself(mount: MountPoint) -> bool:
    """Whether a mount is a folder bound onto itself, as ``make_private`` does."""
    above = next((each for each in mounts() if each.id == mount.parent), None)
    if above is None or above.device != mount.device:
        return False
    below = os.path.relpath(mount.path, above.path)
    return mount.root == os.path.normpath(os.path.join(above.root, below))


def device_of(number: int) -> str:
    """A device's number as mountinfo has it."""
    return f"{os.major(number)}:{os.minor(number)}"
