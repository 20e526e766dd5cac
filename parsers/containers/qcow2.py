"""QCOW2, versions 2 and 3: QEMU's copy-on-write image.

Layout: QEMU, docs/interop/qcow2.txt
"""

from collections.abc import Callable, Iterator
from typing import Any

from construct import Bytes, Construct, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, text, unix_time
from pyimount.parsers.containers.clusters import Unpacked, inflate_raw, open_backing, truncated
from pyimount.parsers.containers.file_names import file_name
from pyimount.parsers.containers.runs import EntryTable, Parent, Run, RunSource
from pyimount.parsers.containers.zstd_library import MISSING, zstd_library
from pyimount.problems import Code, Problem
from pyimount.sources.budget import Meter
from pyimount.sources.errors import MissingBytes, OpenError, ReadError
from pyimount.sources.source import BytesSource, SliceSource, Source
from pyimount.sources.view import ShortRead, View


def _version_2() -> tuple[Construct, ...]:
    return (
        "magic" / Bytes(4),
        "version" / Int32ub,
        "backing_file_offset" / Int64ub,
        "backing_file_size" / Int32ub,
        "cluster_bits" / Int32ub,
        "size" / Int64ub,
        "crypt_method" / Int32ub,
        "l1_size" / Int32ub,
        "l1_table_offset" / Int64ub,
        "refcount_table_offset" / Int64ub,
        "refcount_table_clusters" / Int32ub,
        "nb_snapshots" / Int32ub,
        "snapshots_offset" / Int64ub,
    )


HEADER_V2 = layout(lambda: Struct(*_version_2()))
HEADER = layout(
    lambda: Struct(
        *_version_2(),
        "incompatible_features" / Int64ub,
        "compatible_features" / Int64ub,
        "autoclear_features" / Int64ub,
        "refcount_order" / Int32ub,
        "header_length" / Int32ub,
    )
)
EXTENSION = layout(lambda: Struct("type" / Int32ub, "length" / Int32ub))
BITMAPS = layout(
    lambda: Struct(
        "nb_bitmaps" / Int32ub,
        "reserved" / Int32ub,
        "bitmap_directory_size" / Int64ub,
        "bitmap_directory_offset" / Int64ub,
    )
)
SNAPSHOT = layout(
    lambda: Struct(
        "l1_table_offset" / Int64ub,
        "l1_size" / Int32ub,
        "id_str_size" / Int16ub,
        "name_size" / Int16ub,
        "date_sec" / Int32ub,
        "date_nsec" / Int32ub,
        "vm_clock_nsec" / Int64ub,
        "vm_state_size" / Int32ub,
        "extra_data_size" / Int32ub,
    )
)

MAGIC = b"QFI\xfb"
CRYPT_METHODS = {0: None, 1: "aes", 2: "luks"}
COMPRESSION_TYPES = {0: "zlib", 1: "zstd"}
INCOMPATIBLE = {
    0x1: "dirty",
    0x2: "corrupt",
    0x4: "external_data_file",
    0x8: "compression_type",
    0x10: "extended_l2",
}
COMPATIBLE = {0x1: "lazy_refcounts"}
AUTOCLEAR = {0x1: "bitmaps", 0x2: "raw_external_data"}
DIRTY, CORRUPT, EXTERNAL_DATA_FILE, EXTENDED_L2 = 0x1, 0x2, 0x4, 0x10
UNDERSTOOD = 0x1F

EXT_END = 0x00000000
EXT_BACKING_FORMAT = 0xE2792ACA
EXT_DATA_FILE = 0x44415441
EXT_BITMAPS = 0x23852875

OFFSET = 0x00FFFFFFFFFFFE00
COMPRESSED = 1 << 62
COPIED = 1 << 63
ZERO = 1

_COMPRESSION_TYPE_AT = 104
_NAME_CAP = 1023
_EXTENSIONS = 32
_SNAPSHOTS = 64
"""So many snapshots are listed at most; all are counted."""


def parse(view: View) -> Container:
    """What the header says, with its extensions and the list of snapshots."""
    header = _header(view)
    incompatible, problems = header.incompatible_features, []
    features: list[Json] = [
        *flag_names(incompatible, INCOMPATIBLE, "incompatible"),
        *flag_names(header.compatible_features, COMPATIBLE, "compatible"),
        *flag_names(header.autoclear_features, AUTOCLEAR, "autoclear"),
    ]
    details: dict[str, Json] = {
        "version": header.version,
        "stored_size": view.size,
        "cluster_size": 1 << header.cluster_bits,
        "refcount_bits": 1 << header.refcount_order,
        "compression": COMPRESSION_TYPES.get(_compression_type(view, header), "unknown"),
        "encryption": CRYPT_METHODS.get(header.crypt_method, f"method {header.crypt_method}"),
        "features": features,
        "dirty": bool(incompatible & DIRTY),
        "corrupt": bool(incompatible & CORRUPT),
        "snapshot_count": header.nb_snapshots,
        "backing_file": _name(view, header.backing_file_offset, header.backing_file_size),
    }
    if incompatible & CORRUPT:
        problems.append(Problem(Code.DAMAGED, "the image is marked as corrupt"))
    try:
        details |= _extensions(view, header)
        details["snapshots"] = list(_snapshots(view, header))
    except (ShortRead, NotThisFormat):
        problems.append(Problem(Code.TRUNCATED, "the file ends within the header's extensions or snapshots"))
    return Container(type="qcow2", size=header.size, details=details, problems=tuple(problems))


def _header(view: View) -> Any:
    old = read_struct(view, HEADER_V2, 0)
    if old.version == 2:
        header = old
        header.incompatible_features = header.compatible_features = header.autoclear_features = 0
        header.refcount_order, header.header_length = 4, HEADER_V2.size
    else:
        header = read_struct(view, HEADER, 0)
    if not 9 <= header.cluster_bits <= 21 or header.refcount_order > 6:
        raise NotThisFormat(f"clusters of 2**{header.cluster_bits}, counts of 2**{header.refcount_order}")
    if header.incompatible_features & EXTENDED_L2 and header.cluster_bits < 14:
        raise NotThisFormat(f"clusters of 2**{header.cluster_bits} are too small for subclusters")
    if not HEADER_V2.size <= header.header_length <= 1 << header.cluster_bits:
        raise NotThisFormat(f"a header of {header.header_length} bytes")
    return header


def _compression_type(view: View, header: Any) -> int:
    if header.header_length <= _COMPRESSION_TYPE_AT:
        return 0
    return view.read(_COMPRESSION_TYPE_AT, 1)[0]


def _name(view: View, offset: int, size: int) -> str | None:
    return text(view.peek(offset, min(size, _NAME_CAP))) if offset else None


def _extensions(view: View, header: Any) -> dict[str, Json]:
    found: dict[str, Json] = {"backing_format": None, "data_file": None, "bitmap_count": 0}
    at = header.header_length
    end = header.backing_file_offset or 1 << header.cluster_bits
    for _ in range(_EXTENSIONS):
        if at + EXTENSION.size > end:
            break
        extension = read_struct(view, EXTENSION, at)
        at += EXTENSION.size
        if extension.type == EXT_END:
            break
        if extension.type == EXT_BACKING_FORMAT:
            found["backing_format"] = _name(view, at, extension.length)
        elif extension.type == EXT_DATA_FILE:
            found["data_file"] = _name(view, at, extension.length)
        elif extension.type == EXT_BITMAPS:
            found["bitmap_count"] = read_struct(view, BITMAPS, at).nb_bitmaps
        at += (extension.length + 7) & ~7
    return found


def _snapshots(view: View, header: Any) -> Iterator[Json]:
    at = header.snapshots_offset
    for _ in range(min(header.nb_snapshots, _SNAPSHOTS)):
        snapshot = read_struct(view, SNAPSHOT, at)
        at += SNAPSHOT.size
        extra = view.read(at, min(snapshot.extra_data_size, 16))
        at += snapshot.extra_data_size
        vm_state = int.from_bytes(extra[:8], "big") if len(extra) >= 8 else snapshot.vm_state_size
        entry: dict[str, Json] = {
            "id": _name(view, at, snapshot.id_str_size),
            "name": _name(view, at + snapshot.id_str_size, snapshot.name_size),
            "created": unix_time(snapshot.date_sec, snapshot.date_nsec),
            "vm_state_size": vm_state,
            "size": int.from_bytes(extra[8:16], "big") if len(extra) == 16 else header.size,
        }
        yield entry
        at = (at + snapshot.id_str_size + snapshot.name_size + 7) & ~7


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disk inside; what lies in a file that is missing, or is packed as no library can, is not read."""
    file, details = image.files[0], container.details
    view = View(file)
    header = _header(view)
    problems = list(container.problems)
    if refusal := _refusal(header, details):
        problems.append(Problem(Code.UNSUPPORTED, refusal))
        return Opened(container=container.replaced(problems=tuple(problems)), source=None)
    unpack = _unpacker(_compression_type(view, header))
    if unpack is None:
        problems.append(Problem(Code.UNSUPPORTED, MISSING))
    data: Source | None = file
    if header.incompatible_features & EXTERNAL_DATA_FILE:
        data = None
        try:
            data = _data_file(image, str(details.get("data_file") or ""))
        except OpenError as error:
            problems.append(Problem(Code.MISSING_BACKING_FILE, f"the data file cannot be read: {error}"))
    backing = None
    if header.backing_file_offset:
        name = details["backing_file"]
        raw = details.get("backing_format") == "raw"
        backing = open_backing(image, name if isinstance(name, str) else None, raw=raw)
        problems.extend(backing.problems)
    clusters = _Clusters(file, header, data, backing, unpack, meter=image.meter)
    if clusters.l1_is_short():
        message = f"{header.l1_size} entries of the first table are too few for {header.size} bytes"
        problems.append(Problem(Code.DAMAGED, message))
    if _end_too_early(view, header):
        problems.append(truncated(file, "clusters"))
    source = RunSource(header.size, clusters.locate)
    return Opened(container=container.replaced(problems=tuple(problems)), source=source)


def _data_file(image: Image, name: str) -> Source:
    """The file with the clusters, whose bytes are taken as they are; raises OpenError."""
    named = file_name(name)
    file = image.open_named(named.name)
    if named.offset or named.size is not None:
        return SliceSource(file, named.offset, file.size if named.size is None else named.size)
    return file


def _refusal(header: Any, details: Any) -> str | None:
    if unknown := header.incompatible_features & ~UNDERSTOOD:
        return f"the image needs features that are not known here: {unknown:#x}"
    if header.crypt_method:
        return f"the clusters are encrypted ({details['encryption']}), and are not read"
    if details["compression"] == "unknown":
        return "the image's compression is not known here"
    return None


def _unpacker(compression_type: int) -> Callable[[bytes, int], bytes] | None:
    return inflate_raw if compression_type == 0 else _zstd_unpacker()


def _zstd_unpacker() -> Callable[[bytes, int], bytes] | None:
    zstd = zstd_library()
    if zstd is None:
        return None
    window = {zstd.DecompressionParameter.window_log_max: 23}

    def unpack(data: bytes, size: int) -> bytes:
        try:
            unpacked: bytes = zstd.ZstdDecompressor(options=window).decompress(data, size)
        except zstd.ZstdError as error:
            raise ReadError(f"a compressed cluster is damaged ({error})") from error
        if len(unpacked) != size:
            raise ReadError(f"a compressed cluster gives {len(unpacked)} bytes, and {size} belong there")
        return unpacked

    return unpack


def _end_too_early(view: View, header: Any) -> bool:
    """Whether clusters after the file's end are counted as used: one look at the reference counts there."""
    refcount_bits = 1 << header.refcount_order
    cluster_size = 1 << header.cluster_bits
    per_block = cluster_size * 8 // refcount_bits
    block, within = divmod(-(-view.size // cluster_size), per_block)
    blocks = header.refcount_table_clusters * cluster_size // 8
    if block >= blocks:
        return False
    table_at = header.refcount_table_offset + 8 * block
    table = view.peek(table_at, min(4096, 8 * (blocks - block)))
    if len(table) < 8 or any(table[8:]):
        return True
    block_at = int.from_bytes(table[:8], "big") & OFFSET
    if block_at == 0:
        return False
    skip = (within * refcount_bits + 7) // 8
    counts = view.peek(block_at + skip, min(4096, cluster_size - skip))
    return bool(block_at + cluster_size > view.size or any(counts))


class _Clusters:
    """Where the disk's bytes stand: two levels of tables; clusters plain, zero, compressed or in 32 parts."""

    def __init__(
        self,
        file: Source,
        header: Any,
        data: Source | None,
        backing: Parent | None,
        unpack: Callable[[bytes, int], bytes] | None,
        *,
        meter: Meter,
    ) -> None:
        self._file = file
        self._data = data
        self._external = bool(header.incompatible_features & EXTERNAL_DATA_FILE)
        self._backing = backing
        self._unpack = unpack
        self._bits = header.cluster_bits
        self._size = 1 << header.cluster_bits
        self._zero = ZERO if header.version >= 3 else 0
        self._extended = bool(header.incompatible_features & EXTENDED_L2)
        self._l2_width = 2 if self._extended else 1
        self._l2_entries = self._size // (8 * self._l2_width)
        self._l1_needed: int = -(-header.size // (self._size * self._l2_entries))
        self._l1 = EntryTable(file, header.l1_table_offset, header.l1_size, 8, "big")
        self._words = EntryTable(file, 0, file.size // 8, 8, "big")
        self._unpacked = Unpacked(meter)

    def l1_is_short(self) -> bool:
        """Whether the first table is too short for the disk."""
        return self._l1.count < self._l1_needed

    def locate(self, offset: int) -> Run:
        """The run at this byte of the disk, within its cluster."""
        number, within = divmod(offset, self._size)
        length = self._size - within
        l1_index, l2_index = divmod(number, self._l2_entries)
        l2_table = self._l1[l1_index] & OFFSET
        if l2_table == 0:
            return self._unallocated(offset, length)
        if l2_table % self._size:
            raise ReadError(f"the image has a table at byte {l2_table}, which is no cluster's start")
        word = l2_table // 8 + l2_index * self._l2_width
        entry = self._words[word]
        if entry & COMPRESSED:
            cluster = self._unpacked.get(entry, lambda: self._unpack_cluster(entry), self._size)
            return Run(BytesSource(cluster), within, length)
        if self._extended:
            return self._subcluster(entry, self._words[word + 1], offset, within)
        if entry & self._zero:
            return Run(None, 0, length)
        if not self._is_allocated(entry):
            return self._unallocated(offset, length)
        return self._stored(entry, within, length)

    def _unallocated(self, offset: int, length: int) -> Run:
        return self._backing.run(offset, length) if self._backing else Run(None, 0, length)

    def _is_allocated(self, entry: int) -> bool:
        # Only in a file of its own can data begin at offset 0.
        return entry & OFFSET != 0 or (self._external and entry & COPIED != 0)

    def _stored(self, entry: int, within: int, length: int) -> Run:
        at = entry & OFFSET
        if at % self._size:
            raise ReadError(f"the image has a cluster at byte {at}, which is no cluster's start")
        if self._data is None:
            raise MissingBytes("these bytes stand in the data file, which is missing")
        return Run(self._data, at + within, length)

    def _subcluster(self, entry: int, bitmap: int, offset: int, within: int) -> Run:
        size = self._size // 32
        number, within_part = divmod(within, size)
        length = size - within_part
        allocated, zero = bitmap >> number & 1, bitmap >> 32 + number & 1
        if allocated and zero:
            raise ReadError(f"the bitmap of the cluster at byte {offset - within} contradicts itself")
        if zero:
            return Run(None, 0, length)
        if allocated:
            return self._stored(entry, within, length)
        return self._unallocated(offset, length)

    def _unpack_cluster(self, entry: int) -> bytes:
        if self._external:
            raise ReadError("an image whose data stand in another file has no compressed clusters")
        if self._unpack is None:
            raise ReadError("the cluster is compressed with zstd, for which no library is installed")
        bits = 62 - (self._bits - 8)
        at = entry & ((1 << bits) - 1)
        sectors = (entry >> bits & ((1 << self._bits - 8) - 1)) + 1
        return self._unpack(self._file.read_at(at, sectors * 512 - at % 512), self._size)


FORMAT = ContainerFormat(
    name="qcow2",
    title="QCOW2 image",
    specification="https://www.qemu.org/docs/master/interop/qcow2.html",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC + b"\0\0\0\2", 0), Signature(MAGIC + b"\0\0\0\3", 0)),
    types=("qcow2",),
)
