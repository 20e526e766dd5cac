"""QCOW, version 1: QEMU's first copy-on-write image.

Layout: "The QCOW Image Format", https://people.gnome.org/~markmc/qcow-image-format-version-1.html
"""

from typing import Any

from construct import Bytes, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.parsers.containers.clusters import (
    SURVEY,
    Unpacked,
    inflate_raw,
    integers,
    open_backing,
    truncated,
)
from pyimount.parsers.containers.runs import EntryTable, Parent, Run, RunSource
from pyimount.problems import Code, Problem
from pyimount.sources.budget import Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource, Source
from pyimount.sources.view import View

HEADER = layout(
    lambda: Struct(
        "magic" / Bytes(4),
        "version" / Int32ub,
        "backing_file_offset" / Int64ub,
        "backing_file_size" / Int32ub,
        "mtime" / Int32ub,
        "size" / Int64ub,
        "cluster_bits" / Int8ub,
        "l2_bits" / Int8ub,
        "padding" / Int16ub,
        "crypt_method" / Int32ub,
        "l1_table_offset" / Int64ub,
    )
)

MAGIC = b"QFI\xfb\0\0\0\1"
CRYPT_METHODS = {0: None, 1: "aes"}
COMPRESSED = 1 << 63
_NAME_CAP = 1023
_RAW_DEFLATE = -12
# As QEMU has it: no larger table is asked for, whatever the disk's size.
_L1_CAP = 1 << 32


def parse(view: View) -> Container:
    """What the header says."""
    header = _header(view)
    details: dict[str, Json] = {
        "version": header.version,
        "stored_size": view.size,
        "cluster_size": 1 << header.cluster_bits,
        "encryption": CRYPT_METHODS.get(header.crypt_method, f"method {header.crypt_method}"),
        "modified": unix_time(header.mtime),
        "backing_file": _backing_name(view, header),
    }
    return Container(type="qcow", size=header.size, details=details)


def _header(view: View) -> Any:
    header = read_struct(view, HEADER, 0)
    if not 9 <= header.cluster_bits <= 16 or not 6 <= header.l2_bits <= 13:
        raise NotThisFormat(f"clusters of 2**{header.cluster_bits} bytes, 2**{header.l2_bits} in a table")
    if header.size >> (header.cluster_bits + header.l2_bits) > _L1_CAP:
        raise NotThisFormat(f"a disk of {header.size} bytes")
    return header


def _backing_name(view: View, header: Any) -> str | None:
    if not header.backing_file_offset:
        return None
    return text(view.peek(header.backing_file_offset, min(header.backing_file_size, _NAME_CAP)))


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disk inside; an encrypted one is named only."""
    file = image.files[0]
    view = View(file)
    header = _header(view)
    problems = list(container.problems)
    if header.crypt_method:
        message = f"the clusters are encrypted ({container.details['encryption']}), and are not read"
        problems.append(Problem(Code.UNSUPPORTED, message))
        return Opened(container=container.replaced(problems=tuple(problems)), source=None)
    backing = None
    if header.backing_file_offset:
        backing = open_backing(image, _backing_name(view, header))
        problems.extend(backing.problems)
    clusters = _Clusters(file, header, backing, image.meter)
    if clusters.end_too_early():
        problems.append(truncated(file, "clusters"))
    source = RunSource(header.size, clusters.locate)
    return Opened(container=container.replaced(problems=tuple(problems)), source=source)


class _Clusters:
    """Where the disk's bytes stand: two levels of tables, clusters plain or deflated."""

    def __init__(self, file: Source, header: Any, backing: Parent | None, meter: Meter) -> None:
        self._file = file
        self._backing = backing
        self._bits = header.cluster_bits
        self._size = 1 << header.cluster_bits
        self._l2_entries = 1 << header.l2_bits
        count = -(-header.size // (self._size * self._l2_entries))
        self._l1 = EntryTable(file, header.l1_table_offset, count, 8, "big")
        self._words = EntryTable(file, 0, file.size // 8, 8, "big")
        self._unpacked = Unpacked(meter)

    def locate(self, offset: int) -> Run:
        """The run at this byte of the disk, within its cluster."""
        number, within = divmod(offset, self._size)
        length = self._size - within
        l1_index, l2_index = divmod(number, self._l2_entries)
        l2_table = self._l1[l1_index]
        if l2_table % 8:
            raise ReadError(f"the image has a table at byte {l2_table}, which is no multiple of 8")
        entry = self._words[l2_table // 8 + l2_index] if l2_table else 0
        if entry == 0:
            return self._backing.run(offset, length) if self._backing else Run(None, 0, length)
        if entry & COMPRESSED:
            cluster = self._unpacked.get(entry, lambda: self._unpack(entry), self._size)
            return Run(BytesSource(cluster), within, length)
        return Run(self._file, entry + within, length)

    def _packed(self, entry: int) -> tuple[int, int]:
        bits = 63 - self._bits
        return entry & ((1 << bits) - 1), entry >> bits & (self._size - 1)

    def _unpack(self, entry: int) -> bytes:
        return inflate_raw(self._file.read_at(*self._packed(entry)), self._size)

    def end_too_early(self) -> bool:
        """Whether the file ends before something that the first tables point to."""
        l1 = self._l1.head(SURVEY)
        if len(l1) < min(SURVEY, self._l1.count * 8):
            return True
        last = max(integers(l1, 8, "big"), default=0)
        if last == 0:
            return False
        table = self._file.read_at(last, 8 * self._l2_entries)
        return len(table) < 8 * self._l2_entries or any(
            self._end(entry) > self._file.size for entry in integers(table, 8, "big") if entry
        )

    def _end(self, entry: int) -> int:
        if entry & COMPRESSED:
            return sum(self._packed(entry))
        return int(entry + self._size)


FORMAT = ContainerFormat(
    name="qcow",
    title="QCOW image, version 1",
    specification="https://people.gnome.org/~markmc/qcow-image-format-version-1.html",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC, 0),),
    types=("qcow",),
)
