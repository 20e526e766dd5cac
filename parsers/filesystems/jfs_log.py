"""Logs of JFS on devices of their own, which up to 128 file systems share.

Layout: linux/fs/jfs/jfs_logmgr.h, ``struct logsuper``; a file system names its log by ``s_loguuid``
https://github.com/torvalds/linux/blob/master/fs/jfs/jfs_logmgr.h
"""

from construct import Bytes, Const, Int32sl, Int32ul, Struct

from pyimount.formats import Format, Identity, Membership, NotThisFormat, Signature, Usage
from pyimount.formats.declarations import JOURNAL
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, uuid_text
from pyimount.sources.view import View

MAGIC = (0x87654321).to_bytes(4, "little")
OFFSET = 4096
VERSION = 1
LOG_SUPER = layout(
    lambda: Struct(
        "magic" / Const(MAGIC),
        "version" / Int32sl,
        "serial" / Int32sl,
        "size" / Int32sl,
        "bsize" / Int32sl,
        "l2bsize" / Int32sl,
        "flag" / Int32ul,
        "state" / Int32ul,
        "end" / Int32sl,
        "uuid" / Bytes(16),
        "label" / Bytes(16),
        "active" / Bytes(16 * 128),
    )
)
STATES = ("in use", "clean", "wrapped", "error")
"""LOGMOUNT, LOGREDONE, LOGWRAP, LOGREADERR."""


def parse(view: View) -> Identity:
    """The identity of a log by its superblock."""
    log = read_struct(view, LOG_SUPER, OFFSET)
    plausible = (
        log.version == VERSION
        and 9 <= log.l2bsize <= 16
        and log.bsize == 1 << log.l2bsize
        and log.size > 0
        and log.state < len(STATES)
    )
    uuid = uuid_text(log.uuid)
    if not plausible or uuid is None:
        raise NotThisFormat("the figures of the log's superblock contradict one another")
    users = [
        user
        for at in range(0, len(log.active), 16)
        if (user := uuid_text(log.active[at : at + 16])) is not None
    ]
    return Identity(
        type="jfs_external_log",
        uuid=uuid,
        label=(text(log.label) or "").strip() or None,
        version=str(log.version),
        block_size=log.bsize,
        fs_size=log.size * log.bsize,
        offset=OFFSET,
        state={"clean": "clean", "error": "error"}.get(STATES[log.state], "dirty"),
        group=Membership(
            type="jfs_log", uuid=uuid, role=JOURNAL, members=1 + max(1, len(users)), identity=uuid
        ),
        details={
            "log_state": STATES[log.state],
            "log_serial": log.serial,
            "active_file_systems": [*users],
        },
    )


FORMAT = Format(
    name="jfs_log",
    title="JFS external log",
    specification="https://github.com/torvalds/linux/blob/master/fs/jfs/jfs_logmgr.h",
    usage=Usage.OTHER,
    types=("jfs_external_log",),
    parse=parse,
    signatures=(Signature(MAGIC, OFFSET),),
)
