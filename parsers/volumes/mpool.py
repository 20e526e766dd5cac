"""mpool: drives of Micron's heterogeneous-memory storage pools.

Layout: mpool-kmod, src/mpool/omf.h, ``struct omf_sb_descriptor`` (packed, little-endian)
https://github.com/hse-project/mpool-kmod
"""

from construct import Bytes, Int16ul, Int32ul, Struct

from pyimount.formats import (
    Format,
    Identity,
    Membership,
    NotThisFormat,
    Precedence,
    Signature,
    Usage,
)
from pyimount.formats.checksums import crc32c
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

MAGIC = b"mpoolDev"
DESCRIPTOR = layout(
    lambda: Struct(
        "osb_magic" / Bytes(8),
        "osb_name" / Bytes(32),
        "osb_poolid" / Bytes(16),
        "osb_vers" / Int16ul,
        "osb_gen" / Int32ul,
        "osb_cksum1" / Int32ul,
    )
)


def parse(view: View) -> Identity:
    """The identity of a drive of a pool."""
    raw = view.read(0, DESCRIPTOR.size)
    sb = parse_struct(raw, DESCRIPTOR)
    if sb.osb_magic != MAGIC:
        raise NotThisFormat("no superblock")
    checked = crc32c(raw[:-4]) ^ 0xFFFFFFFF == sb.osb_cksum1
    name, pool = text(sb.osb_name), uuid_text(sb.osb_poolid)
    if not checked and (name is None or pool is None):
        raise NotThisFormat("neither the checksum nor the names hold")
    problem = Problem(Code.BAD_CHECKSUM, "the checksum of the superblock at 0 does not match")
    return Identity(
        type="mpool",
        label=name,
        uuid=pool,
        group=Membership(type="mpool", uuid=pool, name=name) if pool else None,
        checked=checked,
        details={"superblock_version": sb.osb_vers, "generation": sb.osb_gen},
        problems=() if checked else (problem,),
    )


FORMAT = Format(
    name="mpool",
    title="mpool drive",
    specification="https://github.com/hse-project/mpool-kmod",
    usage=Usage.FILESYSTEM,  # libblkid's word for it
    types=("mpool",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    precedence=Precedence.VOLUME_GROUP,
)
