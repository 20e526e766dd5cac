"""OCFS, version 1 of Oracle's cluster file system.

Layout: linux/fs/ocfs2/ocfs1_fs_compat.h, ``struct ocfs1_vol_disk_hdr`` and ``struct ocfs1_vol_label``
https://github.com/torvalds/linux/blob/master/fs/ocfs2/ocfs1_fs_compat.h
"""

from construct import Bytes, Int16ul, Int32sl, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

HEADER = layout(
    lambda: Struct(
        "minor_version" / Int32ul,
        "major_version" / Int32ul,
        "signature" / Bytes(128),
        "mount_point" / Bytes(128),
        "serial_num" / Int64ul,
        "device_size" / Int64ul,
        "start_off_to_vote_off" / Bytes(32),
        "root_bitmap_off" / Int64ul,
        "data_start_off" / Int64ul,
        "root_bitmap_size_to_root_size" / Bytes(24),
        "cluster_size" / Int64ul,
        "num_nodes" / Int64ul,
        "num_clusters" / Int64ul,
        "dir_node_size" / Int64ul,
        "file_node_size" / Int64ul,
        "internal_off_to_new_cfg_off" / Bytes(32),
        "prot_bits" / Int32ul,
        "excl_mount" / Int32sl,
    )
)
LABEL = layout(
    lambda: Struct(
        "disk_lock" / Bytes(48),
        "label" / Bytes(64),
        "label_len" / Int16ul,
        "vol_id" / Bytes(16),
        "vol_id_len" / Int16ul,
        "cluster_name" / Bytes(64),
        "cluster_name_len" / Int16ul,
    )
)
MAGIC = b"OracleCFS"
# libblkid looks for it at 8 KiB instead, where no volume has it.
MAGIC_AT = 8
LABEL_AT = 512


def parse(view: View) -> Identity:
    """The identity of an OCFS volume."""
    header = read_struct(view, HEADER, 0)
    if text(header.signature, "ascii") != MAGIC.decode() or not 1 <= header.major_version < 100:
        raise NotThisFormat(f"signature {header.signature[:16]!r}, version {header.major_version}")
    details: dict[str, Json] = {
        "mount_point": text(header.mount_point),
        "serial_number": header.serial_num,
        "cluster_size": header.cluster_size,
        "clusters": header.num_clusters,
        "nodes": header.num_nodes,
        "data_start": header.data_start_off,
        "permissions": f"{header.prot_bits:04o}",
    }
    if header.major_version == 1:
        details["sec_type"] = "ocfs1"
    elif header.major_version >= 9:
        details["sec_type"] = "ntocfs"
    label = uuid = None
    problems: tuple[Problem, ...] = ()
    try:
        found = read_struct(view, LABEL, LABEL_AT)
    except ShortRead:
        problems = (Problem(Code.DAMAGED, f"the label at {LABEL_AT} is not there"),)
    else:
        label, uuid = text(found.label[: found.label_len]), uuid_text(found.vol_id)
        details["cluster_name"] = text(found.cluster_name[: found.cluster_name_len])
    return Identity(
        type="ocfs",
        fstype="ocfs",
        free_unknown="its bitmap is not read",
        label=label,
        uuid=uuid,
        version=f"{header.major_version}.{header.minor_version}",
        fs_size=header.device_size or None,
        last_mountpoint=text(header.mount_point),
        details=details,
        problems=problems,
    )


FORMAT = Format(
    name="ocfs",
    title="OCFS",
    specification="https://github.com/torvalds/linux/blob/master/fs/ocfs2/ocfs1_fs_compat.h",
    usage=Usage.FILESYSTEM,
    types=("ocfs",),
    parse=parse,
    signatures=(Signature(MAGIC, MAGIC_AT),),
    unmountable="Linux has no driver for the first OCFS",
)
