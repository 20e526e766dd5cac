"""What a scan is told besides the images: what the caller knows, and whether a search is wanted."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyimount.records import Record

if TYPE_CHECKING:
    from pyimount.recognition.searching import Progress


class Hints(Record, kw_only=True):
    """What the caller may know better than the image; the arguments of ``detect``."""

    offset: int | None = None
    size: int | None = None
    sector_size: int | None = None
    vstype: str | Mapping[str, str] | None = None
    fstypes: Mapping[str, str] | None = None
    free: bool = False

    def table(self, index: str) -> str | None:
        """The type of partition table that the caller named for the disk or volume of this index."""
        if self.vstype is None or isinstance(self.vstype, str):
            return self.vstype
        return self.vstype.get(index, self.vstype.get("*"))

    def fstype(self, index: str) -> str | None:
        """The type that the caller named for the volume of this index."""
        if not self.fstypes:
            return None
        return self.fstypes.get(index, self.fstypes.get("*"))


class Searching(Record, kw_only=True):
    """That a search is wanted; ``bounded``: the budget holds for it as well; ``align``: as in ``Search``."""

    bounded: bool
    align: int | None = None
    progress: "Progress | None" = None


def hints_of(
    *,
    offset: int | None = None,
    size: int | None = None,
    sector_size: int | None = None,
    vstype: str | Mapping[str | int, str] | None = None,
    fstypes: Mapping[str | int, str] | None = None,
    free: bool = False,
) -> Hints:
    """What the caller knows, from arguments of ``detect``. Raises ValueError for what cannot be."""
    if (offset is not None and offset < 0) or (size is not None and size < 0):
        raise ValueError("offset and size are bytes from the start of the disk, 0 or more")
    if sector_size is not None and (sector_size < 128 or sector_size & (sector_size - 1)):
        raise ValueError(f"a sector has a power of two bytes, 128 at least, not {sector_size}")
    return Hints(
        offset=offset,
        size=size,
        sector_size=sector_size,
        vstype=_table_types(vstype),
        fstypes={str(index): word for index, word in fstypes.items()} if fstypes else None,
        free=free,
    )


def _table_types(told: str | Mapping[str | int, str] | None) -> str | Mapping[str, str] | None:
    """A type of partition table, or types by index, without those that leave it to the image."""
    if told is None or isinstance(told, str):
        return None if told in ("", "detect") else told
    return {str(index): word for index, word in told.items() if word not in ("", "detect")}
