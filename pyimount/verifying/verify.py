"""``verify``: an image held against all that it keeps of itself."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from pyimount.formats.container import Opened
from pyimount.formats.stored import CheckedBytes, Stored
from pyimount.problems import RANGES_CAP, Code, Problem, Range, together, told
from pyimount.recognition.opening import open_image
from pyimount.sources.broker import Broker
from pyimount.sources.budget import NO_LIMIT, Meter
from pyimount.sources.errors import NoFilesLeft, OpenError, ReadError
from pyimount.sources.segments import Segments
from pyimount.sources.source import Source
from pyimount.verifying.passes import NotResumable, Pass, Sink
from pyimount.verifying.records import Check, Status, Verified
from pyimount.verifying.state import State

Progress = Callable[[int, int], None]
"""Told how far verifying is: bytes, of bytes."""

_AGAINST = frozenset(
    (
        Code.READ_ERROR,
        Code.TRUNCATED,
        Code.DAMAGED,
        Code.BAD_CHECKSUM,
        Code.BACKUP_USED,
        Code.COPIES_DIFFER,
        Code.OVERLAP,
        Code.OUTSIDE_PARENT,
        Code.LOOP,
        Code.MISSING_SEGMENT,
    )
)
"""What says that an image is not as it was made."""
_UNKNOWN = frozenset((Code.LOCKED, Code.MISSING_BACKING_FILE, Code.CHANGED, Code.OUT_OF_MEMORY))
"""What keeps from finding out."""


def verify(
    segments: Segments,
    *,
    hashes: Sequence[str] = (),
    allow: Iterable[str] = (),
    progress: Progress | None = None,
    state: State | None = None,
    sinks: Mapping[int, Sink] = MappingProxyType({}),
) -> tuple[Verified, ...]:
    """Hold one image, with all its segments, against what it keeps of itself: one result for each disk in it.

    ``hashes``: algorithms to be computed of the disk in the same pass. ``allow``: folders from which files
    that the image names may be opened. ``state``: where it is kept how far this is, and from which it goes
    on. ``sinks``: by the number of a disk, from 1 on, what is given its bytes in the same pass. Never raises
    for what the image holds, or for one that cannot be opened.
    """
    try:
        image, opened = open_image(segments, Broker(allow), Meter(NO_LIMIT))
    except (OpenError, NoFilesLeft) as error:
        code = Code.OUT_OF_MEMORY if isinstance(error, NoFilesLeft) else Code.UNREADABLE
        problem = Problem(code, str(error))
        return (Verified(paths=segments.paths, status=Status.UNREADABLE, problems=(problem,)),)
    try:
        disks = opened.disks
        done = []
        for number, disk in enumerate(disks, 1):
            index = str(number) if len(disks) > 1 else None
            verifying = _Verifying(disk, hashes, progress, state, number, sink=sinks.get(number))
            done.append(verifying.verified(image.all_paths, index, image.changed))
        if state is not None:
            state.finish()
        return tuple(done)
    finally:
        image.close()


class _Verifying:
    """One disk on its way."""

    def __init__(
        self,
        opened: Opened,
        hashes: Sequence[str],
        progress: Progress | None,
        state: State | None,
        number: int,
        *,
        sink: Sink | None,
    ) -> None:
        self._opened = opened
        self._stored = opened.stored or Stored()
        self._asked = hashes
        self._progress = progress or (lambda _done, _of: None)
        self._state = state
        self._number = number
        self._sink = sink
        self._passes: list[Pass] = []
        self._done = 0
        parts = [(each, self._source(each)) for each in self._parts()]
        self._parts_read = [(each, source) for each, source in parts if source is not None]
        self._total = sum(source.size for _, source in self._parts_read)

    def _parts(self) -> Iterator[CheckedBytes]:
        """What is to be read: the disk itself where it is kept of, or where hashes of it are asked for."""
        checked = self._stored.checked
        if all(each.source is not None for each in checked):
            # Read also where nothing is kept of its bytes: that it can be read is found out, too.
            yield CheckedBytes()
        yield from checked

    def _source(self, each: CheckedBytes) -> Source | None:
        return self._opened.source if each.source is None else each.source

    def verified(
        self, paths: Sequence[str], index: str | None, changed: Callable[[], Sequence[str]]
    ) -> Verified:
        """Read all, compare, and say what came of it."""
        container = self._opened.container
        structural = self._structural()
        for number, (each, source) in enumerate(self._parts_read):
            self._read(number, each, source)
        problems = [*structural]
        problems += [problem for each in self._passes for problem in _problems_of(each)]
        problems += [Problem(Code.CHANGED, said) for said in changed()]
        checks = [check for each in self._passes for check in each.checks()]
        problems += _of_hashes(checks)
        problems += [
            Problem(Code.UNSUPPORTED, f"its {name} cannot be computed here, and was not compared")
            for each in self._passes
            for name in each.unknown
        ]
        own = next((each for each in self._passes if each.what.source is None), None)
        covered = max((self._covered(each) for each in self._passes), default=0)
        if self._stored.covering and self._opened.source is not None:
            covered = self._opened.source.size
        return Verified(
            paths=tuple(paths),
            index=index,
            container=container.type,
            size=container.size if self._opened.source is None else self._opened.source.size,
            status=self._status(problems, covered),
            covered=covered,
            structural=self._stored.structural,
            checks=tuple(checks),
            hashes=tuple(own.hashes.items()) if own else (),
            problems=tuple(problems),
        )

    def _covered(self, each: Pass) -> int:
        """Bytes of the disk of which something is kept: that of a file which holds it is of all of it."""
        if self._opened.source is None:
            return 0
        size = self._opened.source.size
        whole = each.what.source is not None and each.covered == each.what.source.size
        return size if whole else min(each.covered, size)

    def _structural(self) -> list[Problem]:
        """What is wrong about tables, headers and segments."""
        found = [
            each
            for each in self._opened.container.problems
            if each.code not in self._stored.told_better or self._opened.source is None
        ]
        if self._stored.structures is not None:
            try:
                more = list(self._stored.structures())
            except ReadError as error:
                more = [Problem(Code.READ_ERROR, str(error))]
            found += [each for each in more if each not in found]
        return found

    def _read(self, number: int, each: CheckedBytes, source: Source) -> None:
        asked = self._asked if each.source is None else ()
        key = f"{self._number}.{number}"
        state = self._state
        if state is None:
            reading = Pass(each, source, asked, sink=self._sink if each.source is None else None)
        else:
            try:
                reading = self._resumed(key, each, source, asked, state)
            except (KeyError, TypeError, ValueError) as error:
                raise NotResumable(f"{state.path}: is damaged; without it, verifying begins anew") from error
        self._passes.append(reading)
        before = self._done
        self._done += reading.position
        self._progress(self._done, self._total)

        def tell(at: Pass) -> None:
            self._done = before + at.position
            self._progress(self._done, self._total)
            if state is not None:
                state.note(key, at)

        try:
            reading.read(tell)
        finally:
            if state is not None:
                state.write()
        self._done = before + source.size
        if state is not None:
            state.note(key, reading, ended=True)

    @staticmethod
    def _resumed(key: str, each: CheckedBytes, source: Source, asked: Sequence[str], state: State) -> Pass:
        """A pass that goes on where its state was kept, or begins."""
        kept = state.of(key)
        if kept is not None and each.pieces is not None and each.pieces.in_order and not kept["ended"]:
            kept = None  # what comes in one go can only be held against its checksum from its start
        reading = Pass(each, source, asked, state.make, kept and kept["pass"])
        if kept is not None:
            reading.problems = state.problems(kept)
        return reading

    def _status(self, problems: Sequence[Problem], covered: int) -> Status:
        codes = {each.code for each in problems}
        if codes & _UNKNOWN or any(each.broken_file for each in self._passes):
            return Status.UNREADABLE
        if codes & _AGAINST:
            return Status.DIFFERS
        if self._opened.source is None:
            return Status.UNREADABLE
        return Status.MATCHES if covered else Status.NOTHING


def _problems_of(reading: Pass) -> Iterator[Problem]:
    """What a pass found: its ranges are of the disk, or the message tells those of other bytes."""
    if reading.what.source is None:
        yield from reading.problems
        return
    for each in together(reading.problems):
        wanted = [(run.offset, run.size) for run in each.ranges]
        on_disk = sorted(reading.what.places(wanted)) if reading.what.places is not None else []
        one = each if on_disk else told((each,))[0]
        named = reading.what.name in one.message
        yield one.replaced(
            message=one.message if named else f"{reading.what.name}: {one.message}",
            ranges=tuple(Range(*place) for place in on_disk[:RANGES_CAP]),
            count=max(1, len(on_disk)),
        )


def _of_hashes(checks: Sequence[Check]) -> Iterator[Problem]:
    from pyimount.verifying.passes import label

    for check in checks:
        if check.stored is None or check.matches:
            continue
        if check.computed is None:
            message = (
                f"the {label(check.algorithm)} of {check.what} cannot be compared: not all could be read"
            )
        else:
            message = (
                f"the {label(check.algorithm)} of {check.what} does not match: {check.stored} is stored, "
                f"{check.computed} computed"
            )
        yield Problem(Code.BAD_CHECKSUM, message)
