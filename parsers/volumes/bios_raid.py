"""What the BIOS RAIDs have in common: a small superblock in one of a disk's last sectors."""

from collections.abc import Mapping

from pyimount.formats import Identity, Json, NotThisFormat
from pyimount.records import EMPTY
from pyimount.sources.view import View

SECTOR = 512
_LEAST = 0x10000


def place(view: View, sectors: int) -> int:
    """Where the last ``sectors`` sectors begin, in bytes. Raises NotThisFormat for what is too small."""
    if view.size < _LEAST:
        raise NotThisFormat(f"a disk of {view.size} bytes")
    return view.size // SECTOR * SECTOR - sectors * SECTOR


def member(
    kind: str,
    offset: int,
    version: str | None = None,
    details: Mapping[str, Json] = EMPTY,
    *,
    checked: bool = False,
) -> Identity:
    """A member of an array of this kind, of which no more is said than its version."""
    return Identity(
        type=kind, fstype="raid", version=version, offset=offset, details=details, checked=checked
    )
