"""A volume opened for a reader, by the adapter that its format names; and what such an adapter is given."""

from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, BinaryIO, cast

from pyimount.files.reading import Refused, Unreadable, Volume
from pyimount.files.session import DAMAGE, reason
from pyimount.keys import Key
from pyimount.layers import VolumeLayer
from pyimount.records import EMPTY, Details, Record
from pyimount.sources.fileobject import SourceFile
from pyimount.sources.source import Source


class Given(Record, kw_only=True):
    """What an adapter gets: the volume's bytes, those of the other members of its group, what the scan says.

    ``name``: that of the volume within its container, for what holds several; ``number``: its place there.
    """

    sources: tuple[Source, ...]
    type: str
    version: str | None = None
    name: str | None = None
    uuid: str | None = None
    number: int = 0
    details: Details = EMPTY
    keys: tuple[Key, ...] = ()

    def file(self, number: int = 0) -> BinaryIO:
        """The bytes as a file object."""
        return cast("BinaryIO", SourceFile(self.sources[number]))


def given_of(layer: VolumeLayer, sources: Sequence[Source], keys: tuple[Key, ...], number: int = 0) -> Given:
    """What is known of a layer."""
    return Given(
        sources=tuple(sources), type=layer.type or "", version=layer.version, name=layer.label or layer.name,
        uuid=layer.uuid, number=number, details=layer.details, keys=keys,
    )  # fmt: skip


def open_volume(adapter: str, given: Given) -> Volume:
    """The volume, opened by this adapter. Raises Refused, ModuleNotFoundError."""
    module: Any = import_module(f"pyimount.files.adapters.{adapter}")
    try:
        return cast("Volume", module.open_volume(given))
    except (Unreadable, ModuleNotFoundError):
        raise
    except DAMAGE as error:
        raise Refused(reason(error)) from error


def load(adapter: str) -> None:
    """Load an adapter and its library."""
    with suppress(ImportError):
        import_module(f"pyimount.files.adapters.{adapter}")
