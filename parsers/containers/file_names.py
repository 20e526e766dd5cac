"""What an image calls another file: a path, or one of QEMU's ways to write more than a path.

Layout: QEMU, "QEMU block driver reference", https://www.qemu.org/docs/master/system/qemu-block-drivers.html,
and qapi/block-core.json (BlockdevOptions) for what stands behind ``json:``.
"""

import json
import re
from typing import Any

from pyimount.records import Record
from pyimount.sources.errors import OpenError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+._-]+):(//)?")
_SCHEMES = frozenset(
    (
        *("blkdebug", "blkreplay", "blkverify", "fat", "ftp", "ftps", "gluster", "host_cdrom", "host_device"),
        *(
            "host_floppy",
            "http",
            "https",
            "iscsi",
            "iser",
            "nbd",
            "nfs",
            "null-aio",
            "null-co",
            "nvme",
            "quorum",
        ),
        *("rbd", "sheepdog", "ssh", "tftp", "vxhs"),
    )
)
"""QEMU's protocols; another word before a colon is part of a name, unless two slashes follow."""
_DEVICE = re.compile(r"/dev/|[\\/]{2}[.?][\\/](?![A-Za-z]:|Volume\{|UNC)", re.IGNORECASE)
_FORMATS = frozenset(("qcow", "qcow2", "qed", "vmdk", "vpc", "vhdx", "vdi", "parallels", "dmg", "luks"))
_DEPTH = 8


class FileName(Record):
    """A file's name, and what is known of its bytes.

    ``raw``: they are the disk as it is, whatever they look like, from ``offset`` on, ``size`` bytes or all.
    """

    name: str
    raw: bool = False
    offset: int = 0
    size: int | None = None


def file_name(name: str) -> FileName:
    """The file that an image means; raises OpenError where it means a URL, a device or several files."""
    if not name.startswith("json:"):
        return FileName(_path(name.removeprefix("file:")))
    try:
        options = json.loads(name.removeprefix("json:"))
    except (ValueError, RecursionError) as error:
        raise OpenError(f"the image names {name[:80]!r}, which is no JSON: {error}") from error
    return _node(_nested(options), name)


def _path(path: str) -> str:
    found = _SCHEME.match(path)
    if found and (found[2] or found[1].lower() in _SCHEMES):
        raise OpenError(f"the image names {path[:80]!r}: what lies behind a URL is not opened")
    if _DEVICE.match(path):
        raise OpenError(f"the image names {path[:80]!r}: a device is not opened on an image's word")
    return path


def _nested(options: Any) -> Any:
    """Options with names in parts (``file.driver``) as options within options."""
    if not isinstance(options, dict):
        return options
    made: dict[str, Any] = {}
    for key, value in options.items():
        *outer, last = str(key).split(".", _DEPTH)
        at = made
        for part in outer:
            inner = at.setdefault(part, {})
            if not isinstance(inner, dict):
                break
            at = inner
        else:
            at[last] = (
                {**at[last], **value} if isinstance(at.get(last), dict) and isinstance(value, dict) else value
            )
    return made


def _node(node: Any, name: str) -> FileName:
    """The file at the end of a chain of drivers, each of which has the next as its ``file``."""
    raw, offset, size, top = False, 0, None, True
    for _ in range(_DEPTH):
        node = _nested(node)
        if not isinstance(node, dict):
            break
        driver = node.get("driver")
        if "filename" in node and driver in (None, "file") and isinstance(node["filename"], str):
            # Without a driver for its format, the bytes of a file are the disk.
            return FileName(_path(node["filename"]), raw or (top and driver == "file"), offset, size)
        if driver == "raw":
            within, length = node.get("offset", 0), node.get("size")
            if not _is_count(within) or not (length is None or _is_count(length)):
                break
            raw, offset, size = True, within, length
        elif driver is not None and driver not in _FORMATS:
            raise OpenError(
                f"the image names {name[:80]!r}: only files are opened, and no {str(driver)[:40]!r}"
            )
        node, top = node.get("file"), False
    raise OpenError(f"the image names {name[:80]!r}, in which there is no name of one file")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
