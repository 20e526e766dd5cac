"""The data log of DRBD Proxy.

Layout: libblkid, superblocks/drbdproxy_datalog.c (the product's own source is not public)
https://github.com/util-linux/util-linux/blob/master/libblkid/src/superblocks/drbdproxy_datalog.c
"""

from construct import Bytes, Int64ul, Struct

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import uuid_text
from pyimount.sources.view import View

MAGIC = b"DRBDdlh*"
HEADER = layout(
    lambda: Struct("magic" / Bytes(8), "version" / Int64ul, "uuid" / Bytes(16), "flags" / Int64ul)
)
LEAST = 16 << 10


def parse(view: View) -> Identity:
    """The identity of a data log."""
    header = read_struct(view, HEADER, 0)
    if header.magic != MAGIC or view.size < LEAST:
        raise NotThisFormat(f"a data log of {view.size} bytes")
    return Identity(
        type="drbdproxy_datalog",
        uuid=uuid_text(header.uuid),
        version=f"v{header.version}",
        details={"flags": header.flags},
    )


FORMAT = Format(
    name="drbdproxy",
    title="DRBD Proxy data log",
    specification="https://github.com/util-linux/util-linux/tree/master/libblkid/src/superblocks",
    usage=Usage.FILESYSTEM,  # libblkid's word for it
    types=("drbdproxy_datalog",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    precedence=Precedence.VOLUME_GROUP,
)
