"""What doing and undoing a kind of step consists of, and what most kinds need for it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from pyimount.execution import mounts, restrictions
from pyimount.execution.ledger import Entry, Made
from pyimount.planning.steps import Names, Step
from pyimount.records import EMPTY, Record
from pyimount.sources.identity import FileIdentity

_PAUSE = 0.02

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
    ended, even when we are killed before.
    """

    scan: Mapping[str, Any] = EMPTY
    keys: Keys = ()
    opened: Mapping[str, int] | None = None
    files: Mapping[str, FileIdentity] = EMPTY
    user: int | None = None
    hand_over: Callable[[int], None] | None = None
    hold: tuple[int, ...] = ()


class Act(ABC, Generic[S]):
    """How one kind of step is done and undone."""

    def before(self, step: S, names: Names, given: Given) -> dict[str, Any]:  # noqa: ARG002
        """What is found before the step runs, as JSON values. Raises StepFailed."""
        return {}

    @abstractmethod
    def perform(self, step: S, names: Names, given: Given) -> Made:
        """Run the step. Raises StepFailed; what it did in part, ``undo`` takes back."""

    @abstractmethod
    def undo(self, entry: Entry, step: S, names: Names, *, lazy: bool) -> None:
        """Take back what stands of the step. Raises Held when it cannot be yet."""


def mounted(path: str, *, read_only: bool = True) -> Made:
    """What has just been mounted at a path, with the restrictions that every mount has. Raises StepFailed."""
    mount = restrictions.restrict(path, read_only=read_only)
    return Made(path, {"mount": mount.id, "device": mount.device})


def unmount_ours(entry: Entry, path: str, source: str, *, lazy: bool) -> None:
    """Unmount what a step mounted at ``path``: that of its identity, else what is from ``source``."""
    for mount in reversed(mounts.mounted_at(path)):
        if entry.made is not None:
            ours = (mount.id, mount.device) == (
                entry.made.identity["mount"], entry.made.identity["device"]
            )  # fmt: skip
        else:
            ours = mount.source == source
        if ours:
            mounts.unmount(mount, lazy=lazy)


def soon(holds: Callable[[], object], within: float) -> bool:
    """Whether something comes to hold within so many seconds."""
    until = time.monotonic() + within
    while not holds():
        if time.monotonic() >= until:
            return False
        time.sleep(_PAUSE)
    return True
