"""Where a volume stands in a scan of its disk: which layer it is there."""

from typing import Any

from pyimount.exceptions import MountError
from pyimount.imagemounter import scans
from pyimount.imagemounter.case import Case
from pyimount.imagemounter.scans import View, local_index
from pyimount.imagemounter.words import info_of
from pyimount.layers import Scan, VolumeLayer


class InScan:
    """A volume as far as it is a layer of a scan; what was built by hand is looked for when it is asked for.

    ``local``: its index in the scan, without the disk's; None while it is not known where it stands there.
    """

    case: Case
    disk: Any
    index: str
    offset: int
    size: int
    info: dict[str, Any]
    view: View
    local: str | None

    def settle(self, view: View, scan: Scan, layer: VolumeLayer) -> None:
        """This is where it stands."""
        self.view = view
        self.local = local_index(scan, layer)
        self.info.update(info_of(layer))

    def scan_and_layer(self) -> tuple[Scan, VolumeLayer]:
        """The scan, and this volume in it. Raises SubsystemError, MountError when it is not there."""
        if self.local is None:
            self._find()
        scan = self.case.scan(self.disk, self.view)
        layer = self._in(scan)
        if layer is None:
            raise MountError(f"volume {self.index} is not to be found on {self.disk}")
        return scan, layer

    def seen_layer(self) -> VolumeLayer | None:
        """This volume in the scan that there is already."""
        scan = self.case.seen(self.disk, self.view)
        return None if scan is None or self.local is None else self._in(scan)

    def _in(self, scan: Scan) -> VolumeLayer | None:
        disk = scans.layer_of_disk(scan, self.disk.paths[0])
        return scans.with_local_index(scan, disk, self.local or "0")

    def _find(self) -> None:
        """Find what was built by hand: where the disk has a volume just there, else by looking there."""
        scan, disk = self.disk.scan(), self.disk.layer
        if disk.size is None:
            raise MountError(scans.why_unreadable(disk))
        layer = scans.volume_at(scan, disk, self.offset, self.size)
        if layer is not None:
            self.settle(self.disk.view, scan, layer)
        else:
            self._look_here(None)

    def _look_here(self, vstype: str | None) -> None:
        view = View(offset=self.offset, size=self.size or None, vstype=vstype, alone=True)
        scan = self.case.scan(self.disk, view)
        self.local = "0"
        layer = self._in(scan)
        if layer is None:
            raise MountError(f"there is nothing at {self.offset} of {self.disk}")
        self.settle(view, scan, layer)

    def look_for_table(self, vstype: str) -> None:
        """Look at just this volume, for a partition table of this type."""
        _, layer = self.scan_and_layer()
        if layer.pttype != vstype and layer.disk_offset is not None:
            self._look_here(vstype)

    @property
    def is_vss(self) -> bool:
        """Whether it is a shadow copy."""
        layer = self.seen_layer()
        return layer is not None and layer.recipe.kind == "vss"
