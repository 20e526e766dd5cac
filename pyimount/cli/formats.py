"""List what pyimount recognises: every format of containers, partition tables and volumes."""

import argparse
import sys

from pyimount.formats import ContainerFormat, Format, TableFormat
from pyimount.registry import container_formats, table_formats, volume_formats

EXAMPLES = """examples:
  pyimount formats
  pyimount formats --json | jq -r '.[].name'
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def listing() -> list[dict[str, str | list[str]]]:
    """Every format: ``name``, ``title``, ``what`` it is, ``types`` it reports, ``specification``."""
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
        }
        for entry, what in kinds
    ]


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
        print(f"{entry['what']:{width}}  {entry['title']:{titles}}  {' '.join(entry['types'])}")
    return 0
