"""What a parser declares: how its format is recognised, and what recognising it tells.

There are three kinds of declaration, one for each question that is asked of bytes: is this a
file that holds a disk (``ContainerFormat``), a disk that holds extents (``TableFormat``), or a
volume (``Format``)? A parser's module ends in one constant ``FORMAT`` of one of these kinds; the
registry finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, TypeAlias

from pyimount.problems import Problem
from pyimount.records import EMPTY, Details, Record

if TYPE_CHECKING:
    from pyimount.formats.allocation import Allocation
    from pyimount.formats.container import Container, Opened
    from pyimount.formats.image import Image
    from pyimount.sources.view import View


class NotThisFormat(Exception):  # noqa: N818  (an answer, not an error)
    """The bytes are not of the format whose parser raises this; the message says why."""


class Usage(StrEnum):
    """What a recognised volume is for: libblkid's USAGE."""

    FILESYSTEM = "filesystem"
    RAID = "raid"
    CRYPTO = "crypto"
    OTHER = "other"


class Precedence(IntEnum):
    """Which of several readings of the same bytes is chosen: the lowest.

    An array's or an encrypted volume's own header stands in front of the bytes that a file
    system would begin with, or behind those it ends with: what shows through is not the disk's.
    """

    RAID = 10
    """Member of an array whose superblock may lie at the end of the device."""
    ENCRYPTION = 20
    VOLUME_GROUP = 30
    """Member of a volume group, a pool or a cache."""
    FILESYSTEM = 50
    WEAK = 90
    """Formats without a dependable magic."""


class TableRule(StrEnum):
    """How a recognised volume gets on with a partition table in the same bytes."""

    HIDES = "hides"
    """The table is a boot sector's code or the array's own, not this layer's."""
    HIDES_WHEN_BEHIND = "hides-when-behind"
    """The superblock lies at the end, behind all that it describes: behind all partitions it is the disk's,
    and the table the array's, as is one that reaches beyond the end of the member; inside a partition it is
    that partition's."""
    SHARES = "shares"
    """Both are meant, as on ISO hybrids."""
    AMBIGUOUS = "ambiguous"
    """One of the two is a left-over, unless the superblock lies in a partition and so is that partition's.
    The table is followed, the volume is reported beside it."""


class Signature(Record):
    """Bytes that a format has at a fixed place.

    ``offset`` in bytes; a negative one counts from the end of the layer, whose size is first
    rounded down to a multiple of ``align``. ``copy`` marks the place of a backup superblock, or one
    that is rare and costs a read of its own: it is looked at only where nothing else was recognised. A
    ``lasting`` copy is looked at under a file system of another format, too: formatting anew often leaves it.
    """

    magic: bytes
    offset: int
    align: int = 1
    copy: bool = False
    lasting: bool = False


USER, JOURNAL = "file system", "journal"
"""The roles of a file system whose journal lies on another device, and of that."""


class Membership(Record, kw_only=True):
    """What a member says of the array or volume group that it belongs to.

    ``type``: ``md``, ``lvm2``, ``btrfs`` … ``uuid``: the group's, by which members find each
    other; ``name``, ``role`` of this member, and how many ``members`` there are in all, where
    known. ``identity``: what no other member of the group has, a device's UUID mostly: it tells clones.
    ``as_of``: what members that were written together have in common, what counts up first: sequence
    number, events, generation, then times, checksums, roots; empty where nothing is known. ``unmarked``:
    members that say nothing of themselves, by their role: the least and the most bytes that they have.
    ``tells``: which of the details, ``key`` or ``key.key``, list what is in the whole group: a report has
    each such list once.
    """

    type: str
    uuid: str
    name: str | None = None
    role: str | None = None
    members: int | None = None
    identity: str | None = None
    as_of: tuple[int, ...] = ()
    unmarked: Mapping[str, tuple[int, int]] = EMPTY
    tells: tuple[str, ...] = ()


class Extent(Record, kw_only=True):
    """A run of a layer that a table itself takes, or a part of an image: ``offset`` and ``size`` in bytes."""

    offset: int
    size: int
    name: str


class Identity(Record, kw_only=True):
    """What the bytes of a volume say they are. None: not known, or the format has no such thing.

    ``type``, ``label``, ``uuid``, ``uuid_sub``, ``version``, ``block_size`` (bytes) are
    libblkid's, in its spelling. ``fstype`` is imagemounter's word. Sizes are bytes, times ISO
    8601 in UTC (without zone where the format keeps local time). ``locked``: None when not
    encrypted. ``volumes`` are those that the volume names inside itself. ``offset``: where in
    the volume its superblock was found, bytes. ``free``: only what may be right without looking further (the
    counter of a superblock that was written last of all, say); ``used``: what is allocated, None: all that is
    not free.
    """

    type: str
    fstype: str | None = None
    label: str | None = None
    uuid: str | None = None
    uuid_sub: str | None = None
    version: str | None = None
    block_size: int | None = None
    fs_size: int | None = None
    free: int | None = None
    used: int | None = None
    created: str | None = None
    modified: str | None = None
    mounted: str | None = None
    last_mountpoint: str | None = None
    state: str | None = None
    locked: bool | None = None
    group: Membership | None = None
    offset: int = 0
    checked: bool = False
    """A checksum over the superblock was verified: such a reading wins over one without."""
    details: Details = EMPTY
    problems: tuple[Problem, ...] = ()
    volumes: tuple[Identity, ...] = ()
    contents: tuple[Extent, ...] = ()
    """Runs of the volume that hold something of their own, and are looked at like volumes."""
    allocation: Allocation | None = None
    """What tells more surely what is free, and costs more to read than parsing may."""
    free_from: str | None = None
    """What ``free`` was taken from; None: the superblock."""
    free_unknown: str | None = None
    """Why it is not known how much is free, where nothing is there to count it."""
    lends_to: str | None = None
    """The type of groups that may have this as a member too, by its ``uuid_sub``, whether or not it belongs
    to one of its own: a btrfs seed, over which others were made."""
    owns: Mapping[str, str] = EMPTY
    """Types of partitions, of a table in the same bytes, that are its own and hold no volume; and what
    they are then: a TYPE each."""
    is_empty: bool = False
    """It could hold volumes, and says that it holds none."""
    usage: Usage | None = None
    """Only where it differs from the format's; so ``with_table``."""
    with_table: TableRule | None = None


class Candidate(Record):
    """A reading that was not chosen: ``type``, ``offset`` of its superblock in bytes, and why not."""

    type: str
    offset: int
    why_not: str


class KernelMount(Record):
    """A driver of the Linux kernel that reads a file system, and how it is made to leave it alone.

    ``driver``: for ``mount -t``. ``options``: besides those that every mount gets; they keep the driver
    from replaying a journal. ``written``: in their place where a cache over the image may be written; None:
    it is mounted read-only there too. ``from_details``: options whose value the volume's ``details`` have,
    ``(option, key)``. ``every_member``: the driver wants all members of the group, as ``device=``;
    or by the option that ``named_by`` has for a member's role; ``incomplete``: what it wants besides, where
    some are missing; none: it does not mount then. ``maintained``: False for drivers that few
    look after; they are used only when named. ``refuses``: states of the volume in which this driver does
    not mount read-only. ``versions``: the volume's versions that it reads, up to the first dot; none: all.
    ``since``: the first kernel that has these options. ``reads``: what the volume's ``details`` have to say
    for it, ``(key, value)``. ``flash``: it mounts flash devices alone: where the details have the size of a
    block that is erased at once. ``owner``: those of the options ``uid``, ``gid``, ``umask`` that say whose
    the files are, where they are nobody's.
    """

    driver: str
    options: tuple[str, ...] = ()
    written: tuple[str, ...] | None = None
    from_details: tuple[tuple[str, str], ...] = ()
    every_member: bool = False
    named_by: tuple[tuple[str, str], ...] = ()
    incomplete: tuple[str, ...] = ()
    maintained: bool = True
    refuses: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    since: tuple[int, int] = (0, 0)
    reads: tuple[tuple[str, str], ...] = ()
    flash: str | None = None
    owner: tuple[str, ...] = ()


class ToolMount(Record):
    """A program that shows a file system through FUSE.

    ``tool``: its name. ``arguments``: ``{source}`` stands for the file or device with the volume's bytes,
    ``{at}`` for the mount point; they make it read-only. ``refuses``, ``versions`` and ``owner``: as in
    KernelMount. ``on_device``: it reads block devices alone. ``stands_in``: it is well kept, and is allowed
    where the kernel has none of the drivers.
    """

    tool: str
    arguments: tuple[str, ...]
    refuses: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    on_device: bool = False
    stands_in: bool = False


class FileReader(Record):
    """A library that reads the files of a format: ``adapter``, a module of ``pyimount.files.adapters``.

    ``library``: the module that has to be there; ``package``: what brings it, as pip has it. ``types``: those
    of the format that it reads, empty: all. ``versions``: as in KernelMount.
    """

    adapter: str
    library: str
    package: str
    types: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()


Mounting: TypeAlias = "KernelMount | ToolMount"
"""One way to mount a format."""


class Format(Record, kw_only=True):
    """A format of volumes.

    ``name``: one word, unique among all formats. ``title``: for people. ``specification``: URL or
    title. ``types``: every TYPE that ``parse`` may give. ``parse`` gets a View, and returns an
    Identity or raises NotThisFormat; it runs only when a signature hit, or, when there is none,
    after all formats that have one. ``tolerates``: names of formats that rightly stand in the
    same bytes; no ambiguity then. ``mounts``: the ways to mount it, the preferred first; ``unmountable``: why
    there is none, where a reader may expect one. ``files``: the libraries that read its files, the preferred
    first. ``opaque``: of what holds volumes, what to say where none of them is shown.
    """

    name: str
    title: str
    specification: str
    usage: Usage
    types: tuple[str, ...]
    parse: Callable[[View], Identity]
    signatures: tuple[Signature, ...] = ()
    precedence: Precedence = Precedence.FILESYSTEM
    tolerates: frozenset[str] = frozenset()
    with_table: TableRule = TableRule.AMBIGUOUS
    mounts: tuple[Mounting, ...] = ()
    files: tuple[FileReader, ...] = ()
    unmountable: str | None = None
    opaque: str | None = None


class Partition(Record, kw_only=True):
    """One entry of a partition table.

    ``number``: as the kernel and sfdisk number it, from 1. ``slot``: place of the entry in its table, from 0.
    ``offset`` and ``size`` in bytes, from the start of the layer that holds the table, as
    declared. ``meta``: holds only further tables (an extended partition) or the whole disk (BSD c).
    """

    number: int
    slot: int
    offset: int
    size: int
    meta: bool = False
    type: str | None = None
    """``0x83``, or a GUID in lower case, or the table's own word."""
    type_name: str | None = None
    name: str | None = None
    uuid: str | None = None
    flags: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


class Table(Record, kw_only=True):
    """What a partition table says.

    ``pttype`` and ``ptuuid`` are libblkid's. ``sector_size``: bytes, as the table counts.
    ``meta``: where the table's own structures lie. ``partitions`` in the order of their numbers.
    """

    pttype: str
    sector_size: int
    partitions: tuple[Partition, ...]
    ptuuid: str | None = None
    meta: tuple[Extent, ...] = ()
    details: Details = EMPTY
    problems: tuple[Problem, ...] = ()
    checked: bool = False
    left_over: str | None = None
    """Why it is whole and is not the table of these bytes any more."""


class TableFormat(Record, kw_only=True):
    """A format of partition tables; the fields are Format's.

    ``parse`` returns a Table or raises NotThisFormat. ``over``: names of table formats that this
    one overrules where both hold. ``belongs``: types of table that are a part of this one (GPT's
    protective MBR). ``vstypes``: the words under which a caller may ask for it.
    """

    name: str
    title: str
    specification: str
    parse: Callable[[View], Table]
    signatures: tuple[Signature, ...]
    types: tuple[str, ...]
    vstypes: tuple[str, ...] = ()
    over: frozenset[str] = frozenset()
    belongs: frozenset[str] = frozenset()


class ContainerFormat(Record, kw_only=True):
    """A format of containers; the fields are Format's.

    ``parse`` gets a View of the first file and returns a Container or raises NotThisFormat.
    ``open`` gets what ``parse`` said and the Image with all files that belong to it. ``wraps``: what is
    inside is a file like any other, and may be a container itself, which is then opened. ``segments``: it may
    be in several files, each of which begins with its signature. ``mapped``: what it holds is looked into.
    """

    name: str
    title: str
    specification: str
    parse: Callable[[View], Container]
    open: Callable[[Container, Image], Opened]
    signatures: tuple[Signature, ...]
    types: tuple[str, ...]
    wraps: bool = False
    segments: bool = False
    mapped: bool = True
