"""Plans for less than a mount: a layer's bytes as a file, or carved for what was deleted."""

import os
from collections.abc import Collection, Mapping

from pyimount.layers import Layer, Scan, VolumeLayer
from pyimount.planning.machine import Machine
from pyimount.planning.places import Places
from pyimount.planning.plan import BASE
from pyimount.planning.policy import Policy
from pyimount.planning.session_steps import Folders, Steps
from pyimount.planning.steps import Carve, MountPlan, Place


class _Making:
    """A plan on its way."""

    def __init__(  # noqa: PLR0917
        self, scan: Scan, policy: Policy, machine: Machine, session: str, base: str, cache: str | None,
        keys_for: Mapping[str, Collection[str]] | None, cwd: str,
    ) -> None:  # fmt: skip
        self.steps = Steps()
        folders = Folders(self.steps, session, base, cache if policy.read_write else None)
        self.places = Places(scan, policy, machine, self.steps, folder=folders, keys=keys_for, cwd=cwd)
        self._session = session
        self._images = tuple(os.path.join(cwd, path) for disk in scan.disks for path in disk.paths)

    def plan(self) -> MountPlan:
        """The plan, complete."""
        self.places.finish()
        return MountPlan(session=self._session, images=self._images, steps=tuple(self.steps.made))


def show(
    scan: Scan,
    layer: Layer,
    policy: Policy,
    machine: Machine,
    *,
    session: str,
    keys_for: Mapping[str, Collection[str]] | None = None,
    base: str = BASE,
    cache: str | None = None,
    cwd: str = "/",
) -> tuple[MountPlan, Place]:
    """What shows the bytes of a layer as a file, and which file that is (a device, where only one has them).

    The arguments are those of ``plan``. Without a step where they are a file already. Raises Refused.
    """
    making = _Making(scan, policy, machine, session, base, cache, keys_for, cwd)
    place = making.places.file(layer)
    return making.plan(), place


def carve(
    scan: Scan,
    volume: VolumeLayer,
    policy: Policy,
    machine: Machine,
    *,
    session: str,
    at: str,
    free_only: bool,
    keys_for: Mapping[str, Collection[str]] | None = None,
    base: str = BASE,
    cwd: str = "/",
) -> MountPlan:
    """What recovers deleted files of a volume into the folder ``at``, which stays. Raises Refused."""
    making = _Making(scan, policy, machine, session, base, None, keys_for, cwd)
    source = making.places.device(volume)
    making.steps.add(Carve, layer=volume.id, source=source, at=at, free_only=free_only)
    return making.plan()
