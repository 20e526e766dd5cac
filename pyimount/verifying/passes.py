"""One pass over bytes of which something is kept: every sum that is kept or asked for, made on the way."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from pyimount.formats.stored import CheckedBytes, StoredHash
from pyimount.problems import Code, Problem, Range
from pyimount.sources.errors import MissingBytes, ReadError
from pyimount.sources.source import Source
from pyimount.verifying import sums
from pyimount.verifying.records import Check

_PIECE = 1 << 20
_SECTOR = 512
_NOTES = 512
"""Problems that are noted before those of one cause are put together."""

Make = Callable[[str], sums.Sum]
Sink = Callable[[int, bytes | None, int], None]
"""Given bytes in their order: from where on, the bytes, how many; None: not all of them could be read."""


class NotResumable(Exception):  # noqa: N818  (what it is)
    """What was kept of an earlier run does not fit."""


class Pass:
    """The bytes of ``what``, from ``source``; ``asked``: algorithms that are to be computed besides.

    ``make``: begins a sum. ``kept``: what ``snapshot`` gave of an earlier run; with it, the pass goes on
    there. ``sink``: is given the bytes as well; what it raises ends the pass. Raises NotResumable.
    """

    def __init__(
        self,
        what: CheckedBytes,
        source: Source,
        asked: Sequence[str] = (),
        make: Callable[[str, str | None], sums.Sum] | None = None,
        kept: Mapping[str, Any] | None = None,
        *,
        sink: Sink | None = None,
    ) -> None:
        self._sink = sink
        self.what = what
        self.position = 0
        self.problems: list[Problem] = []
        self.broken_file = False
        """A file could not be read, by the machine's word: nothing is known of what stands there."""
        self._source = source
        self._make = make or (lambda algorithm, state: sums.begin(algorithm))  # noqa: ARG005
        wanted = dict.fromkeys((*(each.algorithm for each in what.hashes), *asked))
        self._unknown = tuple(name for name in wanted if not sums.known(name))
        states: Mapping[str, str | None] = kept["sums"] if kept else dict.fromkeys(wanted)
        self._sums = {
            name: self._make(name, states.get(name)) for name in wanted if name not in self._unknown
        }
        self._unread = kept["unread"] if kept else 0
        self._pieces_wrong = kept["pieces_wrong"] if kept else 0
        self._runs_done = kept["runs_done"] if kept else 0
        self._runs_wrong = kept["runs_wrong"] if kept else 0
        self._covered = kept["covered"] if kept else 0
        self._runs = islice(what.runs() if what.runs else iter(()), self._runs_done, None)
        self._run = next(self._runs, None)
        self._run_sums: list[sums.Sum] = []
        """Of the run that was begun; a second one is without what may be left out."""
        self._run_unread = False
        self._algorithm = self._run.algorithm if self._run else ""
        if kept:
            self.position = kept["position"]
            self._run_unread = kept["run_unread"]
            if self._run is not None:
                self._run_sums = [self._make(self._run.algorithm, state) for state in kept["run"]]

    def snapshot(self) -> dict[str, Any] | None:
        """All that is needed to go on from here later; None where the sums cannot be put aside just now."""
        states = {name: _state(each) for name, each in self._sums.items()}
        run = [_state(each) for each in self._run_sums]
        if None in states.values() or None in run:
            return None
        return {
            "position": self.position,
            "sums": states,
            "unread": self._unread,
            "pieces_wrong": self._pieces_wrong,
            "runs_done": self._runs_done,
            "runs_wrong": self._runs_wrong,
            "covered": self._covered,
            "run": run,
            "run_unread": self._run_unread,
        }

    def read(self, tell: Callable[["Pass"], None]) -> None:
        """Read to the end; ``tell`` is called after each piece, when all sums have taken it in."""
        with ThreadPoolExecutor(1) as other:
            # The sums of a piece are made while the next is read and unpacked.
            taking: Future[None] | None = None
            at = self.position
            while at < self._source.size:
                length = min(_PIECE, self._source.size - at)
                data, whole = self._read(at, length)
                if taking is not None:
                    taking.result()
                    tell(self)
                taking = other.submit(self._take, at, data, length)
                at += length
                if not whole and self.what.pieces is not None and self.what.pieces.in_order:
                    taking.result()
                    self._stop(at)
                    taking = None
                    break
            if taking is not None:
                taking.result()
                tell(self)
        if self.what.end is not None and not self._unread:
            try:
                self.what.end()
            except ReadError as error:
                self._pieces_wrong += 1
                self._note(Problem(Code.BAD_CHECKSUM, f"{self.what.name}: {error}"))

    def _stop(self, at: int) -> None:
        """What is behind a damaged place of something that is unpacked in one go is not to be had."""
        left = self._source.size - at
        if left:
            self._unread += left
            message = f"{self.what.name}: what stands behind damaged bytes was not compared"
            self._note(Problem(Code.READ_ERROR, message, ranges=(Range(at, left),)))

    def _read(self, at: int, length: int) -> tuple[list[tuple[int, bytes]], bool]:
        """The bytes that can be had, in runs, and whether these are all."""
        try:
            return [(at, self._source.read_at(at, length))], True
        except ReadError as error:
            if self.what.pieces is not None and self.what.pieces.in_order:
                self._lose(at, length, error)
                return [], False
        found, end = [], at + length
        while at < end:
            step = self._step(at, end)
            try:
                found.append((at, self._source.read_at(at, step)))
            except ReadError as error:
                self._lose(at, step, error)
            at += step
        return found, False

    def _step(self, at: int, end: int) -> int:
        """How much stands or falls together from here on."""
        lost = self._source.lost_around(at)
        if lost is not None:
            return min(end, max(lost[1], at + 1)) - at
        unit = (self.what.pieces and self.what.pieces.size) or _SECTOR
        return min(end, (at // unit + 1) * unit) - at

    def _lose(self, at: int, length: int, error: ReadError) -> None:
        self._unread += length
        if _is_machines(error):
            self.broken_file = True
        elif self.what.pieces is not None and not isinstance(error, MissingBytes):
            self._pieces_wrong += 1
        # What is missing altogether is a problem of the container already.
        self._note(
            Problem(
                Code.READ_ERROR,
                str(error),
                ranges=(Range(at, length),),
                explained=isinstance(error, MissingBytes),
            )
        )

    def _note(self, problem: Problem) -> None:
        from pyimount.problems import together

        self.problems.append(problem)
        if len(self.problems) >= _NOTES:
            self.problems = list(together(self.problems))

    def _take(self, at: int, data: Sequence[tuple[int, bytes]], length: int) -> None:
        whole = sum(len(piece) for _, piece in data) == length
        if self._sink is not None:
            # All of it is in one run but after a read that failed.
            joined = data[0][1] if len(data) == 1 else b"".join(piece for _, piece in data)
            self._sink(at, joined if whole else None, length)
        if whole:
            for each in self._sums.values():
                for _, piece in data:
                    each.update(piece)
        self._take_runs(at, data, at + length)
        self.position = at + length

    def _take_runs(self, start: int, data: Sequence[tuple[int, bytes]], stop: int) -> None:
        """Hold the runs that lie in these bytes, or end or begin there, against their sums."""
        while self._run is not None and self._run.offset < stop:
            run = self._run
            end = self._source.size if run.size is None else run.offset + run.size
            if not self._run_sums:
                if not sums.known(run.algorithm):
                    self._next_run()
                    continue
                self._run_sums = [self._make(run.algorithm, None) for _ in range(2 if run.left_out else 1)]
            had = 0
            for at, piece in data:
                part = piece[max(0, run.offset - at) : max(0, end - at)]
                self._run_sums[0].update(part)
                had += len(part)
                for each in self._run_sums[1:]:
                    for kept in _without(max(at, run.offset), part, run.left_out):
                        each.update(kept)
            self._run_unread |= had < min(end, stop) - max(run.offset, start)
            if end > stop:
                return
            self._end_run(run, end, matches=any(each.hexdigest() == run.value for each in self._run_sums))

    def _end_run(self, run: StoredHash, end: int, *, matches: bool) -> None:
        self._covered += end - run.offset
        if self._run_unread or not matches:
            self._runs_wrong += 1
        if not self._run_unread and not matches:
            message = f"{run.what or self.what.name}: its {label(run.algorithm)} does not match"
            place = Range(run.offset, end - run.offset)
            self._note(Problem(Code.BAD_CHECKSUM, message, ranges=(place,)))
        self._next_run()

    def _next_run(self) -> None:
        self._runs_done += 1
        self._run = next(self._runs, None)
        self._run_sums, self._run_unread = [], False

    @property
    def hashes(self) -> dict[str, str | None]:
        """Those of all the bytes, by algorithm; None where not all of them could be read."""
        whole = not self._unread and self.position == self._source.size
        return {name: each.hexdigest() if whole else None for name, each in self._sums.items()}

    @property
    def covered(self) -> int:
        """Of how many bytes something is kept, and was compared."""
        if self.what.pieces is not None or any(each.algorithm in self._sums for each in self.what.hashes):
            return self._source.size
        return self._covered

    def checks(self) -> Iterator[Check]:
        """What was compared, and what came of it."""
        hashes = self.hashes
        for each in self.what.hashes:
            if each.algorithm in self._unknown:
                continue
            computed = hashes[each.algorithm]
            yield Check(
                what=self.what.name,
                algorithm=each.algorithm,
                stored=each.value,
                computed=computed,
                wrong=int(computed != each.value),
            )
        if self.what.pieces is not None:
            size = self.what.pieces.size
            yield Check(
                what=f"each {self.what.pieces.what} of {self.what.name}",
                algorithm=self.what.pieces.algorithm,
                count=-(-self._source.size // size) if size else None,
                wrong=self._pieces_wrong,
            )
        if self._runs_done:
            yield Check(
                what=f"parts of {self.what.name}",
                algorithm=self._algorithm,
                count=self._runs_done,
                wrong=self._runs_wrong,
            )

    @property
    def unknown(self) -> tuple[str, ...]:
        """Algorithms that cannot be computed here."""
        return self._unknown


def _without(at: int, data: bytes, left_out: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """The pieces of these bytes, which begin at ``at``, that are not left out."""
    start = at
    for low, high in left_out:
        if high <= start or low >= at + len(data):
            continue
        if low > start:
            yield data[start - at : low - at]
        start = max(start, high)
    if start < at + len(data):
        yield data[start - at :]


def _state(each: sums.Sum) -> str | None:
    state: Callable[[], str | None] | None = getattr(each, "state", None)
    return state() if state is not None else None


def _is_machines(error: BaseException) -> bool:
    """Whether it was the system that could not read, and not what was read that did not match."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return True
        cause = cause.__cause__
    return False


def label(algorithm: str) -> str:
    """An algorithm as people write it."""
    return {"sha1": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512", "crc32": "CRC-32"}.get(
        algorithm, algorithm.upper() if algorithm.islower() else algorithm
    )
