"""``detect``: what callers say of the images and their wishes, made into a scan."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from pyimount.layers import Scan
from pyimount.problems import Code, Problem
from pyimount.recognition.opening import LOOKED_AT, begins_like_image
from pyimount.scanning.hints import Searching, hints_of
from pyimount.scanning.scanner import scan
from pyimount.scanning.unlocking import Unlocking
from pyimount.sources.broker import Broker
from pyimount.sources.budget import Budget
from pyimount.sources.errors import NoFilesLeft
from pyimount.sources.segments import Segments, gather, passed_over

if TYPE_CHECKING:
    from pyimount.keys import Keyring
    from pyimount.recognition.searching import Progress

PathLike: TypeAlias = str | os.PathLike[str]


def detect(
    paths: PathLike | Sequence[PathLike],
    *,
    offset: int | None = None,
    size: int | None = None,
    sector_size: int | None = None,
    vstype: str | Mapping[str | int, str] | None = None,
    fstypes: Mapping[str | int, str] | None = None,
    free: bool = False,
    keys: "Keyring | Mapping[str | int, str] | None" = None,
    header: PathLike | None = None,
    try_veracrypt: bool = False,
    allow: Sequence[PathLike] = (),
    budget: Budget | None = None,
    search: bool = False,
    align: int | None = None,
    progress: "Progress | None" = None,
    net: bool = True,
) -> Scan:
    """Tell what is in these images, layer by layer. Needs no root and starts no other program.

    ``paths``: one image or several that belong together; any segment of a split image, or its
    folder, stands for all of it. ``offset``, ``size``: bytes; look only there, as at one volume.
    ``sector_size``: bytes. ``vstype``: the type of partition table to look for, ``none`` for no
    table; for single disks and volumes ``{index: type}``. ``fstypes``: ``{index: type}``, with ``*``
    for every volume: read it as this and nothing else. ``free``: read whatever tells how much is free and
    used, however much that is. ``keys``: for encrypted volumes, a Keyring or
    ``{index or UUID: "p:…"}``, with ``*`` for every volume; ``header``: a file with the header of a LUKS
    volume that has none of its own.
    ``try_veracrypt``: try the keys on what is not recognised, too. ``allow``: folders from which files that
    an image names may be opened, besides its own. ``budget``: what one image may cost. ``search``: look, at
    every sector of each image, for what nothing points to as well; without a budget, that may cost as much as
    reading the image does. ``align``: at every so many bytes in place of every sector, down to 1 (what
    firmware is made of is looked for at every fourth byte by default).
    ``progress``: told how far the search is, ``(bytes, of bytes)``. ``net``: a fault of pyimount's own
    becomes a problem (``internal-error``), and the scan goes on; False: it is raised.

    Never raises for what the images hold, and not for a path that cannot be opened: its disk has
    size None and a problem. Raises ValueError for arguments that contradict themselves, for a key that is not
    written as one (BadKey), and OpenError for a header that cannot be opened.
    """
    named = _named(paths)
    if align is not None and align < 1:
        raise ValueError(f"a search looks at every byte at the most, not at every {align}")
    hints = hints_of(
        offset=offset, size=size, sector_size=sector_size, vstype=vstype, fstypes=fstypes, free=free
    )
    unlocking = Unlocking(keys, header, try_veracrypt=try_veracrypt)
    searching = Searching(bounded=budget is not None, align=align, progress=progress) if search else None
    try:
        images = _with_unnamed(named, gather(named))
    except NoFilesLeft as error:
        return Scan((), (), (Problem(Code.OUT_OF_MEMORY, str(error)),))
    return scan(images, Broker(allow), unlocking, hints, budget or Budget(), searching, net=net)


def _with_unnamed(named: Sequence[PathLike], images: tuple[Segments, ...]) -> tuple[Segments, ...]:
    """The images, with those in the folders that are called something else, and are images by their bytes."""
    left = passed_over(named, images)[:LOOKED_AT]
    found = [Segments((path,)) for path in left if begins_like_image(path)]
    parents = {os.path.dirname(each.paths[0]) for each in found}
    # A folder stands for itself where there is no image in it, and now there is.
    return (*(each for each in images if each.paths[0] not in parents), *found)


def _named(paths: PathLike | Sequence[PathLike]) -> list[PathLike]:
    """The paths, one or several; raises TypeError for what is none, and says what is wanted."""
    named = [paths] if isinstance(paths, str | os.PathLike) else paths
    if isinstance(named, bytes | bytearray | memoryview) or hasattr(named, "read"):
        raise TypeError(_WANTED.format(type(paths).__name__))
    listed = list(named)
    for each in listed:
        if not isinstance(each, str | os.PathLike):
            raise TypeError(_WANTED.format(type(each).__name__))
    return listed


_WANTED = (
    "an image is a path (str or os.PathLike), or several: not {}. What is in memory or open has to be a file"
    " with a name first; a path of bytes becomes one by os.fsdecode()."
)
