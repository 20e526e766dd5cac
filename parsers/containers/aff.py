"""AFF, version 3: the Advanced Forensic Format of segments, alone or as AFM and AFD.

Layout: S. Garfinkel, "Advanced Forensic Format: An Open, Extensible Format for Disk Imaging" (2006);
https://github.com/sshock/AFFLIBv3, lib/afflib.h and lib/afflib_i.h.
"""

import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from construct import Bytes, Int32ub, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import text, uuid_text
from pyimount.formats.stored import CheckedBytes, Stored, StoredHash
from pyimount.parsers.containers.chunks import (
    CHUNK_CAP,
    ChunkSource,
    inflate,
    packed_bound,
    unpack_bzip2,
    unpack_lzma,
)
from pyimount.problems import Code, Problem
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import ConcatSource, Source
from pyimount.sources.view import View

SEGMENT_HEAD = layout(
    lambda: Struct("magic" / Bytes(4), "name_len" / Int32ub, "data_len" / Int32ub, "flag" / Int32ub)
)
SEGMENT_TAIL = layout(lambda: Struct("magic" / Bytes(4), "segment_len" / Int32ub))
QUAD = layout(lambda: Struct("low" / Int32ub, "high" / Int32ub))

HEADER = b"AFF10\r\n\0"
HEAD_MAGIC, TAIL_MAGIC = b"AFF\0", b"ATT\0"
QUADWORD = 0x2
"""The flag of a segment whose eight bytes are a number."""
COMPRESSED, ALGORITHM_MASK = 0x01, 0xF0
ZLIB, BZIP, LZMA, ZERO = 0x00, 0x10, 0x20, 0x30
ALGORITHMS = {ZLIB: "zlib", BZIP: "bzip2", LZMA: "lzma", ZERO: "zero"}
ENCRYPTED = "/aes256"
KEYS = "affkey_"
HASHES = ("md5", "sha1", "sha256")

_NAME_CAP = 64
_SEGMENTS_CAP = 1 << 19
_VALUE_CAP = 4096
"""No value of a segment that is not a page is read beyond this many bytes."""
_VALUES_CAP = 256
_RAW_FILES_CAP = 1000
_SIZE_CAP = 1 << 60
_PAGE = r"(?:page|seg)([0-9]{1,12})"
_PAGE_HASH = _PAGE + r"_(md5|sha1|sha256)"
_AFD_PART = r"(?i)file_[0-9]{3}\.aff"


class _Segment:
    """A segment's name, its flag, and where its value stands: in which file, and where in it."""

    __slots__ = ("at", "file", "flag", "name", "name_size", "size")

    def __init__(self, name: str, flag: int, file: int, at: int, size: int, *, name_size: int) -> None:
        self.name = name
        self.name_size = name_size
        self.flag = flag
        self.file = file
        self.at = at
        self.size = size


def parse(view: View) -> Container:
    """That this is AFF, by its first segment; what it says is read when it is opened."""
    head = read_struct(view, SEGMENT_HEAD, len(HEADER))
    if head.magic != HEAD_MAGIC or head.name_len > _NAME_CAP:
        raise NotThisFormat("no segment follows the header")
    return Container(type="aff", details={"stored_size": view.size})


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disk inside, by one walk over the segments, which have no table."""
    index = _Index(_files(image))
    problems = index.problems
    values = index.values
    page_size = int(_number(values, "pagesize") or _number(values, "segsize") or 0)
    sector_size = int(_number(values, "sectorsize") or 512)
    kind = str(values.get("aff_file_type") or "AFF")
    size = _number(values, "imagesize")
    details: dict[str, Json] = {
        "variant": kind,
        **container.details,
        "page_size": page_size or None,
        "pages": len(index.pages),
        "compression": [*index.algorithms()],
        "locked": bool(index.encrypted),
        "encryption": {"method": "aes256", "segments": index.encrypted} if index.encrypted else None,
        **{name: values[name] for name in HASHES if name in values},
        "bad_sectors": _number(values, "badsectors"),
        "uuid": values.get("image_gid"),
        "acquisition": {name: value for name, value in values.items() if name not in _OWN},
    }
    about = container.replaced(sector_size=sector_size if 0 < sector_size <= CHUNK_CAP else None)

    def told(source: Source | None, size: int | None = None) -> Opened:
        return Opened(
            container=about.replaced(size=size, details=details, problems=tuple(problems)), source=source
        )

    if index.encrypted:
        problems.append(Problem(Code.LOCKED, "the image is encrypted, and is not read"))
        return told(None)
    if kind == "AFM":
        opened = told(*_raw_files(values, size, page_size, image, problems))
        return opened.replaced(stored=_stored(index, page_size, size or 0))
    if not 0 < page_size <= CHUNK_CAP:
        raise NotThisFormat(f"pages of {page_size} bytes")
    if size is None:
        # AFFLIB's way; the last page may be shorter.
        size = (index.pages[-1] + 1) * page_size if index.pages else 0
    if not 0 < size <= _SIZE_CAP:
        raise NotThisFormat(f"a disk of {size} bytes")
    wanted = -(-size // page_size)
    missing = wanted - bisect_left(index.pages, wanted)
    if missing:
        message = f"{missing} of {wanted} pages are not in the image, and read as zeros"
        problems.append(Problem(Code.TRUNCATED if index.cut else Code.DAMAGED, message))
    pages = _Pages(index, page_size, size)
    far = any(file.is_far for file in index.files)
    locate = pages.locate if far else None
    opened = told(ChunkSource(size, page_size, pages.load, image.meter, locate=locate), size)
    return opened.replaced(stored=_stored(index, page_size, size))


def _stored(index: "_Index", page_size: int, size: int) -> Stored:
    """The hashes of the disk and of its pages, and the ends of segments."""

    def runs() -> Iterator[StoredHash]:
        for number in sorted(index.page_hashes):
            offset = number * page_size
            if offset >= size:
                return
            algorithm, value = index.page_hashes[number]
            length = min(page_size, size - offset)
            yield StoredHash(
                algorithm=algorithm, value=value, what=f"page {number}", offset=offset, size=length
            )

    hashes = tuple(
        StoredHash(algorithm=name, value=value)
        for name in HASHES
        if isinstance(value := index.values.get(name), str)
    )
    disk = CheckedBytes(hashes=hashes, runs=runs if index.page_hashes else None)
    return Stored(checked=(disk,) if hashes or index.page_hashes else (), structures=index.flaws_of_ends)


_OWN = frozenset(
    (
        *HASHES,
        *("aff_file_type", "badsectors", "image_gid", "imagesize", "pagesize", "segsize", "sectorsize"),
    )
)
"""The values that have a place of their own in the details."""


def _number(values: dict[str, Json], name: str) -> int | None:
    value = values.get(name)
    return value if isinstance(value, int) else None


def _files(image: Image) -> list[Source]:
    """The image's file; of an AFD, which is a folder, all files."""
    files: list[Source] = [image.files[0]]
    if re.fullmatch(_AFD_PART, image.names[0]):
        for name in image.broker.names_beside(image.paths[0], ".aff"):
            if re.fullmatch(_AFD_PART, name) and name != image.names[0]:
                file = image.open_named(name)
                if file.read_at(0, len(HEADER)) == HEADER:
                    files.append(file)
    return files


def _raw_files(
    values: dict[str, Json], size: int | None, page_size: int, image: Image, problems: list[Problem]
) -> tuple[Source | None, int | None]:
    """The disk of an AFM, which has it in raw files of its own name, numbered from its extension on."""
    first = str(values.get("raw_image_file_extension") or "")
    per_file = (_number(values, "pages_per_raw_image_file") or 0) * page_size
    stem = image.names[0].rpartition(".")[0]
    count = -(-size // per_file) if size and per_file else 1
    if not re.fullmatch(r"[0-9]{3}|[A-Za-z0-9]{1,8}", first) or not 0 < count <= _RAW_FILES_CAP:
        raise NotThisFormat(f"raw files from {first!r} on, {count} of them")
    files = []
    for number in range(count):
        name = f"{stem}.{int(first) + number:03}" if first.isdecimal() else f"{stem}.{first}"
        try:
            files.append(image.open_named(name))
        except OpenError as error:
            problems.append(Problem(Code.MISSING_SEGMENT, str(error)))
            break
    whole = ConcatSource(files)
    if size is not None and files and whole.size < size:
        problems.append(Problem(Code.TRUNCATED, f"the raw files have {whole.size} of {size} bytes"))
    return (whole, whole.size) if files else (None, size)


class _Index:
    """What stands where: the pages by their numbers, in order, and the values of all other segments."""

    def __init__(self, files: list[Source]) -> None:
        self.files = files
        self.values: dict[str, Json] = {}
        self.problems: list[Problem] = []
        self.encrypted = 0
        self.cut = False
        self.page_hashes: dict[int, tuple[str, str]] = {}
        """The strongest of each page that has any: algorithm and value."""
        found: dict[int, _Segment] = {}
        for number, file in enumerate(files):
            for segment in self._walk(number, file):
                if segment.name.endswith(ENCRYPTED) or segment.name.startswith(KEYS):
                    self.encrypted += 1
                elif page := re.fullmatch(_PAGE, segment.name):
                    found.setdefault(int(page[1]), segment)
                elif hashed := re.fullmatch(_PAGE_HASH, segment.name):
                    self._page_hash(int(hashed[1]), hashed[2], segment)
                elif re.match(_PAGE, segment.name) is None and segment.name not in ("", "badflag"):
                    self._value(segment)
        self.pages = array("Q", sorted(found))
        self._segments = [found[page] for page in self.pages]

    def _walk(self, number: int, file: Source) -> Iterator[_Segment]:
        at = len(HEADER)
        for _ in range(_SEGMENTS_CAP):
            if at == file.size:
                return
            data = file.read_at(at, SEGMENT_HEAD.size + _NAME_CAP)
            if len(data) < SEGMENT_HEAD.size:
                break
            head = parse_struct(data, SEGMENT_HEAD)
            if head.magic != HEAD_MAGIC or head.name_len > _NAME_CAP:
                message = f"at byte {at} no segment begins; what follows is not read"
                self.problems.append(Problem(Code.DAMAGED, message))
                return
            end = at + SEGMENT_HEAD.size + head.name_len + head.data_len + SEGMENT_TAIL.size
            if end > file.size:
                break
            name = text(data[SEGMENT_HEAD.size : SEGMENT_HEAD.size + head.name_len]) or ""
            start = at + SEGMENT_HEAD.size + head.name_len
            yield _Segment(name, head.flag, number, start, head.data_len, name_size=head.name_len)
            at = end
        self.cut = True
        self.problems.append(Problem(Code.TRUNCATED, f"the file ends within the segment at byte {at}"))

    def _page_hash(self, number: int, algorithm: str, segment: _Segment) -> None:
        known = self.page_hashes.get(number)
        if known is None or HASHES.index(known[0]) < HASHES.index(algorithm):
            value = self.files[segment.file].read_at(segment.at, min(segment.size, _VALUE_CAP))
            self.page_hashes[number] = algorithm, value.hex()

    def flaws_of_ends(self) -> Iterator[Problem]:
        """Segments whose end does not say what their beginning does."""
        for number, file in enumerate(self.files):
            for segment in self._walk(number, file):
                end = segment.at + segment.size
                tail = parse_struct(file.read_at(end, SEGMENT_TAIL.size), SEGMENT_TAIL)
                whole = SEGMENT_HEAD.size + segment.name_size + segment.size + SEGMENT_TAIL.size
                if tail.magic != TAIL_MAGIC or tail.segment_len != whole:
                    message = (
                        f"the end of the segment {segment.name!r} at byte {end} does not fit its beginning"
                    )
                    yield Problem(Code.DAMAGED, message)

    def _value(self, segment: _Segment) -> None:
        if len(self.values) >= _VALUES_CAP or segment.name in self.values:
            return
        data = self.files[segment.file].read_at(segment.at, min(segment.size, _VALUE_CAP))
        value: Json
        if segment.size == 0:
            value = segment.flag
        elif segment.size == QUAD.size and segment.flag == QUADWORD:
            quad = parse_struct(data, QUAD)
            value = quad.high << 32 | quad.low
        elif segment.name in HASHES:
            value = data.hex()
        elif segment.name == "image_gid":
            value = uuid_text(data) if len(data) == 16 else data.hex()
        else:
            value = (text(data) or "").strip().strip('"')
        self.values[segment.name] = value

    def algorithms(self) -> list[str]:
        """How the pages are compressed, the commonest way first."""
        kinds = Counter(
            ALGORITHMS.get(segment.flag & ALGORITHM_MASK, f"{segment.flag:#x}")
            for segment in self._segments
            if segment.flag & COMPRESSED
        )
        return [name for name, _ in kinds.most_common()]

    def page(self, number: int) -> _Segment | None:
        """The segment of a page; None when there is none."""
        at = bisect_left(self.pages, number)
        return self._segments[at] if at < len(self.pages) and self.pages[at] == number else None


class _Pages:
    """Reads pages by their numbers."""

    def __init__(self, index: _Index, page_size: int, size: int) -> None:
        self._index = index
        self._page_size = page_size
        self._size = size

    def load(self, number: int) -> bytes:
        """The bytes of a page, zeros where the image has none; raises ReadError when it is damaged."""
        wanted = min(self._page_size, self._size - number * self._page_size)
        segment = self._index.page(number)
        if segment is None:
            return bytes(wanted)
        try:
            page = self._unpack(segment)
        except ReadError as error:
            raise ReadError(f"page {number} of the image: {error}") from error
        return page[:wanted].ljust(wanted, b"\0")

    def locate(self, number: int) -> tuple[Source, int, int] | None:
        """Where a page stands, as ChunkSource wants it."""
        segment = self._index.page(number)
        if segment is None or segment.size > packed_bound(self._page_size):
            return None
        return self._index.files[segment.file], segment.at, segment.size

    def _unpack(self, segment: _Segment) -> bytes:
        bound = packed_bound(self._page_size) if segment.flag & COMPRESSED else self._page_size
        if segment.size > bound:
            raise ReadError(f"it takes {segment.size} bytes, too many for {self._page_size}")
        data = self._index.files[segment.file].read_at(segment.at, segment.size)
        if not segment.flag & COMPRESSED:
            return data
        algorithm = segment.flag & ALGORITHM_MASK
        if algorithm == ZERO:
            return bytes(self._page_size)
        unpack = UNPACKERS.get(algorithm)
        if unpack is None:
            raise ReadError(f"its compression, {algorithm:#x}, is not known")
        return unpack(data, self._page_size)


def _unpack_lzma(data: bytes, size: int) -> bytes:
    """AFFLIB asks for a dictionary of 16 MiB, however small its pages are: one of a page is enough."""
    wanted = int.from_bytes(data[1:5], "little")
    return unpack_lzma(data[:1] + min(wanted, size).to_bytes(4, "little") + data[5:], size)


UNPACKERS = {ZLIB: inflate, BZIP: unpack_bzip2, LZMA: _unpack_lzma}


FORMAT = ContainerFormat(
    name="aff",
    title="Advanced Forensic Format 3 (AFF, AFD, AFM)",
    specification="https://github.com/sshock/AFFLIBv3",
    parse=parse,
    open=open,
    signatures=(Signature(HEADER, 0),),
    types=("aff",),
)
