"""The images of one scan that are open: what lies on which, which are still needed, what each is charged."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from pyimount.formats.image import Image
from pyimount.sources.budget import Meter


class OpenImages:
    """The images that may have members of a group, and the one scanned now, by the ids of their disks.

    What is read of a layer is charged to the meters of the images that it lies on.
    """

    def __init__(self) -> None:
        self._open: dict[int, tuple[Image, Meter]] = {}
        self._lies_on: dict[int, frozenset[int]] = {}
        """The ids of the disks on which a layer lies, by the layer's id."""
        self._wanted: set[int] = set()
        """The ids of the disks whose images the groups still need."""

    def add_disk(self, disk: int) -> None:
        """Note a disk, of which there may be no bytes."""
        self._lies_on[disk] = frozenset((disk,))

    def open_disk(self, disk: int, image: Image, meter: Meter) -> None:
        """Note that a disk's image is open."""
        self._open[disk] = image, meter

    def add_volume(self, volume: int, parents: Sequence[int]) -> None:
        """Note on which disks a volume lies: on those of its parents."""
        lies_on = self._lies_on[parents[0]]
        if len(parents) > 1:
            lies_on = lies_on.union(*(self._lies_on[parent] for parent in parents))
        self._lies_on[volume] = lies_on

    def want(self, volume: int) -> None:
        """Note that the bytes of a volume are needed until the end of the scan."""
        self._wanted |= self._lies_on[volume]

    def is_wanted(self, disks: Iterable[int]) -> bool:
        """Whether the image of any of these disks is needed until the end."""
        return any(disk in self._wanted for disk in disks)

    def disks(self) -> list[int]:
        """The ids of the disks whose images are open."""
        return list(self._open)

    def changed(self, disk: int) -> Sequence[str]:
        """What of a disk's image is no longer what was opened."""
        return self._open[disk][0].changed()

    def close_disks(self, disks: Iterable[int]) -> None:
        """Close the images of these disks, and forget them."""
        for disk in disks:
            self._open.pop(disk)[0].close()

    def close(self) -> None:
        """Close every image that is still open."""
        for image, _ in self._open.values():
            image.close()

    def renew(self) -> None:
        """Allow each image its whole budget anew, and stop its clock."""
        for _, meter in self._open.values():
            meter.renew()
            meter.pause()

    @contextmanager
    def at_work(self, layers: Iterable[int]) -> Iterator[None]:
        """A block in which the clocks of the images on which these layers lie go on."""
        meters = self._meters(layers)
        for meter in meters:
            meter.resume()
        try:
            yield
        finally:
            for meter in meters:
                meter.pause()

    @contextmanager
    def counting_apart(self) -> Iterator[None]:
        """A block in which what is read is for allocation structures, and counts apart (``Meter.apart``)."""
        meters = [meter for _, meter in self._open.values()]
        for meter in meters:
            meter.apart = True
        try:
            yield
        finally:
            for meter in meters:
                meter.apart = False

    def meter_of(self, layer: int) -> Meter:
        """What the work under a layer is charged to: the meter of the first image that it lies on."""
        return self._meters((layer,))[0]

    def _meters(self, layers: Iterable[int]) -> list[Meter]:
        """The meters of the images on which these layers lie, those of the first layer first."""
        disks = dict.fromkeys(disk for layer in layers for disk in sorted(self._lies_on[layer]))
        return [self._open[disk][1] for disk in disks]
