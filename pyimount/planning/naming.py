"""What mountpoints are called: names that come from an image, made safe for a path and a terminal."""

import os
import unicodedata

from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.planning.numbered import LONGEST, cut, numbered
from pyimount.records import Record

_PLAIN = frozenset("+-.=@_~")
"""Besides letters and digits: what neither a shell, nor mount, nor a terminal takes for more than it is."""


class Naming(Record, kw_only=True):
    """How mountpoints are to be called.

    Without ``pretty``: the volume's index and its label. With it, as imagemounter did: the index, and the
    label, or else the place where the volume was mounted last, or its type; before them the image's name,
    unless there is a ``casename``. That is a folder of its own, with ``pretty`` and without.
    """

    pretty: bool = False
    casename: str | None = None

    def folder(self) -> str | None:
        """The name of the folder that all mountpoints of the case have in common, if any."""
        return safe_name(self.casename) or None if self.casename else None

    def of(self, scan: Scan, volume: VolumeLayer) -> str:
        """The name for the mountpoint of a volume; another volume may have the same."""
        if not self.pretty:
            return _joined(volume.index, volume.label)
        called = _root(volume.label) or _root(volume.last_mountpoint) or volume.fstype or volume.type
        if self.folder() is not None:
            return _joined(volume.index, called or "volume")
        return _joined(_stem(scan.disk(volume)), volume.index, called or "volume")

    def of_folder(self, disk: DiskLayer) -> str:
        """The name for the place where a folder is shown: its own, after the disk's index."""
        return _joined(disk.index, os.path.basename(disk.paths[0].rstrip("/")))


USUAL = Naming()


def safe_name(text: str) -> str:
    """A text as one element of a path, of LONGEST bytes at most; empty when nothing of it is left.

    Letters and digits of every script stay, and what is plain in every shell; each run of others becomes
    one ``_``. It neither begins with a dot or a hyphen nor is made of dots alone.
    """
    made: list[str] = []
    # As much as can count: each character has a byte at least.
    for char in unicodedata.normalize("NFC", text[: 4 * LONGEST]):
        if char.isalnum() or char in _PLAIN:
            made.append(char)
        elif made and made[-1] != "_":
            made.append("_")
    return cut("".join(made).lstrip(".-_"), LONGEST).rstrip("._")


def _joined(*parts: str | None) -> str:
    return safe_name("-".join(filter(None, (safe_name(part) for part in parts if part)))) or "volume"


def _root(name: str | None) -> str | None:
    return "root" if name == "/" else name


def _stem(disk: DiskLayer) -> str:
    name = os.path.basename(disk.paths[0])
    return name.rpartition(".")[0] or name


class Unique:
    """Names that are given out once: a second of the same gets a number."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}

    def __call__(self, name: str) -> str:
        """This name, or one like it that was not given out before."""
        number = self._given.get(name)
        if number is None:
            self._given[name] = 1
            return name
        while True:
            number += 1
            other = numbered(name, number)
            if other not in self._given:
                self._given[name] = number
                self._given[other] = 1
                return other


def raw_name(layer: Layer) -> str:
    """The name of the file that shows a layer's bytes: of each in a scan another."""
    index = safe_name(layer.index or "")
    if isinstance(layer, DiskLayer):
        return f"disk{index}.raw"
    # An index has digits and dots, unless somebody else wrote the report.
    return f"{index}.raw" if index == layer.index else f"layer{layer.id}.raw"
