"""CCD: the text in which CloneCD writes the tracks of a CD, whose sectors lie in the ``.img`` beside it.

Layout: CDEmu, images/image-ccd, https://github.com/cdemu/cdemu/tree/master/libmirage/images/image-ccd
"""

import re
from collections.abc import Iterator

from pyimount.formats import Container, ContainerFormat, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.notation import decimal
from pyimount.parsers.containers.cd_raw import open_by_sheet
from pyimount.parsers.containers.cd_sectors import RAW
from pyimount.parsers.containers.cue_sheet import AUDIO, TEXT_CAP, TRACKS_CAP, Extent, Track
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

MODES = {0: AUDIO, 1: "MODE1/2352", 2: "MODE2/2352"}
_SECTION = re.compile(r"\s*\[([^\]]*)\]\s*")
_VALUE = re.compile(r"\s*([^=]+?)\s*=\s*(\S+)\s*")


def parse(view: View) -> Container:
    """That it is one, by its sections."""
    if view.size > TEXT_CAP:
        raise NotThisFormat(f"a text of {view.size} bytes")
    if not _tracks(_sections(view.read(0, view.size)), ""):
        raise NotThisFormat("a text that names no track of a CD")
    return Container(type="cd_raw", details={"stored_size": view.size})


def _sections(data: bytes) -> dict[str, dict[str, str]]:
    """The values of each section; names in lower case."""
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        if (head := _SECTION.fullmatch(line)) is not None:
            section = found.setdefault(head[1].lower(), {})
        elif (value := _VALUE.fullmatch(line)) is not None:
            section[value[1].lower()] = value[2]
    return found


def _tracks(sections: dict[str, dict[str, str]], file: str) -> list[Extent]:
    """The tracks, and where they lie: at their sectors' numbers."""
    begun = sorted(_begun(sections))
    places = []
    for at, (start, number, mode) in enumerate(begun):
        end = begun[at + 1][0] * RAW if at + 1 < len(begun) else None
        places.append(Extent(Track(number=number, mode=mode, file=file, start=start), start * RAW, end))
    return places


def _begun(sections: dict[str, dict[str, str]]) -> Iterator[tuple[int, int, str]]:
    for number in range(1, TRACKS_CAP + 1):
        section = sections.get(f"track {number}", {})
        start = decimal(section.get("index 1", ""), 9)
        mode = MODES.get(decimal(section.get("mode", "0"), 1) or 0)
        if start is not None and mode is not None:
            yield start, number, mode


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The data tracks, in the file of the same name."""
    name = image.names[0]
    sections = _sections(image.files[0].read_at(0, TEXT_CAP))
    stem = name[:-4] if name.lower().endswith(".ccd") else name
    places, problems = _tracks(sections, f"{stem}.img"), []
    if (decimal(sections.get("disc", {}).get("sessions", "1"), 3) or 1) > 1:
        # What lies between sessions is not in the file, and so sectors' numbers are no places in it.
        problems.append(
            Problem(Code.UNSUPPORTED, "of a CD of several sessions only the first track is looked at")
        )
        places = places[:1]
    return open_by_sheet(container, image, places, said={"ccd": name}, problems=problems)


FORMAT = ContainerFormat(
    name="clonecd",
    title="CCD (CloneCD)",
    specification="https://github.com/cdemu/cdemu/tree/master/libmirage/images/image-ccd",
    parse=parse,
    open=open,
    signatures=(Signature(b"[CloneCD]", 0),),
    types=("cd_raw",),
)
