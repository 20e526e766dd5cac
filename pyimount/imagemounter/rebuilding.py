"""The tree that was there before, of volumes that are mounted each in a session of its own."""

import logging
from typing import TYPE_CHECKING

from pyimount.exceptions import ImageMounterError, NoRootFoundError
from pyimount.execution.errors import NoSession
from pyimount.execution.mounted_trees import observe
from pyimount.execution.plan_executor import Outcome
from pyimount.imagemounter import acting
from pyimount.layers import Scan, VolumeLayer
from pyimount.planning import reconstruct as planning
from pyimount.planning.facts import Facts
from pyimount.planning.reconstruct import BadTarget, Reconstruction, target_of
from pyimount.planning.steps import BindMount, MountPlan, Place, Result, Step

if TYPE_CHECKING:
    from pyimount.imagemounter.image_parser import ImageParser
    from pyimount.imagemounter.volume import Volume

logger = logging.getLogger(__name__)


def mountpoint_of(layer: VolumeLayer, path: str) -> str | None:
    """Where a volume that is mounted at ``path`` most likely was, by what is in it."""
    facts = _facts(layer, path)
    return None if facts is None else planning.mountpoint_by_directories(layer, facts)


def _facts(layer: VolumeLayer, path: str) -> Facts | None:
    try:
        return observe(path, layer.id)
    except OSError as error:
        logger.warning("%s cannot be looked at: %s", path, error.strerror)
        return None


def reconstruct(parser: "ImageParser") -> "Volume":
    """As ImageParser.reconstruct."""
    mounted = [volume for volume in parser.get_volumes() if volume.mountpoint is not None]
    for view in dict.fromkeys(volume.view for volume in mounted):
        # Mostly there is one: disks are looked at together.
        alike = {volume.scan_and_layer()[1].id: volume for volume in mounted if volume.view == view}
        tree = _Tree(next(iter(alike.values())).scan_and_layer()[0], alike)
        root = tree.root()
        if root is not None:
            tree.make(root)
            for volume in mounted:
                if volume.view != view:
                    _bind_by_itself(volume, root)
            return root
    raise NoRootFoundError("none of the volumes that are mounted is the root of the others")


def _bind_by_itself(volume: "Volume", root: "Volume") -> None:
    try:
        target = target_of(volume.detect_mountpoint())
        if target != "/" and root.mountpoint is not None:
            volume.bind_within(root.mountpoint, target)
    except (BadTarget, ImageMounterError) as error:
        logger.warning("volume %s has no place in the tree: %s", volume.index, error)


class _Tree:
    """Volumes of one scan, by their layers, on their way to be a tree."""

    def __init__(self, scan: Scan, volumes: "dict[int, Volume]") -> None:
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
        told = (_facts(volume.scan_and_layer()[1], volume.mountpoint or "") for volume in volumes.values())
        self._facts = [facts for facts in told if facts is not None]

    def _found(self, first: int, plan: MountPlan | None = None, root: int | None = None) -> Reconstruction:
        return planning.reconstruct(self._scan, self._places, self._facts, first=first, plan=plan, root=root)

    def root(self) -> "Volume | None":
        """The volume that is the root of the others."""
        number = self._found(0).root
        return None if number is None else self._volumes[number]

    def make(self, root: "Volume") -> None:
        """Put the others into the root's tree; what has no place there stays where it is."""
        found, outcome = self._own(root)
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

    def _own(self, root: "Volume") -> tuple[Reconstruction, Outcome | None]:
        """Add to the root's own session what it needs itself: the subvolumes of a btrfs."""
        number = next(number for number, volume in self._volumes.items() if volume is root)
        made: list[Reconstruction] = []

        def steps(first: int, standing: MountPlan) -> tuple[Step, ...]:
            made.append(self._found(first, standing, number))
            return tuple(
                step for step in made[0].steps if step.layer == number or not isinstance(step, BindMount)
            )

        try:
            outcome = acting.add(root.session or "", steps)
        except NoSession:
            return self._found(0, None, number), None
        for failure in outcome.failures:
            logger.warning("volume %s: %s", root.index, failure.reason)
        return made[0], outcome
