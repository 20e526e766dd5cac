"""Many images, each apart from the others: whatever one does, the others are as if it were not there."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import Workshop
from pyimount import Failure, Limits, Scan
from pyimount.confinement import crew, many
from pyimount.problems import Code
from tests.kept import kept

STRANGE = Path(__file__).with_name("strange_worker.py")


@pytest.fixture
def _strange(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers whose scans do what the names of their images say."""
    monkeypatch.setattr(
        crew, "command", lambda _module, *arguments: (sys.executable, str(STRANGE), *arguments)
    )


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """A few images: file systems, a partitioned disk, an E01 in four segments."""
    made = []
    for name in ("ext2", "fat12", "gpt"):
        made.append(tmp_path / f"{name}.img")
        made[-1].write_bytes(kept(name))
    return made


def found(results: object) -> dict[str, Scan | Failure]:
    listed = list(results)  # type: ignore[call-overload]
    assert len({path for path, _ in listed}) == len(listed), "an image came twice"
    return dict(listed)


def test_each_image_comes_once_as_detect_has_it(images: list[Path]) -> None:
    assert found(pyimount.detect_many([*images, images[0]])) == {
        str(path): pyimount.detect(path) for path in images
    }


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_gives_the_same(kind: type[ThreadPoolExecutor], images: list[Path]) -> None:
    with kind(2) as executor:
        results = found(pyimount.detect_many(images, executor=executor, jobs=2))
    assert results == {str(path): pyimount.detect(path) for path in images}


def test_what_detect_is_told_is_told(images: list[Path]) -> None:
    options = {"offset": 1 << 20, "budget": pyimount.Budget(layers=3), "free": True}
    results = found(pyimount.detect_many(images, **options))
    assert results == {str(path): pyimount.detect(path, **options) for path in images}  # type: ignore[arg-type]


def test_wrong_arguments_are_refused_before_anything_is_scanned() -> None:
    with pytest.raises(TypeError, match="offsets"):
        pyimount.detect_many([], offsets=3)
    with pytest.raises(ValueError, match="0 or more"):
        pyimount.detect_many([], offset=-3)
    with pytest.raises(ValueError, match="at least one"):
        list(pyimount.detect_many([], jobs=0))


@pytest.mark.needs("cryptsetup")
def test_a_key_opens_and_shows_nowhere(tmp_path: Path) -> None:
    work = Workshop(tmp_path)
    image = work.blank(3 << 20)
    cheap = ("--pbkdf-force-iterations", "1000", "--key-size", "256")
    work.run("cryptsetup", "luksFormat", "-q", "--type", "luks1", *cheap, image, "-", stdin=b"key")
    options = {"keys": {"*": "p:key"}}
    ((_, scan),) = pyimount.detect_many([image], **options)
    assert isinstance(scan, Scan)
    assert scan.volumes[0].locked is False
    told = json.dumps(pyimount.detect_apart(str(image), options))
    assert not [text for text in ("p:key", b"key".hex()) if text in told]


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("abort", Code.CRASHED, "signal 6"),
        ("exit", Code.CRASHED, "ended with 3"),
        ("spin", Code.BUDGET, "processor time"),
        ("sleep", Code.CRASHED, "hung"),
        ("grow", Code.OUT_OF_MEMORY, "not enough memory"),
    ],
)
@pytest.mark.usefixtures("_strange")
def test_what_one_image_does_costs_that_image_alone(
    word: str, code: Code, said: str, images: list[Path], tmp_path: Path
) -> None:
    bad = [tmp_path / f"{word}-{number}.img" for number in range(2)]
    for path in bad:
        path.write_bytes(kept("ext2"))
    # What grows does so in as long as it takes: it is only to meet its own limit.
    limits = Limits(memory=1 << 30, processor_seconds=60.0 if word == "grow" else 1.0, still_seconds=1.0)
    results = found(pyimount.detect_many([bad[0], *images, bad[1]], jobs=2, limits=limits))
    for path in bad:
        failure = results.pop(str(path))
        assert isinstance(failure, Failure)
        assert (failure.path, failure.code) == (str(path), code)
        assert said in failure.message
    assert results == {str(path): pyimount.detect(path) for path in images}


@pytest.mark.usefixtures("_strange")
def test_what_failed_is_tried_once_more(images: list[Path], tmp_path: Path) -> None:
    once = tmp_path / "once.img"
    once.write_bytes(kept("ext2"))
    results = list(pyimount.detect_many([once, *images], jobs=2))
    assert results[-1] == (str(once), pyimount.detect(once)), "at the end, when nothing else runs"
    assert len(results) == 1 + len(images)


@pytest.mark.usefixtures("_strange")
def test_what_a_library_prints_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "print.img"
    path.write_bytes(kept("ext2"))
    assert found(pyimount.detect_many([path])) == {str(path): pyimount.detect(path)}


def test_a_worker_that_is_killed_while_it_scans_is_replaced(tmp_path: Path) -> None:
    """Kill -9, as the system does when memory runs out."""
    path = tmp_path / "large.img"
    with path.open("wb") as file:
        file.truncate(64 << 30)
    worker = crew.Worker(Limits())
    request = {"path": str(path), "images": None, "options": {"search": True}}
    threading.Timer(0.5, os.kill, (worker.number, signal.SIGKILL)).start()
    with pytest.raises(crew.StepFailed, match="SIGKILL"):
        worker.ask(json.dumps(request).encode())
    worker.end()


def test_a_worker_that_is_stopped_hangs(tmp_path: Path) -> None:
    worker = crew.Worker(Limits(still_seconds=0.5))
    os.kill(worker.number, signal.SIGSTOP)
    with pytest.raises(crew.StepFailed, match="hung"):
        worker.ask(json.dumps({"path": str(tmp_path), "images": None, "options": {}}).encode())
    worker.end()


def test_a_worker_ends_with_who_started_it() -> None:
    code = (
        "import os, signal; from pyimount.confinement.crew import Limits, Worker; "
        "print(Worker(Limits()).number, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    while is_running(int(done.stdout)):
        time.sleep(0.01)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.thorough
def test_many_paths_are_never_all_in_flight(images: list[Path]) -> None:
    asked = 0

    def paths() -> Iterator[Path]:
        nonlocal asked
        for number in range(100_000):
            asked += 1
            yield images[0].with_name(f"{number}.img")

    results = pyimount.detect_many(paths(), jobs=2)
    next(results)
    assert asked < 20
    results.close()  # type: ignore[attr-defined]


def test_stopping_in_between_ends_the_workers(tmp_path: Path) -> None:
    large = tmp_path / "large.img"
    with large.open("wb") as file:
        file.truncate(64 << 30)
    small = tmp_path / "small.img"
    small.write_bytes(kept("ext2"))
    results = pyimount.detect_many([large, small], jobs=2, search=True)
    assert next(results)[0] == str(small)
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pyimount")]


def test_an_executor_that_breaks_says_so(images: list[Path]) -> None:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(os._exit, 1)
        with pytest.raises(BrokenExecutor):
            list(pyimount.detect_many(images, executor=executor))


def test_what_an_executor_raises_is_a_failure(images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledWorker(Exception):  # noqa: N818  (Dask's name)
        """As Dask raises when a task's workers die again and again."""

    def task(*_: object) -> None:
        raise KilledWorker("attempted to run on 4 workers\nand more")

    monkeypatch.setattr(many, "scan_here", task)
    with ThreadPoolExecutor(1) as executor:
        ((_, failure),) = pyimount.detect_many(images[:1], executor=executor)
    assert isinstance(failure, Failure)
    assert failure.message == "the executor failed at this image: KilledWorker: attempted to run on 4 workers"


def test_the_task_takes_and_gives_json_values(images: list[Path]) -> None:
    told = pyimount.detect_apart(str(images[0]), {"free": True})
    assert json.loads(json.dumps(told)) == told
    assert Scan.from_dict(told["report"]) == pyimount.detect(images[0], free=True)
    assert (told["size"], told["exit_status"]) == (images[0].stat().st_size, 0)
    with pytest.raises(TypeError, match="nonsense"):
        pyimount.detect_apart(str(images[0]), {"nonsense": 1})


def test_all_segments_are_one_image_and_folders_stand_for_theirs(tmp_path: Path) -> None:
    whole = bytes(kept("ext2"))
    half = len(whole) // 2
    (tmp_path / "disk.001").write_bytes(whole[:half])
    (tmp_path / "disk.002").write_bytes(whole[half:])
    (tmp_path / "other.img").write_bytes(kept("fat12"))
    named = [tmp_path / "disk.002", tmp_path, tmp_path / "disk.001"]
    results = found(pyimount.detect_many(named))
    assert set(results) == {str(tmp_path / "disk.001"), str(tmp_path / "other.img")}
