"""BitLocker encrypted volumes: Windows Vista, Windows 7 and later, and BitLocker To Go.

Layouts: libyal, libbde, "BitLocker Drive Encryption (BDE) format"; field names are Microsoft's
own where they are known.
https://github.com/libyal/libbde/blob/main/documentation/BitLocker%20Drive%20Encryption%20(BDE)%20format.asciidoc
"""

import zlib
from collections.abc import Iterator
from typing import Any

from construct import Array, Bytes, Const, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import filetime, flag_names, guid_text, text
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import ShortRead, View

SIGNATURE = b"-FVE-FS-"

BOOT_SECTOR = layout(
    lambda: Struct(
        "Jump" / Bytes(3),
        "Oem" / Bytes(8),
        "BytesPerSector" / Int16ul,
        "SectorsPerCluster" / Int8ul,
        "Unused" / Bytes(26),
        "TotalSectors" / Int64ul,
        "MftStartLcn" / Int64ul,
        "InformationLcn" / Int64ul,
    )
)
RECOGNITION = layout(lambda: Struct("Guid" / Bytes(16), "InformationOffset" / Array(3, Int64ul)))
INFORMATION = layout(
    lambda: Struct(
        "Signature" / Const(SIGNATURE),
        "HeaderSize" / Int16ul,
        "Version" / Int16ul,
        "CurrentState" / Int16ul,
        "NextState" / Int16ul,
        "StateOffset" / Int64ul,
        "StateSize" / Int32ul,
        "VirtualizedSectors" / Int32ul,
        "InformationOffset" / Array(3, Int64ul),
        "VirtualizedBlockOffset" / Int64ul,
    )
)
DATASET = layout(
    lambda: Struct(
        "Size" / Int32ul,
        "Version" / Int32ul,
        "StartOffset" / Int32ul,
        "EndOffset" / Int32ul,
        "Identification" / Bytes(16),
        "NonceCounter" / Int32ul,
        "FvekType" / Int16ul,
        "Unknown" / Int16ul,
        "CreationTime" / Int64ul,
    )
)
DATUM = layout(lambda: Struct("Size" / Int16ul, "Role" / Int16ul, "Type" / Int16ul, "Flags" / Int16ul))
VMK_INFO = layout(
    lambda: Struct(
        "Identifier" / Bytes(16),
        "DateTime" / Int64ul,
        "Unknown" / Int16ul,
        "Priority" / Int16ul,
    )
)
VALIDATION = layout(lambda: Struct("Size" / Int16ul, "Version" / Int16ul, "Crc32" / Int32ul))

# 4967d63b-2e29-4ad8-8399-f6a339e3d001, and 92a84d3b-dd80-4d0e-9e4e-b1e3284eaed8 where writing encrypts.
GUID = bytes.fromhex("3bd66749292ed84a8399f6a339e3d001")
GUID_EOW = bytes.fromhex("3b4da89280dd0e4d9e4eb1e3284eaed8")
RECOGNITION_AT, RECOGNITION_TO_GO_AT = 0xA0, 0x1A8
JUMP_VISTA = b"\xeb\x52\x90"
INFORMATION_CAP = 64 << 10

ROLE_VMK, ROLE_DESCRIPTION, ROLE_VIRTUALIZATION = 0x2, 0x7, 0xF
TYPE_UNICODE, TYPE_VMK_INFO = 0x2, 0x8

DECRYPTED, SWITCHING_DIRTY, PAUSED, ENCRYPTED, SWITCHING = 1, 2, 3, 4, 5
STATES = {
    DECRYPTED: "decrypted",
    SWITCHING_DIRTY: "switching",
    PAUSED: "paused",
    ENCRYPTED: "encrypted",
    SWITCHING: "switching",
}
METHODS = {
    0x8000: "AES 128 with Diffuser",
    0x8001: "AES 256 with Diffuser",
    0x8002: "AES 128",
    0x8003: "AES 256",
    0x8004: "XTS-AES 128",
    0x8005: "XTS-AES 256",
}
# As dm-crypt calls them.
CIPHERS = {
    0x8000: "aes-cbc-elephant",
    0x8001: "aes-cbc-elephant",
    0x8002: "aes-cbc-eboiv",
    0x8003: "aes-cbc-eboiv",
    0x8004: "aes-xts-plain64",
    0x8005: "aes-xts-plain64",
}
PROTECTORS = {
    0x0100: "tpm",
    0x0200: "startup-key",
    0x0400: "pin",
    0x0800: "recovery-password",
    0x1000: "smart-card",
    0x2000: "password",
}


class Information(Record, kw_only=True):
    """One copy of the metadata; ``data`` is the whole of it, ``offset`` in bytes.

    ``checked``: whether its checksum holds; None where the volume ends before that.
    """

    offset: int
    header: Any
    dataset: Any
    data: bytes
    checked: bool | None


def parse(view: View) -> Identity:
    """The identity of a BitLocker volume; without any metadata, what its boot sector tells."""
    boot = read_struct(view, BOOT_SECTOR, 0)
    kind, offsets, eow_at = recognised(view, boot)
    problems: list[Problem] = []
    found = information(view, offsets)
    details: dict[str, Json] = {"kind": kind, "sector_size": boot.BytesPerSector}
    if found is None:
        named = ", ".join(map(str, offsets))
        problems.append(Problem(Code.DAMAGED, f"no metadata where the boot sector says, at {named}"))
        problems.append(Problem(Code.LOCKED, "the contents are encrypted"))
        return Identity(
            type="BitLocker", fstype="bde", locked=True, details=details, problems=tuple(problems)
        )
    if found.offset != offsets[0]:
        message = f"the metadata at {offsets[0]} is unusable; the facts come from the copy at {found.offset}"
        problems.append(Problem(Code.BACKUP_USED, message))
    if found.checked is False:
        message = f"the checksum of the metadata at {found.offset} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    header, dataset = found.header, found.dataset
    if header.Version >= 2 and header.StateOffset > view.size:
        message = f"{header.StateOffset} bytes of the volume are encrypted; here are {view.size}"
        problems.append(Problem(Code.TRUNCATED, message))
    description, protectors = _datums(found)
    suspended = any(protector["type"] == "clear-key" for protector in protectors)
    state = _state(header, suspended=suspended)
    details |= {
        "volume_guid": guid_text(dataset.Identification),
        "encryption_method": METHODS.get(dataset.FvekType, f"{dataset.FvekType:#06x}")
        if dataset.FvekType
        else None,
        "encryption": CIPHERS.get(dataset.FvekType),
        "description": description,
        "state": STATES.get(header.CurrentState, str(header.CurrentState)),
        "next_state": STATES.get(header.NextState, str(header.NextState)),
        "suspended": suspended,
        "encrypts_on_write": eow_at is not None,
        "encrypted_size": header.StateOffset if header.Version >= 2 else None,
        "protectors": [*protectors],
        "metadata_offsets": [*header.InformationOffset],
        "metadata_size": len(found.data),
    }
    if header.Version >= 2:
        details["volume_header"] = {
            "offset": header.VirtualizedBlockOffset,
            "size": header.VirtualizedSectors * boot.BytesPerSector,
        }
    problems.append(_locked(state))
    return Identity(
        type="BitLocker",
        fstype="bde",
        label=description,
        uuid=guid_text(dataset.Identification),
        version=str(header.Version),
        created=filetime(dataset.CreationTime),
        state=state,
        locked=True,
        checked=bool(found.checked),
        details=details,
        problems=tuple(problems),
    )


def recognised(view: View, boot: Any) -> tuple[str, tuple[int, ...], int | None]:
    """Which BitLocker made the boot sector, where that says the metadata lies, and where the GUID stands.

    The last only where writing encrypts, else None. Offsets in bytes. Raises NotThisFormat when it is none of
    BitLocker's.
    """
    sector, cluster = boot.BytesPerSector, boot.SectorsPerCluster
    if sector not in (512, 1024, 2048, 4096):
        raise NotThisFormat(f"sectors of {sector} bytes")
    places = [(RECOGNITION_TO_GO_AT, "to-go")]
    if boot.Oem == SIGNATURE:
        places.insert(0, (RECOGNITION_AT, "windows-7"))
    for at, kind in places:
        recognition = read_struct(view, RECOGNITION, at)
        if recognition.Guid in (GUID, GUID_EOW):
            encrypts_on_write = recognition.Guid == GUID_EOW
            return kind, tuple(recognition.InformationOffset), at if encrypts_on_write else None
    if boot.Oem == SIGNATURE and boot.Jump == JUMP_VISTA and cluster and boot.InformationLcn:
        return "vista", (boot.InformationLcn * sector * cluster,), None
    raise NotThisFormat("no GUID of BitLocker in the boot sector")


def information(view: View, offsets: tuple[int, ...]) -> Information | None:
    """The first copy of the metadata whose checksum holds, else the first that is plausible."""
    plausible: Information | None = None
    for offset in offsets:
        try:
            found = _information_at(view, offset)
        except (NotThisFormat, ShortRead):
            continue
        if found.checked:
            return found
        plausible = plausible or found
    if plausible is not None and len(offsets) == 1:
        # Vista's boot sector names one copy, and that one the others.
        others = [offset for offset in plausible.header.InformationOffset if offset not in offsets]
        better = information(view, (*others, *offsets)) if others else None
        return better if better is not None and better.checked else plausible
    return plausible


def _information_at(view: View, offset: int) -> Information:
    header = read_struct(view, INFORMATION, offset)
    size = header.HeaderSize << 4 if header.Version >= 2 else header.HeaderSize
    if header.Version not in (1, 2) or not INFORMATION.size + DATASET.size <= size <= INFORMATION_CAP:
        raise NotThisFormat(f"version {header.Version}, {size} bytes")
    data = view.read(offset, size)
    dataset = parse_struct(data, DATASET, INFORMATION.size)
    end = INFORMATION.size + dataset.EndOffset
    if not DATASET.size <= dataset.StartOffset <= dataset.EndOffset or end > size:
        raise NotThisFormat(f"data from {dataset.StartOffset} to {dataset.EndOffset} in {size} bytes")
    tail = view.peek(offset + size, VALIDATION.size)
    checked = None
    if len(tail) == VALIDATION.size:
        checked = parse_struct(tail, VALIDATION).Crc32 == zlib.crc32(data)
    return Information(offset=offset, header=header, dataset=dataset, data=data, checked=checked)


def _datums(found: Information) -> tuple[str | None, list[dict[str, Json]]]:
    """The volume's description and the protectors of its key."""
    description: str | None = None
    protectors: list[dict[str, Json]] = []
    start = INFORMATION.size + found.dataset.StartOffset
    end = INFORMATION.size + found.dataset.EndOffset
    for datum, at, stop in each_datum(found.data, start, end):
        if datum.Role == ROLE_DESCRIPTION and datum.Type == TYPE_UNICODE and description is None:
            description = text(found.data[at:stop], "utf-16-le")
        elif datum.Role == ROLE_VMK and datum.Type == TYPE_VMK_INFO and stop - at >= VMK_INFO.size:
            protectors.append(_protector(found.data, at, stop))
    return description, protectors


def _protector(data: bytes, at: int, stop: int) -> dict[str, Json]:
    vmk = parse_struct(data, VMK_INFO, at)
    name = next(
        (
            text(data[start:end], "utf-16-le")
            for datum, start, end in each_datum(data, at + VMK_INFO.size, stop)
            if datum.Type == TYPE_UNICODE
        ),
        None,
    )
    kinds = flag_names(vmk.Priority & 0xFF00, PROTECTORS, "protector")
    return {
        "guid": guid_text(vmk.Identifier),
        "type": "+".join(kinds) or "clear-key",
        "name": name,
        "changed": filetime(vmk.DateTime),
    }


def each_datum(data: bytes, at: int, end: int) -> Iterator[tuple[Any, int, int]]:
    """Each datum between ``at`` and ``end``, and where what it holds begins and ends."""
    while at + DATUM.size <= end:
        datum = parse_struct(data, DATUM, at)
        if datum.Size < DATUM.size or at + datum.Size > end:
            return
        yield datum, at + DATUM.size, at + datum.Size
        at += datum.Size


def _state(header: Any, *, suspended: bool) -> str:
    if header.CurrentState in (SWITCHING_DIRTY, SWITCHING):
        return "decrypting" if header.NextState == DECRYPTED else "encrypting"
    if header.CurrentState == ENCRYPTED and suspended:
        return "suspended"
    return STATES.get(header.CurrentState, str(header.CurrentState))


def _locked(state: str) -> Problem:
    if state == "decrypted":
        message = "decrypted, but still in BitLocker's layout; no key is needed"
    elif state == "suspended":
        message = "encrypted, and the key lies open on the volume while protection is suspended"
    else:
        message = "the contents are encrypted; one of the protectors opens them"
    return Problem(Code.LOCKED, message)


FORMAT = Format(
    name="bitlocker",
    title="BitLocker",
    specification="https://github.com/libyal/libbde/tree/main/documentation",
    usage=Usage.CRYPTO,
    types=("BitLocker",),
    parse=parse,
    signatures=(
        Signature(SIGNATURE, 3),
        Signature(GUID, RECOGNITION_TO_GO_AT),
        Signature(GUID_EOW, RECOGNITION_TO_GO_AT),
    ),
    precedence=Precedence.ENCRYPTION,
    with_table=TableRule.HIDES,
)
