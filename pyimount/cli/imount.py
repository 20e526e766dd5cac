"""``imount``: the command that imagemounter had, with its options; it is ``pyimount mount`` beneath.

What it prints of volumes, and its exit statuses, are those of ``pyimount mount``. ``--check``, ``--unmount``
and ``--interactive`` are its own.

Exit status: 0 everything that should be mounted is; 1 an image could not be read, or something is not
installed; 2 the arguments are wrong; 4 a volume that should be mounted is not.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from pyimount import cli
from pyimount.execution.tools import find
from pyimount.imagemounter.words import (
    CONTAINERS,
    DISK_MOUNTERS,
    FILE_SYSTEM_TYPES,
    SYNONYMS,
    VOLUME_DETECTORS,
    VOLUME_SYSTEM_TYPES,
)
from pyimount.planning.mounters import MOUNTERS
from pyimount.version import __version__
from pyimount.wording import printable

EXIT_FAILED = 1


class _Parser(argparse.ArgumentParser):
    """Prints its help after an error, as imount did."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"error: {message}\n")
        self.print_help(sys.stderr)
        sys.exit(cli.EXIT_USAGE)


class _ByIndex(argparse.Action):
    """``INDEX=VALUE,INDEX=VALUE``, or a value for all: a dict. ``commas``: these part entries."""

    def __init__(self, *args: Any, commas: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commas = commas

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        """Add what this use of the option says."""
        told = dict(getattr(namespace, self.dest) or {})
        text = str(values)
        if "=" not in text and "," not in text:
            told["*"] = text
        else:
            for entry in text.split(",") if self._commas else [text]:
                index, equals, value = entry.partition("=")
                if not index or not equals or not value:
                    parser.error(f"{option}: {entry} is not INDEX=VALUE")
                told[index.strip()] = value.strip() if self._commas else value
        setattr(namespace, self.dest, told)


class _Check(argparse.Action):
    """Prints what is installed, a line each, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it."""
        print_check()
        sys.stdout.flush()
        parser.exit()


def print_check() -> None:
    """Print what pyimount can use: ``INSTALLED name``, or ``MISSING name`` with what it is for."""
    from pyimount import dependencies

    print("What pyimount can make use of. It works without most of it, and then mounts less.")
    sections: Mapping[str, Iterable[dependencies.Dependency]] = {
        "The kernel": dependencies.KERNEL,
        "File systems of the kernel": dependencies.FILE_SYSTEMS,
        "Libraries": dependencies.LIBRARIES,
        "Programs": dependencies.COMMANDS,
        "Python packages": dependencies.MODULES,
    }
    for title, those in sections.items():
        print(f"-- {title} --")
        for each in those:
            if each.is_available:
                print(f" INSTALLED {each.name}")
            else:
                brought = f", part of the {each.package} package" if each.package else ""
                print(f" MISSING   {each.name:<20}needed for {each.why}{brought}")


def parser() -> argparse.ArgumentParser:
    """The parser of its options."""
    top = _Parser(
        prog="imount",
        description="Mount the volumes in disk images, read-only; 'pyimount mount' is the same with more.",
        formatter_class=cli.HelpFormatter,
    )
    top.add_argument("images", nargs="*", metavar="IMAGE", help="any file of an image, or its folder")
    top.add_argument("--version", action="version", version=__version__)
    top.add_argument("--check", action=_Check, nargs=0, help="tell what is installed, and what is missing")
    top.add_argument("-i", "--interactive", action="store_true", help="a shell (also without an image)")
    top.add_argument("-u", "--unmount", action="store_true", help="take down what earlier runs left")
    top.add_argument("-w", "--wait", action="store_true", help="stop after a warning until Enter is pressed")
    top.add_argument("-k", "--keep", action="store_true", help="leave mounts standing when this ends")
    top.add_argument("--no-interaction", action="store_true", help="ask nothing; implies --keep")
    top.add_argument("-o", "--only-mount", metavar="VOLUME,…", help="only these")
    top.add_argument("--skip", metavar="VOLUME,…", help="all but these")
    top.add_argument("-v", "--verbose", action="count", default=0, help="say what is being done")
    top.add_argument("-c", "--color", action="store_true", help="colours also where this is no terminal")
    top.add_argument("--no-color", action="store_true", help="no colours")
    top.add_argument("-r", "--reconstruct", action="store_true", help="put volumes into the root's tree")
    top.add_argument("--carve", action="store_true", help="recover deleted files with photorec, too")
    top.add_argument("--vshadow", action="store_true", help="mount shadow copies, too")
    top.add_argument("-md", "--mountdir", metavar="FOLDER", help="make the mount points in this folder")
    top.add_argument("-p", "--pretty", action="store_true", help="call them after labels")
    top.add_argument("-cn", "--casename", metavar="NAME", help="a folder that they have in common")
    top.add_argument("-rw", "--read-write", action="store_true", help="what is written goes to a cache")
    top.add_argument("-m", "--disk-mounter", choices=DISK_MOUNTERS, default="auto", help="what shows a disk")
    top.add_argument(
        "-d",
        "--volume-detector",
        choices=[name for name in VOLUME_DETECTORS if name],
        default="auto",
        help="who finds partitions: always pyimount; dissect gives a second opinion",
    )
    top.add_argument("--vstypes", action=_ByIndex, metavar="INDEX=TYPE,…", help="types of partition tables")
    top.add_argument(
        "--fstypes",
        action=_ByIndex,
        metavar="INDEX=TYPE,…",
        help="types of file systems; * for all, ? for what is not recognised",
    )
    top.add_argument(
        "--keys",
        action=_ByIndex,
        commas=False,
        metavar="INDEX=KEY",
        help="keys: p:…, f:…, r:…, s:…, k:…, m:…",
    )
    top.add_argument("--lazy-unmount", action="store_true", help="take down what is in use too, at the end")
    top.add_argument("--single", action="store_true", help="the image is one volume, without a table")
    top.add_argument("--no-single", action="store_true", help="only what a partition table has")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``imount``; returns the exit status. ``arguments``: instead of the process's own."""
    try:
        return _run(parser().parse_args(arguments))
    except BrokenPipeError:
        cli.drop_output()  # Whoever read it has seen enough.
        return 0
    except (KeyboardInterrupt, EOFError):
        print("\n[-] Aborted.")
        return cli.EXIT_INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    wrong = _what_is_wrong(options)
    if wrong is not None:
        print(f"[!] {printable(wrong)}", file=sys.stderr)
        return EXIT_FAILED
    if options.unmount:
        return _unmount(options)
    if options.interactive or not options.images:
        from pyimount.cli.imount_shell import run

        return run(options.images)
    if options.no_interaction and options.wait:
        print("[!] --no-interaction can't be used in conjunction with --wait", file=sys.stderr)
    return cli.main(as_mount(options))


def _what_is_wrong(options: argparse.Namespace) -> str | None:
    """What keeps imount from beginning; None where nothing does."""
    for index, word in (options.vstypes or {}).items():
        if word not in (*VOLUME_SYSTEM_TYPES, "none"):
            return f"Error while parsing --vstypes: {index}={word} is invalid"
    for index, word in (options.fstypes or {}).items():
        if word not in (*FILE_SYSTEM_TYPES, *VOLUME_SYSTEM_TYPES, "swap", "none"):
            return f"Error while parsing --fstypes: {index}={word} is invalid"
    mounter = SYNONYMS.get(options.disk_mounter, options.disk_mounter)
    known = MOUNTERS.get(mounter)
    tool = mounter if known is None else known.tool or mounter
    is_program = mounter not in ("auto", "user", "dummy")
    if is_program and not _keeps_a_cache(options) and find(tool) is None:
        return f"{options.disk_mounter} is not installed!"
    return None


def _keeps_a_cache(options: argparse.Namespace) -> bool:
    """Whether our own server keeps what is written, for which imagemounter needed xmount."""
    return bool(options.read_write) and options.disk_mounter in ("auto", "xmount")


def as_mount(options: argparse.Namespace) -> list[str]:
    """The arguments of ``pyimount`` that do the same."""
    told: list[str] = ["mount"]

    def flag(wanted: object, *words: str) -> None:
        told.extend(words if wanted else ())

    def each(option: str, values: Iterable[str]) -> None:
        # With an equals sign, a value may begin with a hyphen.
        told.extend(f"{option}={value}" for value in values)

    flag(options.keep or options.no_interaction, "--keep")
    flag(options.no_interaction, "--no-interaction")
    flag(options.wait and not options.no_interaction, "--wait")
    flag(options.verbose, "--verbose")
    flag(options.color, "--color")
    flag(options.no_color and not options.color, "--no-color")
    flag(options.reconstruct, "--reconstruct")
    flag(options.carve, "--carve")
    flag(options.vshadow, "--vshadow")
    flag(options.pretty, "--pretty")
    flag(options.lazy_unmount, "--lazy-unmount")
    # Both together are what neither is.
    flag(options.single and not options.no_single, "--single")
    flag(options.no_single and not options.single, "--no-single")
    each("--only-mount", _names(options.only_mount))
    each("--skip", _names(options.skip))
    each("--mountdir", [options.mountdir] if options.mountdir else [])
    each("--casename", [options.casename] if options.casename else [])
    mounter = SYNONYMS.get(options.disk_mounter, options.disk_mounter)
    writes = options.read_write
    if writes and not _keeps_a_cache(options) and mounter not in ("user", "dummy"):
        print(f"[!] {mounter} does not support mounting read-write! Will mount read-only.", file=sys.stderr)
        writes = False
    flag(writes, "--read-write")
    each("--disk-mounter", ["auto" if _keeps_a_cache(options) else mounter])
    detector = "dissect" if options.volume_detector == "dissect" else "native"
    each("--volume-detector", [detector])
    _types(options, each)
    for index, key in (options.keys or {}).items():
        each("--key" if index == "*" else "--keys", [key if index == "*" else f"{index}={key}"])
    return [*told, "--", *options.images]


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]


def _types(options: argparse.Namespace, each: Callable[[str, Iterable[str]], None]) -> None:
    """The types of tables and of file systems; imagemounter's words for a table stand among either."""
    tables = {index: word for index, word in (options.vstypes or {}).items() if word != "detect"}
    for index, word in (options.fstypes or {}).items():
        if word in VOLUME_SYSTEM_TYPES and word != "detect":
            tables[index] = word
        elif word not in CONTAINERS and word not in VOLUME_SYSTEM_TYPES and word != "dir":
            # What is in a lock, an array or a group is found by itself, and mounted by no name of that.
            each("--fstypes", [f"{index}={word}"])
    for index, word in tables.items():
        # Every type is tried where none is named, and so ? says nothing.
        if index == "*":
            each("--vstype", [word])
        elif index != "?":
            each("--vstypes", [f"{index}={word}"])


def _unmount(options: argparse.Namespace) -> int:
    """Take down what earlier runs left, after having shown what that is."""
    from pyimount.exceptions import ImageMounterError
    from pyimount.imagemounter.unmounter import Unmounter

    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        print("[-] unmounting needs root; 'pyimount unmount' takes down your own", file=sys.stderr)
        return EXIT_FAILED
    unmounter = Unmounter(casename=options.casename, pretty=options.pretty, mountdir=options.mountdir)
    try:
        commands = unmounter.preview_unmount()
        if not commands:
            print("[+] Nothing to do")
            return 0
        print("[!] --unmount takes down all that looks like a mount of this command; this is:")
        for command in commands:
            print(f"    {printable(command)}")
        if not options.no_interaction:
            input(">>> Press [enter] to continue or ^C to cancel... ")
        unmounter.unmount()
    except ImageMounterError as error:
        print(f"[-] {printable(str(error))}", file=sys.stderr)
        return EXIT_FAILED
    return 0
