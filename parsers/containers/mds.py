"""MDS: what Alcohol 120% writes of the tracks of a CD or DVD, whose sectors lie in the ``.mdf`` beside it.

Layout: CDEmu, images/image-mds, https://github.com/cdemu/cdemu/tree/master/libmirage/images/image-mds
"""

from collections.abc import Iterator
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32sl, Int32ul, Int64ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, read_struct
from pyimount.parsers.containers.cd_raw import open_by_sheet
from pyimount.parsers.containers.cd_sectors import BLOCK, RAW
from pyimount.parsers.containers.cue_sheet import AUDIO, SHAPES, STRIDES, TRACKS_CAP, Extent, Track
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"MEDIA DESCRIPTOR"
VERSION = 1
DVD = 0x10
"""The first of the media types that are DVDs; of these a track's length stands where else its extra lies."""

HEADER = layout(
    lambda: Struct(
        "signature" / Bytes(16),
        "version" / Bytes(2),
        "medium_type" / Int16ul,
        "num_sessions" / Int16ul,
        "unknown" / Bytes(58),
        "sessions_blocks_offset" / Int32ul,
    )
)
SESSION = layout(
    lambda: Struct(
        "session_start" / Int32sl,
        "session_end" / Int32sl,
        "session_number" / Int16ul,
        "num_all_blocks" / Int8ul,
        "num_nontrack_blocks" / Int8ul,
        "first_track" / Int16ul,
        "last_track" / Int16ul,
        "unknown" / Bytes(4),
        "tracks_blocks_offset" / Int32ul,
    )
)
TRACK = layout(
    lambda: Struct(
        "mode" / Int8ul,
        "subchannel" / Int8ul,
        "adr_ctl" / Int8ul,
        "tno" / Int8ul,
        "point" / Int8ul,
        "unknown" / Bytes(7),
        "extra_offset" / Int32ul,
        "sector_size" / Int16ul,
        "unknown2" / Bytes(18),
        "start_sector" / Int32ul,
        "start_offset" / Int64ul,
        "number_of_files" / Int32ul,
        "footer_offset" / Int32ul,
        "unknown3" / Bytes(24),
    )
)
EXTRA = layout(lambda: Struct("pregap" / Int32ul, "length" / Int32ul))
FOOTER = layout(
    lambda: Struct("filename_offset" / Int32ul, "widechar_filename" / Int32ul, "unknown" / Bytes(8))
)

KINDS = {1: AUDIO, 2: "MODE1", 3: "MODE2", 4: "MODE2", 5: "MODE2", 7: "MODE2"}
"""By the low bits of a track's mode."""
_SESSIONS_CAP = 99
_NAME_CAP = 512


def parse(view: View) -> Container:
    """What the header says."""
    header = read_struct(view, HEADER, 0)
    if not 0 < header.num_sessions <= _SESSIONS_CAP:
        raise NotThisFormat(f"{header.num_sessions} sessions")
    details: dict[str, Json] = {
        "stored_size": view.size,
        "version": f"{header.version[0]}.{header.version[1]}",
        "medium": "DVD" if header.medium_type >= DVD else "CD",
        "sessions": header.num_sessions,
    }
    return Container(type="mds", details=details)


def _tracks(view: View, name: str) -> Iterator[Extent]:
    """Where the tracks of all sessions lie."""
    header = read_struct(view, HEADER, 0)
    for number in range(header.num_sessions):
        session = read_struct(view, SESSION, header.sessions_blocks_offset + number * SESSION.size)
        for at in range(session.num_all_blocks):
            track = read_struct(view, TRACK, session.tracks_blocks_offset + at * TRACK.size)
            if not 0 < track.point <= TRACKS_CAP:
                continue
            length = track.extra_offset
            if header.medium_type < DVD:
                length = read_struct(view, EXTRA, track.extra_offset).length if track.extra_offset else 0
            made = Track(
                number=track.point,
                mode=_mode(track.mode, track.sector_size),
                file=_file(view, track, name),
                start=0,
            )
            begin = track.start_offset
            yield Extent(made, begin, begin + length * track.sector_size if length else None)


def _mode(mode: int, size: int) -> str:
    """A track's mode, in the words of CUE sheets."""
    kind = KINDS.get(mode & 7, "")
    if kind == AUDIO:
        return AUDIO if size == RAW else "CDG"
    named = f"{kind}/{size}"
    if size == BLOCK:
        return "MODE1/2048"
    if named in SHAPES or named in STRIDES:
        return named
    raise NotThisFormat(f"a track of mode {mode:#x} in sectors of {size} bytes")


def _file(view: View, track: Any, name: str) -> str:
    """The name of the file in which a track lies: ``*.mdf`` is that of the same stem."""
    offset = track.footer_offset
    if not offset or not track.number_of_files:
        return f"{name}.mdf"
    footer = read_struct(view, FOOTER, offset)
    raw = view.peek(footer.filename_offset, _NAME_CAP)
    if footer.widechar_filename:
        text = raw[: len(raw) // 2 * 2].decode("utf-16-le", "replace").partition("\0")[0]
    else:
        text = raw.partition(b"\0")[0].decode("utf-8", "replace")
    return text.replace("*", name, 1)


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The data tracks, in the files that it names, beside it."""
    name = image.names[0]
    stem = name[:-4] if name.lower().endswith(".mds") else name
    places: list[Extent] = []
    problems: list[Problem] = []
    if not str(container.details["version"]).startswith(f"{VERSION}."):
        version = container.details["version"]
        problems.append(Problem(Code.UNSUPPORTED, f"version {version} of these files, which is encrypted"))
    else:
        try:
            places += _tracks(View(image.files[0]), stem)
        except (NotThisFormat, ShortRead) as error:
            problems.append(Problem(Code.DAMAGED, f"what says where the tracks lie is damaged: {error}"))
    return open_by_sheet(container, image, places, said={"mds": name}, problems=problems)


FORMAT = ContainerFormat(
    name="mds",
    title="MDS and MDF (Alcohol 120%)",
    specification="https://github.com/cdemu/cdemu/tree/master/libmirage/images/image-mds",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC, 0),),
    types=("mds",),
)
