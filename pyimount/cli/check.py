"""Tell what this machine can do: the kernel's parts, the tools, what each gives, and which package has it.

Exit status: 0; 2 the arguments are wrong.
"""

import argparse
import json
import os
import shutil
import sys

from pyimount.execution.dependencies import MODULES
from pyimount.execution.protocol import HELPER
from pyimount.execution.survey import fuse_library, survey
from pyimount.execution.tools import SEARCH_PATH, TOOLS
from pyimount.formats import KernelMount, ToolMount
from pyimount.planning.machine import Machine
from pyimount.recognition.registry import volume_formats

EXAMPLES = """examples:
  pyimount check                     what is here, and what could be installed
  pyimount check --json | jq .tools  for scripts
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def missing_drivers(machine: Machine) -> dict[str, list[str]]:
    """The drivers of file systems that this kernel lacks, each with the programs that stand in for it."""
    found: dict[str, list[str]] = {}
    for declared in volume_formats():
        tools = [way.tool for way in declared.mounts if isinstance(way, ToolMount)]
        for way in declared.mounts:
            if isinstance(way, KernelMount) and way.driver not in machine.filesystems:
                found.setdefault(way.driver, []).extend(tool for tool in tools if tool in TOOLS)
    return {driver: list(dict.fromkeys(found[driver])) for driver in sorted(found)}


def _for_users() -> dict[str, tuple[bool, str]]:
    """What ``mount --user`` takes: whether it is there and this user may use it, and what brings it."""
    tool = shutil.which("fusermount3", path=":".join(SEARCH_PATH))
    return {
        "/dev/fuse": (
            os.access("/dev/fuse", os.R_OK | os.W_OK), "a folder of files for this user (modprobe fuse)"
        ),
        "fusermount3": (
            tool is not None and os.access(tool, os.X_OK), "mounts it without root (apt install fuse3)"
        ),
    }  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print what there is; returns the exit status."""
    # What only Linux has is not loaded before it is used: its help is everywhere.
    from pyimount.cli import bars, here
    from pyimount.execution.asking import installed_helper

    machine = survey()
    library, missing = fuse_library(), missing_drivers(machine)
    parts = {
        "fuse": (machine.fuse, "layers and containers as files"),
        "device-mapper": (machine.device_mapper, "volume groups and encryption by the kernel"),
        "md": (machine.md, "software RAID by the kernel"),
        "nbd": (machine.nbd, "qemu-nbd"),
        "mtdram": (machine.flash, "flash devices in memory, for JFFS2"),
    }
    if options.json:
        said = {
            "schema": "pyimount-check/1",
            "kernel": {name: there for name, (there, _) in parts.items()},
            "here": here.as_json(),
            "filesystems": sorted(machine.filesystems),
            "missing_filesystems": [
                {"driver": driver, "instead": instead} for driver, instead in missing.items()
            ],
            "libfuse3": library,
            "confinement": bars.as_json(),
            "helper": HELPER if installed_helper() else None,
            "for_users": {name: there for name, (there, _) in _for_users().items()},
            "tools": [
                {
                    "name": tool.name,
                    "path": machine.tools.get(tool.name),
                    "package": tool.package,
                    "gives": tool.gives,
                }
                for tool in TOOLS.values()
            ],
            "python": [
                {"name": each.name, "there": each.is_available, "package": each.package, "gives": each.why}
                for each in MODULES
            ],
        }
        print(json.dumps(said, indent=2 if sys.stdout.isatty() else None))
        return 0
    print("here")
    print("\n".join(here.lines()))
    print("kernel")
    for name, (there, gives) in parts.items():
        why = f": {machine.lacks[name][0]}" if name in machine.lacks else ""
        print(f"  {'yes' if there else 'no ':3}  {name:15} {gives}{why}")
    print(f"  file systems: {', '.join(sorted(machine.filesystems))}")
    if missing:
        print("  not in this kernel, nor among its modules (a distribution's usual kernel has most of them;")
        print("  those for clouds, containers and small machines are built without):")
    for driver, stand_ins in missing.items():
        other = ", ".join(f"{name} ({TOOLS[name].package})" for name in stand_ins)
        print(f"       {driver:15} {f'instead: {other}' if other else ''}".rstrip())
    print("shut in: what reads hostile bytes for root, and shows layers as files")
    print("\n".join(bars.lines()))
    print("root's helper")
    stands = installed_helper()
    absent = "" if stands else "  (sudo pyimount install-helper)"
    print(
        f"  {'yes' if stands else 'no ':3}  {'pyimount-helper':15} all that sudo has to allow a user{absent}"
    )
    print("libraries")
    absent = "" if library else "  (apt install libfuse3-3)"
    print(f"  {'yes' if library else 'no ':3}  {'libfuse3':15} our own server, for layers as files{absent}")
    print("files without root")
    for name, (there, why) in _for_users().items():
        print(f"  {'yes' if there else 'no ':3}  {name:15} {why}")
    print("tools")
    for tool in TOOLS.values():
        there = tool.name in machine.tools
        where = f"apt install {tool.package}" if tool.package else "not one of Debian's packages"
        absent = "" if there else f"  ({where})"
        print(f"  {'yes' if there else 'no ':3}  {tool.name:15} {tool.gives}{absent}")
    print("python packages")
    for each in MODULES:
        absent = "" if each.is_available else f"  (pip install '{each.package}')"
        print(f"  {'yes' if each.is_available else 'no ':3}  {each.name:15} {each.why}{absent}")
    return 0
