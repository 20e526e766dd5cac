"""NRG: a CD as Nero writes it, the tracks' sectors first and what says where they lie behind them.

Layout: GNU libcdio, lib/driver/image/nrg.h, https://git.savannah.gnu.org/cgit/libcdio.git/tree/lib/driver/image/nrg.h
CDEmu, images/image-nrg, https://github.com/cdemu/cdemu/tree/master/libmirage/images/image-nrg
"""

from collections.abc import Iterator

from construct import Bytes, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import Layout, layout, parse_struct
from pyimount.parsers.containers.cd_raw import open_tracks
from pyimount.parsers.containers.cd_sectors import NRG_MARKS
from pyimount.parsers.containers.cue_sheet import AUDIO, TRACKS_CAP, Extent, Track
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

VERSIONS = {b"NER5": (8, "5.5"), b"NERO": (4, "5.0")}
"""By the mark of each: the bytes of the number behind it, the place of the first chunk; Nero's version."""
END = b"END!"

DAO_HEAD = 22
"""Bytes before the first track of a disc-at-once session: size, UPC, type, first and last track."""
TRACKS_OF: dict[bytes, Layout] = {
    b"DAOI": layout(
        lambda: Struct(
            "isrc" / Bytes(12),
            "sector_size" / Int16ub,
            "mode" / Int8ub,
            "unknown" / Bytes(3),
            "pregap_offset" / Int32ub,
            "start_offset" / Int32ub,
            "end_offset" / Int32ub,
        )
    ),
    b"DAOX": layout(
        lambda: Struct(
            "isrc" / Bytes(12),
            "sector_size" / Int16ub,
            "mode" / Int8ub,
            "unknown" / Bytes(3),
            "pregap_offset" / Int64ub,
            "start_offset" / Int64ub,
            "end_offset" / Int64ub,
        )
    ),
    b"ETNF": layout(
        lambda: Struct(
            "offset" / Int32ub, "size" / Int32ub, "mode" / Int32ub, "sector" / Int32ub, "unknown" / Bytes(4)
        )
    ),
    b"ETN2": layout(
        lambda: Struct(
            "offset" / Int64ub, "size" / Int64ub, "mode" / Int32ub, "sector" / Int32ub, "unknown" / Bytes(8)
        )
    ),
}
AT_ONCE = (b"DAOI", b"DAOX")
MODES = {
    0x00: "MODE1/2048",
    0x02: "MODE2/2048",
    0x03: "MODE2/2336",
    0x05: "MODE1/2352",
    0x06: "MODE2/2352",
    0x07: AUDIO,
    0x0F: "MODE1/2448",
    0x10: "CDG",
    0x11: "MODE2/2448",
}
"""What the tracks are, in the words of CUE sheets."""

_CHUNKS_CAP = 1024
_CHUNK_CAP = 1 << 16


def parse(view: View) -> Container:
    """That chunks begin where the file's end says, and the version."""
    start, end, version = _ends(view)
    chunks = list(_chunks(view, start, end))
    if not chunks or chunks[-1][0] != END:
        raise NotThisFormat("no chunks up to an end")
    details: dict[str, Json] = {"stored_size": view.size, "version": version}
    return Container(type="nrg", details=details)


def _ends(view: View) -> tuple[int, int, str]:
    """Where the chunks begin and end, and the version."""
    for mark, at in NRG_MARKS:
        (length, version), end = VERSIONS[mark], view.size + at
        if end > 0 and view.peek(end, len(mark)) == mark:
            start = int.from_bytes(view.read(end + len(mark), length), "big")
            if 0 < start < end:
                return start, end, version
    raise NotThisFormat("no place of the first chunk at the end of the file")


def _chunks(view: View, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """The chunks, by name, END! last."""
    for _ in range(_CHUNKS_CAP):
        if at + 8 > end:
            return
        head = view.read(at, 8)
        name, size = head[:4], int.from_bytes(head[4:], "big")
        if size > min(_CHUNK_CAP, end - at - 8):
            raise NotThisFormat(f"a chunk of {size} bytes")
        yield name, view.read(at + 8, size)
        if name == END:
            return
        at += 8 + size


def _tracks(view: View, name: str) -> Iterator[tuple[Extent | None, int]]:
    """Where the tracks lie, all sessions' one after the other, and their modes; None for an unknown mode."""
    start, end, _ = _ends(view)
    number = 0
    for kind, body in _chunks(view, start, end):
        shape = TRACKS_OF.get(kind)
        if shape is None:
            continue
        first = DAO_HEAD if kind in AT_ONCE else 0
        for at in range(first, len(body) - shape.size + 1, shape.size):
            number += 1
            if number > TRACKS_CAP:
                return
            track = parse_struct(body, shape, at)
            if kind in AT_ONCE:
                begin, last = track.start_offset, track.end_offset
            else:
                begin, last = track.offset, track.offset + track.size
            mode = MODES.get(track.mode)
            if not 0 <= begin <= last <= start:
                raise NotThisFormat(f"track {number} from byte {begin} to {last}")
            made = None if mode is None else Track(number=number, mode=mode, file=name, start=0)
            yield (None if made is None else Extent(made, begin, last)), track.mode


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The data tracks, each a disk, without the pauses before them."""
    name, problems, places = image.names[0], [], []
    try:
        for number, (place, mode) in enumerate(_tracks(View(image.files[0]), name), 1):
            if place is not None:
                places.append(place)
            else:
                message = f"track {number} is of mode {mode:#x}, which is not known"
                problems.append(Problem(Code.UNSUPPORTED, message))
    except NotThisFormat as error:
        problems.append(Problem(Code.DAMAGED, f"what says where the tracks lie is damaged: {error}"))
    return open_tracks(container, [(name, image.files[0], places)], said={}, problems=problems)


FORMAT = ContainerFormat(
    name="nrg",
    title="NRG (Nero)",
    specification="https://git.savannah.gnu.org/cgit/libcdio.git/tree/lib/driver/image/nrg.h",
    parse=parse,
    open=open,
    signatures=tuple(Signature(mark, at) for mark, at in NRG_MARKS),
    types=("nrg",),
)
