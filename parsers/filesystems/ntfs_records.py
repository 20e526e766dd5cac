"""FILE records of NTFS, their attributes, and where on the volume an attribute's value lies.

Layout: linux-ntfs project, "NTFS Documentation" (Richard Russon, Yuval Fledel): FILE record, data runs
https://flatcap.github.io/linux-ntfs/ntfs/concepts/data_runs.html
"""

import struct
from collections.abc import Callable, Iterator

from pyimount.formats import NotThisFormat
from pyimount.records import Record

# Not construct's: dozens of these are stepped over in each NTFS, and would cost as much as all the rest.
FILE_RECORD = struct.Struct("<4sHH12xHHI")
"""magic, usa_ofs, usa_count, attrs_offset, flags, bytes_in_use of a FILE record."""
ATTRIBUTE = struct.Struct("<IIBB6xIH")
"""type, length, non_resident, name_length, and of a resident attribute value_length and value_offset."""
LIST_ENTRY = struct.Struct("<IHBxQQ")
"""type, length, name_length, lowest_vcn, mft_reference of an entry in an attribute list."""
AT_ATTRIBUTE_LIST, AT_DATA = 0x20, 0x80
NON_RESIDENT = struct.Struct("<16xQQH6xQQ")
"""lowest_vcn, highest_vcn, mapping_pairs_offset, allocated_size, data_size of a non-resident attribute."""
NON_RESIDENT_AT = 8
AT_END = 0xFFFFFFFF
STRIDE = 512
"""Bytes that one fixup protects, whatever the sector size."""
MAX_RUNS = 1024
"""In one record there is no room for more."""
MAX_LIST, MAX_RECORDS = 64 << 10, 64
"""Bytes of an attribute list, and records named in it, that are looked at."""


def attributes(raw: bytes, size: int, wanted: frozenset[int]) -> dict[int, bytes]:
    """The values of a FILE record's attributes of the types ``wanted``; all of a non-resident attribute.

    Of several attributes of a type only the first counts, and of data only the one without a name. Raises
    NotThisFormat where anything does not fit.
    """
    if len(raw) != size or size < FILE_RECORD.size:
        raise NotThisFormat("cut off")
    magic, usa_ofs, usa_count, at, _, in_use = FILE_RECORD.unpack_from(raw)
    if magic != b"FILE":
        raise NotThisFormat("not a FILE record")
    record = fixed_up(raw, usa_ofs, usa_count)
    found: dict[int, bytes] = {}
    end = min(in_use, size)
    while at + ATTRIBUTE.size <= end:
        kind, length, non_resident, named, value_length, value_offset = ATTRIBUTE.unpack_from(record, at)
        if kind == AT_END:
            break
        if length < ATTRIBUTE.size or at + length > end:
            raise NotThisFormat(f"an attribute of {length} bytes at {at} of a record")
        if kind in wanted and kind not in found and not (named and kind == AT_DATA):
            value = record[at : at + length]
            if not non_resident:
                if value_offset + value_length > length:
                    raise NotThisFormat(f"{value_length} bytes in an attribute of {length}")
                value = value[value_offset : value_offset + value_length]
            found[kind] = value
        at += length
    return found


def fixed_up(raw: bytes, usa_ofs: int, usa_count: int) -> bytes:
    """A record with the last two bytes of each stride put back; they differ where a write was torn."""
    if usa_count != len(raw) // STRIDE + 1 or usa_ofs + 2 * usa_count > STRIDE:
        raise NotThisFormat(f"{usa_count} fixups at {usa_ofs}")
    fixed = bytearray(raw)
    for number in range(1, usa_count):
        tail = slice(number * STRIDE - 2, number * STRIDE)
        if raw[tail] != raw[usa_ofs : usa_ofs + 2]:
            raise NotThisFormat("a write to it was torn")
        fixed[tail] = raw[usa_ofs + 2 * number : usa_ofs + 2 * number + 2]
    return bytes(fixed)


def data_size(attribute: bytes) -> int:
    """Bytes in the value of a non-resident attribute. Raises NotThisFormat."""
    return _non_resident(attribute)[4]


def place(pieces: tuple[bytes, ...], position: int, cluster: int) -> int:
    """Where the byte at ``position`` of a non-resident attribute's value lies on the volume.

    ``pieces``: the attribute, as the records have it that share its runs. Raises NotThisFormat where that
    byte is sparse, or in a record that is not there, or where the runs are damaged.
    """
    vcn, rest = divmod(position, cluster)
    for lcn, first, length in runs(pieces):
        if first <= vcn < first + length:
            if lcn is None:
                raise NotThisFormat("sparse")
            return (lcn + vcn - first) * cluster + rest
    raise NotThisFormat(f"no run for byte {position}")


def runs(pieces: tuple[bytes, ...]) -> Iterator[tuple[int | None, int, int]]:
    """The runs of a non-resident attribute: first cluster on the volume (None: sparse), that in it, how many.

    Raises NotThisFormat.
    """
    for piece in pieces:
        vcn = _non_resident(piece)[0]
        for lcn, length in _runs(piece):
            yield lcn, vcn, length
            vcn += length


class Volume(Record):
    """What is known of the volume: ``read`` gives bytes (offset, length), fewer where there are none.

    ``cluster`` and ``record``: bytes in one; ``mft``: the $MFT's data attribute, in its pieces.
    """

    read: Callable[[int, int], bytes]
    cluster: int
    record: int
    mft: tuple[bytes, ...]


def record(volume: Volume, number: int, wanted: frozenset[int]) -> dict[int, tuple[bytes, ...]]:
    """The attributes of a file by its record: each in its pieces, which may stand in further records.

    Raises NotThisFormat.
    """
    return with_extensions(volume, _record(volume, number, wanted | {AT_ATTRIBUTE_LIST}), wanted)


def with_extensions(
    volume: Volume, base: dict[int, bytes], wanted: frozenset[int]
) -> dict[int, tuple[bytes, ...]]:
    """The attributes ``base`` of a record, and what its attribute list, if it has one, says is elsewhere."""
    found: dict[int, tuple[bytes, ...]] = {kind: (value,) for kind, value in base.items() if kind in wanted}
    if AT_ATTRIBUTE_LIST not in base:
        return found
    pieces: dict[int, dict[int, bytes]] = {}
    seen = 0
    for kind, lowest, number in _listed(volume, base[AT_ATTRIBUTE_LIST], wanted):
        # Of the $MFT itself, each piece tells where the record of the next lies.
        known = pieces.setdefault(kind, {_lowest(base[kind]): base[kind]} if kind in base else {})
        if lowest in known:
            continue
        seen += 1
        if seen > MAX_RECORDS:
            raise NotThisFormat(f"an attribute in more than {MAX_RECORDS} records")
        value = _record(volume, number, frozenset((kind,))).get(kind)
        if value is not None:
            known[_lowest(value)] = value
            found[kind] = tuple(known[first] for first in sorted(known))
            if volume.mft[0] in found[kind]:
                volume = volume.replaced(mft=found[kind])
    return found


def _record(volume: Volume, number: int, wanted: frozenset[int]) -> dict[int, bytes]:
    at = place(volume.mft, number * volume.record, volume.cluster)
    return attributes(volume.read(at, volume.record), volume.record, wanted)


def _lowest(attribute: bytes) -> int:
    """The first cluster of its value that an attribute's runs tell of; 0 of a resident one."""
    try:
        return _non_resident(attribute)[0]
    except NotThisFormat:
        return 0


def _listed(volume: Volume, attribute: bytes, wanted: frozenset[int]) -> Iterator[tuple[int, int, int]]:
    """What an attribute list says of the wanted types: the type, its lowest VCN there, and the record."""
    listed = attribute
    # A list begins with the entry of an attribute of the lowest type, a non-resident one with its own.
    if int.from_bytes(attribute[:4], "little") == AT_ATTRIBUTE_LIST:
        listed = _value(volume, attribute, min(data_size(attribute), MAX_LIST))
    at = 0
    while at + LIST_ENTRY.size <= len(listed):
        kind, length, named, lowest, reference = LIST_ENTRY.unpack_from(listed, at)
        if length < LIST_ENTRY.size:
            return
        if kind in wanted and not (named and kind == AT_DATA):
            yield kind, lowest, reference & (1 << 48) - 1
        at += length


def _value(volume: Volume, attribute: bytes, size: int) -> bytes:
    """The first ``size`` bytes of a non-resident attribute that stands in one record."""
    value = b""
    for lcn, _, length in runs((attribute,)):
        if len(value) >= size:
            break
        if lcn is None:
            raise NotThisFormat("sparse")
        value += volume.read(lcn * volume.cluster, min(length * volume.cluster, size - len(value)))
    return value


def _non_resident(attribute: bytes) -> tuple[int, int, int, int, int]:
    if len(attribute) < NON_RESIDENT.size or attribute[NON_RESIDENT_AT] != 1:
        raise NotThisFormat("not a non-resident attribute")
    lowest, highest, pairs, allocated, size = NON_RESIDENT.unpack_from(attribute)
    return lowest, highest, pairs, allocated, size


def _runs(attribute: bytes) -> Iterator[tuple[int | None, int]]:
    """The runs of a non-resident attribute, ``(first cluster, clusters)``; None: sparse."""
    at, lcn = _non_resident(attribute)[2], 0
    for _ in range(MAX_RUNS):
        head = attribute[at : at + 1]
        if not head or not head[0]:
            return
        of_length, of_offset = head[0] & 0xF, head[0] >> 4
        end = at + 1 + of_length + of_offset
        if not 0 < of_length <= 8 or of_offset > 8 or end > len(attribute):
            raise NotThisFormat("damaged runs")
        length = int.from_bytes(attribute[at + 1 : at + 1 + of_length], "little")
        lcn += int.from_bytes(attribute[at + 1 + of_length : end], "little", signed=True)
        if lcn < 0:
            raise NotThisFormat("a run before the volume")
        yield (lcn if of_offset else None), length
        at = end
