"""Apple CoreStorage: physical volumes, as a rule of FileVault 2.

Header: Apple's own lf_cs_disk_format.h (hfs, livefiles_cs_plugin), whose field names these are.
https://github.com/apple-oss-distributions/hfs/blob/main/livefiles_cs_plugin/lf_cs_disk_format.h
Metadata behind it: libyal, libfvde, "FileVault Drive Encryption (FVDE)".
https://github.com/libyal/libfvde/blob/main/documentation/FileVault%20Drive%20Encryption%20(FVDE).asciidoc

The metadata is encrypted with a key that stands in the header, so that wiping this wipes all: it
hides nothing. What it says is therefore read, up to a megabyte of it.
"""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

from construct import Array, Bytes, Const, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.formats.checksums import crc32c
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import hexadecimal, uuid_text
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import ShortRead, View

MAGIC, MAGIC_AT = b"CS", 88
HEADER_SIZE = 512
BLOCK = 8192
"""Size of a metadata block."""
BLOCK_SIZES = (512, 1024, 2048, 4096, 8192, 16384)

METADATA_HEADER = layout(
    lambda: Struct(
        "mh_cksum" / Int32ul,
        "mh_cksum_seed" / Int32ul,
        "mh_format_version" / Int16ul,
        "mh_blk_type" / Int16ul,
        "mh_bundle_version" / Int32ul,
        "mh_txg_id" / Int64ul,
        "mh_vaddr" / Int64ul,
        "mh_laddr" / Int64ul,
        "mh_blk_owner" / Int64ul,
        "mh_blk_size" / Int32ul,
        "mh_blk_flags" / Bytes(1),
        "mh_reserved" / Bytes(11),
    )
)
VOLUME_HEADER = layout(
    lambda: Struct(
        "mh" / Bytes(64),
        "vh_pv_nbytes" / Int64ul,
        "vh_pv_resize" / Int64ul,
        "vh_old_pv_nbytes" / Int64ul,
        "vh_endianness" / Const(MAGIC),
        "vh_cksum_alg" / Int16ul,
        "vh_reserved2" / Int16ul,
        "vh_num_labels" / Int16ul,
        "vh_blksz" / Int32ul,
        "vh_label_max_nbytes" / Int32ul,
        "vh_label_addr" / Array(4, Int64ul),
        "vh_move_label_addr" / Array(4, Int64ul),
        "vh_wipe_key_nbytes" / Int32ul,
        "vh_wipe_key_alg" / Int32ul,
        "vh_wipe_key" / Bytes(128),
        "vh_pv_uuid" / Bytes(16),
        "vh_lvg_uuid" / Bytes(16),
        "reserved" / Bytes(176),
    )
)
# From the start of a label block; the group's descriptor lies where the last field says.
DISK_LABEL = layout(lambda: Struct("unknown" / Bytes(220), "descriptor_offset" / Int32ul))
GROUP_DESCRIPTOR = layout(
    lambda: Struct(
        "unknown" / Bytes(8), "metadata_blocks" / Int64ul, "unknown2" / Bytes(16), "metadata_block" / Int64ul
    )
)
# What is known of the blocks behind their metadata headers.
CONTEXT = layout(lambda: Struct("unknown" / Bytes(48), "xml_offset" / Int32ul, "xml_size" / Int32ul))
VOLUME = layout(lambda: Struct("unknown" / Bytes(64), "xml_offset" / Int32ul, "xml_size" / Int32ul))
SEGMENTS = layout(
    lambda: Struct(
        "number_of_entries" / Int32ul,
        "unknown" / Bytes(20),
        "number_of_blocks" / Int32ul,
        "unknown2" / Bytes(12),
        "physical_block" / Int32ul,
    )
)

VOLUME_HEADER_BLOCK = 0x10
# The subtype stands in the upper byte.
CONTEXT_BLOCK, VOLUME_BLOCK, SEGMENTS_BLOCK = 0x0019, 0x001A, 0x0305
CRC32C, AES_XTS = 1, 2
BLOCKS_READ = 128
"""So many metadata blocks are looked at, at most; what is used lies in the first few."""

_LV = "com.apple.corestorage.lv."


class CryptoUser(Record, kw_only=True):
    """One who may open the volumes: the structure that wraps the key-encrypting key with a passphrase."""

    identifier: str | None
    wrapped_kek: bytes


class Metadata(Record, kw_only=True):
    """What the metadata says of the one logical volume; sizes and offsets in bytes.

    ``volume``: its properties by name. ``wrapped_volume_key``: None where it is not encrypted.
    ``offset``, ``available``: where it lies in the physical volume, and what is kept for it there;
    no offset when it lies in more than one piece.
    """

    volume: Mapping[str, str]
    users: tuple[CryptoUser, ...] = ()
    wrapped_volume_key: bytes | None = None
    conversion: str | None = None
    offset: int | None = None
    available: int = 0

    @property
    def size(self) -> int:
        """The size that the volume has by its properties."""
        return _number(self.volume.get("size", ""))


def parse(view: View) -> Identity:
    """The identity of a CoreStorage physical volume."""
    at, header = read_header(view)
    pv = uuid_text(header.vh_pv_uuid)
    problems: list[Problem] = []
    details: dict[str, Json] = {
        "pv_uuid": pv,
        "lvg_uuid": uuid_text(header.vh_lvg_uuid),
        "block_size": header.vh_blksz,
        "metadata_size": header.vh_label_max_nbytes,
        "label_blocks": list(header.vh_label_addr[: header.vh_num_labels]),
        "transaction": header.mh.mh_txg_id,
    }
    if at:
        problems.append(Problem(Code.BACKUP_USED, f"the first header is unusable; the facts come from {at}"))
    try:
        metadata = read_metadata(view, header)
    except (NotThisFormat, ShortRead) as error:
        problems.append(Problem(Code.DAMAGED, f"the metadata cannot be read: {error}"))
    else:
        volume = metadata.volume
        details["logical_volume"] = {
            "uuid": _lower(volume.get("uuid")),
            "family_uuid": _lower(volume.get("familyUUID")),
            "name": volume.get("name"),
            "content": volume.get("contenthint"),
            "size": metadata.size,
            "offset": metadata.offset,
        }
        details["encrypted"] = metadata.wrapped_volume_key is not None
        details["encryption"] = "aes-xts-plain64" if metadata.wrapped_volume_key else None
        details["conversion"] = metadata.conversion
        details["users"] = [user.identifier for user in metadata.users]
    problems.append(Problem(Code.LOCKED, "a passphrase of one of its users, or the recovery key, opens it"))
    return Identity(
        type="cs_fvault2",
        uuid=pv,
        version=str(header.mh.mh_format_version),
        fs_size=header.vh_pv_nbytes,
        locked=True,
        checked=True,
        details=details,
        problems=tuple(problems),
    )


def read_header(view: View) -> tuple[int, Any]:
    """The offset of the first usable header, and the header; raises NotThisFormat, ShortRead."""
    places = [0, view.size - HEADER_SIZE] if view.size >= 2 * HEADER_SIZE else [0]
    why: NotThisFormat | None = None
    for at in places:
        try:
            return at, _header_at(view, at)
        except NotThisFormat as error:
            why = why or error
    raise why or NotThisFormat("no header")


def _header_at(view: View, at: int) -> Any:
    data = view.read(at, HEADER_SIZE)
    header = parse_struct(data, VOLUME_HEADER)
    header.mh = _metadata_header(data)
    kind = (header.mh.mh_format_version, header.mh.mh_blk_type, header.vh_cksum_alg, header.vh_reserved2)
    if kind != (1, VOLUME_HEADER_BLOCK, CRC32C, 0):
        raise NotThisFormat(f"version, type and checksum {kind}")
    if (header.vh_wipe_key_nbytes, header.vh_wipe_key_alg) != (16, AES_XTS):
        raise NotThisFormat(f"a key of {header.vh_wipe_key_nbytes} bytes for {header.vh_wipe_key_alg}")
    if header.vh_blksz not in BLOCK_SIZES:
        raise NotThisFormat(f"blocks of {header.vh_blksz} bytes")
    return header


def _metadata_header(data: bytes) -> Any:
    """The header of a block of metadata, whose checksum holds."""
    header = parse_struct(data, METADATA_HEADER)
    if crc32c(data[8:], header.mh_cksum_seed) != header.mh_cksum:
        raise NotThisFormat("a wrong checksum")
    return header


def read_metadata(view: View, header: Any) -> Metadata:
    """What the encrypted metadata says; raises NotThisFormat, ShortRead."""
    descriptor = _descriptor(view, header)
    context, volume, segments = "", "", None
    for kind, data in _blocks(view, header, descriptor):
        # A later block says what is true now.
        if kind == CONTEXT_BLOCK:
            context = _xml(data, parse_struct(data, CONTEXT, METADATA_HEADER.size)) or context
        elif kind == VOLUME_BLOCK:
            volume = _xml(data, parse_struct(data, VOLUME, METADATA_HEADER.size)) or volume
        elif kind == SEGMENTS_BLOCK:
            segments = parse_struct(data, SEGMENTS, METADATA_HEADER.size)
    if not volume:
        raise NotThisFormat("no logical volume is described")
    if segments is not None and segments.number_of_entries != 1:
        segments = None
    keys = [key for key in _data(context, "KEKWrappedVolumeKeyStruct") if key]
    names = _strings(context, "UserIdent")
    wrapped = _data(context, "PassphraseWrappedKEKStruct")
    return Metadata(
        volume={key.removeprefix(_LV): value for key, value in _scalars(volume) if key.startswith(_LV)},
        users=tuple(
            CryptoUser(identifier=_lower(names[number]) if number < len(names) else None, wrapped_kek=kek)
            for number, kek in enumerate(wrapped)
            if kek
        ),
        wrapped_volume_key=keys[0] if keys else None,
        conversion=next(iter(_strings(context, "ConversionStatus")), None),
        offset=segments.physical_block * header.vh_blksz if segments else None,
        available=segments.number_of_blocks * header.vh_blksz if segments else 0,
    )


def _descriptor(view: View, header: Any) -> Any:
    why: NotThisFormat | ShortRead | None = None
    for block in header.vh_label_addr[: header.vh_num_labels]:
        at = block * header.vh_blksz
        try:
            data = view.read(at, BLOCK)
            _metadata_header(data)
            place = at + parse_struct(data, DISK_LABEL).descriptor_offset
            return parse_struct(view.read(place, GROUP_DESCRIPTOR.size), GROUP_DESCRIPTOR)
        except (NotThisFormat, ShortRead) as error:
            why = why or error
    raise why or NotThisFormat("no disk label")


def _blocks(view: View, header: Any, descriptor: Any) -> Iterator[tuple[int, bytes]]:
    """The type and the plain bytes of each metadata block, up to the first that was never written."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import XTS

    key = header.vh_wipe_key[:16] + header.vh_pv_uuid
    start = descriptor.metadata_block * header.vh_blksz
    for number in range(min(descriptor.metadata_blocks, BLOCKS_READ)):
        sealed = view.read(start + number * BLOCK, BLOCK)
        if not any(sealed):
            return
        mode = XTS(number.to_bytes(16, "little"))
        try:
            plain = Cipher(AES(key), mode).decryptor().update(sealed)
        except ValueError as error:
            # OpenSSL refuses XTS with two equal keys.
            raise NotThisFormat(str(error)) from error
        yield _metadata_header(plain).mh_blk_type, plain


def _xml(data: bytes, tail: Any) -> str:
    if tail.xml_offset + tail.xml_size > len(data):
        raise NotThisFormat(f"a property list of {tail.xml_size} bytes at {tail.xml_offset}")
    xml = data[tail.xml_offset : tail.xml_offset + tail.xml_size]
    return xml.decode("utf-8", "backslashreplace").rstrip("\0")


def _scalars(xml: str) -> list[tuple[str, str]]:
    return re.findall(r"<key>([^<]*)</key><(?:string|integer)[^>]*>([^<]*)</", xml)


def _strings(xml: str, key: str) -> list[str]:
    return [value for name, value in _scalars(xml) if name == key]


def _data(xml: str, key: str) -> list[bytes]:
    """What the property list has under this key, decoded; empty for what cannot be."""
    found = []
    for text in re.findall(rf"<key>{key}</key><data[^>]*>([^<]*)</data>", xml):
        try:
            found.append(b64decode(text))
        except ValueError:
            found.append(b"")
    return found


def _number(text: str) -> int:
    return hexadecimal(text.strip()) or 0


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


FORMAT = Format(
    name="corestorage",
    title="Apple CoreStorage (FileVault 2)",
    specification="https://github.com/libyal/libfvde/tree/main/documentation",
    usage=Usage.CRYPTO,
    types=("cs_fvault2",),
    parse=parse,
    signatures=(Signature(MAGIC, MAGIC_AT), Signature(MAGIC, MAGIC_AT - HEADER_SIZE, copy=True)),
    precedence=Precedence.ENCRYPTION,
    with_table=TableRule.HIDES,
)
