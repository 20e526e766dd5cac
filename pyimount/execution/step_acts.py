"""What doing and undoing a kind of step consists of, and what most kinds need for it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from pyimount.execution import mounts, restrictions
from pyimount.execution.ledger import BASE, Entry, Made
from pyimount.planning.steps import Names, Step
from pyimount.records import EMPTY, Record
from pyimount.sources.identity import FileIdentity

_PAUSE = 0.02
_TYPE_CAP = 64

Keys: TypeAlias = Sequence[tuple[str, bytes] | Mapping[str, Any]]
"""Keys to try: each the letter of its kind and its bytes, or what ``Keyring.reveal`` gives for it."""

S = TypeVar("S", bound=Step)


class Given(Record, kw_only=True):
    """What a step needs besides itself.

    ``scan``: the report, as JSON values; ``keys``: those for this step; ``opened``: descriptors of images, by
    their paths, where it was another who opened them. ``files``: what was scanned under each absolute path.
    ``user``: for whom the helper does it: folders are then made, never found. ``hand_over``: takes the
    descriptor of a FUSE mount, which whoever asked for it then serves; None: it is served from here.
    ``hold``: descriptors that a program gets which is waited for: the ledger's lock is held until it has
    ended, even when we are killed before. ``base``: where the ledgers are.
    """

    scan: Mapping[str, Any] = EMPTY
    keys: Keys = ()
    opened: Mapping[str, int] | None = None
    files: Mapping[str, FileIdentity] = EMPTY
    user: int | None = None
    hand_over: Callable[[int], None] | None = None
    hold: tuple[int, ...] = ()
    base: str = BASE


class Act(ABC, Generic[S]):
    """How one kind of step is done and undone."""

    def settled(self, step: S, names: Names, given: Given) -> S:  # noqa: ARG002
        """The step as it is written down and run: with a name that is free, where it was only called so."""
        return step

    def before(self, step: S, names: Names, given: Given) -> dict[str, Any]:  # noqa: ARG002
        """What is found before the step runs, as JSON values. Raises StepFailed."""
        return {}

    @abstractmethod
    def perform(self, step: S, names: Names, given: Given) -> Made:
        """Run the step. Raises StepFailed; what it did in part, ``undo`` takes back."""

    @abstractmethod
    def undo(self, entry: Entry, step: S, names: Names, *, lazy: bool) -> None:
        """Take back what stands of the step. Raises Held when it cannot be yet."""


def mounted(path: str, *, read_only: bool = True, fstype: str | None = None) -> Made:
    """What has just been mounted at a path, with the restrictions that every mount has. Raises StepFailed.

    ``fstype``: what the scan calls it.
    """
    mount = restrictions.restrict(path, read_only=read_only)
    identity = {"mount": mount.id, "device": mount.device, "type": mount.type, "source": mount.source}
    return Made(path, identity if fstype is None else {**identity, "fstype": fstype})


def type_of(scan: Mapping[str, Any], number: int | None) -> str | None:
    """The type that a report gives the layer of this id, if it is one that can be shown."""
    try:
        pending = [*scan["disks"]]
        while pending:
            layer = pending.pop()
            if layer["id"] == number:
                said = layer["type"]
                return (
                    said if isinstance(said, str) and said.isprintable() and len(said) < _TYPE_CAP else None
                )
            pending += layer["volumes"]
    except (KeyError, TypeError):
        return None  # What a user's side says may be anything.
    return None


def unmount_ours(entry: Entry, path: str, source: str, *, lazy: bool) -> None:
    """Unmount what a step mounted at ``path``: that of its identity, else what is from ``source``."""
    if entry.made is not None:
        mount = mounts.same(mounts.mounts(), entry.made.identity, path)
        ours = [] if mount is None else [mount]
    else:
        ours = [mount for mount in reversed(mounts.mounted_at(path)) if mount.source == source]
    for mount in ours:
        mounts.unmount(mount, lazy=lazy)


def soon(holds: Callable[[], object], within: float) -> bool:
    """Whether something comes to hold within so many seconds."""
    until = time.monotonic() + within
    while not holds():
        if time.monotonic() >= until:
            return False
        time.sleep(_PAUSE)
    return True
