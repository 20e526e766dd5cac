"""QED: QEMU's enhanced disk, which came between QCOW2 and its version 3.

Layout: QEMU, docs/interop/qed_spec.rst, https://www.qemu.org/docs/master/interop/qed_spec.html
"""

from typing import Any

from construct import Bytes, Int32ul, Int64ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text
from pyimount.parsers.containers.clusters import SURVEY, integers, open_backing, truncated
from pyimount.parsers.containers.runs import EntryTable, Parent, Run, RunSource
from pyimount.problems import Code, Problem
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import View

HEADER = layout(
    lambda: Struct(
        "magic" / Bytes(4),
        "cluster_size" / Int32ul,
        "table_size" / Int32ul,
        "header_size" / Int32ul,
        "features" / Int64ul,
        "compat_features" / Int64ul,
        "autoclear_features" / Int64ul,
        "l1_table_offset" / Int64ul,
        "image_size" / Int64ul,
        "backing_filename_offset" / Int32ul,
        "backing_filename_size" / Int32ul,
    )
)

MAGIC = b"QED\0"
BACKING_FILE, NEED_CHECK, BACKING_FORMAT_NO_PROBE = 1, 2, 4
KNOWN = BACKING_FILE | NEED_CHECK | BACKING_FORMAT_NO_PROBE
ZEROS = 1
"""In place of a cluster's offset: it is all zeros, whatever the backing file has."""
_CLUSTER_SIZES = range(4 << 10, (64 << 20) + 1)
_TABLE_SIZES = (1, 2, 4, 8, 16)
_NAME_CAP = 1023


def parse(view: View) -> Container:
    """What the header says."""
    header = _header(view)
    details: dict[str, Json] = {
        "stored_size": view.size,
        "cluster_size": header.cluster_size,
        "backing_file": _backing_name(view, header),
        "needs_check": bool(header.features & NEED_CHECK),
    }
    return Container(type="qed", size=header.image_size, details=details)


def _header(view: View) -> Any:
    header = read_struct(view, HEADER, 0)
    size, table = header.cluster_size, header.table_size
    if size not in _CLUSTER_SIZES or size & size - 1 or table not in _TABLE_SIZES:
        raise NotThisFormat(f"clusters of {size} bytes, tables of {table} clusters")
    entries = size * table // 8
    if header.image_size % 512 or header.image_size > entries * entries * size:
        raise NotThisFormat(f"a disk of {header.image_size} bytes")
    return header


def _backing_name(view: View, header: Any) -> str | None:
    if not header.features & BACKING_FILE:
        return None
    return text(view.peek(header.backing_filename_offset, min(header.backing_filename_size, _NAME_CAP)))


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disk inside."""
    file = image.files[0]
    view = View(file)
    header = _header(view)
    problems = list(container.problems)
    if unknown := header.features & ~KNOWN:
        problems.append(Problem(Code.UNSUPPORTED, f"the image needs what is not known here: {unknown:#x}"))
        return Opened(container=container.replaced(problems=tuple(problems)), source=None)
    backing = None
    if header.features & BACKING_FILE:
        raw = bool(header.features & BACKING_FORMAT_NO_PROBE)
        backing = open_backing(image, _backing_name(view, header), raw=raw)
        problems.extend(backing.problems)
    clusters = _Clusters(file, header, backing)
    if clusters.end_too_early():
        problems.append(truncated(file, "clusters"))
    source = RunSource(header.image_size, clusters.locate)
    return Opened(container=container.replaced(problems=tuple(problems)), source=source)


class _Clusters:
    """Where the disk's bytes stand: two levels of tables."""

    def __init__(self, file: Source, header: Any, backing: Parent | None) -> None:
        self._file = file
        self._backing = backing
        self._size = header.cluster_size
        self._entries = header.cluster_size * header.table_size // 8
        self._l1 = EntryTable(file, header.l1_table_offset, self._entries, 8)
        self._words = EntryTable(file, 0, file.size // 8, 8)

    def locate(self, offset: int) -> Run:
        """The run at this byte of the disk, within its cluster."""
        number, within = divmod(offset, self._size)
        length = self._size - within
        l1_index, l2_index = divmod(number, self._entries)
        table = self._l1[l1_index]
        if table % self._size:
            raise ReadError(f"the image has a table at byte {table}, which is no multiple of {self._size}")
        entry = self._words[table // 8 + l2_index] if table else 0
        if entry == 0:
            return self._backing.run(offset, length) if self._backing else Run(None, 0, length)
        if entry == ZEROS:
            return Run(None, 0, length)
        if entry % self._size:
            raise ReadError(f"the image has a cluster at byte {entry}, which is no multiple of {self._size}")
        return Run(self._file, entry + within, length)

    def end_too_early(self) -> bool:
        """Whether the file ends before something that the first tables point to."""
        l1 = self._l1.head(SURVEY)
        if len(l1) < min(SURVEY, self._l1.count * 8):
            return True
        last = max(integers(l1, 8, "little"), default=0)
        if last == 0:
            return False
        table = self._file.read_at(last, min(SURVEY, 8 * self._entries))
        return len(table) < min(SURVEY, 8 * self._entries) or any(
            entry + self._size > self._file.size for entry in integers(table, 8, "little") if entry > ZEROS
        )


FORMAT = ContainerFormat(
    name="qed",
    title="QED image",
    specification="https://www.qemu.org/docs/master/interop/qed_spec.html",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC, 0),),
    types=("qed",),
)
