"""AFF4: the Advanced Forensic Format of zip volumes, described in RDF; the standard's and what was before it.

Layout: B. Schatz, M. Cohen, "AFF4 Standard v1.0", https://github.com/aff4/Standard
"""

import re
import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from construct import Int32ul, Int64ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.container import several
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, parse_struct
from pyimount.parsers.containers.aff4_hashes import Chunked, stored_of
from pyimount.parsers.containers.chunks import CHUNK_CAP, OWN_WORTH, ChunkSource, inflate, packed_bound
from pyimount.parsers.containers.lz4 import unpack_lz4
from pyimount.parsers.containers.runs import Run, RunSource
from pyimount.parsers.containers.snappy import unpack_snappy
from pyimount.parsers.containers.turtle import RDF_TYPE, Graph, Term, read_turtle
from pyimount.parsers.containers.zip_directory import MAGIC, Directory
from pyimount.parsers.containers.zlib_library import zlib_library
from pyimount.problems import Code, Problem
from pyimount.sources.budget import Meter
from pyimount.sources.errors import MissingBytes, OpenError, ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

MAP_POINT = layout(
    lambda: Struct(
        "mappedOffset" / Int64ul, "length" / Int64ul, "targetOffset" / Int64ul, "targetId" / Int32ul
    )
)
BEVY_INDEX_POINT = layout(lambda: Struct("offset" / Int64ul, "length" / Int32ul))
OLD_INDEX_POINT = layout(lambda: Struct("offset" / Int32ul))
"""Before the standard: where a chunk begins; Evimetry leaves the first out, which begins at 0."""

DESCRIPTION, TURTLE, VERSION = "container.description", "information.turtle", "version.txt"
SCHEME = "aff4://"
STORED, SNAPPY, ALWAYS_SNAPPY, ZLIB, DEFLATE, LZ4 = (
    "stored",
    "snappy",
    "snappy-always",
    "zlib",
    "deflate",
    "lz4",
)
COMPRESSIONS = {
    "http://aff4.org/Schema#NullCompressor": STORED,
    "http://aff4.org/Schema#compression/stored": STORED,
    "http://code.google.com/p/snappy/": SNAPPY,
    "https://code.google.com/p/snappy/": SNAPPY,
    "https://github.com/google/snappy": ALWAYS_SNAPPY,
    "https://www.ietf.org/rfc/rfc1950.txt": ZLIB,
    "https://tools.ietf.org/html/rfc1951": DEFLATE,
    "https://code.google.com/p/lz4/": LZ4,
    "http://code.google.com/p/lz4/": LZ4,
}
SYMBOLIC = {"zero": b"\0", "unknowndata": b"UNKNOWN", "unreadabledata": b"UNREADABLEDATA"}
"""Streams that hold a word again and again: of bytes that were not taken, or could not be."""

_TEXT_CAP = 4 << 20
_POINTS_CAP = 1 << 20
_CHUNKS_CAP = 1 << 20
_TARGETS_CAP = 256
_DEPTH_CAP = 4
_VOLUMES_CAP = 64
_SIZE_CAP = 1 << 62
_TILE = 1 << 20
_OPEN_BEVIES = 64
_IMAGES_CAP = 64
_INDEX_CAP = 1 << 20


def parse(view: View) -> Container:
    """What the volume says of itself, and of the image in it."""
    volume = _Volume(view.source)
    return Container(type="aff4", details={"stored_size": view.size, "uuid": volume.urn.removeprefix(SCHEME)})


class _Volume:
    """A zip file of AFF4: its URN, its members by theirs, and what it says about both."""

    def __init__(self, file: Source) -> None:
        self.directory = Directory(file)
        urn = self.directory.comment.rstrip(b"\0").decode("ascii", "replace")
        if not urn.startswith(SCHEME):
            urn = self._text(DESCRIPTION).strip().strip("\0")
        if not urn.startswith(SCHEME) or self.directory.find(TURTLE) is None:
            raise NotThisFormat("a zip file that is no volume of AFF4")
        self.urn = urn
        self._members = dict(self._named())

    def _named(self) -> "Iterator[tuple[str, int]]":
        for at in self.directory.places():
            plain = unquote(self.directory.name_at(at))
            yield (plain if plain.startswith(SCHEME) else f"{self.urn}/{plain}"), at

    def _text(self, name: str) -> str:
        try:
            return (self.directory.read(name, _TEXT_CAP) or b"").decode("utf-8", "replace")
        except (ReadError, ShortRead) as error:
            raise NotThisFormat(str(error)) from error

    def graph(self) -> Graph:
        """What the volume says; raises NotThisFormat."""
        return read_turtle(self._text(TURTLE))

    def tool(self) -> dict[str, str]:
        """What wrote it, and by which version of the standard."""
        lines = self._text(VERSION).splitlines()[:16]
        return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}

    def has(self, urn: str) -> bool:
        """Whether there is a member of this URN."""
        return urn in self._members

    def members(self) -> list[str]:
        """The URNs of all members."""
        return [*self._members]

    def member(self, urn: str, meter: Meter) -> Source:
        """The bytes of a member; raises ReadError."""
        if urn not in self._members:
            raise ReadError(f"the volume has no {urn}")
        return self.directory.source(self.directory.member_at(self._members[urn]), meter)


def _fragment(iri: str) -> str:
    """The last part of a name, whatever vocabulary it is of, and however it was spelt before the standard."""
    return iri.rpartition("#")[2].replace("_", "").lower()


_OLD_NAMES = {"compression": "compressionmethod", "chunkspersegment": "chunksinsegment"}


class _Objects:
    """What all volumes that are open say, by the names that the standard has, in lower case."""

    def __init__(self) -> None:
        self.by_urn: dict[str, dict[str, list[Term]]] = {}
        self.spelling: dict[str, str] = {}

    def add(self, graph: Graph) -> None:
        """Take in what one volume says."""
        for urn, statements in graph.items():
            known = self.by_urn.setdefault(urn, {})
            for predicate, terms in statements.items():
                name = "type" if predicate == RDF_TYPE else _fragment(predicate)
                self.spelling.setdefault(name, predicate.rpartition("#")[2])
                values = known.setdefault(_OLD_NAMES.get(name, name), [])
                values += [term for term in terms if term not in values]

    def types(self, urn: str) -> set[str]:
        """The types of an object, in lower case."""
        return {_fragment(term.text) for term in self.by_urn.get(urn, {}).get("type", ())}

    def texts(self, urn: str, name: str) -> list[str]:
        """All values of a property."""
        return [term.text for term in self.by_urn.get(urn, {}).get(name, ())]

    def text(self, urn: str, name: str) -> str | None:
        """The first value of a property."""
        return next(iter(self.texts(urn, name)), None)

    def number(self, urn: str, name: str) -> int | None:
        """A property that is a number."""
        value = self.text(urn, name)
        return int(value) if value is not None and re.fullmatch(r"[0-9]{1,20}", value) else None

    def hashes(self, urn: str) -> dict[str, Json]:
        """The hashes of an object by algorithm."""
        found: dict[str, Json] = {}
        for term in self.by_urn.get(urn, {}).get("hash", ()):
            name = term.datatype.rpartition("#")[2]
            if name:
                found[name.lower() if name[0].isupper() else name] = term.text.lower()
        return found


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disks inside. Volumes that hold other parts of them are looked for beside this one."""
    volumes = _Volumes(image)
    objects = volumes.objects
    urns = _images(objects)
    if not urns:
        logical = any("fileimage" in objects.types(each) for each in objects.by_urn)
        message = "this holds copies of files, and no disk" if logical else "the volume describes no image"
        details = {
            **container.details,
            **_about(volumes, None),
            "variant": "logical" if logical else None,
        }
        problems = (*container.problems, Problem(Code.UNSUPPORTED, message))
        return Opened(container=container.replaced(details=details, problems=problems), source=None)
    disks = [_disk(container, volumes, urn, alone=len(urns) == 1) for urn in urns[:_IMAGES_CAP]]
    if len(urns) > _IMAGES_CAP:
        message = f"the volume describes {len(urns)} images, of which {_IMAGES_CAP} are looked at"
        first = disks[0].container
        problem = Problem(Code.UNSUPPORTED, message)
        disks[0] = disks[0].replaced(container=first.replaced(problems=(*first.problems, problem)))
    return several(disks)


def _disk(container: Container, volumes: "_Volumes", urn: str, *, alone: bool) -> Opened:
    """One of the images; ``alone``: the only one."""
    objects, problems = volumes.objects, [*container.problems]
    data = _data_stream(volumes, urn)
    streams = _Streams(volumes)
    source = None
    try:
        source = streams.open(data, 0)
    except (NotThisFormat, ReadError, ShortRead) as error:
        if alone:
            raise
        problems.append(Problem(Code.DAMAGED, str(error)))
    size = objects.number(urn, "size")
    sector = objects.number(urn, "blocksize")
    if size is not None and source is not None and size != source.size:
        message = f"the image says that it has {size} bytes, and its data has {source.size}"
        problems.append(Problem(Code.DAMAGED, message))
    details: dict[str, Json] = {
        **container.details,
        **_about(volumes, urn),
        "variant": "disk",
        **streams.details,
        "hashes": objects.hashes(urn) or objects.hashes(data),
        "volumes": len(volumes.open_ones),
    }
    if not alone:
        details["disk"] = urn
    return Opened(
        container=container.replaced(
            size=source.size if source else size,
            sector_size=sector if sector and 128 <= sector <= CHUNK_CAP else None,
            details=details,
            problems=(*problems, *streams.problems),
        ),
        source=source,
        part=None if alone else urn,
        stored=stored_of(
            urn,
            maps=streams.maps,
            streams=streams.chunked,
            volumes=[*volumes.open_ones.values()],
            statements=objects.by_urn,
            meter=volumes.image.meter,
        ),
    )


def _images(objects: _Objects) -> list[str]:
    """The images of disks, and of memory behind these; never those of files.

    What is the data of another image is no image of its own.
    """
    images = [
        urn
        for urn in objects.by_urn
        if objects.types(urn) & {"image", "diskimage", "contiguousimage"}
        and not objects.types(urn) & {"fileimage", "zipsegmentimage", "folderimage"}
    ]
    inner = {stream for urn in images for stream in objects.texts(urn, "datastream") if stream != urn}
    whole = [urn for urn in images if urn not in inner] or images[:1]
    return sorted(whole, key=lambda urn: "diskimage" not in objects.types(urn))


def _data_stream(volumes: "_Volumes", urn: str) -> str:
    """The stream with an image's bytes, of several the one that this volume holds; before 1.0 the image."""
    streams = volumes.objects.texts(urn, "datastream") or [urn]
    own = [each for each in streams if volumes.objects.text(each, "stored") == volumes.first.urn]
    return (own or streams)[0]


_CASE = {"casename", "casedescription", "casenumber", "evidencenumber", "examiner", "notes"}


def _about(volumes: "_Volumes", urn: str | None) -> dict[str, Json]:
    """What the volume says about who took the image, of what, and when."""
    objects, tool = volumes.objects, volumes.first.tool()
    major, minor = tool.get("major"), tool.get("minor")
    acquisition: dict[str, Json] = {}
    for each in objects.by_urn:
        types = objects.types(each)
        if each != urn and not types & {"casedetails", "casenotes", "timestamps"}:
            continue
        for name, terms in objects.by_urn[each].items():
            literals = [term.text for term in terms if not term.is_iri and term.datatype.find("SHA") < 0]
            wanted = name in _CASE or name in ("starttime", "endtime") or name.startswith(("disk", "device"))
            if literals and wanted:
                acquisition.setdefault(objects.spelling[name], literals[0])
    return {
        "version": f"{major}.{minor}" if major and minor else None,
        "tool": tool.get("tool"),
        "created": objects.text(volumes.first.urn, "creationtime"),
        "acquisition": acquisition,
    }


class _Volumes:
    """The volume that was opened, and those beside it that hold other parts of the same image."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.first = _Volume(image.files[0])
        self.open_ones = {self.first.urn: self.first}
        self.objects = _Objects()
        self.objects.add(self.first.graph())
        self._beside: dict[str, str] | None = None

    def holding(self, urn: str, suffix: str) -> _Volume | None:
        """The volume that has the member ``urn`` + ``suffix``; None when it is not to be found."""
        stored = self.objects.texts(urn, "stored")
        for each in (*self.open_ones, *stored):
            volume = self.open_ones.get(each) or self._open(each)
            if volume is not None and volume.has(urn + suffix):
                return volume
        return None

    def _open(self, urn: str) -> _Volume | None:
        if self._beside is None:
            self._beside = dict(self._names_beside())
        name = self._beside.get(urn)
        if name is None or len(self.open_ones) >= _VOLUMES_CAP:
            return None
        try:
            volume = _Volume(self.image.open_named(name))
            graph = volume.graph()
        except (OpenError, NotThisFormat, ReadError):
            return None
        self.open_ones[urn] = volume
        self.objects.add(graph)
        return volume

    def _names_beside(self) -> Iterator[tuple[str, str]]:
        """The volumes beside this one: their URNs, and the names of their files."""
        broker, path = self.image.broker, self.image.paths[0]
        for suffix in (".aff4", ".af4"):
            for name in broker.names_beside(path, suffix):
                try:
                    file = broker.open_named(name, path, self.image.meter)
                except OpenError:
                    continue
                try:
                    yield _Volume(file).urn, name
                except (NotThisFormat, ReadError):
                    continue
                finally:
                    file.close()


class _Streams:
    """Opens streams; ``details`` and ``problems`` tell of all that were."""

    def __init__(self, volumes: _Volumes) -> None:
        self._volumes = volumes
        self._opened: dict[str, Source | None] = {}
        self.details: dict[str, Json] = {}
        self.problems: list[Problem] = []
        self.chunked: list[Chunked] = []
        self.maps: list[tuple[str, _Volume]] = []

    def open(self, urn: str, depth: int) -> Source | None:
        """A stream's bytes, None where they cannot be had; raises NotThisFormat for contradictions."""
        if urn in self._opened:
            return self._opened[urn]
        if depth > _DEPTH_CAP or len(self._opened) > _TARGETS_CAP:
            raise NotThisFormat("streams lie within one another too deep, or are too many")
        self._opened[urn] = None  # a stream within itself has no bytes
        symbol = _symbol(urn)
        if symbol is not None:
            self._opened[urn] = _PatternSource(symbol)
            return self._opened[urn]
        if (volume := self._volumes.holding(urn, "/map")) is not None:
            self.maps.append((urn, volume))
            self._opened[urn] = self._map(volume, urn, depth)
        elif (found := self._first_bevy(urn)) is not None:
            self._opened[urn] = self._stream(*found, urn)
        elif self._volumes.objects.types(urn) & {"encryptedstream", "randomencryptedstream"}:
            self.problems.append(Problem(Code.LOCKED, "the stream is encrypted, and is not read"))
        else:
            message = f"the volume that holds {urn} was not found beside this one"
            self.problems.append(Problem(Code.MISSING_SEGMENT, message))
        return self._opened[urn]

    def _first_bevy(self, urn: str) -> tuple[_Volume, bool] | None:
        """The volume of a stream in chunks, and whether it is written as before the standard."""
        for suffix, old in (("/00000000.index", False), ("/00000000/index", True)):
            volume = self._volumes.holding(urn, suffix)
            if volume is not None:
                return volume, old
        return None

    def _stream(self, volume: _Volume, old: bool, urn: str) -> Source:
        objects = self._volumes.objects
        chunk_size = objects.number(urn, "chunksize") or 32 << 10
        per_bevy = objects.number(urn, "chunksinsegment") or 1024
        size = objects.number(urn, "size") or 0
        method = objects.text(urn, "compressionmethod") or "https://www.ietf.org/rfc/rfc1950.txt"
        if not 0 < chunk_size <= CHUNK_CAP or not 0 < per_bevy <= _CHUNKS_CAP or not 0 < size <= _SIZE_CAP:
            raise NotThisFormat(f"{size} bytes in chunks of {chunk_size}, {per_bevy} in a segment")
        compression = COMPRESSIONS.get(method)
        if compression is None:
            message = f"the stream is compressed by a method that is not known here: {method}"
            self.problems.append(Problem(Code.UNSUPPORTED, message))
        name = compression and compression.removesuffix("-always")
        self.details |= {"compression": None if name == STORED else name or method, "chunk_size": chunk_size}
        bevies = _OldBevies if old else _Bevies
        meter = self._volumes.image.meter
        chunks = _Chunks(bevies(volume, urn, meter), chunk_size, per_bevy, size, compression or "")
        worth = OWN_WORTH if compression in (SNAPPY, ALWAYS_SNAPPY, LZ4) else 1
        source = ChunkSource(size, chunk_size, chunks.load, meter, worth)
        self.chunked.append(
            Chunked(urn=urn, volume=volume, source=source, chunk_size=chunk_size, per_bevy=per_bevy)
        )
        return source

    def _map(self, volume: _Volume, urn: str, depth: int) -> Source:
        objects, meter = self._volumes.objects, self._volumes.image.meter
        index = volume.member(f"{urn}/idx", meter)
        names = index.read_at(0, _TEXT_CAP).decode("utf-8", "replace").split()
        if len(names) > _TARGETS_CAP:
            raise NotThisFormat(f"a map of {len(names)} streams")
        targets = [(name, self.open(name, depth + 1)) for name in names]
        gap = objects.text(urn, "mapgapdefaultstream") or "Zero"
        table = _Map(volume.member(f"{urn}/map", meter), targets, self.open(gap, depth + 1))
        size = objects.number(urn, "size") or table.end
        if not 0 < size <= _SIZE_CAP:
            raise NotThisFormat(f"a map of {size} bytes")
        return RunSource(size, table.locate)


def _symbol(urn: str) -> bytes | None:
    """What a symbolic stream repeats; None for a stream of another kind."""
    if urn.startswith(SCHEME):
        return None
    name = _fragment(urn)
    if name in SYMBOLIC:
        return SYMBOLIC[name]
    digits = name.removeprefix("symbolicstream")
    return bytes.fromhex(digits) if re.fullmatch("[0-9a-f]{2}", digits) else None


class _PatternSource(Source):
    """A word again and again, which begins anew every MiB."""

    __slots__ = ("tile",)

    def __init__(self, word: bytes) -> None:
        self.size = _SIZE_CAP
        self.tile = word

    def _read(self, offset: int, length: int) -> bytes:
        pieces = []
        while length:
            within = offset % _TILE
            count = min(length, _TILE - within)
            skip = within % len(self.tile)
            pieces.append((self.tile * (count // len(self.tile) + 2))[skip : skip + count])
            offset += count
            length -= count
        return b"".join(pieces)


class _Map:
    """Which runs of which streams make up an image."""

    def __init__(self, file: Source, targets: list[tuple[str, Source | None]], gap: Source | None) -> None:
        count = file.size // MAP_POINT.size
        if count > _POINTS_CAP:
            raise NotThisFormat(f"a map of {count} points")
        self._targets = targets
        self._gap = gap
        points: list[tuple[int, int, int, int]] = []
        piece = MAP_POINT.size << 10
        for at in range(0, count * MAP_POINT.size, piece):
            data = file.read_at(at, min(piece, count * MAP_POINT.size - at))
            points += struct.iter_unpack("<QQQI", data)
        points.sort(key=lambda point: point[0])
        self._starts = array("Q", (point[0] for point in points))
        self._lengths = array("Q", (point[1] for point in points))
        self._places = array("Q", (point[2] for point in points))
        self._ids = array("L", (point[3] for point in points))
        self.end = max((start + length for start, length, _, _ in points), default=0)

    def locate(self, offset: int) -> Run:
        """The run at this byte of the image."""
        number = bisect_right(self._starts, offset) - 1
        following = self._starts[number + 1] if number + 1 < len(self._starts) else _SIZE_CAP
        within = offset - self._starts[number] if number >= 0 else 0
        if number < 0 or within >= self._lengths[number]:
            return _run(self._gap, offset, following - offset)
        length = min(self._lengths[number] - within, following - offset)
        if self._ids[number] >= len(self._targets):
            raise ReadError(
                f"byte {offset} of the disk stands in stream {self._ids[number]}, which is not listed"
            )
        name, target = self._targets[self._ids[number]]
        if target is None:
            raise MissingBytes(f"byte {offset} of the disk stands in {name}, which is not here")
        return _run(target, self._places[number] + within, length)


def _run(source: Source | None, offset: int, length: int) -> Run:
    if isinstance(source, _PatternSource) and source.tile == b"\0":
        source = None
    return Run(source, offset, length)


class _Bevies:
    """The segments of a stream: the bytes of chunks, and where in them each is."""

    def __init__(self, volume: _Volume, urn: str, meter: Meter) -> None:
        self._volume = volume
        self._urn = urn
        self._meter = meter
        self._open: dict[str, Source] = {}

    def packed(self, bevy: int, number: int, bound: int) -> bytes:
        """A chunk as it is stored, ``bound`` bytes at most; raises ReadError."""
        data = self._member(f"{bevy:08}")
        offset, length = self._place(bevy, number, data.size)
        if not 0 <= length <= bound or offset + length > data.size:
            raise ReadError(f"it takes {length} bytes at {offset} of a segment of {data.size}")
        return data.read_at(offset, length)

    def _place(self, bevy: int, number: int, end: int) -> tuple[int, int]:  # noqa: ARG002
        size = BEVY_INDEX_POINT.size
        try:
            point = parse_struct(
                self._member(f"{bevy:08}.index").read_at(number * size, size), BEVY_INDEX_POINT
            )
        except NotThisFormat as error:
            raise ReadError("its segment's index ends before it") from error
        return point.offset, point.length

    def _member(self, name: str) -> Source:
        source = self._open.get(name)
        if source is None:
            if len(self._open) >= _OPEN_BEVIES:
                self._open.clear()
            source = self._volume.member(f"{self._urn}/{name}", self._meter)
            if name.endswith("index") and source.size <= _INDEX_CAP:
                # What is wrong about it shows before any chunk is looked for.
                source.read_at(0, source.size)
            self._open[name] = source
        return source


class _OldBevies(_Bevies):
    """The same before the standard, where an index says only where chunks begin."""

    def _place(self, bevy: int, number: int, end: int) -> tuple[int, int]:
        index = self._member(f"{bevy:08}/index")
        size = OLD_INDEX_POINT.size
        first = int.from_bytes(index.read_at(0, size), "little")
        starts = index.read_at(max(0, number - 1 if first else number) * size, 2 * size)
        places = [int.from_bytes(starts[at : at + size], "little") for at in range(0, len(starts), size)]
        if first and number == 0:
            places.insert(0, 0)
        places.append(end)
        if len(places) < 2:
            raise ReadError("its segment's index ends before it")
        return places[0], places[1] - places[0]


class _Chunks:
    """Reads the chunks of a stream by their numbers."""

    def __init__(self, bevies: _Bevies, chunk_size: int, per_bevy: int, size: int, compression: str) -> None:
        self._bevies = bevies
        self._chunk_size = chunk_size
        self._per_bevy = per_bevy
        self._size = size
        self._compression = compression

    def load(self, number: int) -> bytes:
        """The bytes of a chunk; raises ReadError when they are missing or damaged."""
        try:
            return self._load(number)
        except (ReadError, ShortRead) as error:
            raise ReadError(f"chunk {number} of the stream: {error}") from error

    def _load(self, number: int) -> bytes:
        bevy, within = divmod(number, self._per_bevy)
        packed = self._bevies.packed(bevy, within, packed_bound(self._chunk_size))
        unpack = UNPACKERS.get(self._compression)
        if self._compression not in UNPACKERS:
            raise ReadError("its compression is not known")
        # What would not become smaller is stored as it is.
        as_it_is = len(packed) == self._chunk_size and self._compression != ALWAYS_SNAPPY
        chunk = packed if unpack is None or as_it_is else unpack(packed, self._chunk_size)
        wanted = min(self._chunk_size, self._size - number * self._chunk_size)
        if len(chunk) < wanted:
            raise ReadError(f"it has {len(chunk)} bytes, and should have {wanted}")
        return chunk[:wanted]


def _deflated(data: bytes, size: int) -> bytes:
    library = zlib_library()
    try:
        unpacked: bytes = library.decompressobj(-15).decompress(data, size + 1)
    except library.error as error:
        raise ReadError(f"compressed data is damaged ({error})") from error
    if len(unpacked) > size:
        raise ReadError(f"compressed data gives more than the {size} bytes that belong there")
    return bytes(unpacked)


UNPACKERS: dict[str, Callable[[bytes, int], bytes] | None] = {
    STORED: None,
    SNAPPY: unpack_snappy,
    ALWAYS_SNAPPY: unpack_snappy,
    ZLIB: inflate,
    DEFLATE: _deflated,
    LZ4: unpack_lz4,
}


FORMAT = ContainerFormat(
    name="aff4",
    title="Advanced Forensic Format 4",
    specification="https://github.com/aff4/Standard",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC, 0),),
    types=("aff4",),
)
