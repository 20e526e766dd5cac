"""Take mounts down, the latest first, and everything that was made for them.

WHAT is an image, a mount point, a folder with mount points, a device, or a session as 'pyimount list' shows
it; a path means what lies there, however it is spelt. It works from any process, also after the one that
mounted has died, and as often as you like.

Exit status: 0 all that was named was taken down; 1 nothing of a name is mounted, a ledger cannot be read, or
not all that was written could be kept; 2 the arguments are wrong; 5 something is left, and the message says
what holds it.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from pyimount import cli
from pyimount.cli import privilege
from pyimount.execution.errors import LedgerError, StepFailed
from pyimount.execution.wanted import Wanted, look_at, meant
from pyimount.wording import printable

EXAMPLES = """examples:
  pyimount unmount disk.E01                 all that was mounted from this image
  pyimount unmount /run/pyimount/1f…/mnt/2  one file system
  pyimount unmount --all --dry-run          what would be done
"""

EXIT_LEFT = 5


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("what", nargs="*", metavar="WHAT", help="an image, a mount point, a session")
    parser.add_argument("--all", action="store_true", help="everything that pyimount mounted")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument(
        "-l", "--lazy", action="store_true", help="also what is in use: it ends when nobody uses it any more"
    )
    parser.add_argument(
        "--discard", action="store_true", help="also what was written with --read-write, where it is kept"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Take down what is named; returns the exit status."""
    if bool(options.what) == options.all:
        cli.complain("name what to unmount, or --all")
        return cli.EXIT_USAGE
    try:
        with privilege.standing() as standing:
            return _run(standing, options)
    except (LedgerError, StepFailed) as error:
        cli.complain(printable(str(error)))
        return 1


def _run(standing: privilege.Standing, options: argparse.Namespace) -> int:
    chosen: dict[str, set[int] | None] = {}
    found = standing.sessions()
    nothing: list[dict[str, str]] = []
    for name in options.what:
        wanted = look_at(name)
        if not _choose(wanted, found, chosen):
            nothing.append({"what": name, "reason": _why_nothing(wanted, standing)})
            cli.complain(f"{printable(name)}: {nothing[-1]['reason']}")
    if options.all:
        chosen = {session["session"]: None for session in found}
    if options.dry_run:
        for session, only in chosen.items():
            for argv in standing.preview(session, only):
                print(" ".join(map(printable, argv)))
        return int(bool(nothing))
    done: dict[str, dict[str, Any]] = {}
    notes: dict[str, list[dict[str, Any]]] = {}
    unread = False
    pending = list(reversed(chosen.items()))
    while pending:
        # The latest first: an earlier one may be what it stands on. A bind mount may also stand on a later
        # one, which then goes in a second round.
        held = []
        for session, only in pending:
            try:
                done[session] = standing.undo(session, only, lazy=options.lazy, discard=options.discard)
            except LedgerError as error:
                # One session that cannot be read keeps no other from being taken down.
                cli.complain(printable(str(error)))
                unread = True
                continue
            notes.setdefault(session, []).extend(done[session]["notes"])
            done[session]["notes"] = notes[session]
            if done[session]["left"]:
                held.append((session, only))
        pending = held if len(held) < len(pending) else []
    _report(list(done.values()), nothing, options)
    if any(each["left"] for each in done.values()):
        return EXIT_LEFT
    return int(
        unread or bool(nothing) or any(note["lost"] for each in done.values() for note in each["notes"])
    )


def _why_nothing(wanted: Wanted, standing: privilege.Standing) -> str:
    """That nothing of this is mounted, and by whom something is."""
    others = standing.whose(wanted)
    if not others:
        return "nothing of this is mounted; 'pyimount list' shows what is"
    said = ", ".join(f"session {each['session']} of {_user(each['owner'])}" for each in others)
    how = "only that user, or root, takes it down: 'sudo pyimount unmount' does"
    return f"nothing of this is mounted by you; it is in {said}: {how}"


def _user(number: int) -> str:
    import pwd  # which not every system has, and help is everywhere

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _choose(wanted: Wanted, sessions: list[dict[str, Any]], chosen: dict[str, set[int] | None]) -> bool:
    """Add the steps that are meant, by their sessions; None stands for a whole session."""
    known = False
    for session in sessions:
        identity, steps = session["session"], meant(wanted, session)
        if steps is not None and not steps:
            continue
        known = True
        before = chosen.get(identity, set())
        chosen[identity] = None if steps is None or before is None else before | steps
    return known


def told(undone: dict[str, Any]) -> Iterator[str]:
    """What a person is told of what taking a session down did: who holds what, and what became of caches.

    What only lies beneath something that is held has no line of its own.
    """
    for left in undone["left"]:
        if not left["beneath"]:
            place, reason = printable(left["place"] or left["step"]), printable(left["reason"])
            yield reason if reason.startswith(place) else f"{place} is left: {reason}"
    for note in undone["notes"]:
        yield printable(note["message"])


def _report(done: list[dict[str, Any]], nothing: list[dict[str, str]], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({"schema": "pyimount-unmount/1", "sessions": done, "nothing": nothing}))
        return
    for each in done:
        for line in told(each):
            cli.complain(line)
        if not each["left"] and sys.stdout.isatty():
            print(f"session {each['session']}: nothing is left")
    if any(each["left"] for each in done):
        if options.lazy:
            cli.complain("it goes when nobody uses it any more; the same command then takes away the rest")
        else:
            cli.complain("close what uses it and repeat the command, or use --lazy")
