"""The tree that was there before, of volumes that are mounted.

Volumes that a scan has are put together as the command line does it. What the caller made by hand, with a
``mountpoint`` and a last mount point of his own, goes by just these.
"""

import logging
import os

from pyimount.exceptions import ImageMounterError, NoRootFoundError
from pyimount.execution.errors import NoSession
from pyimount.execution.plan_executor import Outcome
from pyimount.imagemounter.trees import facts_of
from pyimount.imagemounter.volume import Volume
from pyimount.layers import Scan
from pyimount.planning import reconstruct as planning
from pyimount.planning.reconstruct import BadTarget, Reconstruction, target_of
from pyimount.planning.steps import BindMount, MountPlan, Place, Result, Step

logger = logging.getLogger(__name__)


def reconstruct(volumes: list[Volume]) -> Volume:
    """As ImageParser.reconstruct."""
    mounted = list(dict.fromkeys(volume for volume in volumes if volume.mountpoint is not None))
    ours = [volume for volume in mounted if volume.part is not None]
    for view in dict.fromkeys(volume.view for volume in ours):
        # Mostly there is one: disks are looked at together.
        alike = {volume.scan_and_layer()[1].id: volume for volume in ours if volume.view == view}
        tree = _Tree(next(iter(alike.values())).scan_and_layer()[0], alike)
        root = tree.root()
        if root is not None:
            tree.make(root)
            _bind_the_others([volume for volume in mounted if volume not in alike.values()], root)
            return root
    said = [volume for volume in mounted if volume.info.get("lastmountpoint") == "/"]
    if not said:
        raise NoRootFoundError("none of the volumes that are mounted is the root of the others")
    root = min(said, key=lambda volume: volume.numeric_index)
    _bind_the_others([volume for volume in mounted if volume is not root], root)
    return root


def _bind_the_others(volumes: list[Volume], root: Volume) -> None:
    """Show each at its last mount point in the root's tree; the outer ones before those within them."""
    placed: dict[str, Volume] = {}
    for volume in volumes:
        try:
            target = target_of(volume.detect_mountpoint())
        except (BadTarget, ImageMounterError) as error:
            logger.warning("volume %s has no place in the tree: %s", volume.index, error)
            continue
        if target != "/":
            placed.setdefault(target, volume)
    for target in sorted(placed, key=lambda path: path.split("/")):
        try:
            placed[target].bindmount(os.path.join(root.mountpoint or "", target[1:]))
        except ImageMounterError as error:
            logger.warning("volume %s has no place in the tree: %s", placed[target].index, error)


class _Tree:
    """Volumes of one scan, by their layers, on their way to be a tree."""

    def __init__(self, scan: Scan, volumes: dict[int, Volume]) -> None:
        # What the caller knows better goes before what the image says.
        self._scan = scan.replaced(
            volumes=tuple(
                layer.replaced(last_mountpoint=volumes[layer.id].told_mountpoint)
                if layer.id in volumes
                else layer
                for layer in scan.volumes
            )
        )
        self._volumes = volumes
        self._places: dict[int, Place] = {
            number: volume.mountpoint for number, volume in volumes.items() if volume.mountpoint is not None
        }
        told = (facts_of(volume.scan_and_layer()[1], volume.mountpoint or "") for volume in volumes.values())
        self._facts = [facts for facts in told if facts is not None]

    def _found(self, first: int, plan: MountPlan | None = None, root: int | None = None) -> Reconstruction:
        return planning.reconstruct(self._scan, self._places, self._facts, first=first, plan=plan, root=root)

    def root(self) -> Volume | None:
        """The volume that is the root of the others."""
        number = self._found(0).root
        return None if number is None else self._volumes[number]

    def make(self, root: Volume) -> None:
        """Put the others into the root's tree; what has no place there stays where it is."""
        found, outcome = self._subvolumes(root)
        path = found.path
        if isinstance(path, Result) and outcome is not None:
            path = outcome.places.get(path.step, root.mountpoint or "")
        top = str(path or root.mountpoint)
        root.mountpoint = top
        for unplaced in found.unplaced:
            logger.info("volume %s has no place in the tree: %s", unplaced.index, unplaced.reason)
        for step in found.steps:
            if isinstance(step, BindMount) and step.layer is not None and step.layer != found.root:
                volume = self._volumes[step.layer]
                try:
                    volume.bind_within(top, step.target)
                except ImageMounterError as error:
                    logger.warning("volume %s has no place in the tree: %s", volume.index, error)

    def _subvolumes(self, root: Volume) -> tuple[Reconstruction, Outcome | None]:
        """Add to what stands of the root what it needs itself: the subvolumes of a btrfs."""
        number = next(number for number, volume in self._volumes.items() if volume is root)
        made: list[Reconstruction] = []

        def steps(first: int, standing: MountPlan) -> tuple[Step, ...]:
            made.append(self._found(first, standing, number))
            return tuple(
                step for step in made[0].steps if step.layer == number or not isinstance(step, BindMount)
            )

        try:
            outcome = None if root.part is None else root.part.extend(steps)
        except NoSession:
            outcome = None
        if outcome is None:
            return self._found(0, None, number), None
        for failure in outcome.failures:
            logger.warning("volume %s: %s", root.index, failure.reason)
        return made[0], outcome
