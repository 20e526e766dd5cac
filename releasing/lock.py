"""Write ``.ci/locked*.txt``: what CI installs, each file by its SHA-256: ``python -m releasing.lock``.

It has what pip chooses on the machine where it is run, which should be CI's: Debian 12, x86-64, Python 3.11.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
APART = "sbom"
"""The group that gets an environment, and a file, of its own."""
NOT_IN_CI = "mutants"
"""The group that CI never installs."""

TOOLS = ("pip>=25.1", "setuptools>=77")
"""What installs the rest, and builds pyimount itself."""


def wanted() -> Iterator[str]:
    """Every extra, and every other dependency group that CI installs, as arguments of pip."""
    declared = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    yield "."
    for extra, requirements in declared["project"]["optional-dependencies"].items():
        if extra != "all":
            yield from requirements
    for group in set(declared["dependency-groups"]) - {APART, NOT_IN_CI}:
        yield from ("--group", group)
    yield from TOOLS


def lines(requirements: Iterable[str]) -> Iterator[str]:
    """A line for each package that these take, with the hash of the one file that pip would fetch."""
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--ignore-installed",
        "--report",
        "-",
    )
    asked = subprocess.run(  # noqa: S603
        [*pip, *requirements], check=True, capture_output=True, text=True, cwd=TOP
    )
    for entry in json.loads(asked.stdout)["install"]:
        name, version = entry["metadata"]["name"], entry["metadata"]["version"]
        if name == "pyimount":
            continue
        digest = entry["download_info"]["archive_info"]["hashes"]["sha256"]
        yield f"{name.lower()}=={version} --hash=sha256:{digest}"


def main() -> None:
    """Write the files."""
    head = "# Written by 'make lock' on Debian 12, x86-64, Python 3.11: what CI installs, and nothing else.\n"
    for file, requirements in {
        "locked.txt": list(wanted()),
        f"locked-{APART}.txt": ["--group", APART],
    }.items():
        text = head + "".join(f"{line}\n" for line in sorted(lines(requirements)))
        (TOP / ".ci" / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
