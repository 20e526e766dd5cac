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
from pyimount.reports.wording import printable

EXAMPLES = """examples:
  pyimount list                a tree: session, images, mount points
  pyimount list --json | jq .  for scripts
"""


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
            print("nothing is mounted")
    for session in found:
        if session["damaged"]:
            cli.complain(f"session {session['session']}: {printable(session['damaged'])}")
    return 1 if any(session["damaged"] for session in found) else 0


def _draw(session: dict[str, Any]) -> None:
    print(f"{session['session']}  {', '.join(map(printable, session['images']))}")
    mounts = session["mounts"]
    width = max((len(printable(mount["mountpoint"])) for mount in mounts), default=0)
    for number, mount in enumerate(mounts, 1):
        guide = "└──" if number == len(mounts) else "├──"
        where = f"{printable(mount['mountpoint']):{width}}"
        line = f"{guide} {where}  {mount['type'] or '?'}  {mount['device'] or ''}"
        print(line.rstrip() if mount["stands"] else f"{line}  (no longer mounted)")
