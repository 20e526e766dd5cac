"""List what pyimount recognises: every format of containers, partition tables and volumes.

'mapped': its contents are assembled or, with a key, decrypted, and looked into. 'mount': what mounts it, the
preferred first; what stands in brackets is used only when it is named (--allow-fs).

Exit status: 0; 2 the arguments are wrong.
"""

import argparse
import sys
from typing import Any

from pyimount.formats import ContainerFormat, Format, KernelMount, TableFormat
from pyimount.mapping.kinds import ASSEMBLED, OPENED
from pyimount.recognition.registry import container_formats, table_formats, volume_formats

EXAMPLES = """examples:
  pyimount formats
  pyimount formats --json | jq -r '.[].name'
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def listing() -> list[dict[str, Any]]:
    """Every format: ``name``, ``title``, ``what`` it is, ``types`` it reports, ``specification``.

    ``mapped``: whether what it holds is looked into; ``mount``: the drivers and programs that mount it;
    ``files``: the libraries that read the files in it, without root.
    """
    kinds: list[tuple[ContainerFormat | TableFormat | Format, str]] = [
        *((entry, "container") for entry in container_formats()),
        *((entry, "partition table") for entry in table_formats()),
        *((entry, entry.usage.value) for entry in volume_formats()),
    ]
    return [
        {
            "name": entry.name,
            "title": entry.title,
            "what": what,
            "types": list(entry.types),
            "specification": entry.specification,
            "mapped": _is_mapped(entry),
            "mount": _mounts(entry) if isinstance(entry, Format) else [],
            "files": [each.library for each in entry.files] if isinstance(entry, Format) else [],
        }
        for entry, what in kinds
    ]


def _is_mapped(entry: ContainerFormat | TableFormat | Format) -> bool:
    if isinstance(entry, ContainerFormat):
        return entry.mapped
    if isinstance(entry, TableFormat) or entry.opaque is not None:
        return True
    # Groups are called as their format, Intel's as the type of its members.
    groups = {entry.name, *(each.removesuffix("_raid_member") for each in entry.types)}
    return not (ASSEMBLED.keys().isdisjoint(groups) and OPENED.keys().isdisjoint(entry.types))


def _mounts(entry: Format) -> list[str]:
    """What mounts it, each once; in brackets what a policy has to allow by name."""
    found = []
    for way in entry.mounts:
        if isinstance(way, KernelMount):
            found.append(way.driver if way.maintained else f"({way.driver})")
        else:
            found.append(f"({way.tool})")
    return list(dict.fromkeys(found))


def run(options: argparse.Namespace) -> int:
    """Print the list; returns the exit status."""
    found = listing()
    if options.json:
        import json

        json.dump(found, sys.stdout, indent=2)
        print()
        return 0
    width = max(len(str(entry["what"])) for entry in found)
    titles = max(len(str(entry["title"])) for entry in found)
    for entry in found:
        what, title, types = entry["what"], entry["title"], " ".join(entry["types"])
        mounts = f"  mount: {' '.join(entry['mount'])}" if entry["mount"] else ""
        mapped = "  mapped" if entry["mapped"] and what not in ("container", "partition table") else ""
        files = f"  files: {' '.join(entry['files'])}" if entry["files"] else ""
        print(f"{what:{width}}  {title:{titles}}  {types}{mapped}{files}{mounts}")
    return 0
