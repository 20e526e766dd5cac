"""Mount the file systems of disk images, read-only, without a change to the images.

A folder of files without an image in it is shown as it is, read-only too.

A mounted file system meets this machine's kernel: one that was made to break a driver may take it over.
The policy 'forensic' allows well-kept drivers alone, and ntfs-3g where the kernel has no ntfs3; what else
there is has to be named (--allow-fs), by root. To be safe from it, look without mounting (pyimount export),
or mount in a virtual machine.

Everything that runs as root can be read beforehand: --dry-run prints it. What is mounted stays until
'pyimount unmount' takes it down, also after this command has ended; without --keep, on a terminal, it waits
for Enter and takes it down itself.

A signal that ends it while it waits (SIGHUP, SIGTERM) is as Enter.

Exit status: 0 everything that should be mounted is; 1 an image could not be read, or not all that was
written could be kept; 2 the arguments are wrong; 4 a volume that should be mounted (carved, writable) is
not, there is nothing to mount, or no tree with --reconstruct, and the message says why and what to do; 128
and a signal's number after that signal.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyimount
from pyimount import cli
from pyimount.cli import options as shared
from pyimount.cli import privilege, signals, unmount
from pyimount.cli.mount_report import EXIT_NOT_MOUNTED, exit_status, report, second_opinion
from pyimount.execution.errors import LedgerError, StepFailed
from pyimount.planning.mounters import MOUNTERS, UNLOCKERS
from pyimount.planning.naming import Naming
from pyimount.planning.policy import POLICIES, Policy
from pyimount.sources.errors import OpenError
from pyimount.wording import printable

if TYPE_CHECKING:
    from pyimount.keys import Keyring
    from pyimount.mounting import Mounted

EXAMPLES = """examples:
  sudo pyimount mount disk.E01                all file systems; Enter takes them down again
  sudo pyimount mount --keep --json disk.E01  for scripts: mount points, and why not
  pyimount mount --dry-run disk.E01           what would run as root
  sudo pyimount mount --reconstruct disk.dd   the tree as it was, under the root volume
  sudo pyimount mount --only-mount 2 --keys '2=p:secret' disk.dd
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("images", nargs="*", type=shared.image, metavar="IMAGE", help="as for detect")
    what = parser.add_argument_group("what is mounted")
    what.add_argument(
        "--only-mount", action="append", default=[], metavar="VOLUME", help="only this index, UUID or label"
    )
    what.add_argument("--skip", action="append", default=[], metavar="VOLUME", help="all but this")
    what.add_argument("--vshadow", action="store_true", help="shadow copies too")
    what.add_argument("--reconstruct", action="store_true", help="put volumes into the root volume's tree")
    what.add_argument(
        "--carve", action="store_true", help="recover deleted files, too, with photorec, from what is free"
    )
    what.add_argument(
        "--carvedir",
        metavar="FOLDER",
        help="the folder for these, which stays (default: made, and told); implies --carve",
    )
    what.add_argument("--single", action="store_true", help="the disk is one volume, without a table")
    what.add_argument("--no-single", action="store_true", help="only what a partition table has")
    where = parser.add_argument_group("where")
    where.add_argument("--mountdir", metavar="FOLDER", help="make the mount points in this folder")
    where.add_argument("--pretty", action="store_true", help="call them after labels and last mount points")
    where.add_argument(
        "--readable", action="store_true", help="whoever calls reads every file, whosever it is in the image"
    )
    where.add_argument("--casename", metavar="NAME", help="a folder that they have in common")
    where.add_argument(
        "--user", metavar="FOLDER",
        help="show the files at this empty folder of yours, through FUSE and without root: a folder for each "
        "volume, or the tree as it was with --reconstruct",
    )  # fmt: skip
    where.add_argument(
        "--links", choices=("keep", "text"), default="keep",
        help="with --user: links as they are, or as text files with their targets",
    )  # fmt: skip
    where.add_argument(
        "--within", metavar="PATH",
        help="with --user: what is in the disk image, or archive, that is this file (2:/vms/a.vmdk)",
    )  # fmt: skip
    how = parser.add_argument_group("how")
    how.add_argument(
        "--policy", choices=list(POLICIES), default="forensic", help="what is allowed (default: forensic)"
    )
    how.add_argument("--show-policy", action="store_true", help="print what the policy allows")
    how.add_argument(
        "--allow-fs",
        type=shared.driver,
        action="append",
        default=[],
        metavar="TYPE",
        help="a driver or tool that is off else",
    )
    how.add_argument(
        "--backend", choices=("auto", "kernel", "user"), help="who assembles and decrypts (default: auto)"
    )
    how.add_argument(
        "--disk-mounter",
        choices=("auto", "user", "qemu-nbd", "dummy", *MOUNTERS),
        metavar="PROGRAM",
        help=f"what shows the disk in a container: auto, user, qemu-nbd, dummy, {', '.join(MOUNTERS)}",
    )
    how.add_argument(
        "--volume-detector",
        choices=("auto", "native", "dissect"),
        help="dissect: a second opinion on partition tables, which is told",
    )
    how.add_argument(
        "--lvm", choices=("auto", "native", "lvm"), help="who maps logical volumes: pyimount, or LVM itself"
    )
    how.add_argument(
        "--bitlocker", choices=("auto", "cryptsetup", *UNLOCKERS), help="what opens BitLocker volumes"
    )
    how.add_argument("--vshadow-mounter", choices=("native", "vshadowmount"), help="what shows shadow copies")
    how.add_argument(
        "--read-write", action="store_true", help="what is written goes to a cache, not the image"
    )
    how.add_argument("--rwpath", metavar="FOLDER", help="the folder of that cache (default: made, and told)")
    how.add_argument("--discard", action="store_true", help="remove that cache when this takes mounts down")
    then = parser.add_argument_group("and then")
    then.add_argument("--keep", action="store_true", help="leave mounts standing when this ends")
    then.add_argument("--no-interaction", action="store_true", help="ask nothing, wait for nothing")
    then.add_argument("--lazy-unmount", action="store_true", help="at the end, take down what is in use too")
    then.add_argument("--wait", action="store_true", help="stop where a volume is not mounted, until Enter")
    then.add_argument("--dry-run", action="store_true", help="only print what would be done")
    then.add_argument("--json", action="store_true", help="print one JSON document")
    then.add_argument("-v", "--verbose", action="store_true", help="say what is being done")
    then.add_argument(
        "--color", action=argparse.BooleanOptionalAction, help="colours (default: on a terminal)"
    )
    shared.add_keys(parser)
    shared.add_told(parser)
    shared.add_log(parser)


def run(options: argparse.Namespace) -> int:
    """Mount; returns the exit status."""
    policy = _policy(options)
    if options.show_policy:
        print(json.dumps({name: _plain(getattr(policy, name)) for name in policy.fields}, indent=2))
        return 0
    if options.readable and (options.reconstruct or options.read_write):
        cli.complain("--readable goes with neither --reconstruct nor --read-write")
        return cli.EXIT_USAGE
    if not options.images:
        cli.complain("which image?")
        return cli.EXIT_USAGE
    if options.within is not None and options.user is None:
        cli.complain(
            "--within goes with --user: root's part reads no file with a library; "
            "'pyimount export IMAGE PATH::disk -o FILE' writes that image to be mounted"
        )
        return cli.EXIT_USAGE
    if options.user is not None:
        from pyimount.cli import user_mount

        return user_mount.run(options)
    try:
        keyring = shared.keyring(options)
        return _mount(options, policy, keyring)
    except (ValueError, OpenError) as error:
        cli.complain(printable(str(error)))
        return cli.EXIT_USAGE
    except (StepFailed, LedgerError) as error:
        cli.complain(printable(str(error)))
        if isinstance(error, StepFailed) and error.remedy:
            cli.complain(f"  {printable(error.remedy)}")
        return 1


def _policy(options: argparse.Namespace) -> Policy:
    policy = POLICIES[options.policy]
    changes: dict[str, Any] = {"allow_fs": policy.allow_fs | frozenset(options.allow_fs)}
    for name in ("backend", "disk_mounter", "lvm", "bitlocker", "vshadow_mounter"):
        if getattr(options, name):
            changes[name] = getattr(options, name)
    if options.read_write:
        changes["read_write"] = True
    return policy.replaced(**changes)


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value


def _mount(options: argparse.Namespace, policy: Policy, keyring: "Keyring | None") -> int:
    from pyimount.mounting import mounting

    if not options.dry_run:
        mounting.require_packages()
        mounting.require_rights()
    scan = mounting.look(options.images, keys=keyring, **_told(options))
    shared.log_scan(options, scan)
    if shared.misplaced(options, scan):
        return cli.EXIT_USAGE
    status = int(shared.tell_unread(disk for disk in scan.disks if not disk.is_folder))
    for problem in scan.problems:
        cli.complain(problem.message)
    for index, word in options.fstypes:
        if index not in ("*", "?") and not _names_volume(scan, index):
            raise ValueError(f"--fstypes {index}={word}: there is no volume {index}")
    session = mounting.new_session()
    wanted: dict[str, Any] = {
        "session": session,
        "only": _named(scan, options.only_mount),
        "skip": {*_named(scan, options.skip), *_without_table(scan, options)},
        "fstypes": dict(options.fstypes),
        "shadows": options.vshadow,
        "folder": None if options.mountdir is None else os.path.realpath(options.mountdir),
        "readable": options.readable,
        "naming": Naming(pretty=options.pretty, casename=options.casename),
    }
    if options.read_write:
        wanted["cache"] = os.path.realpath(options.rwpath or f"pyimount-{session}-cache")
    if options.carve or options.carvedir:
        # Beside the mount points, not among them: it stays.
        carved = options.carvedir or os.path.join(options.mountdir or "", f"pyimount-{session}-carved")
        wanted["carve"] = os.path.realpath(carved)
    if options.dry_run:
        return _dry_run(scan, policy, keyring, wanted, as_json=options.json)
    waits = not (options.keep or options.no_interaction or options.json) and sys.stdin.isatty()
    try:
        with signals.raising(wanted=not options.keep):
            mounted = _stand(scan, policy, keyring, wanted, options)
            if waits:
                if not _wait("press Enter to unmount …"):
                    raise signals.Ended(signal.SIGHUP)  # which is on its way
                kept = _clean(options, session)
    except signals.Ended as end:
        with suppress(OSError):  # the terminal has gone
            _clean(options, session)
        return signals.EXIT_SIGNAL + end.number
    except (KeyboardInterrupt, LedgerError):
        _clean(options, session)
        raise
    except OSError:
        if waits:
            with suppress(OSError):
                _clean(options, session)
        raise
    if not waits:
        kept = True
        if sys.stderr.isatty() and mounted.standing:
            cli.complain(f"'pyimount unmount {session}' takes this down")
        if mounted.plan.steps and not mounted.standing:
            # What was made on the way serves nobody.
            kept = _clean(options, session)
    return exit_status(mounted) or status or int(not kept)


def _stand(
    scan: pyimount.Scan,
    policy: Policy,
    keyring: "Keyring | None",
    wanted: dict[str, Any],
    options: argparse.Namespace,
) -> "Mounted":
    """Mount, and tell what came of it."""
    from pyimount.mounting import mounting

    with privilege.executor(_narrate if options.verbose else None) as executor:
        mounted = mounting.mount(scan, executor, policy=policy, keys=keyring, **wanted)
        if options.reconstruct:
            mounted = mounting.reconstruct(mounted, executor)
    report(mounted, options)
    if options.volume_detector == "dissect":
        second_opinion(mounted)
    if options.wait and exit_status(mounted) and not options.no_interaction and sys.stdin.isatty():
        _wait("press Enter to go on …")
    return mounted


def _names_volume(scan: pyimount.Scan, name: str) -> bool:
    return any(name in (volume.index, volume.uuid) for volume in scan.volumes)


def _told(options: argparse.Namespace) -> dict[str, Any]:
    told = shared.told(options)
    # What a volume is mounted as is the plan's to say; it is recognised all the same.
    told["fstypes"] = None
    if options.single:
        told["vstype"] = "none"
    return told


def _named(scan: pyimount.Scan, names: Sequence[str]) -> Sequence[str]:
    """The names, each of which something has; raises ValueError for one that nothing has."""
    for name in names:
        if not scan.named(name):
            raise ValueError(f"{name}: there is no such volume; 'pyimount detect' lists what there is")
    return names


def _without_table(scan: pyimount.Scan, options: argparse.Namespace) -> set[str]:
    """The volumes that are a whole disk, when only partitions are wanted."""
    if not options.no_single:
        return set()
    disks = {disk.id for disk in scan.disks if disk.pttype is None}
    return {volume.index for volume in scan.volumes if volume.parents[0] in disks}


def _dry_run(
    scan: pyimount.Scan,
    policy: Policy,
    keyring: "Keyring | None",
    wanted: dict[str, Any],
    *,
    as_json: bool,
) -> int:
    from pyimount.execution.survey import survey
    from pyimount.mounting import planned
    from pyimount.planning.shell import script

    plan = planned(scan, policy, survey(), keys=keyring, **wanted)
    if as_json:
        print(json.dumps(plan.to_dict(), indent=2 if sys.stdout.isatty() else None))
    else:
        print("\n".join(script(plan, scan)))
    return EXIT_NOT_MOUNTED if plan.refused or plan.uncarved else 0


def _narrate(moment: str, step: Any) -> None:
    if moment == "intended":
        cli.complain(f"{step.verb} (step {step.id}: {type(step).__name__})")


def _wait(message: str) -> bool:
    """Wait for Enter; False where the terminal has gone, which is an answer, too."""
    print(message, end="", flush=True)
    try:
        return bool(sys.stdin.readline()) or sys.stdin.isatty()
    except OSError:
        return False


def _clean(options: argparse.Namespace, session: str) -> bool:
    """Take all of it down; whether what was written was kept whole."""
    with privilege.standing() as standing:
        if session not in (each["session"] for each in standing.sessions()):
            return True
        undone = standing.undo(session, None, lazy=options.lazy_unmount, discard=options.discard)
    for line in unmount.told(undone):
        cli.complain(line)
    if undone["left"]:
        cli.complain(f"'pyimount unmount {session}' tries again")
    return not any(note["lost"] for note in undone["notes"])
