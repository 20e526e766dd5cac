"""imagemounter 3.1.0 itself, in a virtual environment of its own, to be asked the same as pyimount."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.needing import lacking

VERSION = "3.1.0"

PROGRAM = """
import importlib, json, sys
package, path, arguments = sys.argv[1:]
made = importlib.import_module(package)
parser = made.ImageParser([path], disk_mounter="dummy", **json.loads(arguments))
(disk,) = parser.disks
disk.mount()
told = []
for volume in disk.detect_volumes():
    if volume.flag == "alloc":
        volume.determine_fs_type()
    told.append([volume.index, volume.flag, volume.slot, volume.offset, volume.size, volume.fstype])
print(json.dumps(told))
"""
"""A program that was written for imagemounter; the first argument is what it imports."""


RUNNER = """
import importlib, sys, types
import pyimount.exceptions, pyimount.imagemounter
package = types.ModuleType("imagemounter")
package.__path__ = [sys.argv.pop(1)]
for name in pyimount.imagemounter.__all__:
    setattr(package, name, getattr(pyimount.imagemounter, name))
sys.modules["imagemounter"] = package
for old, new in {
    "exceptions": "exceptions", "disk": "imagemounter.disk", "parser": "imagemounter.image_parser",
    "volume": "imagemounter.volume", "unmounter": "imagemounter.unmounter",
}.items():
    sys.modules[f"imagemounter.{old}"] = importlib.import_module(f"pyimount.{new}")
from imagemounter.cli.imount import main
sys.argv[0] = "imount"
main()
"""
"""Runs imagemounter's own command with its classes taken from pyimount; the first argument is its package."""


def install(folder: Path) -> Path:
    """Install imagemounter in a virtual environment; its interpreter. Skips where PyPI is not reached."""
    python = folder / "bin" / "python"
    try:
        for command in (
            (sys.executable, "-m", "venv", str(folder)),
            (
                str(python),
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                f"imagemounter=={VERSION}",
            ),
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lacking(f"imagemounter cannot be installed: {str(error.stderr)[-300:]}")
    return python


def ask(python: Path | str, package: str, image: Path, **arguments: Any) -> list[list[Any]]:
    """What the program prints: of each volume its index, flag, slot, offset, size and file system."""
    done = subprocess.run(
        [python, "-c", PROGRAM, package, image, json.dumps(arguments)],
        # It decodes what tools print by the locale, and fails where that has no encoding.
        env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found
