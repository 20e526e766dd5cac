"""CUE sheets: a CD by the text that names the files in which its tracks lie.

Layout: see ``cue_sheet``.
"""

from pyimount.formats import Container, ContainerFormat, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.parsers.containers.cd_raw import open_by_sheet
from pyimount.parsers.containers.cue_sheet import TEXT_CAP, extents, read_sheet
from pyimount.sources.view import View

_WORDS = ("FILE ", "REM ", "CATALOG ", "TITLE ", "PERFORMER ", "SONGWRITER ", "CDTEXTFILE ")
_BEGINNINGS = tuple(word for upper in _WORDS for word in (upper, upper.lower(), upper.capitalize()))
_MARKED = ("utf-8", "utf-8-sig", "utf-16")


def parse(view: View) -> Container:
    """That it is a sheet."""
    if view.size > TEXT_CAP:
        raise NotThisFormat(f"a sheet of {view.size} bytes")
    read_sheet(view.read(0, view.size))
    return Container(type="cd_raw", details={"stored_size": view.size})


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The data tracks in the files that it names, beside it."""
    tracks = read_sheet(image.files[0].read_at(0, TEXT_CAP))
    places = [
        place for name in dict.fromkeys(each.file for each in tracks) for place in extents(tracks, name)
    ]
    return open_by_sheet(container, image, places, said={"cue": image.names[0]})


FORMAT = ContainerFormat(
    name="cue",
    title="CUE sheet of a CD",
    specification="https://web.archive.org/web/20070614044112/http://www.goldenhawk.com/download/cdrwin.pdf",
    parse=parse,
    open=open,
    signatures=tuple(Signature(word.encode(code), 0) for code in _MARKED for word in _BEGINNINGS),
    types=("cd_raw",),
)
