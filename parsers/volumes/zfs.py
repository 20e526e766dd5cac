"""Members of ZFS pools.

Layout: "ZFS On-Disk Specification" (Sun Microsystems, 2006), chapter 1; OpenZFS,
include/sys/vdev_impl.h and uberblock_impl.h.
https://openzfs.github.io/openzfs-docs/
"""

from collections.abc import Iterator
from struct import unpack_from
from typing import Any, Literal, TypeAlias

from construct import Bytes, Int64ub, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, Membership, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import unix_time
from pyimount.parsers.volumes.zfs_nvlist import NvList, Value, parse_nvlist
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import ShortRead, View

ByteOrder: TypeAlias = Literal["little", "big"]


def _uberblock(word: Any) -> Struct:
    """The start of uberblock_t, which is kept in the byte order of the machine that wrote it."""
    return Struct(
        "ub_magic" / word,
        "ub_version" / word,
        "ub_txg" / word,
        "ub_guid_sum" / word,
        "ub_timestamp" / word,
        "ub_rootbp" / Bytes(128),
        "ub_software_version" / word,
    )


UBERBLOCK = {"little": layout(lambda: _uberblock(Int64ul)), "big": layout(lambda: _uberblock(Int64ub))}
UBERBLOCK_MAGIC = 0x00BAB10C
ECK_MAGIC = 0x0210DA7AB10C7A11
ECK_SIZE = 40

LABEL_SIZE = 256 << 10
PHYS_AT, PHYS_SIZE = 16 << 10, 112 << 10
RING_AT, RING_SIZE = 128 << 10, 128 << 10
# What a device has besides its data: two labels and room to boot from in front, two labels behind.
FRONT, BEHIND = 4 << 20, 512 << 10

# The head of the name-value list: XDR, the writer's byte order, version 0, unique names.
NVLIST_BIG = bytes.fromhex("010000000000000000000001")
NVLIST_LITTLE = bytes.fromhex("010100000000000000000001")

POOL_STATES = ("active", "exported", "destroyed", "spare", "l2cache", "uninitialized", "unavailable")


class Label(Record, kw_only=True):
    """One of the four labels, ``offset`` bytes from the start."""

    number: int
    offset: int
    order: ByteOrder
    pairs: NvList
    checked: bool


class Uberblock(Record, kw_only=True):
    """The newest uberblock of a label's ring; ``count`` of how many."""

    offset: int
    head: Any
    checked: bool
    count: int


def parse(view: View) -> Identity:
    """The identity of a pool's member, from the first of its four labels that is sound."""
    problems: list[Problem] = []
    label = _label(view)
    if label.number:
        message = (
            f"the first label of ZFS is unusable; the facts come from label {label.number} at {label.offset}"
        )
        problems.append(Problem(Code.BACKUP_USED, message))
    if not label.checked:
        message = f"the checksum of the ZFS label at {label.offset} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    pairs = label.pairs
    tree = _list(pairs, "vdev_tree")
    ashift = _number(tree, "ashift")
    block_size = 1 << ashift if ashift is not None and 9 <= ashift <= 16 else None
    newest = _newest(view, label, block_size or 1024)
    if newest is None:
        problems.append(Problem(Code.DAMAGED, f"the ZFS label at {label.offset} has no uberblock"))
    pool, name = _number(pairs, "pool_guid"), _string(pairs, "name")
    guid = _number(pairs, "guid")
    state = _number(pairs, "state")
    version = newest.head.ub_version if newest else _number(pairs, "version")
    if (least := _least_size(tree)) is not None and least > view.size:
        problems.append(
            Problem(Code.TRUNCATED, f"the member has {least} bytes at least; here are {view.size}")
        )
    details: dict[str, Json] = {
        "pool_version": _number(pairs, "version"),
        "txg": _number(pairs, "txg"),
        "pool_state": _state(state),
        "hostid": _number(pairs, "hostid"),
        "hostname": _string(pairs, "hostname"),
        "comment": _string(pairs, "comment"),
        "top_guid": _text(_number(pairs, "top_guid")),
        "vdev_children": _number(pairs, "vdev_children"),
        "ashift": ashift,
        "byte_order": label.order,
        "label": label.number,
        "features": [*_list(pairs, "features_for_read")],
        "vdev_tree": _vdev(tree) if tree else None,
        "uberblock": None,
    }
    if newest is not None:
        details["uberblock"] = {
            "offset": newest.offset,
            "count": newest.count,
            "version": newest.head.ub_version,
            "txg": newest.head.ub_txg,
            "timestamp": unix_time(newest.head.ub_timestamp),
            "checksum_ok": newest.checked,
        }
    group = None
    if pool is not None:
        leaves = list(_leaves(tree))
        group = Membership(
            type="zfs",
            uuid=str(pool),
            name=name,
            role=next((role for role, leaf in leaves if leaf == guid), None),
            members=len(leaves) if leaves and _number(pairs, "vdev_children") == 1 else None,
            identity=_text(guid),
            as_of=(newest.head.ub_txg, newest.head.ub_timestamp) if newest is not None else (),
        )
    return Identity(
        type="zfs_member",
        fstype="zfs",
        free_unknown="it is that of its pool, whose object sets are not read",
        label=name,
        uuid=_text(pool),
        uuid_sub=_text(guid),
        version=_text(version),
        block_size=block_size,
        modified=unix_time(newest.head.ub_timestamp) if newest else None,
        state=_state(state),
        group=group,
        offset=label.offset,
        checked=label.checked,
        details=details,
        problems=tuple(problems),
    )


def _label(view: View) -> Label:
    """The first label whose checksum holds, else the first that can be read."""
    readable: Label | None = None
    end = view.size // LABEL_SIZE * LABEL_SIZE
    for number, offset in enumerate((0, LABEL_SIZE, end - 2 * LABEL_SIZE, end - LABEL_SIZE)):
        if view.glance(offset + PHYS_AT, len(NVLIST_BIG)) not in (NVLIST_BIG, NVLIST_LITTLE):
            continue
        try:
            label = _label_at(view, number, offset)
        except (NotThisFormat, ShortRead):
            continue
        if label.checked:
            return label
        readable = readable or label
    if readable is None:
        raise NotThisFormat("none of the four labels can be read")
    return readable


def _label_at(view: View, number: int, offset: int) -> Label:
    phys = view.read(offset + PHYS_AT, PHYS_SIZE)
    pairs = parse_nvlist(phys[:-ECK_SIZE])
    # Spares and cache devices belong to no pool, and have little more than these.
    if not {"version", "state", "guid"} <= pairs.keys():
        raise NotThisFormat("a label without version, state and GUID")
    return Label(
        number=number,
        offset=offset,
        order="little" if phys[1] else "big",
        pairs=pairs,
        checked=checksum_holds(phys, offset + PHYS_AT),
    )


def checksum_holds(block: bytes, offset: int) -> bool:
    """Whether the checksum at the end of a label's block, which lies at ``offset``, is right.

    SHA-256 over the block, in which the place of the checksum itself holds the block's offset.
    """
    from hashlib import sha256

    magic = block[-ECK_SIZE : 8 - ECK_SIZE]
    order: ByteOrder = "little" if magic == ECK_MAGIC.to_bytes(8, "little") else "big"
    if magic != ECK_MAGIC.to_bytes(8, order):
        return False
    sign = "<" if order == "little" else ">"
    seed = offset.to_bytes(8, order) + bytes(24)
    digest = sha256(block[:-32] + seed, usedforsecurity=False).digest()
    return unpack_from(">4Q", digest) == unpack_from(f"{sign}4Q", block, len(block) - 32)


def _newest(view: View, label: Label, block_size: int) -> Uberblock | None:
    """The uberblock of the last transaction group in the label's ring."""
    try:
        ring = view.read(label.offset + RING_AT, RING_SIZE)
    except ShortRead:
        return None
    slot = min(max(block_size, 1024), 8192)
    declared = UBERBLOCK[label.order]
    magic = UBERBLOCK_MAGIC.to_bytes(8, label.order)
    found = [
        (parse_struct(ring, declared, at), at)
        for at in range(0, RING_SIZE, slot)
        if ring[at : at + 8] == magic
    ]
    if not found:
        return None
    best, at = max(found, key=lambda one: (one[0].ub_txg, one[0].ub_timestamp))
    offset = label.offset + RING_AT + at
    return Uberblock(
        offset=offset,
        head=best,
        checked=checksum_holds(ring[at : at + slot], offset),
        count=len(found),
    )


def _least_size(tree: NvList) -> int | None:
    """The least bytes that this member has, going by the size of the vdev it is part of."""
    asize, children = _number(tree, "asize"), _children(tree)
    share = {"disk": 1, "file": 1, "mirror": 1, "raidz": len(children)}.get(_string(tree, "type") or "", 0)
    return FRONT + asize // share + BEHIND if asize is not None and share else None


def _vdev(tree: NvList) -> Json:
    children = _children(tree)
    said: dict[str, Json] = {
        "type": _string(tree, "type"),
        "id": _number(tree, "id"),
        "guid": _text(_number(tree, "guid")),
    }
    for key in ("path", "devid", "phys_path"):
        if (word := _string(tree, key)) is not None:
            said[key] = word
    for key in ("asize", "nparity", "is_log", "whole_disk", "create_txg"):
        if (number := _number(tree, key)) is not None:
            said[key] = number
    for key in ("offline", "faulted", "degraded", "removed", "not_present"):
        if tree.get(key):
            said[key] = True
    if children:
        said["children"] = [_vdev(child) for child in children]
    return said


def _leaves(tree: NvList, above: str = "") -> Iterator[tuple[str, int | None]]:
    """The devices of a vdev, each as its role and its GUID; no deeper than the list could be."""
    name = f"{_string(tree, 'type') or 'vdev'}-{_number(tree, 'id') or 0}"
    role = f"{above}/{name}" if above else name
    children = _children(tree)
    if not children and tree:
        yield role, _number(tree, "guid")
    for child in children:
        yield from _leaves(child, role)


def _children(tree: NvList) -> list[NvList]:
    children = tree.get("children")
    return [child for child in children if isinstance(child, dict)] if isinstance(children, list) else []


def _list(pairs: NvList, key: str) -> NvList:
    value: Value | None = pairs.get(key)
    return value if isinstance(value, dict) else {}


def _number(pairs: NvList, key: str) -> int | None:
    value = pairs.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _string(pairs: NvList, key: str) -> str | None:
    value = pairs.get(key)
    return value if isinstance(value, str) else None


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _state(number: int | None) -> str | None:
    if number is None:
        return None
    return POOL_STATES[number] if 0 <= number < len(POOL_STATES) else str(number)


FORMAT = Format(
    name="zfs",
    title="ZFS pool member",
    specification="https://openzfs.github.io/openzfs-docs/",
    usage=Usage.FILESYSTEM,  # libblkid's word for it
    types=("zfs_member",),
    parse=parse,
    signatures=tuple(
        Signature(
            magic,
            offset + PHYS_AT,
            align=1 if offset >= 0 else LABEL_SIZE,
            copy=offset != 0,
            lasting=offset in (LABEL_SIZE, -LABEL_SIZE),
        )
        for magic in (NVLIST_BIG, NVLIST_LITTLE)
        for offset in (0, LABEL_SIZE, -2 * LABEL_SIZE, -LABEL_SIZE)
    ),
    precedence=Precedence.VOLUME_GROUP,
    unmountable="importing a pool is ZFS' own business: zpool import -o readonly=on, on the loop devices",
)
