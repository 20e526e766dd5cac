"""FILE records of NTFS, their attributes, and where on the volume an attribute's value lies.

Layout: linux-ntfs project, "NTFS Documentation" (Richard Russon, Yuval Fledel): FILE record, data runs
https://flatcap.github.io/linux-ntfs/ntfs/concepts/data_runs.html
"""

import struct
from collections.abc import Iterator

from pyimount.formats import NotThisFormat

# Not construct's: dozens of these are stepped over in each NTFS, and would cost as much as all the rest.
FILE_RECORD = struct.Struct("<4sHH12xHHI")
"""magic, usa_ofs, usa_count, attrs_offset, flags, bytes_in_use of a FILE record."""
ATTRIBUTE = struct.Struct("<IIB7xIH")
"""type, length, non_resident, and of a resident attribute value_length and value_offset."""
NON_RESIDENT = struct.Struct("<16xQQH6xQQ")
"""lowest_vcn, highest_vcn, mapping_pairs_offset, allocated_size, data_size of a non-resident attribute."""
NON_RESIDENT_AT = 8
AT_END = 0xFFFFFFFF
STRIDE = 512
"""Bytes that one fixup protects, whatever the sector size."""
MAX_RUNS = 1024


def attributes(raw: bytes, size: int, wanted: frozenset[int]) -> dict[int, bytes]:
    """The values of a FILE record's attributes of the types ``wanted``; all of a non-resident attribute.

    Of several attributes of a type only the first counts. Raises NotThisFormat where anything does not fit.
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
        kind, length, non_resident, value_length, value_offset = ATTRIBUTE.unpack_from(record, at)
        if kind == AT_END:
            break
        if length < ATTRIBUTE.size or at + length > end:
            raise NotThisFormat(f"an attribute of {length} bytes at {at} of a record")
        if kind in wanted and kind not in found:
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


def place(attribute: bytes, position: int, cluster: int) -> int:
    """Where the byte at ``position`` of a non-resident attribute's value lies on the volume.

    Raises NotThisFormat where it is sparse, or in another record, or where the runs are damaged.
    """
    lowest, _, _, _, _ = _non_resident(attribute)
    vcn, rest = divmod(position, cluster)
    vcn -= lowest
    for lcn, length in _runs(attribute):
        if 0 <= vcn < length:
            if lcn is None:
                raise NotThisFormat("sparse")
            return (lcn + vcn) * cluster + rest
        vcn -= length
    raise NotThisFormat(f"no run for byte {position}")


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
