"""The control volume of DRBDmanage, in which a cluster keeps its configuration.

Layout: drbdmanage, drbdmanage/drbd/persistence.py; libblkid, superblocks/drbdmanage.c
https://github.com/LINBIT/drbdmanage
"""

from string import hexdigits

from construct import Bytes, Int32ub, Struct

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.sources.view import View

MAGIC = b"$DRBDmgr=q"
HEADER = layout(lambda: Struct("magic" / Bytes(11), "uuid" / Bytes(32), "lf" / Bytes(1)))
PERSISTENCE = layout(lambda: Struct("magic" / Bytes(4), "version" / Int32ub))
PERSISTENCE_AT, PERSISTENCE_MAGIC = 0x1000, b"\x1a\xdb\x98\xa2"
LEAST = 0x10000


def parse(view: View) -> Identity:
    """The identity of a control volume."""
    header = read_struct(view, HEADER, 0)
    uuid = header.uuid.decode("ascii", "replace")
    if view.size < LEAST or header.lf != b"\n" or any(digit not in hexdigits for digit in uuid):
        raise NotThisFormat("no UUID on the first line")
    index = read_struct(view, PERSISTENCE, PERSISTENCE_AT)
    known = index.magic == PERSISTENCE_MAGIC
    return Identity(
        type="drbdmanage_control_volume", uuid=uuid, version=str(index.version) if known else None
    )


FORMAT = Format(
    name="drbdmanage",
    title="DRBDmanage control volume",
    specification="https://github.com/LINBIT/drbdmanage",
    usage=Usage.OTHER,
    types=("drbdmanage_control_volume",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    precedence=Precedence.VOLUME_GROUP,
)
