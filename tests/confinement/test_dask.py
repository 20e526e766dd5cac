"""Many images on Dask's executor: a scheduler and two workers, one of which is killed in the middle."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import pyimount
from tests.kept import kept

distributed = pytest.importorskip("distributed")

# What it says to itself while its workers go away.
pytestmark = pytest.mark.filterwarnings("ignore")
TOP = Path(__file__).parents[2]


class Cluster:
    """A scheduler and workers, each a process, on this machine alone."""

    def __init__(self, folder: Path, workers: int, stack: ExitStack) -> None:
        self._stack = stack
        self._folder = folder
        self.file = folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-show")
        self.workers = [
            self._start("worker", "--nthreads", "1", "--no-nanny", "--name", str(number))
            for number in range(workers)
        ]

    def _start(self, what: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = (
            *(sys.executable, "-m", "dask", what, "--scheduler-file", str(self.file), "--no-dashboard"),
            *arguments,
        )
        log = self._stack.enter_context((self._folder / "log").open("ab"))
        process = subprocess.Popen(command, cwd=TOP, stdout=log, stderr=log)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path, 2, stack)


def test_a_worker_that_is_killed_loses_and_doubles_nothing(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.img").write_bytes(kept(("ext2", "fat12", "gpt")[number % 3]))
    paths = sorted(map(str, folder.iterdir()))
    local = dict(pyimount.detect_many(paths))
    with distributed.Client(scheduler_file=str(cluster.file)) as client:
        client.wait_for_workers(2, timeout=300)
        results = []
        for result in pyimount.detect_many(paths, executor=client.get_executor(), jobs=8):
            results.append(result)
            if len(results) == 10:
                cluster.workers[0].kill()
        assert len(client.scheduler_info()["workers"]) == 1
    assert len(results) == len(paths)
    assert dict(results) == local
