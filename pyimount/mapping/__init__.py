"""The bytes of a layer, from its recipe: what ``detect`` found can be read, later and elsewhere too.

A recipe names files, places and members, never an open file and never a key, so a scan that was
stored or sent to another process opens as one just made; what is encrypted needs its key again.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from pyimount.formats import Details
from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.recognition.opening import open_image
from pyimount.sources.broker import Broker
from pyimount.sources.budget import NO_LIMIT, Budget, Meter
from pyimount.sources.errors import OpenError
from pyimount.sources.fileobject import SourceFile
from pyimount.sources.segments import Segments
from pyimount.sources.shelf import Shelf, ShelfBroker
from pyimount.sources.source import SliceSource, Source

if TYPE_CHECKING:
    from pyimount.keys import Key, Keyring


@contextmanager
def open_layer(
    scan: Scan,
    layer: Layer,
    *,
    keys: "Keyring | Mapping[str | int, str] | None" = None,
    budget: Budget = NO_LIMIT,
    shelf: Shelf | None = None,
) -> Iterator[Source]:
    """The bytes of ``layer``, a disk or a volume of ``scan``, for as long as the ``with`` block lasts.

    ``keys``: as ``detect`` takes them, for what lies behind a lock. ``shelf``: where the scan's images are,
    when they are files within another one. Raises OpenError when its files
    are no longer there, when no key opens it, or when it has no bytes of its own.
    """
    with ExitStack() as stack:
        yield Opener(scan, keys, stack, budget=budget, shelf=shelf).source(layer)


def open_volume(
    scan: Scan, index: str, *, keys: "Keyring | Mapping[str | int, str] | None" = None
) -> BinaryIO:
    """The bytes of the volume of this index or UUID as a binary file object, read-only and seekable.

    Closing it closes the image. Raises KeyError when there is no such volume, OpenError as
    ``open_layer`` does.
    """
    stack = ExitStack()
    try:
        source = Opener(scan, keys, stack).source(scan[index])
    except OpenError:
        stack.close()
        raise
    return cast("BinaryIO", io.BufferedReader(_ClosingFile(source, stack), 1 << 16))


class _ClosingFile(SourceFile):
    """A file object that closes what was opened for it."""

    def __init__(self, source: Source, stack: ExitStack) -> None:
        super().__init__(source)
        self._stack = stack

    def close(self) -> None:
        super().close()
        self._stack.close()


class Opener:
    """Opens layers of one scan, each once; ``stack`` closes them.

    ``descriptors``: as a Broker takes them, for who may not open files. ``shelf``: where the images are, when
    they are files within another one.
    """

    def __init__(
        self,
        scan: Scan,
        keys: "Keyring | Mapping[str | int, str] | None",
        stack: ExitStack,
        *,
        budget: Budget = NO_LIMIT,
        descriptors: Mapping[str, int] | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self._scan = scan
        self._shelf = shelf
        self._keys = keys
        self._meter = Meter(budget)
        self._stack = stack
        self._descriptors = descriptors
        self._opened: dict[int, Source] = {}

    def source(self, layer: Layer) -> Source:
        """The bytes of a layer; raises OpenError. Recursive, as deep as layers lie within one another."""
        if layer.id not in self._opened:
            self._opened[layer.id] = (
                self._disk(layer) if isinstance(layer, DiskLayer) else self._volume(layer)
            )
        return self._opened[layer.id]

    def _volume(self, layer: VolumeLayer) -> Source:
        parameters = layer.recipe.parameters
        if layer.recipe.kind == "none":
            raise OpenError(f"volume {layer.index} has no bytes of its own that can be read")
        if layer.recipe.kind == "slice":
            offset, size = parameters["offset"], parameters["size"]
            if not isinstance(offset, int) or not isinstance(size, int):
                raise OpenError(f"volume {layer.index}: its recipe is damaged")
            return SliceSource(self._parent(layer), offset, size)
        from pyimount.mapping.kinds import OPENED, open_mapped, reopen

        if layer.recipe.kind in OPENED.values():
            header = self._header(parameters)
            keys = self._keys_for(layer)
            return reopen(layer.recipe.kind, self._parent(layer), parameters, keys, header, meter=self._meter)
        if parameters.keys() <= {"inputs"}:
            why = next((f": {each.message}" for each in layer.problems), "")
            raise OpenError(f"volume {layer.index} has no bytes that can be read{why}")
        inputs = parameters.get("inputs")
        members = inputs if isinstance(inputs, list) else list(layer.parents)
        return open_mapped(
            layer.recipe.kind,
            parameters,
            [self.source(self._scan.by_id(number)) for number in members if isinstance(number, int)],
        )

    def _parent(self, volume: VolumeLayer) -> Source:
        return self.source(self._scan.parents(volume)[0])

    def _header(self, parameters: Details) -> Source | None:
        path = parameters.get("header")
        if not isinstance(path, str):
            return None
        if self._shelf is not None:
            return self._shelf.open(path, self._meter)
        header = Broker(descriptors=self._descriptors).open(path, self._meter)
        self._stack.callback(header.close)
        return header

    def _keys_for(self, volume: VolumeLayer) -> "tuple[Key, ...]":
        if not self._keys:
            return ()
        from pyimount.keys import Keyring

        keyring = self._keys if isinstance(self._keys, Keyring) else Keyring(self._keys)
        locked = self._scan.parents(volume)[0]
        return keyring.for_volume(
            locked.index or "", locked.uuid if isinstance(locked, VolumeLayer) else None
        )

    def _disk(self, disk: DiskLayer) -> Source:
        if disk.recipe.kind != "image":
            raise OpenError(f"{disk.paths[0]}: was not read when it was scanned")
        recipe = disk.recipe.parameters
        holes = recipe.get("holes")
        segments = Segments(
            tuple(_texts(recipe["paths"])),
            split=recipe.get("split") is True,
            holes=tuple(each for each in holes if isinstance(each, int)) if isinstance(holes, list) else (),
        )
        if self._shelf is not None:
            broker: Broker = ShelfBroker(self._shelf)
        else:
            marks = recipe.get("marks")
            broker = Broker(
                _texts(recipe.get("allow")),
                self._descriptors,
                marks=marks if isinstance(marks, Mapping) else None,
            )
        image, opened = open_image(segments, broker, self._meter)
        self._stack.callback(image.close)
        # A file may hold several disks.
        part = next((each for each in opened.disks if each.part == recipe.get("part")), opened)
        same = (part.container.type, part.part) == (recipe["container"], recipe.get("part"))
        if part.source is None or not same:
            raise OpenError(f"{disk.paths[0]}: no longer opens as {recipe['container']}")
        return part.source


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
