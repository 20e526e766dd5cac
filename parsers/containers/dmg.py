"""DMG, Apple's UDIF disk image: its trailer (koly), what it is checked by, and encrypted wrappings of one.

Layout: no publication of Apple's; "Demystifying the DMG File Format",
https://newosxbook.com/DMG.html.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from construct import Bytes, Int32ub, Int64ub, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, uuid_text
from pyimount.formats.stored import CheckedBytes, Stored, StoredHash
from pyimount.parsers.containers.cdsa import MAGIC_V1, MAGIC_V2, encryption_of
from pyimount.parsers.containers.dmg_chunks import CHECKSUM, SECTOR, SECTORS_CAP, Chunks, Data, checksum_of
from pyimount.parsers.containers.dmg_resources import read_property_list, read_resource_fork
from pyimount.parsers.containers.runs import Run, RunSource
from pyimount.problems import Code, Problem
from pyimount.sources.source import SliceSource, Source
from pyimount.sources.view import View

KOLY = layout(
    lambda: Struct(
        "Signature" / Bytes(4),
        "Version" / Int32ub,
        "HeaderSize" / Int32ub,
        "Flags" / Int32ub,
        "RunningDataForkOffset" / Int64ub,
        "DataForkOffset" / Int64ub,
        "DataForkLength" / Int64ub,
        "RsrcForkOffset" / Int64ub,
        "RsrcForkLength" / Int64ub,
        "SegmentNumber" / Int32ub,
        "SegmentCount" / Int32ub,
        "SegmentID" / Bytes(16),
        "DataChecksum" / CHECKSUM.construct,
        "XMLOffset" / Int64ub,
        "XMLLength" / Int64ub,
        "Reserved1" / Bytes(120),
        "MasterChecksum" / CHECKSUM.construct,
        "ImageVariant" / Int32ub,
        "SectorCount" / Int64ub,
        "Reserved2" / Bytes(12),
    )
)
SIGNATURE = b"koly"
FLAGS = {0x1: "flattened", 0x4: "internet_enabled"}


def parse(view: View) -> Container:
    """What the trailer says, or the header of an encrypted image."""
    encryption = encryption_of(view)
    if encryption is not None:
        details: dict[str, Json] = {"stored_size": view.size, "locked": True, "encryption": encryption}
        return Container(type="dmg", details=details)
    koly = _read_koly(view)
    details = {
        "version": koly.Version,
        "stored_size": view.size,
        "flags": [*flag_names(koly.Flags, FLAGS, "flag")],
        "image_variant": koly.ImageVariant,
        "segments": koly.SegmentCount,
        "segment": koly.SegmentNumber,
        "uuid": uuid_text(koly.SegmentID),
        "encryption": None,
        "data_checksum": checksum_of(koly.DataChecksum),
        "master_checksum": checksum_of(koly.MasterChecksum),
    }
    return Container(type="dmg", size=koly.SectorCount * SECTOR, sector_size=SECTOR, details=details)


def _read_koly(view: View) -> Any:
    koly = read_struct(view, KOLY, view.size - KOLY.size)
    if koly.HeaderSize != KOLY.size or koly.SectorCount > SECTORS_CAP:
        raise NotThisFormat(f"a trailer of {koly.HeaderSize} bytes, {koly.SectorCount} sectors")
    return koly


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disk inside; an encrypted one is named only."""
    details = dict(container.details)
    problems = list(container.problems)
    if details["encryption"]:
        problems.append(Problem(Code.LOCKED, "the image is encrypted, and is not read"))
        return Opened(container=container.replaced(problems=tuple(problems)), source=None)
    file = image.files[0]
    koly = _read_koly(View(file))
    if koly.SegmentCount > 1:
        message = f"this is segment {koly.SegmentNumber} of {koly.SegmentCount}; the others are not read"
        problems.append(Problem(Code.UNSUPPORTED, message))
    chunks = Chunks(koly.DataForkOffset)
    if koly.XMLLength:
        read_property_list(file, koly.XMLOffset, koly.XMLLength, chunks)
    elif koly.RsrcForkLength:
        read_resource_fork(file, koly.RsrcForkOffset, koly.RsrcForkLength, chunks)
    else:
        return _open_plain(container, koly, file)
    chunks.finish()
    size = container.size or chunks.end * SECTOR
    details |= chunks.details()
    problems.extend(chunks.problems(file.size, size, koly.MasterChecksum))
    data = Data(file, chunks, image.meter)
    container = container.replaced(size=size, details=details, problems=tuple(problems))
    stored = _stored(file, koly, chunks.checksums, chunks.unused())
    return Opened(container=container, source=RunSource(size, data.locate), stored=stored)


def _stored(
    file: Source,
    koly: Any,
    parts: Sequence[tuple[int, int, str, str]] = (),
    unused: Sequence[tuple[int, int]] = (),
) -> Stored:
    """The checksums of the parts of the disk that the tables are of, and of the data fork.

    hdiutil sums up the chunks that a table has, but for those of unused space; others sum up these, too.
    """

    def runs() -> Iterator[StoredHash]:
        end = 0
        for sector, count, kind, value in sorted(parts):
            if sector >= end:  # two tables over the same sectors are told elsewhere
                end = sector + count
                yield StoredHash(
                    algorithm=kind,
                    value=value,
                    what=f"the part from sector {sector} on",
                    offset=sector * SECTOR,
                    size=count * SECTOR,
                    left_out=tuple(
                        each for each in unused if sector * SECTOR <= each[0] < (sector + count) * SECTOR
                    ),
                )

    checked = [CheckedBytes(runs=runs)] if parts else []
    fork = checksum_of(koly.DataChecksum)
    if isinstance(fork, dict) and koly.DataForkOffset + koly.DataForkLength <= file.size:
        kept = StoredHash(algorithm=str(fork["type"]), value=str(fork["value"]))
        source = SliceSource(file, koly.DataForkOffset, koly.DataForkLength)
        checked.append(CheckedBytes(name="the data fork", source=source, hashes=(kept,)))
    return Stored(checked=tuple(checked), structural="the tables, by the master checksum")


def _open_plain(container: Container, koly: Any, file: Source) -> Opened:
    """Without any table the data fork is the disk."""
    size = container.size or 0
    if koly.DataForkLength < size:
        raise NotThisFormat("an image without tables of blocks")
    source = RunSource(size, lambda offset: Run(file, koly.DataForkOffset + offset, size - offset))
    return Opened(container=container, source=source, stored=_stored(file, koly))


FORMAT = ContainerFormat(
    name="dmg",
    title="Apple disk image (UDIF)",
    specification="https://newosxbook.com/DMG.html",
    parse=parse,
    open=open,
    signatures=(Signature(SIGNATURE, -512), Signature(MAGIC_V2, 0), Signature(MAGIC_V1, -8)),
    types=("dmg",),
)
