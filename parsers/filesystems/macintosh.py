"""What HFS and HFS Plus share: the Master Directory Block, the volume's identifier and its attributes.

Layout: Apple, "Inside Macintosh: Files", 2 "File Manager", "Master Directory Blocks";
Apple, Technical Note TN1150, "HFS Plus Volume Format"
https://developer.apple.com/library/archive/technotes/tn/tn1150.html
"""

from construct import Bytes, Int8ub, Int16ub, Int32ub, Struct

from pyimount.formats import Json
from pyimount.formats.layouts import layout
from pyimount.formats.notation import uuid_text

MASTER_DIRECTORY_BLOCK = layout(
    lambda: Struct(
        "drSigWord" / Bytes(2),
        "drCrDate" / Int32ub,
        "drLsMod" / Int32ub,
        "drAtrb" / Int16ub,
        "drNmFls" / Int16ub,
        "drVBMSt" / Int16ub,
        "drAllocPtr" / Int16ub,
        "drNmAlBlks" / Int16ub,
        "drAlBlkSiz" / Int32ub,
        "drClpSiz" / Int32ub,
        "drAlBlSt" / Int16ub,
        "drNxtCNID" / Int32ub,
        "drFreeBks" / Int16ub,
        "drVN_length" / Int8ub,
        "drVN" / Bytes(27),
        "drVolBkUp" / Int32ub,
        "drVSeqNum" / Int16ub,
        "drWrCnt" / Int32ub,
        "drXTClpSiz" / Int32ub,
        "drCTClpSiz" / Int32ub,
        "drNmRtDirs" / Int16ub,
        "drFilCnt" / Int32ub,
        "drDirCnt" / Int32ub,
        "drFndrInfo" / Bytes(32),
        "drEmbedSigWord" / Bytes(2),
        "drEmbedStart" / Int16ub,
        "drEmbedCount" / Int16ub,
    )
)

PLACE = 1024
"""Where the volume's header lies, and its copy from the end, bytes."""
SECTOR = 512
HFS, PLUS, EXTENDED = b"BD", b"H+", b"HX"

UNMOUNTED = 1 << 8
INCONSISTENT = 1 << 11
JOURNALED = 1 << 13
ATTRIBUTES = {
    1 << 7: "hardware_lock",
    1 << 8: "unmounted",
    1 << 9: "spared_blocks",
    1 << 10: "no_cache_required",
    1 << 11: "boot_volume_inconsistent",
    1 << 12: "catalog_node_ids_reused",
    1 << 13: "journaled",
    1 << 15: "software_lock",
    1 << 30: "content_protection",
    1 << 31: "unused_node_fix",
}

# Apple's name space of version 3 UUIDs: B3E20F39-F292-11D6-97A4-00306543ECAC.
_NAMESPACE = bytes.fromhex("b3e20f39f29211d697a400306543ecac")


def volume_uuid(finder_info: bytes) -> str | None:
    """The UUID that macOS and libblkid make of the identifier at the end of the Finder's information."""
    identifier = finder_info[24:32]
    if not any(identifier):
        return None
    from hashlib import md5

    raw = bytearray(md5(_NAMESPACE + identifier, usedforsecurity=False).digest())
    raw[6] = 0x30 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return uuid_text(bytes(raw))


def state(attributes: int) -> str:
    """Whether the volume was unmounted properly and is consistent: ``clean`` or ``dirty``."""
    return "clean" if attributes & UNMOUNTED and not attributes & INCONSISTENT else "dirty"


def finder_facts(finder_info: bytes) -> dict[str, Json]:
    """The folders that the Finder and the firmware start from, as catalog node ids (0: none)."""
    names = ("blessed_folder", "startup_application", "open_folder", "mac_os_9_folder", "", "mac_os_x_folder")
    return {
        name: int.from_bytes(finder_info[4 * at : 4 * at + 4], "big") for at, name in enumerate(names) if name
    }
