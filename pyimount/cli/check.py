"""Tell what this machine can do: the kernel's parts, the tools, what each gives, and which package has it.

Exit status: 0; 2 the arguments are wrong.
"""

import argparse
import json
import sys

from pyimount.execution.survey import survey
from pyimount.execution.tools import TOOLS

EXAMPLES = """examples:
  pyimount check                     what is here, and what could be installed
  pyimount check --json | jq .tools  for scripts
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Print what there is; returns the exit status."""
    machine = survey()
    parts = {
        "fuse": (machine.fuse, "layers and containers as files"),
        "device-mapper": (machine.device_mapper, "volume groups and encryption by the kernel"),
        "md": (machine.md, "software RAID by the kernel"),
        "nbd": (machine.nbd, "qemu-nbd"),
    }
    if options.json:
        said = {
            "schema": "pyimount-check/1",
            "kernel": {name: there for name, (there, _) in parts.items()},
            "filesystems": sorted(machine.filesystems),
            "tools": [
                {
                    "name": tool.name,
                    "path": machine.tools.get(tool.name),
                    "package": tool.package,
                    "gives": tool.gives,
                }
                for tool in TOOLS.values()
            ],
        }
        print(json.dumps(said, indent=2 if sys.stdout.isatty() else None))
        return 0
    print("kernel")
    for name, (there, gives) in parts.items():
        print(f"  {'yes' if there else 'no ':3}  {name:15} {gives}")
    print(f"  file systems: {', '.join(sorted(machine.filesystems))}")
    print("tools")
    for tool in TOOLS.values():
        there = tool.name in machine.tools
        missing = "" if there else f"  (apt install {tool.package})"
        print(f"  {'yes' if there else 'no ':3}  {tool.name:15} {tool.gives}{missing}")
    return 0
