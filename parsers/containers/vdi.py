"""VirtualBox Virtual Disk Image (VDI): dynamic, fixed, undo and differencing.

Layout: VirtualBox sources, src/VBox/Storage/VDICore.h (VDIPREHEADER, VDIHEADER1PLUS)
https://www.virtualbox.org/browser/vbox/trunk/src/VBox/Storage/VDICore.h
"""

import os
from collections.abc import Iterator
from typing import Any

from construct import Bytes, Int32ul, Int64ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import guid_text, text
from pyimount.formats.stored import Stored
from pyimount.parsers.containers.block_places import misplaced
from pyimount.parsers.containers.runs import EntryTable, Parent, Run, RunSource, open_parent
from pyimount.problems import Code, Problem
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.view import View

PREHEADER = layout(lambda: Struct("szFileInfo" / Bytes(64), "u32Signature" / Int32ul, "u32Version" / Int32ul))
HEADER = layout(
    lambda: Struct(
        "cbHeader" / Int32ul,
        "u32Type" / Int32ul,
        "fFlags" / Int32ul,
        "szComment" / Bytes(256),
        "offBlocks" / Int32ul,
        "offData" / Int32ul,
        "cCylinders" / Int32ul,
        "cHeads" / Int32ul,
        "cSectors" / Int32ul,
        "cbSector" / Int32ul,
        "u32Dummy" / Int32ul,
        "cbDisk" / Int64ul,
        "cbBlock" / Int32ul,
        "cbBlockExtra" / Int32ul,
        "cBlocks" / Int32ul,
        "cBlocksAllocated" / Int32ul,
        "uuidCreate" / Bytes(16),
        "uuidModify" / Bytes(16),
        "uuidLinkage" / Bytes(16),
        "uuidParentModify" / Bytes(16),
    )
)

SIGNATURE = b"\x7f\x10\xda\xbe"
VARIANTS = {1: "dynamic", 2: "fixed", 3: "undo", 4: "differencing"}
FREE, ZERO = 0xFFFFFFFF, 0xFFFFFFFE
SECTOR = 512
_SIZE_CAP = 1 << 56
_BLOCK_CAP = 1 << 30


def parse(view: View) -> Container:
    """What the header says."""
    version, header = _header(view)
    details: dict[str, Json] = {
        "variant": VARIANTS[header.u32Type],
        "version": f"{version >> 16}.{version & 0xFFFF}",
        "stored_size": view.size,
        "block_size": header.cbBlock,
        "blocks": header.cBlocks,
        "blocks_allocated": header.cBlocksAllocated,
        "uuid": guid_text(header.uuidCreate),
        "modified_uuid": guid_text(header.uuidModify),
        "comment": text(header.szComment),
        "geometry": {
            "cylinders": header.cCylinders,
            "heads": header.cHeads,
            "sectors_per_track": header.cSectors,
        },
    }
    parent = guid_text(header.uuidLinkage)
    if parent:
        details["parent"] = {"uuid": parent, "modified_uuid": guid_text(header.uuidParentModify)}
    return Container(type="vdi", size=header.cbDisk, sector_size=SECTOR, details=details)


def _header(view: View) -> tuple[int, Any]:
    before = read_struct(view, PREHEADER, 0)
    if before.u32Version >> 16 != 1:
        raise NotThisFormat(f"version {before.u32Version:#x}")
    header = read_struct(view, HEADER, PREHEADER.size)
    size = header.cbBlock
    if header.u32Type not in VARIANTS or not 0 < header.cbDisk <= _SIZE_CAP:
        raise NotThisFormat(f"type {header.u32Type}, {header.cbDisk} bytes")
    if size < SECTOR or size > _BLOCK_CAP or size & (size - 1) or header.cbBlockExtra > size:
        raise NotThisFormat(f"blocks of {size} bytes")
    return before.u32Version, header


def open_image(container: Container, image: Image) -> Opened:
    """Give the disk: blocks, found by the block map."""
    file = image.files[0]
    _, header = _header(View(file))
    size, block_size, problems = header.cbDisk, header.cbBlock, list(container.problems)
    parent = Parent()
    has_parent = any(header.uuidLinkage)
    if has_parent:
        wanted = guid_text(header.uuidLinkage)
        names = _parent_names(image, header.uuidLinkage)
        what = f"the parent disk {wanted}"
        parent = open_parent(image, names, lambda found: _refuse(found, header), what, sought=True)
        problems += parent.problems
    table = EntryTable(file, header.offBlocks, header.cBlocks, 4)
    if header.cBlocks * block_size < size:
        message = f"the map has {header.cBlocks} blocks of {block_size} bytes, too few for {size}"
        problems.append(Problem(Code.DAMAGED, message))
    stride = block_size + header.cbBlockExtra
    # The last block of a disk that is no multiple of it may be cut.
    end = header.offData + header.cBlocksAllocated * stride - (-size % block_size)
    if end > file.size:
        problems.append(Problem(Code.TRUNCATED, f"the file ends at byte {file.size}, its blocks at {end}"))

    def locate(offset: int) -> Run:
        number, within = divmod(offset, block_size)
        left = min(block_size - within, size - offset)
        entry = table[number]
        if entry == FREE:
            return parent.run(offset, left) if has_parent else Run(None, 0, left)
        if entry == ZERO:
            return Run(None, 0, left)
        return Run(file, header.offData + entry * stride + header.cbBlockExtra + within, left)

    def structures() -> Iterator[Problem]:
        there = ((number, table[number]) for number in range(table.count))
        blocks = [(number, entry) for number, entry in there if entry not in (FREE, ZERO)]
        if len(blocks) != header.cBlocksAllocated:
            message = (
                f"the map has {len(blocks)} blocks in the file, and the header {header.cBlocksAllocated}"
            )
            yield Problem(Code.DAMAGED, message)
        places = ((number, header.offData + entry * stride) for number, entry in blocks)
        yield from misplaced(places, stride, file.size)

    return Opened(
        container=container.replaced(problems=tuple(problems)),
        source=RunSource(size, locate),
        stored=Stored(structures=structures, structural="none; the map of blocks was looked at"),
    )


def _parent_names(image: Image, linkage: bytes) -> list[str]:
    """The images beside this one that have the parent's UUID: VDI names no file."""
    names = (f"{{{guid_text(linkage)}}}.vdi", *image.broker.names_beside(image.paths[0], ".vdi"))
    found = []
    for name in dict.fromkeys(names):
        try:
            file = image.broker.open_named(name, image.paths[0], image.meter)
        except OpenError:
            continue
        try:
            raw = file.read_at(0, PREHEADER.size + HEADER.size)
            if (
                raw[64:68] == SIGNATURE
                and parse_struct(raw, HEADER, PREHEADER.size).uuidCreate == linkage
                and file.path != os.path.realpath(image.paths[0])
            ):
                found.append(name)
        except (NotThisFormat, ReadError):
            continue
        finally:
            file.close()
    return found


def _refuse(found: Container, header: Any) -> str | None:
    """Why a disk is not the parent: the child has its UUID, and that of its last modification."""
    if found.type != "vdi" or found.details.get("uuid") != guid_text(header.uuidLinkage):
        return "the file with the parent's UUID has changed"
    was, now = guid_text(header.uuidParentModify), found.details.get("modified_uuid")
    if was and now and was != now:
        # What this image has from it is then undefined, as a snapshot of another disk's would be.
        return f"the parent was changed since: its modification is {now}, and was {was}"
    return None


FORMAT = ContainerFormat(
    name="vdi",
    title="VirtualBox Virtual Disk Image (VDI)",
    specification="https://www.virtualbox.org/browser/vbox/trunk/src/VBox/Storage/VDICore.h",
    parse=parse,
    open=open_image,
    signatures=(Signature(SIGNATURE, 0x40),),
    types=("vdi",),
)
