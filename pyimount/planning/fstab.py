"""An fstab and a crypttab from an image: their lines, and which volumes of a scan they name.

Their words: fstab(5), crypttab(5); names in /dev: the rules of udev and device-mapper.
"""

import re
from collections.abc import Collection, Iterator

from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.planning.facts import Facts
from pyimount.records import Record

LINES_CAP = 1000
"""Lines of an fstab or a crypttab that are looked at."""


class Line(Record, kw_only=True):
    """A line of an fstab: what is mounted (``spec``), where, its type and its options."""

    spec: str
    target: str
    type: str
    options: tuple[str, ...]

    @property
    def subvolume(self) -> str | None:
        """The btrfs subvolume that is to be mounted."""
        return next((option[7:] for option in self.options if option.startswith("subvol=")), None)


def fstab_lines(text: str | None) -> Iterator[Line]:
    """The lines of an fstab that mount something."""
    for line in (text or "").splitlines()[:LINES_CAP]:
        fields = [_unescaped(field) for field in line.split("#", 1)[0].split()]
        if len(fields) >= 3 and fields[1] != "none" and fields[2] != "swap":
            options = tuple(fields[3].split(",")) if len(fields) > 3 else ()
            yield Line(spec=fields[0], target=fields[1], type=fields[2], options=options)


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8) & 0xFF), field)


_DISK = re.compile(
    r"(?:[shv]d|xvd)([a-z])([0-9]{1,9})?|nvme([0-9]{1,9})n1(?:p([0-9]{1,9}))?"
    r"|mmcblk([0-9]{1,9})(?:p([0-9]{1,9}))?"
)
_BY = {"by-uuid": "UUID", "by-label": "LABEL", "by-partuuid": "PARTUUID", "by-partlabel": "PARTLABEL"}


class Fstab:
    """The fstab of a root: its lines, each with the volume that it names.

    ``mounted``: the ids of the volumes that are looked among; ``said``: what was read in the root.
    """

    def __init__(self, scan: Scan, mounted: Collection[int], root: VolumeLayer, said: Facts) -> None:
        self._scan = scan
        self._root = root
        self._volumes = [volume for volume in scan.volumes if volume.id in mounted]
        self._entries = list(fstab_lines(said.fstab))
        self._crypttab = dict(_crypttab(said.crypttab))
        self._offset = self._root_disk()

    def found(self) -> Iterator[tuple[Line, VolumeLayer]]:
        """Each line with the volume that it names, where that is mounted."""
        for entry in self._entries:
            volumes = [volume for volume in self._volumes if self._is(volume, entry.spec)]
            # A snapshot has its origin's UUID: of several that fit, the one that is not a copy.
            plain = [volume for volume in volumes if volume.mapping.get("type") != "vss"]
            if plain:
                yield entry, plain[0]

    def _is(self, volume: VolumeLayer, spec: str, depth: int = 0) -> bool:
        """Whether ``spec`` names the volume."""
        kind, equals, value = spec.partition("=")
        if equals and kind in _BY.values():
            return self._has(volume, kind, value.strip("\"'"))
        path = spec.removeprefix("/dev/")
        if path == spec:
            return False
        parts = path.split("/")
        if parts[0] == "disk" and len(parts) == 3 and parts[1] in _BY:
            value = re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), parts[2])
            return self._has(volume, _BY[parts[1]], value)
        if parts[0] == "mapper" and len(parts) == 2:
            return self._is_mapped(volume, parts[1], depth)
        if parts[0] == "md" or re.fullmatch(r"md[0-9]+", parts[0]):
            return self._is_array(volume, parts[-1] if parts[0] == "md" else parts[0][2:])
        if len(parts) == 2:
            return volume.mapping.get("vg") == parts[0] and volume.name == parts[1]
        return self._is_on_disk(volume, path)

    @staticmethod
    def _has(volume: VolumeLayer, kind: str, value: str) -> bool:
        if not value:
            return False
        if kind in ("LABEL", "PARTLABEL"):
            return value == (volume.label if kind == "LABEL" else volume.part_name)
        own = volume.uuid if kind == "UUID" else volume.part_uuid
        return own is not None and own.lower() == value.lower()

    def _is_mapped(self, volume: VolumeLayer, name: str, depth: int) -> bool:
        group, logical = volume.mapping.get("vg"), volume.name
        if isinstance(group, str) and logical is not None:
            # device-mapper doubles the hyphens within each name.
            return name == f"{group.replace('-', '--')}-{logical.replace('-', '--')}"
        locked = self._scan.parents(volume)[0]
        if not isinstance(locked, VolumeLayer) or locked.usage != "crypto":
            return False
        if locked.uuid and name.lower() == f"luks-{locked.uuid.lower()}":
            return True
        spec = self._crypttab.get(name)
        return spec is not None and depth == 0 and self._is(locked, spec, depth=1)

    @staticmethod
    def _is_array(volume: VolumeLayer, name: str) -> bool:
        return volume.mapping.get("type") == "md" and (volume.name or "").rpartition(":")[2] == name

    def _is_on_disk(self, volume: VolumeLayer, name: str) -> bool:
        found = _place_on_disk(name)
        if found is None:
            return False
        number, partition = found[0] - self._offset, found[1]
        if not 0 <= number < len(self._scan.disks):
            return False
        disk = self._scan.disks[number]
        prefix = "" if disk.index is None else f"{disk.index}."
        return self._scan.disk(volume) is disk and volume.index == f"{prefix}{partition}"

    def _root_disk(self) -> int:
        """How much further the disks' letters are than the images: the root's own line tells."""
        for entry in self._entries:
            found = _place_on_disk(entry.spec.removeprefix("/dev/")) if entry.target == "/" else None
            if found is not None:
                disk: Layer = self._scan.disk(self._root)
                if isinstance(disk, DiskLayer):
                    return found[0] - self._scan.disks.index(disk)
        return 0


def _place_on_disk(name: str) -> tuple[int, int] | None:
    """The number of the disk, from 0, and of the partition, 0 for the whole disk."""
    found = _DISK.fullmatch(name)
    if found is None:
        return None
    letter, partition, *others = found.groups()
    if letter is not None:
        return ord(letter) - ord("a"), int(partition or 0)
    disk, partition = (others[0], others[1]) if others[0] is not None else (others[2], others[3])
    return int(disk), int(partition or 0)


def _crypttab(text: str | None) -> Iterator[tuple[str, str]]:
    for line in (text or "").splitlines()[:LINES_CAP]:
        fields = line.split("#", 1)[0].split()
        if len(fields) >= 2:
            yield fields[0], fields[1]
