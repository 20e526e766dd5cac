"""The command line: one module per subcommand, each loaded only when it is asked for."""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from pyimount.cli.open_files import raise_limit
from pyimount.version import SCHEMA, __version__
from pyimount.wording import printable

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
    "report": "draw disk images, and tell all of them, in one HTML file",
    "verify": "hold disk images against the hashes and checksums that they keep",
    "export": "write the bytes of a disk or volume to a file",
    "mount": "mount the file systems in disk images, read-only",
    "unmount": "take mounts down again",
    "list": "list what is mounted",
    "check": "tell what this machine can do, and what is missing",
    "install-helper": "install the one program that sudo has to allow, for users who mount",
    "formats": "list what is recognised",
    "completion": "print the completion script of a shell",
}

_HELP = "help"

_ON_LINUX = ("mount", "unmount", "list", "check", "install-helper")
"""What acts on the machine, or tells of it; on others these commands have their help alone."""
_ITS_MODULES = ("fcntl", "grp", "pwd", "resource", "termios")


def columns() -> int:
    """How many columns a line has: the variable COLUMNS, the terminal's, else 80."""
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and int(told) > 0:
        return int(told)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # no terminal, or no file at all
            return os.get_terminal_size(stream.fileno()).columns or 80
    return 80


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal: paragraphs are filled, examples keep their lines where these fit."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=max(40, columns() - 2))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        from textwrap import fill
        from textwrap import indent as moved

        room = width - len(indent)
        parts = []
        for paragraph in text.strip().split("\n\n"):
            first, *rest = paragraph.split("\n")
            if any(line.startswith(" ") for line in rest):
                parts.append("\n".join([first, *_examples(rest, room)]))
            else:
                words = " ".join(paragraph.split())
                parts.append(fill(words, room, break_long_words=False, break_on_hyphens=False))
        return moved("\n\n".join(parts), indent)


def _examples(lines: Sequence[str], width: int) -> Iterator[str]:
    """The lines of examples; what each does stands below it where there is no room beside one of them."""
    if all(len(line) <= width for line in lines):
        yield from lines
        return
    for line in lines:
        command, _, told = line.strip().partition("  ")
        yield f"  {command}"
        if told:
            yield f"      {told.strip()}"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and the command that tells more; options may stand anywhere."""

    _intermixes = True

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's. Of a command, words may stand before, between and behind the options."""
        arguments = [*(sys.argv[1:] if args is None else args)]
        # argparse gives the words of a list, as PATH … is, all that stand in one place, and none behind the
        # options that follow; its other way of parsing knows neither commands nor "--".
        if not self._intermixes or self._subparsers is not None or "--" in arguments:
            return super().parse_known_args(arguments, namespace)
        self._intermixes = False
        try:
            return self.parse_known_intermixed_args(arguments, namespace)
        finally:
            self._intermixes = True

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and end with 2."""
        said = message.removeprefix("argument IMAGE: ")
        complain(said if said != message else f"{message} ('{self.prog} --help' tells more)")
        self.exit(EXIT_USAGE)


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command line: with every subcommand, or with ``only`` one."""
    top = Parser(
        prog="pyimount",
        description="Tell what is in a disk image, layer by layer, without root and without changing it.",
        epilog="'pyimount IMAGE' is 'pyimount detect IMAGE'. "
        "'pyimount help COMMAND' or 'pyimount COMMAND --help' tells more of each command.",
        formatter_class=HelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"pyimount {__version__} (reports: {SCHEMA})")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, prog="pyimount")
    for name, summary in _COMMANDS.items():
        if only not in (None, name):
            continue
        module = import_module(f"pyimount.cli.{name.replace('-', '_')}")
        command = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            epilog=module.EXAMPLES,
            formatter_class=HelpFormatter,
        )
        module.arguments(command)
        command.set_defaults(run=module.run)
    if only is None:
        told = commands.add_parser(
            _HELP,
            help="tell of a command and its options",
            description="Tell of a command and its options.",
            formatter_class=HelpFormatter,
        )
        told.add_argument("about", nargs="?", metavar="COMMAND", help="of which (default: of all)")
        told.set_defaults(run=_help)
    return top


def _help(options: argparse.Namespace) -> int:
    if options.about not in (None, *_COMMANDS):
        complain(f"{options.about}: no such command; {_suggestion(options.about)}")
        return EXIT_USAGE
    arguments = [options.about, "--help"] if options.about else ["--help"]
    parser(options.about).parse_args(arguments)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status. ``arguments``: instead of the process's own."""
    if arguments is not None:
        return _run(arguments)
    _open_closed_streams()
    # Looking through every object for garbage, most of all when the process ends, takes longer than a scan.
    gc.set_threshold(100_000)
    raise_limit()
    try:
        return _run(sys.argv[1:])
    finally:
        gc.freeze()


def _open_closed_streams() -> None:
    """Have something stand where a standard stream was closed: else the next file that is opened would."""
    silent = sys.stdout is None
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  (as long as the process)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if silent:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        complain("standard output is closed: what would stand there is lost")


def _run(arguments: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # A file name may be any bytes; a message about it must not fail on them.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = _with_command(arguments)
        # A command that is there to be quick loads no other.
        only = arguments[0] if arguments and arguments[0] in _COMMANDS else None
        parsed = parser(only).parse_args(arguments)
        if parsed.command in _ON_LINUX and not _is_linux():
            complain(f"{parsed.command} is for Linux; the others, detect and ls among them, work here too")
            return 1
        run: Callable[[argparse.Namespace], int] = parsed.run
        if getattr(parsed, "log", None):
            run = import_module("pyimount.cli.examiners_log").logged(run, arguments[1:])
        status = run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()  # whoever read it has seen enough
        return 0
    except KeyboardInterrupt:
        complain("stopped")
        return EXIT_INTERRUPTED
    except OSError as error:
        complain(_told(error))
        drop_output()
        return 1
    return status


def _with_command(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments with their command: an image alone, or options, stand for ``detect``."""
    if not arguments or arguments[0] in (*_COMMANDS, _HELP, "-h", "--help", "--version"):
        return arguments
    first = arguments[0]
    if first.startswith("-") or os.path.lexists(first) or not first.isalpha():
        return ["detect", *arguments]
    complain(f"{first}: neither a command nor a file; {_suggestion(first)}")
    raise SystemExit(EXIT_USAGE)


def _suggestion(word: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, [*_COMMANDS, _HELP], n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else "'pyimount help' lists the commands"


HOMELESS = "the folder in which this was started is gone: go to another one"


def is_homeless() -> bool:
    """Whether the working directory has been deleted, so that relative names lead nowhere."""
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _told(error: OSError) -> str:
    if is_homeless():
        return HOMELESS
    reason = error.strerror or str(error)
    if isinstance(error.filename, str | bytes):
        return f"{os.fsdecode(error.filename)}: {reason}"
    return f"cannot write the report: {reason}"


def _is_linux() -> bool:
    from importlib.util import find_spec

    return sys.platform == "linux" and None not in map(find_spec, _ITS_MODULES)


def drop_output() -> None:
    """Have what could not be written go nowhere: Python would try again at exit, and complain."""
    with suppress(OSError, ValueError):  # where standard output is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str) -> None:
    """Tell a person what went wrong, on standard error: one line, in which nothing stands unescaped.

    On a terminal it is broken between words.
    """
    line = f"pyimount: {printable(message)}"
    if sys.stderr.isatty():
        from textwrap import fill

        line = fill(
            line, columns(), break_long_words=False, break_on_hyphens=False, replace_whitespace=False,
            drop_whitespace=True, subsequent_indent="  ",
        )  # fmt: skip
    print(line, file=sys.stderr)
