"""Which volumes of a scan the caller wants, and what he says that they are."""

from collections.abc import Collection, Iterator, Mapping

from pyimount.formats import Usage
from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer


class Choice:
    """Which volumes the caller wants; ``only``, ``skip`` and ``shadows`` are those of ``plan``."""

    def __init__(self, scan: Scan, only: Collection[str], skip: Collection[str], *, shadows: bool) -> None:
        self._scan = scan
        self._only = {layer.id for name in only for layer in scan.named(name)} if only else None
        self._skip = {layer.id for name in skip for layer in scan.named(name)}
        self._shadows = shadows

    def has(self, volume: VolumeLayer, *, gaps: bool = False) -> bool:
        """Whether this volume is to be mounted, if it can be; ``gaps``: what is not allocated counts too."""
        above = list(self._above(volume))
        numbers = {layer.id for layer in above}
        if numbers & self._skip or (self._only is not None and not numbers & self._only):
            return False
        if self._only is not None and volume.id in self._only:
            return True
        if volume.hidden or (volume.flag != "alloc" and not (gaps and volume.flag == "unalloc")):
            return False
        return self._shadows or not any(layer.recipe.kind == "vss" for layer in above)

    def has_disk(self, disk: DiskLayer) -> bool:
        """Whether a disk that is shown as it is is wanted."""
        return disk.id not in self._skip and (self._only is None or disk.id in self._only)

    def _above(self, volume: VolumeLayer) -> Iterator[Layer]:
        """The volume and all that it lies in."""
        layer: Layer = volume
        seen: set[int] = set()
        while layer.id not in seen:
            seen.add(layer.id)
            yield layer
            if isinstance(layer, VolumeLayer):
                layer = self._scan.parents(layer)[0]


def told_type(volume: VolumeLayer, fstypes: Mapping[str, str]) -> str | None:
    """What the user says that this volume is, by the ``fstypes`` of ``plan``; None: nothing."""
    named = fstypes.get(volume.index) or (fstypes.get(volume.uuid) if volume.uuid else None)
    recognised = volume.type is not None or volume.pttype is not None
    if named is None and (not recognised or volume.usage == Usage.FILESYSTEM):
        named = fstypes.get("*")
    return named if named is not None or recognised else fstypes.get("?")
