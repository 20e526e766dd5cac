"""Locked volumes that a scan has opened: which keys there are to open them again."""

from collections.abc import Collection, Mapping

from pyimount.layers import DiskLayer, Scan, VolumeLayer
from pyimount.planning.refusing import Refused


class Locks:
    """What opens the locked volumes of a scan again.

    ``keys``: the kinds of keys that there are, by the index of the locked volume; None: whatever was opened
    can be opened again.
    """

    def __init__(self, scan: Scan, keys: Mapping[str, Collection[str]] | None) -> None:
        self._scan = scan
        self._keys = keys

    @property
    def all_open(self) -> bool:
        """Whether whatever was opened can be opened again."""
        return self._keys is None

    def locked(self, volume: VolumeLayer) -> VolumeLayer:
        """The locked volume in which ``volume`` was found. Raises Refused where the report has none."""
        try:
            layer = self._scan.parents(volume)[0]
        except (KeyError, IndexError):
            raise Refused("damaged", f"the report has no layer in which {volume.index} lies") from None
        if isinstance(layer, DiskLayer):
            raise Refused("damaged", f"volume {volume.index} was opened, and nothing was locked")
        return layer

    def opens(self, volume: VolumeLayer) -> bool:
        """Whether there is a key for what ``volume`` was found in, or none is needed."""
        return self._keys is None or bool(self.kinds(volume)) or needs_no_key(self.locked(volume))

    def kinds(self, volume: VolumeLayer) -> Collection[str]:
        """The kinds of keys that there are for what ``volume`` was found in."""
        return (self._keys or {}).get(self.locked(volume).index, ())

    def refusal(self, volume: VolumeLayer) -> Refused:
        """Why ``volume`` cannot be had, where its key is not there again."""
        locked = self.locked(volume)
        remedy = (
            f"give its key: --keys {locked.index}=p:… or --key-file (`pyimount mount --help` tells the kinds)"
        )
        return Refused("locked", f"volume {locked.index} needs its key again", remedy)


def needs_no_key(locked: VolumeLayer) -> bool:
    """Whether a volume was opened without a key: a suspended BitLocker has it beside the lock."""
    by = locked.details.get("opened_by")
    return isinstance(by, dict) and by.get("protector_type") == "clear-key"
