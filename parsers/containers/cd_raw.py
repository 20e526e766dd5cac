"""CDs as a drive reads them raw, in sectors of 2352 bytes: ``.bin``, ``.mdf``; by a CUE sheet or not.

Layout: see ``cd_sectors`` and ``cue_sheet``. Each data track is a disk; what is sound is only named.
"""

from collections.abc import Mapping, Sequence

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.container import several
from pyimount.formats.image import Image
from pyimount.parsers.containers.cd_sectors import (
    BLOCK,
    MODE_2,
    MODE_AT,
    NRG_MARKS,
    RAW,
    SYNC,
    SectorSource,
    Shape,
    data_run,
    is_data,
)
from pyimount.parsers.containers.cue_sheet import TEXT_CAP, Extent, extents, read_sheet
from pyimount.problems import Code, Problem
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import View

STRIDES = (RAW, RAW + 16, RAW + 96)
"""Bytes from one raw sector to the next: alone, with its Q subchannel, with all its subchannels."""
_FILES_CAP = 99


def parse(view: View) -> Container:
    """What the first sector says, and how far the next one is."""
    stride = _stride(view)
    if any(view.size + at > 0 and view.peek(view.size + at, len(mark)) == mark for mark, at in NRG_MARKS):
        raise NotThisFormat("a file that says at its end where its tracks lie")
    mode = view.read(MODE_AT, 1)[0]
    if mode > MODE_2:
        raise NotThisFormat(f"a sector of mode {mode}")
    details: dict[str, Json] = {"stored_size": view.size, "stored_sector_size": stride, "mode": mode}
    return Container(type="cd_raw", sector_size=BLOCK, details=details)


def _stride(view: View) -> int:
    for stride in STRIDES:
        if view.size == stride or view.peek(stride, len(SYNC)) == SYNC:
            return stride
    raise NotThisFormat("no second sector follows the first")


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The data tracks, by the CUE sheet beside the file that names it; without one, the data at its start."""
    file = image.files[0]
    stride = _stride(View(file))
    if stride == RAW and (found := _sheet_beside(image)) is not None:
        name, tracks = found
        return open_tracks(container, [(image.names[0], file, tracks)], said={"cue": name})
    sectors = file.size // stride
    count = data_run(sectors, lambda number: is_data(file, number * stride))
    problems = [*container.problems]
    if file.size % stride:
        message = f"the file ends within sector {sectors}, of which {file.size % stride} bytes are there"
        problems.append(Problem(Code.TRUNCATED, message))
    if count < sectors:
        message = (
            f"sectors {count} to {sectors} are no data, sound most likely, and are not looked at: no CUE"
            " sheet that says which tracks there are was found beside the file"
        )
        problems.append(Problem(Code.UNSUPPORTED, message))
    made = container.replaced(size=count * BLOCK, problems=tuple(problems))
    return Opened(container=made, source=SectorSource(file, 0, count, Shape(stride)))


def _sheet_beside(image: Image) -> tuple[str, list[Extent]] | None:
    """The sheet in the file's folder that names it, and where the tracks in it lie."""
    own = image.names[0]
    for name in image.broker.names_beside(image.paths[0], ".cue"):
        try:
            file = image.broker.open_named(name, image.paths[0], image.meter)
        except OpenError:
            continue
        try:
            tracks = read_sheet(file.read_at(0, TEXT_CAP))
            named = next((each.file for each in tracks if _base(each.file).lower() == own.lower()), None)
            places = extents(tracks, named) if named is not None else []
        except (NotThisFormat, ReadError):
            continue
        finally:
            file.close()
        if places:
            image.open_named(name)  # now it counts among the image's files
            return name, places
    return None


def _base(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def open_tracks(
    container: Container,
    files: Sequence[tuple[str, Source | None, Sequence[Extent]]],
    *,
    said: Mapping[str, Json],
    problems: Sequence[Problem] = (),
) -> Opened:
    """The data tracks in files, each a disk. ``said``: further details, the sheet that names them."""
    tracks: list[Json] = []
    disks: list[Opened] = []
    for name, file, places in files:
        for place in places:
            track, end = place.track, place.end
            if end is None and file is not None:
                end = file.size
            count = max(0, ((end or 0) - place.offset) // track.stride)
            tracks.append({"number": track.number, "mode": track.mode, "file": name, "sectors": count})
            if track.shape is None or file is None:
                continue
            cut = end is not None and end > file.size
            if cut:
                count = max(0, (file.size - place.offset) // track.stride)
            source = SectorSource(file, place.offset, count, track.shape)
            wrong = [Problem(Code.TRUNCATED, f"{name} ends within track {track.number}")] if cut else []
            disks.append(_track(container, source, track.number, track.mode, [*problems, *wrong]))
    details: dict[str, Json] = {**said, "tracks": tracks}
    if not disks:
        kinds = "no data track, only sound" if not problems else "no data track that could be opened"
        wrong = [*container.problems, *problems, Problem(Code.UNSUPPORTED, f"the CD has {kinds}")]
        made = container.replaced(details={**container.details, **details}, problems=tuple(wrong))
        return Opened(container=made, source=None)
    alone = len(disks) == 1
    return several([_told(each, details, alone=alone) for each in disks])


def open_by_sheet(
    container: Container,
    image: Image,
    places: Sequence[Extent],
    *,
    said: Mapping[str, Json],
    problems: Sequence[Problem] = (),
) -> Opened:
    """The data tracks in the files, beside the image's own, that a sheet names; as ``open_tracks``."""
    files = []
    wrong = [*problems]
    for name in list(dict.fromkeys(place.track.file for place in places))[:_FILES_CAP]:
        source: Source | None = None
        try:
            source = image.open_named(_spelled(name, image))
        except OpenError as error:
            wrong.append(Problem(Code.MISSING_SEGMENT, str(error)))
        files.append((_base(name), source, [place for place in places if place.track.file == name]))
    return open_tracks(container, files, said=said, problems=wrong)


def _spelled(name: str, image: Image) -> str:
    """The name of a file as its folder has it: sheets come from where upper and lower case are one."""
    base = _base(name)
    names = image.broker.names_in(image.paths[0])
    if base in names:
        return name
    alike = sorted(each for each in names if each.lower() == base.lower())
    return alike[0] if len(alike) == 1 else name


def _track(
    container: Container, source: Source, number: int, mode: str, problems: Sequence[Problem]
) -> Opened:
    made = container.replaced(
        size=source.size,
        sector_size=BLOCK,
        details={**container.details, "track": number, "mode": mode},
        problems=(*container.problems, *problems),
    )
    return Opened(container=made, source=source, part=str(number))


def _told(disk: Opened, details: dict[str, Json], *, alone: bool) -> Opened:
    own = disk.container
    named: dict[str, Json] = {} if alone else {"disk": f"track {disk.part}"}
    return disk.replaced(
        container=own.replaced(details={**own.details, **details, **named}),
        part=None if alone else disk.part,
    )


FORMAT = ContainerFormat(
    name="cd-raw",
    title="raw CD image (2352-byte sectors)",
    specification="https://ecma-international.org/publications-and-standards/standards/ecma-130/",
    parse=parse,
    open=open,
    signatures=(Signature(SYNC, 0),),
    types=("cd_raw",),
)
