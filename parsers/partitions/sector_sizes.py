"""How large the sectors are in which a table counts that does not say: what begins at its partitions tells.

A table that only counts sectors reads otherwise on a disk with sectors of 4096 bytes, and what an image says
of them is not always true: a bridge between disk and computer shows other sectors than the disk has, and
imaging programs write down those of their own side. The bytes decide: an extended boot record, a boot sector
that names its own sector size, or another superblock stands at start times size for one size only.
"""

from collections.abc import Sequence

from pyimount.parsers.partitions import boot_sector
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import View

SIZES = (512, 1024, 2048, 4096)
"""Bytes; those that disks have."""

_NEAR = 4096
_OWN, _SOME, _OTHER = 3, 2, 1
"""What tells how much: a boot sector of this very size, what names none, a boot sector of another size."""

_MARKS: tuple[tuple[int, bytes], ...] = (
    (0, b"XFSB"),
    (0, b"LUKS\xba\xbe"),
    (0, b"hsqs"),
    (0, b"\xfc\x4e\x2b\xa9"),  # md 1.1
    (32, b"NXSB"),
    (512, b"LABELONE"),
    (512, b"\x57\x45\x56\x82"),  # a BSD label
    (1024, b"H+\x00\x04"),
    (1024, b"HX\x00\x05"),
    (1024, b"BD"),
    (1024, b"\x10\x20\xf5\xf2"),  # F2FS
    (1024, b"\xe2\xe1\xf5\xe0"),  # EROFS
    (4086, b"SWAPSPACE2"),
    (4086, b"SWAP-SPACE"),
)
"""What stands in the first 4 KiB of a volume; of FAT, NTFS, exFAT and ext more is looked at."""
_FAR: tuple[tuple[int, bytes], ...] = (
    (4096, b"\xfc\x4e\x2b\xa9"),  # md 1.2
    (4096 + 24, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")),  # bcache
    (9564, b"\x54\x19\x01\x00"),  # UFS1
    (0x8000, b"JFS1"),
    (0x8001, b"CD001"),
    (0x8001, b"BEA01"),
    (0x10034, b"ReIsEr"),
    (0x10040, b"_BHRfS_M"),
    (0x1055C, b"\x19\x01\x54\x19"),  # UFS2
)
"""What stands further in: looked at only where the first 4 KiB show nothing."""


class Start(Record):
    """Where a partition begins and ends, in sectors; ``extended``: an extended boot record stands there."""

    start: int
    end: int
    extended: bool = False


def counted_in(view: View, starts: Sequence[Start], usual: int = boot_sector.SIZE) -> int:
    """Bytes in the sectors in which ``starts`` count.

    What the caller says is not doubted; what the image says, and ``usual``, where nothing says anything, are
    left for another size only where more of the partitions begin with something.
    """
    told = view.sector_size
    if told is not None and told >= boot_sector.SIZE:
        if view.caller_knows:
            return told
        usual = told
    starts = sorted((one for one in starts if one.start), key=lambda one: one.start)
    if not starts or usual not in SIZES:
        return usual
    # Nothing but a left-over stands before all partitions, so a find at the smallest size settles it.
    if _worth(view, starts[0], SIZES[0], near=usual != SIZES[0]) >= _SOME:
        return SIZES[0]
    end = max(one.end for one in starts)
    best, best_worth = usual, (-1, False)
    usual_fits = end * usual <= view.size
    for size in (usual, *(size for size in SIZES if size != usual)):
        fits = end * size <= view.size
        worth = (sum(_worth(view, one, size, near=not fits) for one in starts), fits)
        if usual_fits and not fits and worth[0] < _OWN:
            continue  # what begins there may lie in a partition of a disk that is as long as it says
        if worth > best_worth:
            best, best_worth = size, worth
    return best


def told_otherwise(view: View, unit: int) -> tuple[Problem, ...]:
    """What to say where the image says that it has other sectors than those in which its table counts.

    Not where it says 512: so does every container of a disk whose bridge shows others.
    """
    if view.sector_size in (None, unit, boot_sector.SIZE):
        return ()
    message = (
        f"the image is said to have sectors of {view.sector_size} bytes; the table counts in {unit}, "
        "going by what stands where its partitions begin and end"
    )
    return (Problem(Code.NOT_AS_TOLD, message),)


def begins(view: View, at: int) -> bool:
    """Whether a volume of a well-known kind begins at this byte."""
    return _worth(view, Start(at, at), 1, near=False) > 0


def _worth(view: View, one: Start, size: int, *, near: bool) -> int:
    """How much speaks for sectors of this size; ``near``: at no more cost than one read."""
    at = one.start * size
    head = view.glance(at, _NEAR)
    if len(head) < boot_sector.SIZE:
        return 0
    if one.extended:
        return _SOME if is_boot_record(head) else 0
    own = _own_size(head)
    if own is not None:
        return _OWN if own == size else _OTHER
    if any(head.startswith(mark, place) for place, mark in _MARKS) or _is_ext(head) or _is_table(head):
        return _SOME
    if not near and any(view.glance(at + place, len(mark)) == mark for place, mark in _FAR):
        return _SOME
    return 0


def _is_table(head: bytes) -> bool:
    """Whether a partition begins with a table of its own: what lies in it is no partition of the disk's."""
    if any(head.startswith(b"EFI PART", size) for size in SIZES[:-1]):
        return True
    entries = [head[at : at + 16] for at in range(446, 510, 16)]
    used = [entry for entry in entries if entry[4] and any(entry[8:12]) and any(entry[12:16])]
    return is_boot_record(head) and bool(used) and all(entry[0] in (0, 0x80) for entry in entries)


def is_boot_record(sector: bytes) -> bool:
    """Whether this may be an extended boot record: it has the signature, and is no volume's boot sector."""
    return boot_sector.has_signature(sector) and not boot_sector.boots_a_volume(sector)


def _own_size(head: bytes) -> int | None:
    """The sector size that a boot sector of FAT, NTFS, exFAT or BitLocker names; None where it is none."""
    if not boot_sector.has_signature(head) or not boot_sector.boots_a_volume(head):
        return None
    if head[3:11] == b"EXFAT   ":
        return 1 << head[108] if 9 <= head[108] <= 12 else None
    named = int.from_bytes(head[11:13], "little")
    return named if named in SIZES else None


def _is_ext(head: bytes) -> bool:
    """The two bytes of its magic are few: the size of its blocks has to be one as well."""
    return head[0x438:0x43A] == b"\x53\xef" and int.from_bytes(head[0x418:0x41C], "little") <= 6
