"""Hash devices of dm-verity.

Layout: cryptsetup, "DMVerity", "Verity superblock format"; lib/verity/verity.c, ``struct verity_sb``
https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity
"""

from construct import Bytes, Const, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, uuid_text
from pyimount.sources.view import View

MAGIC = b"verity\0\0"
SUPERBLOCK = layout(
    lambda: Struct(
        "signature" / Const(MAGIC),
        "version" / Int32ul,
        "hash_type" / Int32ul,
        "uuid" / Bytes(16),
        "algorithm" / Bytes(32),
        "data_block_size" / Int32ul,
        "hash_block_size" / Int32ul,
        "data_blocks" / Int64ul,
        "salt_size" / Int16ul,
        "_pad1" / Bytes(6),
        "salt" / Bytes(256),
        "_pad2" / Bytes(168),
    )
)
BLOCK_SIZES = tuple(1 << power for power in range(9, 20))


def parse(view: View) -> Identity:
    """The identity of a hash device."""
    sb = read_struct(view, SUPERBLOCK, 0)
    algorithm = text(sb.algorithm)
    if sb.version != 1 or sb.hash_type > 1 or sb.salt_size > len(sb.salt):
        raise NotThisFormat(f"version {sb.version}, type {sb.hash_type}, {sb.salt_size} bytes of salt")
    if sb.data_block_size not in BLOCK_SIZES or sb.hash_block_size not in BLOCK_SIZES:
        raise NotThisFormat(f"blocks of {sb.data_block_size} and {sb.hash_block_size} bytes")
    if algorithm is None or not algorithm.isprintable():
        raise NotThisFormat("no hash algorithm")
    return Identity(
        type="DM_verity_hash",
        uuid=uuid_text(sb.uuid),
        version=str(sb.version),
        details={
            "hash_type": sb.hash_type,
            "hash_algorithm": algorithm,
            "data_block_size": sb.data_block_size,
            "hash_block_size": sb.hash_block_size,
            "data_blocks": sb.data_blocks,
            "data_size": sb.data_blocks * sb.data_block_size,
            "salt": sb.salt[: sb.salt_size].hex(),
        },
    )


FORMAT = Format(
    name="dm_verity",
    title="dm-verity hash device",
    specification="https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity",
    usage=Usage.CRYPTO,
    types=("DM_verity_hash",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    precedence=Precedence.ENCRYPTION,
)
