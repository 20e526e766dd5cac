"""VMFS, versions 3 to 6: VMware's file system for clusters, inside a volume of its own volume manager.

No specification is published; layout after vmfs-tools (libvmfs/vmfs_fs.h) and dissect.vmfs (c_vmfs.py).
https://github.com/glandium/vmfs-tools
"""

from construct import Bytes, Int8ul, Int32ul, Int64ul, Struct

from pyimount.formats import FileReader, Format, Identity, Json, NotThisFormat, Signature, ToolMount, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.parsers.volumes.vmfs_lvm import vmfs_uuid
from pyimount.sources.view import View

DESCRIPTOR = layout(
    lambda: Struct(
        "magic" / Bytes(4),
        "majorVersion" / Int32ul,
        "minorVersion" / Int8ul,
        "uuid" / Bytes(16),
        "config" / Int32ul,
        "fsLabel" / Bytes(128),
        "diskBlockSize" / Int32ul,
        "fileBlockSize" / Int64ul,
        "creationTime" / Int32ul,
        "snapID" / Int32ul,
        "volInfo" / Bytes(32),
        "fdcClusterGroupOffset" / Int32ul,
        "fdcClustersPerGroup" / Int32ul,
        "subBlockSize" / Int32ul,
    )
)

MAGIC = b"\x5e\xf1\xab\x2f"
DESCRIPTOR_AT = 2 << 20


def parse(view: View) -> Identity:
    """Read the file system's descriptor."""
    found = read_struct(view, DESCRIPTOR, DESCRIPTOR_AT)
    if found.magic != MAGIC:
        raise NotThisFormat(f"magic {found.magic.hex()}")
    details: dict[str, Json] = {
        # For people, VMFS 3.31 is major version 3's minor version 31; libblkid gives the latter alone.
        "major_version": found.majorVersion,
        "minor_version": found.minorVersion,
        "disk_block_size": found.diskBlockSize,
        "file_block_size": found.fileBlockSize,
        "sub_block_size": found.subBlockSize,
    }
    return Identity(
        type="VMFS",
        fstype="vmfs",
        free_unknown="its bitmaps lie in files of its own, which are not read",
        label=text(found.fsLabel),
        uuid=vmfs_uuid(found.uuid),
        version=f"{found.minorVersion}",
        created=unix_time(found.creationTime),
        offset=DESCRIPTOR_AT,
        details=details,
    )


FORMAT = Format(
    name="vmfs",
    title="VMFS",
    specification="https://github.com/glandium/vmfs-tools",
    usage=Usage.FILESYSTEM,
    types=("VMFS",),
    parse=parse,
    signatures=(Signature(MAGIC, DESCRIPTOR_AT),),
    mounts=(
        ToolMount("vmfs6-fuse", ("{source}", "{at}")),
        ToolMount("vmfs-fuse", ("{source}", "{at}")),
    ),
    files=(FileReader("dissect", "dissect.vmfs", "dissect.vmfs"),),
)
