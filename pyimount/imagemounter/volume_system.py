"""The volumes that stand directly on a disk, or in another volume."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyimount.exceptions import ArgumentError
from pyimount.imagemounter import views
from pyimount.imagemounter.views import View, local_index
from pyimount.imagemounter.words import VOLUME_DETECTORS, vstype_hint
from pyimount.layers import Scan, VolumeLayer

if TYPE_CHECKING:
    from pyimount.imagemounter.disk import Disk
    from pyimount.imagemounter.volume import Volume

logger = logging.getLogger(__name__)


class VolumeSystem:
    """The volumes of one disk or volume: of a partition table, a volume group, an array, a lock.

    ``parent``: the Disk or Volume. ``vstype``: the type of its table; else what the parser has for the
    parent's index. ``volume_detector``: as for ImageParser.

    Attributes besides: ``volumes``, a plain list, to which volumes may be added; ``volume_source``,
    ``single`` or ``multi`` once volumes were found; ``has_detected``; ``detection``, the volume detector.
    """

    def __init__(self, parent: "Disk | Volume", vstype: str = "", volume_detector: str = "") -> None:
        self.parent = parent
        disk: Any = getattr(parent, "disk", parent)
        self.disk: Disk = disk
        told = self.disk.parser.vstypes
        self.vstype = vstype or told.get(str(parent.index)) or told.get("*") or "detect"
        self.volume_detector = volume_detector or "auto"
        self.detection = self.volume_detector
        self.args: dict[str, Any] = {}
        self.volume_source = ""
        self.volumes: list[Volume] = []
        self.has_detected = False

    def __iter__(self) -> "Iterator[Volume]":
        return iter(self.volumes)

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, item: str | int) -> "Volume":
        """The volume whose index is ``item`` or ends in it after a period; raises KeyError."""
        for volume in self.volumes:
            if volume.index == str(item) or volume.index.endswith(f".{item}"):
                return volume
        raise KeyError(item)

    def detect_volumes(
        self,
        vstype: str | None = None,
        method: str | None = None,
        force: bool = False,
    ) -> "Iterator[Volume]":
        """Find the volumes, and yield them; needs no root and no mount.

        ``vstype``: the type of the table, instead of the attribute; ``vss``: shadow copies. ``method``:
        instead of ``detection``; ``single``: a disk as one volume. ``force``: look again although that was
        done; volumes that are found again stay the objects that they were, and those that are gone are left
        out.

        Raises ArgumentError for a method that there is none of.
        """
        if self.has_detected and not force:
            logger.info("the volumes of %s were found already", self.parent)
            return
        how = method or self.detection
        if how != "single" and how not in VOLUME_DETECTORS:
            raise ArgumentError(f"there is no volume detector {how!r}")
        told = vstype or self.vstype
        if how == "single":
            yield from self._detect_single()
        elif told == "vss":
            yield from self.shadow_copies()
            return
        else:
            yield from self._detect(told)
            if not self.volumes and told == "detect" and self.disk.parser.vstypes.get("?"):
                yield from self._detect(self.disk.parser.vstypes["?"])
            if how == "dissect":
                from pyimount.imagemounter.second_opinion import ask

                ask(self)
        self.has_detected = True

    def detect_all(self, single: bool | None) -> "Iterator[Volume]":
        """Find the volumes of a disk, as ``Disk.detect_volumes`` says."""
        if single:
            yield from self.detect_volumes(method="single")
            return
        yield from self.detect_volumes()
        if single is None and not self.volumes:
            yield from self.detect_volumes(method="single", force=True)

    def preload_volume_data(self) -> None:
        """Have the scan made that all of this comes from."""
        self.disk.scan()

    # What a scan has.

    def _detect_single(self) -> "Iterator[Volume]":
        if self.parent is not self.disk:
            return
        disk = self.disk
        disk.view = disk.view_with(self.vstype)
        if disk.layer.pttype is not None:
            # Tables are looked for in volumes, too, and so not at all only where this disk has one.
            disk.view = disk.view_with("none")
        yield from self._take([layer for layer in self._on_disk() if layer.flag == "alloc"], "single")

    def _detect(self, vstype: str) -> "Iterator[Volume]":
        if self.parent is self.disk:
            self.disk.view = self.disk.view_with(vstype)
            table = [layer for layer in self._on_disk() if self._has_table(layer)]
            yield from self._take(table, "multi")
            return
        volume = self._volume()
        if vstype_hint(vstype) is not None:
            volume.look_for_table(vstype)
        scan, layer = volume.scan_and_layer()
        inner = [
            each for each in scan.children(layer)
            if each.recipe.kind != "vss" and not each.hidden
        ]  # fmt: skip
        yield from self._take(inner, "multi")

    def _has_table(self, layer: VolumeLayer) -> bool:
        """Whether a partition table was found where this volume of a disk comes from."""
        scan = self.disk.scan()
        above = scan.parents(layer)[0]
        return above.pttype is not None

    def _on_disk(self) -> list[VolumeLayer]:
        """The volumes that stand directly on the disk, from its offset on."""
        scan = self.disk.scan()
        found = list(scan.children(views.layer_of_disk(scan, self.disk)))
        if self.disk.offset and found and found[0].pttype is not None:
            return list(scan.children(found[0]))
        return found

    def shadow_copies(self) -> "list[Volume]":
        """The shadow copies that an NTFS volume keeps of itself."""
        if self.parent is self.disk:
            return []
        scan, layer = self._volume().scan_and_layer()
        copies = [each for each in scan.children(layer) if each.recipe.kind == "vss"]
        return [self._found(scan, each) for each in copies]

    def _volume(self) -> "Volume":
        from pyimount.imagemounter.volume import Volume

        assert isinstance(self.parent, Volume)  # noqa: S101
        return self.parent

    def _take(self, layers: list[VolumeLayer], source: str) -> "Iterator[Volume]":
        """A Volume for each layer; those that were there stay, if they are found again or built by hand."""
        scan = self.disk.scan() if self.parent is self.disk else self._volume().scan_and_layer()[0]
        kept = [self._found(scan, layer) for layer in layers]
        gone = [
            each for each in self.volumes if each not in kept and each.local is not None and not each.is_vss
        ]
        self.volumes[:] = [each for each in self.volumes if each not in gone]
        if kept:
            self.volume_source = source
        yield from kept

    def _found(self, scan: Scan, layer: VolumeLayer) -> "Volume":
        from pyimount.imagemounter.volume import Volume

        view: View = self.disk.view if self.parent is self.disk else self._volume().view
        local = local_index(scan, layer)
        place = (views.offset_in_source(scan, layer), layer.size or 0)
        for volume in self.volumes:
            known = volume.local == local and volume.view == view
            by_hand = volume.local is None or volume.view.alone
            if known or (by_hand and (volume.offset, volume.size) == place):
                volume.settle(view, scan, layer)
                return volume
        made = Volume(
            disk=self.disk,
            parent=self.parent,
            index=self._index(scan, layer),
            size=place[1],
            offset=place[0],
            flag=layer.flag,
            slot=0 if layer.slot is None else layer.slot + 1,
            volume_detector=self.detection,
        )
        made.settle(view, scan, layer)
        self.volumes.append(made)
        return made

    def _index(self, scan: Scan, layer: VolumeLayer) -> str:
        """The index of a volume under the one that its parent has here."""
        local = local_index(scan, layer)
        if self.parent is self.disk:
            own = local.partition(".")[2] if self.disk.offset and "." in local else local
            return own if self.disk.index is None else f"{self.disk.index}.{own}"
        above = self._volume().local or ""
        return f"{self.parent.index}.{local.removeprefix(above).lstrip('.')}"
