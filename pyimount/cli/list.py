"""List what is mounted, by the ledgers of the sessions that mounted it.

Exit status: 0 the list is complete; 1 a ledger cannot be read; 2 the arguments are wrong.
"""

import argparse
import json
import sys
from typing import Any

from pyimount import cli
from pyimount.cli import privilege
from pyimount.execution.errors import LedgerError, StepFailed
from pyimount.wording import printable

EXAMPLES = """examples:
  pyimount list                a tree: session, images, mount points
  pyimount list --json | jq .  for scripts
"""


_FILES_SHOWN = 2
"""Images that are named for a mount: a volume group may lie on many."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Print the sessions; returns the exit status."""
    try:
        with privilege.standing() as standing:
            found = standing.sessions()
    except (LedgerError, StepFailed) as error:
        cli.complain(printable(str(error)))
        return 1
    if options.json:
        said = {"schema": "pyimount-list/1", "sessions": found}
        print(json.dumps(said, indent=2 if sys.stdout.isatty() else None))
    else:
        for session in found:
            _draw(session)
        if not found:
            # For a person: a script counts the lines of the list.
            print("nothing is mounted", file=sys.stdout if sys.stdout.isatty() else sys.stderr)
    for session in found:
        if session["damaged"]:
            cli.complain(f"session {session['session']}: {printable(session['damaged'])}")
    return 1 if any(session["damaged"] for session in found) else 0


def _type(mount: dict[str, Any]) -> str:
    """The file system's type, and what reads it where that is called otherwise."""
    kind, by = printable(mount["type"] or "?"), printable(mount["by"] or "")
    return kind if by in ("", kind) else f"{kind} ({by})"


def _draw(session: dict[str, Any]) -> None:
    print(f"{session['session']}  {', '.join(map(printable, session['images']))}")
    mounts = session["mounts"]
    if session["cache"]:
        print(f"    what is written goes to {printable(session['cache'])}")
    width = max((len(printable(mount["mountpoint"])) for mount in mounts), default=0)
    for number, mount in enumerate(mounts, 1):
        guide = "└──" if number == len(mounts) else "├──"
        where = f"{printable(mount['mountpoint']):{width}}"
        files = ", ".join(map(printable, mount["files"][:_FILES_SHOWN]))
        more = len(mount["files"]) - _FILES_SHOWN
        line = f"{guide} {where}  {_type(mount)}  {mount['device'] or ''}  {files}"
        line = f"{line} and {more} more" if more > 0 else line
        if not mount["stands"]:
            line += "  (no longer mounted)"
        elif mount["covered"]:
            line += "  (something is mounted over it)"
        print(line.rstrip())
