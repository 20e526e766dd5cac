"""The command line: one module per subcommand, each loaded only when it is asked for."""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module

from pyimount.cli.open_files import raise_limit
from pyimount.version import __version__

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_COMMANDS = {
    "detect": "tell what is in disk images, layer by layer",
    "ls": "list what is in a folder of a volume",
    "tree": "draw the folders and files of a volume",
    "cat": "print the bytes of a file in a volume",
    "cp": "copy files and folders out of a volume",
    "find": "find files in volumes",
    "stat": "tell everything of a file in a volume",
    "export": "write the bytes of a disk or volume to a file",
    "mount": "mount the file systems in disk images, read-only",
    "unmount": "take mounts down again",
    "list": "list what is mounted",
    "check": "tell what this machine can do, and what is missing",
    "formats": "list what is recognised",
    "completion": "print the completion script of a shell",
}

_ON_LINUX = ("mount", "unmount", "list", "check")
"""What acts on the machine, or tells of it; on others these commands have their help alone."""
_ITS_MODULES = ("fcntl", "grp", "pwd", "resource", "termios")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, which is asked without the modules that argparse loads for that."""

    def __init__(self, prog: str) -> None:
        try:
            columns = os.get_terminal_size().columns
        except (OSError, ValueError, AttributeError):
            columns = 80
        super().__init__(prog, width=max(40, columns - 2))


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command line: with every subcommand, or with ``only`` one."""
    top = argparse.ArgumentParser(
        prog="pyimount",
        description="Tell what is in a disk image, layer by layer, without root and without changing it.",
        epilog="'pyimount COMMAND --help' tells more of each command.",
        formatter_class=HelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"pyimount {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, prog="pyimount")
    for name, summary in _COMMANDS.items():
        if only not in (None, name):
            continue
        module = import_module(f"pyimount.cli.{name}")
        command = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            epilog=module.EXAMPLES,
            formatter_class=HelpFormatter,
        )
        module.arguments(command)
        command.set_defaults(run=module.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status. ``arguments``: instead of the process's own."""
    if arguments is not None:
        return _run(arguments)
    # Looking through every object for garbage, most of all when the process ends, takes longer than a scan.
    gc.set_threshold(100_000)
    raise_limit()
    try:
        return _run(sys.argv[1:])
    finally:
        gc.freeze()


def _run(arguments: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # A file name may be any bytes; a message about it must not fail on them.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # A command that is there to be quick loads no other.
    only = arguments[0] if arguments and arguments[0] in _COMMANDS else None
    try:
        parsed = parser(only).parse_args(arguments)
        if parsed.command in _ON_LINUX and not _is_linux():
            complain(f"{parsed.command} is for Linux; the others, detect and ls among them, work here too")
            return 1
        run: Callable[[argparse.Namespace], int] = parsed.run
        status = run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()  # whoever read it has seen enough
        return 0
    except KeyboardInterrupt:
        complain("stopped")
        return EXIT_INTERRUPTED
    except OSError as error:
        complain(f"cannot write the report: {error.strerror or error}")
        drop_output()
        return 1
    return status


def _is_linux() -> bool:
    from importlib.util import find_spec

    return sys.platform == "linux" and None not in map(find_spec, _ITS_MODULES)


def drop_output() -> None:
    """Have what could not be written go nowhere: Python would try again at exit, and complain."""
    with suppress(OSError, ValueError):  # where standard output is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str) -> None:
    """Tell a person what went wrong, on standard error."""
    print(f"pyimount: {message}", file=sys.stderr)
