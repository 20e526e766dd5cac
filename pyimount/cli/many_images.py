"""Many images by one call of ``detect``: each by itself, the reports as they are ready."""

import argparse
import json
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, cast

from pyimount import cli
from pyimount.cli import options as shared
from pyimount.layers import DiskLayer, Scan
from pyimount.problems import NOT_DONE
from pyimount.sources.errors import OpenError

if TYPE_CHECKING:
    from pyimount.confinement.many import Outcome
    from pyimount.reports.lines import Done
    from pyimount.scanning.naming import Named

_PIECE = 1 << 16
_WAIT = 100
"""Milliseconds to wait for the next name before what is ready goes on."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for many images."""
    many = parser.add_argument_group("many images")
    many.add_argument("--each", action="store_true", help="the images do not belong together")
    many.add_argument(
        "--jobs", type=_positive, metavar="NUMBER", help="images at a time (default: one a processor); --each"
    )
    many.add_argument(
        "--recursive", action="store_true", help="look for images in the folders below as well; --each"
    )
    many.add_argument(
        "--group",
        action="append",
        default=[],
        type=shared.folder,
        metavar="FOLDER",
        help="the images in this folder belong together: the disks of an array; --each for the others",
    )
    many.add_argument(
        "--files0-from",
        metavar="FILE",
        help="scan what FILE names (-: standard input), each name ended by a NUL byte; --each",
    )
    many.add_argument(
        "--resume",
        metavar="FILE",
        help="add the lines of --jsonl to FILE, but for images that stand there as they are now",
    )
    many.add_argument(
        "--resume-any", action="store_true", help="also where lines in FILE are of other options or versions"
    )
    many.add_argument("--retry-failed", action="store_true", help="scan again what failed before")
    many.add_argument(
        "--max-memory",
        type=shared.byte_count,
        metavar="BYTES",
        help="memory that the process of one image may map (default: 8G)",
    )
    many.add_argument(
        "--max-processor-seconds",
        type=shared.seconds,
        metavar="SECONDS",
        help="processor time that one image may take (default: 1800)",
    )


def _positive(text: str) -> int:
    value = shared.whole_number(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least one image at a time is wanted")
    return value


def are_meant(options: argparse.Namespace) -> bool:
    """Whether the options say that each image is to be scanned by itself."""
    each = options.each or options.jsonl or options.recursive or options.resume or options.jobs is not None
    return bool(each or options.files0_from or options.group)


def run(options: argparse.Namespace, show: Callable[[Scan, argparse.Namespace], None]) -> int:
    """Scan the images, and print each report when it is there; returns the exit status.

    ``show``: prints a report in any form but lines.
    """
    wrong = _contradiction(options)
    if wrong:
        cli.complain(wrong)
        return cli.EXIT_USAGE
    from pyimount.confinement.crew import Limits
    from pyimount.confinement.many import outcomes
    from pyimount.reports.lines import Done, options_hash
    from pyimount.scanning.telling import as_json

    done = Done()
    with ExitStack() as stack:
        try:
            told = as_json({**shared.scan_options(options), "keys": shared.keyring(options)})
            told |= {"strict": True} if options.strict else {}
            given = {"memory": options.max_memory, "processor_seconds": options.max_processor_seconds}
            limits = Limits(**{name: most for name, most in given.items() if most is not None})
            paths = stack.enter_context(_paths(options))
            target: BinaryIO | None = None
            if options.resume:
                target = stack.enter_context(_continued(options, done, options_hash(told)))
        except (ValueError, OpenError) as error:
            cli.complain(str(error))
            return cli.EXIT_USAGE
        except OSError as error:
            cli.complain(f"{error.filename}: {error.strerror}")
            return cli.EXIT_USAGE
        whole = _Run(options, target, show)
        images = _left(paths, options, done, whole)
        found = outcomes(images, told, jobs=options.jobs, limits=limits)
        with closing(found), whole.bar():
            for outcome in found:
                whole.take(outcome)
        return whole.end()


def _contradiction(options: argparse.Namespace) -> str | None:
    """What is wrong about the options taken together."""
    if options.resume and not options.jsonl:
        return "--resume goes with --jsonl"
    if not options.resume and (options.resume_any or options.retry_failed):
        return "--resume-any and --retry-failed go with --resume FILE"
    if not (options.images or options.files0_from or options.group):
        return "which images? Name some, or a file of names with --files0-from"
    if options.within or options.system:
        return "--within and --system go with images that are looked at together, not with each by itself"
    if options.ask and options.files0_from == "-":
        return "--ask and --files0-from - both want standard input"
    return None


@contextmanager
def _paths(options: argparse.Namespace) -> Iterator[Iterator[str | None]]:
    """What was named: as arguments, and in a file. Raises OSError."""
    named: Iterator[str | None] = iter(options.images)
    if options.files0_from is None:
        yield named
    elif options.files0_from == "-":
        yield chain(named, _names_in(sys.stdin.fileno()))
    else:
        with open(options.files0_from, "rb") as file:
            yield chain(named, _names_in(file.fileno()))


def _names_in(descriptor: int) -> Iterator[str | None]:
    """The names in a file, each ended by a NUL byte; None where the next one is still to be written."""
    poll = None
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
    rest = b""
    while True:
        if poll is not None and not poll.poll(_WAIT):
            yield None
            continue
        piece = os.read(descriptor, _PIECE)
        *names, rest = (rest + piece).split(b"\0")
        if not piece:
            names, rest = [rest], b""
        yield from (os.fsdecode(name) for name in names if name)
        if not piece:
            return


@contextmanager
def _continued(options: argparse.Namespace, done: "Done", options_hash: str) -> Iterator[BinaryIO]:
    """The file of lines to go on with; what it has is put into ``done``. Raises OSError, OtherLines."""
    with open(options.resume, "a+b", buffering=0) as file:
        with suppress(ImportError):  # elsewhere nobody keeps two runs from one file
            from fcntl import LOCK_EX, LOCK_NB, flock

            try:
                flock(file, LOCK_EX | LOCK_NB)
            except OSError:
                raise ValueError(f"{options.resume}: another run is writing to it") from None
        done.read(
            options.resume, options_hash, any_options=options.resume_any, retry_failed=options.retry_failed
        )
        yield cast("BinaryIO", file)


def _left(
    paths: Iterator[str | None], options: argparse.Namespace, done: "Done", whole: "_Run"
) -> "Iterator[Named | None]":
    """The images that are not done yet."""
    from pyimount.scanning.naming import images_named
    from pyimount.sources.stamp import stamp

    found = images_named(paths, recursive=options.recursive, groups=options.group, skipped=whole.skip)
    for named in found:
        if named is not None and len(done):
            files = (path for segments in named.images for path in segments.paths)
            if done.has(named.path, stamp(files)):
                whole.before += 1
                continue
        yield named


class _Run:
    """What one call has printed, and how it went so far."""

    def __init__(
        self,
        options: argparse.Namespace,
        target: BinaryIO | None,
        show: Callable[[Scan, argparse.Namespace], None],
    ) -> None:
        self._options = options
        self._target = target
        self._show = show
        self._status = 0
        self._update: Callable[[], None] | None = None
        self.before = 0
        """Images that were done before."""
        self._done = self._failed = self._skipped = 0

    def skip(self, path: str) -> None:
        """Note a file in a folder that is no image."""
        self._skipped += 1
        if self._options.details:
            cli.complain(f"{path}: passed over: neither called nor beginning like a disk image")

    def take(self, outcome: "Outcome") -> None:
        """Print what became of one image."""
        self._done += 1
        self._failed += outcome.exit_status == 1
        # That one could not be read weighs more than that one is not whole.
        self._status = (
            1 if 1 in (self._status, outcome.exit_status) else max(self._status, outcome.exit_status)
        )
        if outcome.exit_status == 1 or not self._options.jsonl:
            self._tell(outcome)
        if self._options.jsonl:
            data = outcome.line.encode() + b"\n"
            if self._target is None:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                _write_whole(self._target, data)
        if self._update is not None:
            self._update()

    def _tell(self, outcome: "Outcome") -> None:
        told = json.loads(outcome.line)
        failure = told["failure"]
        if failure is not None:
            cli.complain(f"{outcome.path}: {failure['message']}")
            return
        scan = Scan.from_dict(told["report"])
        for layer, problem in scan.all_problems():
            if problem.code in NOT_DONE or (isinstance(layer, DiskLayer) and layer.size is None):
                cli.complain(problem.message)
        if self._options.csv:
            from pyimount.reports.table import write

            write(scan, sys.stdout, heads=self._done == 1)
            sys.stdout.flush()
        elif not self._options.jsonl:
            self._show(scan, self._options)
            sys.stdout.flush()

    def end(self) -> int:
        """Say how it went, where there is more to say than was printed; returns the exit status."""
        if not self._done and not self.before:
            cli.complain("there is no image in what was named")
            self._status = 1
        counts = [
            f"{self._failed} of {self._done} images could not be read" if self._failed else "",
            f"{self.before} were done before" if self.before else "",
            f"{self._skipped} files passed over that are no disk images" if self._skipped else "",
        ]
        if any(counts):
            cli.complain("; ".join(count for count in counts if count))
        return self._status

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Show on a terminal how far it is, unless the reports go there."""
        if not sys.stderr.isatty() or (self._target is None and sys.stdout.isatty()):
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            BarColumn(), TextColumn("{task.completed} done, {task.fields[failed]} failed"),
            TextColumn("{task.speed:.1f} images/s"), TimeRemainingColumn(),
        )  # fmt: skip
        total = None
        if not (self._options.files0_from or self._options.recursive):
            total = len(self._options.images) + len(self._options.group)
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=total, failed=0)
            self._update = lambda: bar.update(task, completed=self._done + self.before, failed=self._failed)
            yield


def _write_whole(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
