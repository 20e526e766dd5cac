"""Ceph BlueStore: devices of object storage daemons.

Layout: Ceph, src/os/bluestore/bluestore_types.cc, ``bluestore_bdev_label_t::encode``
https://github.com/ceph/ceph/blob/main/src/os/bluestore/bluestore_types.cc
"""

from typing import Any

from construct import Bytes, Int8ul, Int32ul, Int64ul, Struct

from pyimount.formats import (
    Format,
    Identity,
    Json,
    NotThisFormat,
    Precedence,
    Signature,
    Usage,
)
from pyimount.formats.checksums import crc32c
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import unix_time, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"bluestore block device"
LABEL_SIZE = 4096
LABEL = layout(
    lambda: Struct(
        "magic" / Bytes(len(MAGIC)),
        "newline" / Bytes(1),
        "osd_uuid_text" / Bytes(36),
        "newline_2" / Bytes(1),
        "struct_v" / Int8ul,
        "struct_compat" / Int8ul,
        "struct_len" / Int32ul,
        "osd_uuid" / Bytes(16),
        "size" / Int64ul,
        "btime_sec" / Int32ul,
        "btime_nsec" / Int32ul,
    )
)
STRUCT_AT = 66
"""Where the part begins that ``struct_len`` measures."""
GIB = 1 << 30
COPIES = (GIB, 10 * GIB, 100 * GIB, 1000 * GIB)
META = 64
"""So many pairs of metadata are told, at most."""


def parse(view: View) -> Identity:
    """The identity of a device, from a copy of its label where the first is gone."""
    for at in (0, *COPIES):
        if view.glance(at, len(MAGIC)) == MAGIC:
            return _identity(view, at)
    raise NotThisFormat("no label")


def _identity(view: View, at: int) -> Identity:
    problems: list[Problem] = []
    if at:
        message = f"the label at 0 is gone; the facts come from the copy at {at}"
        problems.append(Problem(Code.BACKUP_USED, message))
    plain = Identity(type="ceph_bluestore", fstype="bluestore", offset=at)
    try:
        raw = view.read(at, LABEL_SIZE)
        label = parse_struct(raw, LABEL)
        facts = _facts(label, raw)
    except (NotThisFormat, ShortRead) as error:
        # The magic of 22 letters is all that libblkid asks for.
        problems.append(Problem(Code.DAMAGED, f"the label at {at} cannot be read: {error}"))
        return plain.replaced(problems=tuple(problems))
    end = STRUCT_AT + label.struct_len
    checked = crc32c(raw[:end]) == int.from_bytes(raw[end : end + 4], "little")
    if not checked:
        problems.append(Problem(Code.BAD_CHECKSUM, f"the checksum of the label at {at} does not match"))
    return plain.replaced(
        fs_size=label.size,
        created=unix_time(label.btime_sec, min(label.btime_nsec, 999_999_999)),
        checked=checked,
        details=facts,
        problems=tuple(problems),
    )


def _facts(label: Any, raw: bytes) -> dict[str, Json]:
    if label.newline != b"\n" or label.newline_2 != b"\n" or label.struct_v == 0:
        raise NotThisFormat("no lines")
    if STRUCT_AT + label.struct_len + 4 > len(raw):
        raise NotThisFormat(f"it says that it is {label.struct_len} bytes long")
    body = raw[LABEL.size : STRUCT_AT + label.struct_len]
    description, rest = _string(body)
    pairs: dict[str, Json] = {}
    if label.struct_v >= 2:
        count = int.from_bytes(rest[:4], "little")
        rest = rest[4:]
        for _ in range(min(count, META)):
            key, rest = _string(rest)
            value, rest = _string(rest)
            if key != "osd_key":  # a secret, by which the daemon proves itself to its cluster
                pairs[key] = value
    return {
        "osd_uuid": uuid_text(label.osd_uuid),
        "label_version": label.struct_v,
        "description": description,
        "meta": pairs,
    }


def _string(raw: bytes) -> tuple[str, bytes]:
    """The string that ``raw`` begins with, and what follows it."""
    length = int.from_bytes(raw[:4], "little")
    if len(raw) < 4 + length:
        raise NotThisFormat(f"a string of {length} bytes")
    return raw[4 : 4 + length].decode("utf-8", "backslashreplace"), raw[4 + length :]


FORMAT = Format(
    name="ceph_bluestore",
    title="Ceph BlueStore device",
    specification="https://github.com/ceph/ceph/blob/main/src/os/bluestore/bluestore_types.cc",
    usage=Usage.OTHER,
    types=("ceph_bluestore",),
    parse=parse,
    signatures=(Signature(MAGIC, 0), *(Signature(MAGIC, at, copy=True) for at in COPIES)),
    precedence=Precedence.VOLUME_GROUP,
)
