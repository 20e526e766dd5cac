"""CUE sheets: a CD by the text that names the files in which its tracks lie.

Layout: see ``cue_sheet``.
"""

from pyimount.formats import Container, ContainerFormat, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.parsers.containers.cd_raw import open_tracks
from pyimount.parsers.containers.cue_sheet import TEXT_CAP, extents, read_sheet
from pyimount.problems import Code, Problem
from pyimount.sources.errors import OpenError
from pyimount.sources.source import Source
from pyimount.sources.view import View

_FILES_CAP = 99
_BEGINNINGS = (b"FILE ", b"REM ", b"CATALOG ", b"TITLE ", b"PERFORMER ", b"SONGWRITER ", b"CDTEXTFILE ")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def parse(view: View) -> Container:
    """That it is a sheet."""
    if view.size > TEXT_CAP:
        raise NotThisFormat(f"a sheet of {view.size} bytes")
    read_sheet(view.read(0, view.size))
    return Container(type="cd_raw", details={"stored_size": view.size})


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The data tracks in the files that it names, beside it."""
    tracks = read_sheet(image.files[0].read_at(0, TEXT_CAP))
    names = list(dict.fromkeys(track.file for track in tracks))[:_FILES_CAP]
    files, problems = [], []
    for name in names:
        source: Source | None = None
        try:
            source = image.open_named(_spelled(name, image))
        except OpenError as error:
            problems.append(Problem(Code.MISSING_SEGMENT, str(error)))
        files.append((name.replace("\\", "/").rpartition("/")[2], source, extents(tracks, name)))
    return open_tracks(container, files, sheet=image.names[0], problems=problems)


def _spelled(name: str, image: Image) -> str:
    """The name of a file as its folder has it: sheets come from where upper and lower case are one."""
    base = name.replace("\\", "/").rpartition("/")[2]
    names = image.broker.names_in(image.paths[0])
    if base in names:
        return name
    alike = sorted(each for each in names if each.lower() == base.lower())
    return alike[0] if len(alike) == 1 else name


FORMAT = ContainerFormat(
    name="cue",
    title="CUE sheet of a CD",
    specification="https://web.archive.org/web/20070614044112/http://www.goldenhawk.com/download/cdrwin.pdf",
    parse=parse,
    open=open,
    signatures=tuple(Signature(mark + word, 0) for mark in (b"", _BYTE_ORDER_MARK) for word in _BEGINNINGS),
    types=("cd_raw",),
)
