"""ISO 9660 and its forerunner High Sierra, with Joliet, Rock Ridge and El Torito.

Layout: ECMA-119 (ISO 9660), 8 "Volume Descriptors" and 9 "File and Directory Descriptors";
Microsoft, "Joliet Specification"; IEEE P1281 (SUSP) and P1282 (Rock Ridge);
Phoenix and IBM, "El Torito Bootable CD-ROM Format Specification", 1.0
https://ecma-international.org/publications-and-standards/standards/ecma-119/
"""

from collections.abc import Iterator
from typing import Any

from construct import Bytes, Construct, Int8sl, Int8ul, Int16ub, Int16ul, Int32ub, Int32ul, Struct

from pyimount.formats import (
    FileReader,
    Format,
    Identity,
    Json,
    KernelMount,
    NotThisFormat,
    Signature,
    TableRule,
    Usage,
)
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import text
from pyimount.parsers.filesystems.ecma import recorded_time
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View


def _descriptor(path_tables: int, file_identifiers: tuple[str, ...], identifier: int, date: int) -> Construct:
    """A primary or supplementary volume descriptor; ISO 9660 and High Sierra differ in these sizes."""
    return Struct(
        "volume_descriptor_type" / Int8ul,
        "standard_identifier" / Bytes(5),
        "volume_descriptor_version" / Int8ul,
        "volume_flags" / Int8ul,
        "system_identifier" / Bytes(32),
        "volume_identifier" / Bytes(32),
        "unused" / Bytes(8),
        # Numbers stand in both byte orders, the little-endian one first.
        "volume_space_size" / Int32ul,
        "volume_space_size_be" / Int32ub,
        "escape_sequences" / Bytes(32),
        "volume_set_size" / Int16ul,
        "volume_set_size_be" / Int16ub,
        "volume_sequence_number" / Int16ul,
        "volume_sequence_number_be" / Int16ub,
        "logical_block_size" / Int16ul,
        "logical_block_size_be" / Int16ub,
        "path_table_size" / Bytes(8),
        "path_tables" / Bytes(path_tables),
        "root_directory_record" / Bytes(34),
        "volume_set_identifier" / Bytes(128),
        "publisher_identifier" / Bytes(128),
        "data_preparer_identifier" / Bytes(128),
        "application_identifier" / Bytes(128),
        *(name / Bytes(identifier) for name in file_identifiers),
        "volume_creation" / Bytes(date),
        "volume_modification" / Bytes(date),
        "volume_expiration" / Bytes(date),
        "volume_effective" / Bytes(date),
        "file_structure_version" / Int8ul,
    )


_FILES = ("copyright_file_identifier", "abstract_file_identifier", "bibliographic_file_identifier")
VOLUME_DESCRIPTOR = layout(lambda: _descriptor(16, _FILES, 37, 17))
HIGH_SIERRA_DESCRIPTOR = layout(lambda: _descriptor(32, _FILES[:2], 32, 16))

BOOT_RECORD = layout(
    lambda: Struct(
        "volume_descriptor_type" / Int8ul,
        "standard_identifier" / Bytes(5),
        "volume_descriptor_version" / Int8ul,
        "boot_system_identifier" / Bytes(32),
        "boot_identifier" / Bytes(32),
        "boot_catalog" / Int32ul,
    )
)
VALIDATION_ENTRY = layout(
    lambda: Struct(
        "header_id" / Int8ul,
        "platform_id" / Int8ul,
        "reserved" / Int16ul,
        "id_string" / Bytes(24),
        "checksum" / Int16ul,
        "key" / Bytes(2),
    )
)
SECTION_HEADER = layout(
    lambda: Struct(
        "header_indicator" / Int8ul,
        "platform_id" / Int8ul,
        "entries" / Int16ul,
        "id_string" / Bytes(28),
    )
)
BOOT_ENTRY = layout(
    lambda: Struct(
        "boot_indicator" / Int8ul,
        "boot_media_type" / Int8ul,
        "load_segment" / Int16ul,
        "system_type" / Int8ul,
        "unused" / Int8ul,
        "sector_count" / Int16ul,
        "load_rba" / Int32ul,
        "selection" / Bytes(20),
    )
)
DATE = layout(
    lambda: Struct(
        "year" / Bytes(4),
        "month" / Bytes(2),
        "day" / Bytes(2),
        "hour" / Bytes(2),
        "minute" / Bytes(2),
        "second" / Bytes(2),
        "hundredths" / Bytes(2),
        "offset" / Int8sl,  # quarters of an hour ahead of UTC
    )
)

SECTOR = 2048
FIRST_DESCRIPTOR = 16 * SECTOR
MAX_DESCRIPTORS = 16
MAX_SESSIONS = 32
BOOT, PRIMARY, SUPPLEMENTARY, PARTITION, TERMINATOR = 0, 1, 2, 3, 255

JOLIET_LEVELS = {b"%/@": 1, b"%/C": 2, b"%/E": 3}
EL_TORITO = b"EL TORITO SPECIFICATION"
PLATFORMS = {0x00: "x86", 0x01: "PowerPC", 0x02: "Mac", 0xEF: "EFI"}
MEDIA = {0: "no emulation", 1: "1.2M diskette", 2: "1.44M diskette", 3: "2.88M diskette", 4: "hard disk"}
BOOTABLE = 0x88
MORE_HEADERS, FINAL_HEADER, EXTENSION = 0x90, 0x91, 0x44


class _Descriptors:
    """The volume descriptors of one session, the first of each kind."""

    __slots__ = ("boot", "enhanced", "high_sierra", "joliet", "primary")

    def __init__(self) -> None:
        self.primary: Any = None
        self.joliet: Any = None
        self.boot: Any = None
        self.enhanced = False
        self.high_sierra = False


def parse(view: View) -> Identity:
    """The identity of an ISO 9660 or High Sierra volume."""
    found = _descriptors(view)
    primary = found.primary
    if primary is None:
        raise NotThisFormat("no primary volume descriptor")
    block_size, problems = _plausible(primary)
    fs_size = primary.volume_space_size * block_size
    joliet_level = JOLIET_LEVELS.get(found.joliet.escape_sequences[:3]) if found.joliet else None
    details: dict[str, Json] = {
        **_identifiers(found),
        "volume_id": text(primary.volume_identifier),
        "blocks": primary.volume_space_size,
        "volume_set_size": primary.volume_set_size,
        "volume_sequence_number": primary.volume_sequence_number,
        "joliet": joliet_level,
        "enhanced_descriptor": found.enhanced,
        "expires": _time(primary.volume_expiration),
        "effective": _time(primary.volume_effective),
    }
    for name in ("copyright", "abstract", "bibliographic"):
        details[f"{name}_file"] = text(getattr(primary, f"{name}_file_identifier", b""))
    if not found.high_sierra:
        try:
            details["rock_ridge"] = _rock_ridge(view, primary, block_size)
        except (NotThisFormat, ShortRead):
            problems.append(Problem(Code.DAMAGED, "the root directory cannot be read"))
        if found.boot is not None and found.boot.boot_system_identifier.startswith(EL_TORITO):
            try:
                details["el_torito"], wrong = _el_torito(view, found.boot.boot_catalog)
                problems.extend(wrong)
            except (NotThisFormat, ShortRead):
                problems.append(Problem(Code.DAMAGED, "the El Torito boot catalog cannot be read"))
        sessions = _sessions(view, fs_size)
        if sessions:
            details["later_sessions"] = [*sessions]
    return Identity(
        type="iso9660",
        fstype="iso",
        label=_joined(found, "volume_identifier"),
        uuid=_uuid(primary),
        version="Joliet Extension" if found.joliet else "High Sierra" if found.high_sierra else None,
        block_size=block_size,
        fs_size=fs_size,
        free=0,
        free_from="a format that is written once",
        created=_time(primary.volume_creation),
        modified=_time(primary.volume_modification),
        offset=FIRST_DESCRIPTOR,
        details=details,
        problems=tuple(problems),
    )


def _descriptors(view: View) -> _Descriptors:
    found = _Descriptors()
    if view.peek(FIRST_DESCRIPTOR + 1, 5) == b"CD001":
        shift, identifier, declared = 0, b"CD001", VOLUME_DESCRIPTOR
    elif view.peek(FIRST_DESCRIPTOR + 9, 5) == b"CDROM":
        shift, identifier, declared = 8, b"CDROM", HIGH_SIERRA_DESCRIPTOR
        found.high_sierra = True
    else:
        raise NotThisFormat("no standard identifier")
    for number in range(MAX_DESCRIPTORS):
        at = FIRST_DESCRIPTOR + number * SECTOR + shift
        head = view.peek(at, 7)
        if len(head) < 7 or head[1:6] != identifier or head[0] == TERMINATOR:
            break
        if head[0] == BOOT and found.boot is None:
            found.boot = read_struct(view, BOOT_RECORD, at)
        elif head[0] == PRIMARY and found.primary is None:
            found.primary = read_struct(view, declared, at)
        elif head[0] == SUPPLEMENTARY and not found.high_sierra:
            supplementary = read_struct(view, declared, at)
            if supplementary.escape_sequences[:3] in JOLIET_LEVELS:
                found.joliet = found.joliet or supplementary
            elif supplementary.volume_descriptor_version == 2:
                found.enhanced = True  # ISO 9660:1999
    return found


def _plausible(primary: Any) -> tuple[int, list[Problem]]:
    """The block size, if the descriptor's figures can be true together, and what is wrong with them."""
    if primary.volume_descriptor_version != 1:
        raise NotThisFormat(f"version {primary.volume_descriptor_version} of the primary volume descriptor")
    block_size: int = primary.logical_block_size
    if block_size not in (512, 1024, 2048):
        raise NotThisFormat(f"blocks of {block_size} bytes")
    if primary.volume_space_size == 0:
        raise NotThisFormat("a volume of no blocks")
    differing = [
        name
        for name in ("volume_space_size", "volume_set_size", "volume_sequence_number", "logical_block_size")
        if getattr(primary, name) != getattr(primary, f"{name}_be")
    ]
    if not differing:
        return block_size, []
    message = f"the two byte orders of the primary volume descriptor differ in {', '.join(differing)}"
    return block_size, [Problem(Code.DAMAGED, message)]


def _identifiers(found: _Descriptors) -> dict[str, Json]:
    """What libblkid shows as SYSTEM_ID and its kin. One that begins with ``_`` names a file instead."""
    shown: dict[str, Json] = {
        "system_id": _joined(found, "system_identifier"),
        "volume_set_id": _joined(found, "volume_set_identifier"),
        "boot_system_id": text(found.boot.boot_system_identifier) if found.boot else None,
    }
    for name in ("publisher", "data_preparer", "application"):
        field = f"{name}_identifier"
        ascii_name = text(getattr(found.primary, field)) or ""
        joliet_name = (text(getattr(found.joliet, field), "utf-16-be") if found.joliet else None) or ""
        if ascii_name.startswith("_"):
            shown[f"{name}_file"] = ascii_name[1:].strip() or None
        if not joliet_name.strip() or joliet_name.startswith("_"):
            plain = ascii_name.strip() and not ascii_name.startswith("_")
            shown[f"{name}_id"] = ascii_name if plain else None
        elif not ascii_name.strip() or ascii_name.startswith("_"):
            shown[f"{name}_id"] = joliet_name
        else:
            shown[f"{name}_id"] = _joined(found, field)
    return shown


def _joined(found: _Descriptors, field: str) -> str | None:
    """A name of the primary and the Joliet descriptor as one.

    The Joliet name has all characters but is cut after half as many; where the primary's agrees
    with it, its end completes it.
    """
    plain: bytes = getattr(found.primary, field)
    if found.joliet is None:
        return text(plain)
    wide: bytes = getattr(found.joliet, field)
    return _completed(wide, plain) or text(wide, "utf-16-be")


def _completed(wide: bytes, plain: bytes) -> str | None:
    """The UTF-16 name ``wide``, completed by ``plain``; None where the two are different names.

    ``_`` on either side stands for a character that this side cannot have; case may differ.
    """
    joined = bytearray()
    at = used = 0
    while at + 1 < len(wide) and used < len(plain):
        if 0xD8 <= wide[at] <= 0xDB and at + 3 < len(wide) and 0xDC <= wide[at + 2] <= 0xDF:
            joined += wide[at : at + 2]  # the second half of the pair stands for one character
            at += 2
        unit, byte = wide[at : at + 2], plain[used : used + 1]
        if byte == b"_":
            joined += unit
        elif unit == b"\0_":
            joined += b"\0" + byte
        elif unit[0] == 0 and unit[1:].upper() == byte.upper():
            joined += unit if byte.isupper() else b"\0" + byte
        else:
            return None
        at += 2
        used += 1
    for byte_value in plain[used:]:
        joined += bytes((0, byte_value))
    return text(bytes(joined), "utf-16-be")


def _uuid(primary: Any) -> str | None:
    """The time of modification, else of creation, in digits: libblkid's UUID."""
    for date in (primary.volume_modification, primary.volume_creation):
        digits = date[:16]
        if digits == b"0" * 16 and not any(date[16:]):
            continue
        if not all(0x20 <= byte < 0x7F for byte in digits):
            continue
        shown = digits.decode("ascii")
        return "-".join((shown[:4], *(shown[at : at + 2] for at in range(4, 16, 2))))
    return None


def _time(raw: bytes) -> str | None:
    """A time of a descriptor. High Sierra's have no zone."""
    date = parse_struct(raw.ljust(17, b"\0"), DATE)
    fields = (date.year, date.month, date.day, date.hour, date.minute, date.second, date.hundredths)
    if not all(field.isdigit() for field in fields):
        return None
    *calendar, hundredths = (int(field) for field in fields)
    zone = None if len(raw) == 16 else date.offset * 15
    return recorded_time(calendar, microsecond=hundredths * 10_000, zone=zone)


def _rock_ridge(view: View, primary: Any, block_size: int) -> list[Json]:
    """The extensions that the root directory's own record announces; none when it uses no SUSP."""
    extent, size = (int.from_bytes(primary.root_directory_record[at : at + 4], "little") for at in (2, 10))
    if size < 34:
        raise NotThisFormat("the root directory has no records")
    at = extent * block_size
    length = view.read(at, 1)[0]
    record = view.read(at, length)
    if length < 34:
        raise NotThisFormat("the root directory has no record of itself")
    area = record[33 + record[32] + (1 - record[32] % 2) :]
    # CD-ROM XA puts 14 bytes of its own in front.
    area = next((area[skip:] for skip in (0, 14) if area[skip : skip + 2] == b"SP"), b"")
    if area[4:6] != b"\xbe\xef":
        return []
    seen: list[Json] = []
    for follow in range(2):
        continued = b""
        for signature, body in _susp(area):
            if signature == b"ER" and len(body) >= 4:
                seen.append(text(body[4 : 4 + body[0]]))
            elif signature in (b"RR", b"PX") and "RRIP" not in seen:
                seen.append("RRIP")
            elif signature == b"CE" and len(body) >= 24 and not follow:
                block, offset, size = (int.from_bytes(body[at : at + 4], "little") for at in (0, 8, 16))
                continued = view.read(block * block_size + offset, min(size, SECTOR))
        area = continued
    return seen


def _susp(area: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a System Use area: signature and what follows the version."""
    at = 0
    while at + 4 <= len(area):
        length = area[at + 2]
        if length < 4 or area[at : at + 2] == b"ST":
            return
        yield area[at : at + 2], area[at + 4 : at + length]
        at += length


def _el_torito(view: View, sector: int) -> tuple[dict[str, Json], list[Problem]]:
    """What the boot catalog says; only its first sector is read, and holds 62 entries."""
    catalog = view.read(sector * SECTOR, SECTOR)
    validation = parse_struct(catalog, VALIDATION_ENTRY)
    if validation.header_id != 1 or validation.key != b"\x55\xaa":
        raise NotThisFormat("no validation entry")
    problems = []
    if sum(int.from_bytes(catalog[at : at + 2], "little") for at in range(0, 32, 2)) & 0xFFFF:
        problems.append(
            Problem(Code.BAD_CHECKSUM, "the checksum of the El Torito boot catalog does not match")
        )
    entries: list[Json] = [_boot_entry(catalog, 32, validation.platform_id)]
    at, more = 64, True
    while more and at + 64 <= SECTOR and catalog[at] in (MORE_HEADERS, FINAL_HEADER):
        header = parse_struct(catalog, SECTION_HEADER, at)
        more = header.header_indicator == MORE_HEADERS
        at += 32
        left = header.entries
        while left and at + 32 <= SECTOR:
            if catalog[at] != EXTENSION:
                entries.append(_boot_entry(catalog, at, header.platform_id))
                left -= 1
            at += 32
    return {"catalog_sector": sector, "id": text(validation.id_string), "entries": entries}, problems


def _boot_entry(catalog: bytes, at: int, platform: int) -> Json:
    entry = parse_struct(catalog, BOOT_ENTRY, at)
    return {
        "platform": PLATFORMS.get(platform, f"{platform:#x}"),
        "bootable": entry.boot_indicator == BOOTABLE,
        "media": MEDIA.get(entry.boot_media_type & 0xF, f"{entry.boot_media_type:#x}"),
        "sector": entry.load_rba,
        "load_size": entry.sector_count * 512,
    }


def _sessions(view: View, fs_size: int) -> list[int]:
    """The offsets in bytes of sessions that follow the first one, each where the last one ends."""
    found: list[int] = []
    start = -(-fs_size // SECTOR) * SECTOR
    while len(found) < MAX_SESSIONS:
        at = start + FIRST_DESCRIPTOR
        if view.peek(at, 7) != b"\x01CD001\x01":
            break
        found.append(start)
        size = int.from_bytes(view.peek(at + 80, 4), "little")
        if size == 0:
            break
        start += size * SECTOR
    return found


FORMAT = Format(
    name="iso9660",
    title="ISO 9660",
    specification="https://ecma-international.org/publications-and-standards/standards/ecma-119/",
    usage=Usage.FILESYSTEM,
    types=("iso9660",),
    parse=parse,
    signatures=(Signature(b"CD001", FIRST_DESCRIPTOR + 1), Signature(b"CDROM", FIRST_DESCRIPTOR + 9)),
    tolerates=frozenset({"udf", "hfs", "hfsplus"}),
    with_table=TableRule.SHARES,
    mounts=(KernelMount("iso9660", ("iocharset=utf8",), owner=("uid", "gid")),),
    files=(FileReader("iso", "pycdlib", "pycdlib"),),
)
