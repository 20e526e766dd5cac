"""``detect_many``: many images, each scanned by a worker apart from others, their results as they come."""

import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from pyimount.confinement.crew import Answer, Crew, Limits, scan_here
from pyimount.problems import Code
from pyimount.records import Record

if TYPE_CHECKING:
    from pyimount.layers import Scan
    from pyimount.scanning.naming import Named

_IN_FLIGHT_ELSEWHERE = 64
"""As many images are handed to an executor of the caller's at a time, where nothing is said: it may be a
cluster."""
_AHEAD = 2
"""For each image that is scanned, so many are handed over: no worker waits for the next."""


_NO_MORE: Any = object()


class Failure(Record, kw_only=True):
    """An image of which there is no report: ``code``, as problems have it, and ``message`` say why."""

    path: str
    code: Code
    message: str


class Outcome(Record, kw_only=True):
    """What became of one image: its line as text, the exit status, whether it failed."""

    path: str
    line: str
    exit_status: int
    failed: bool


def detect_many(
    paths: Iterable[str | os.PathLike[str]],
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    limits: Limits | None = None,
    **detect_options: Any,
) -> "Iterator[tuple[str, Scan | Failure]]":
    """Tell what is in each of many images; results come as they are ready, in no order.

    ``paths``: images that do not belong together, as many as there are: they are taken up one after the
    other, never all at once. Any segment of a split image stands for it, and the image comes once, under its
    first; a folder stands for each of the images in it. ``jobs``: how many are scanned at a time (default:
    one for each processor). ``executor``: where, any of ``concurrent.futures``' or one with its interface
    (Dask: ``Client(…).get_executor()``); its workers must see the images under the same paths, and ``jobs``
    is how many are handed to it at a time. ``limits``: what one image may take of the machine.
    ``detect_options``: as ``detect`` takes them.

    Each is scanned in a process apart, whatever the executor: one that crashes, hangs or grows past the
    limits costs itself alone. It is tried once more at the end, with no other beside it, and is then a
    Failure.
    Raises TypeError and ValueError as ``detect`` does, before anything is scanned; later only what the
    executor raises when it breaks as a whole (BrokenExecutor).
    """
    from pyimount.scanning.naming import images_named
    from pyimount.scanning.telling import as_json

    told = as_json(detect_options)
    found = outcomes(images_named(paths), told, executor=executor, jobs=jobs, limits=limits or Limits())
    return _results(found)


def _results(found: Iterable[Outcome]) -> "Iterator[tuple[str, Scan | Failure]]":
    from pyimount.layers import Scan

    for each in found:
        told = json.loads(each.line)
        failure = told["failure"]
        if failure is None:
            yield each.path, Scan.from_dict(told["report"])
        else:
            yield (
                each.path,
                Failure(path=each.path, code=Code(failure["code"]), message=str(failure["message"])),
            )


def detect_apart(
    path: str, options: Mapping[str, Any] | None = None, limits: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Tell what is in one image, in a process apart; JSON values for arguments and answer.

    This is the task for engines that have no executor (Celery, Ray): a function of a module, without state of
    the caller's. ``options``: arguments of ``detect`` as JSON values, ``limits``: those of ``Limits``. The
    answer is a line of ``pyimount detect --jsonl``: ``path``, ``size``, ``mtime``, ``exit_status``, and
    ``report`` or ``failure``. Raises TypeError and ValueError for options that are none.
    """
    from pyimount.scanning.telling import as_json
    from pyimount.sources.urls import is_url, shown

    request = {"path": shown(path), "urls": {}, "images": None, "options": as_json(options or {})}
    request["urls"] = {shown(path): path} if is_url(path) else {}
    bounds = Limits(**(limits or {}))
    answer = scan_here(request, bounds)
    if answer.line is None or answer.lacked:
        answer = scan_here(request, bounds)
    told: dict[str, Any] = json.loads(_outcome(request, answer).line)
    return told


def outcomes(
    images: "Iterable[Named | None]",
    told: Mapping[str, Any],
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    limits: Limits,
) -> Generator[Outcome, None, None]:
    """What becomes of each of these images, as it is known.

    ``images``: None among them: there is no next one yet. ``told``: options as ``telling.as_json`` has them.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"at least one image at a time, not {jobs}")
    if executor is not None:
        own = executor

        def elsewhere(request: Mapping[str, Any]) -> "Future[Answer]":
            return own.submit(scan_here, request, limits)

        return _outcomes(images, told, elsewhere, jobs or _IN_FLIGHT_ELSEWHERE)
    return _with_threads(images, told, jobs or processors(), limits)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _with_threads(
    images: "Iterable[Named | None]", told: Mapping[str, Any], jobs: int, limits: Limits
) -> Generator[Outcome, None, None]:
    crew = Crew(limits)
    threads = ThreadPoolExecutor(jobs, thread_name_prefix="pyimount")

    def submit(request: Mapping[str, Any]) -> "Future[Answer]":
        return threads.submit(crew.scan, request)

    try:
        yield from _outcomes(images, told, submit, jobs * _AHEAD)
    finally:
        # Also where it is stopped in between: nobody waits for an image that nobody wants any more.
        crew.end()
        threads.shutdown(cancel_futures=True)


def _outcomes(
    images: "Iterable[Named | None]",
    told: Mapping[str, Any],
    submit: "Callable[[Mapping[str, Any]], Future[Answer]]",
    in_flight: int,
) -> Generator[Outcome, None, None]:
    again: deque[Mapping[str, Any]] = deque()
    ready: SimpleQueue[Future[Answer]] = SimpleQueue()
    running: dict[Future[Answer], Mapping[str, Any]] = {}

    def start(request: Mapping[str, Any]) -> None:
        future = submit(request)
        running[future] = request
        future.add_done_callback(ready.put)

    feed, more = iter(images), True
    try:
        while more or running:
            waiting = True
            while more and waiting and len(running) < in_flight:
                named = next(feed, _NO_MORE)
                more = named is not _NO_MORE
                if more and named is not None:
                    start(_request(named, told))
                # None: whoever names them has not said the next one yet; meanwhile, what is ready goes on.
                waiting = named is not None
            if not running or not (waiting or not ready.empty()):
                continue
            future = ready.get()
            request, answer = running.pop(future), _answer(future)
            if answer.line is None or answer.lacked:
                again.append(request)
            else:
                yield _outcome(request, answer)
        while again:
            # One at a time: what failed may have failed for the others.
            request = again.popleft()
            start(request)
            del running[future := ready.get()]
            yield _outcome(request, _answer(future))
    finally:
        for future in running:
            future.cancel()


def _request(named: "Named", told: Mapping[str, Any]) -> dict[str, Any]:
    from pyimount.scanning.telling import segments_as_json
    from pyimount.sources.urls import given

    paths = (path for each in named.images for path in each.paths)
    return {
        "path": named.path,
        "urls": {path: given(path) for path in paths if given(path) != path},
        "images": [segments_as_json(each) for each in named.images],
        "options": told,
    }


def _answer(future: "Future[Answer]") -> Answer:
    if future.cancelled():
        return Answer(1, None, code=Code.CRASHED, message="the executor cancelled this image")
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenExecutor):
        raise error
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    return Answer(1, None, code=Code.CRASHED, message=f"the executor failed at this image: {said}")


def _outcome(request: Mapping[str, Any], answer: Answer) -> Outcome:
    if answer.line is not None:
        return Outcome(path=request["path"], line=answer.line, exit_status=answer.status, failed=False)
    from pyimount.reports.lines import line, options_hash
    from pyimount.scanning.telling import segments_of
    from pyimount.sources.stamp import stamp

    files = (path for each in request["images"] or () for path in segments_of(each).paths)
    size, mtime = stamp(files if request["images"] else (request["path"],))
    failure = {"code": str(answer.code), "message": answer.message}
    text = line(request["path"], size, mtime, options_hash(request["options"]), failure=failure)
    return Outcome(path=request["path"], line=text, exit_status=1, failed=True)
