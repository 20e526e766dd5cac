"""What ends a command while it waits for Enter takes down what stands, as Enter does."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mounting.images import content, make, traces
from tests.needing import needs, needs_root


class OnATerminal:
    """``pyimount mount`` on a terminal of its own, which has come to its prompt."""

    def __init__(
        self,
        *arguments: str | Path,
        prompt: bytes = b"Enter",
        ignoring: int | None = None,
        program: tuple[str, ...] = ("-m", "pyimount", "mount"),
    ) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            if ignoring is not None:
                signal.signal(ignoring, signal.SIG_IGN)
            os.execv(sys.executable, [sys.executable, *program, *map(str, arguments)])  # noqa: S606
        self.said = b""
        until = time.monotonic() + 60
        while prompt not in self.said and time.monotonic() < until:
            if select.select([self.terminal], [], [], 1)[0]:
                try:
                    self.said += os.read(self.terminal, 4096)
                except OSError:
                    break  # It has ended.
        assert prompt in self.said, self.said

    def status(self) -> int:
        """What it ended with; negative for a signal. One that does not end is killed."""
        until = time.monotonic() + 60
        while (ended := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                ended = os.waitpid(self.pid, 0)
                break
            time.sleep(0.02)
        _, status = ended
        return os.waitstatus_to_exitcode(status)


def standing(image: Path) -> list[str]:
    """The sessions that have this image."""
    argv = [sys.executable, "-m", "pyimount", "list", "--json"]
    said = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return [each["session"] for each in said["sessions"] if str(image) in each["images"]]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    needs_root()
    needs("mkfs.ext4")
    return make("ext4", tmp_path / "disk.img", content(tmp_path))


def enter(command: OnATerminal) -> None:
    os.write(command.terminal, b"\n")


def gone(command: OnATerminal) -> None:
    os.close(command.terminal)


def sent(number: int) -> Callable[[OnATerminal], None]:
    return lambda command: os.kill(command.pid, number)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (enter, 0),
        (gone, 128 + signal.SIGHUP),
        (sent(signal.SIGHUP), 128 + signal.SIGHUP),
        (sent(signal.SIGTERM), 128 + signal.SIGTERM),
        (sent(signal.SIGINT), 130),
    ],
    ids=["enter", "terminal gone", "SIGHUP", "SIGTERM", "SIGINT"],
)
def test_it_is_taken_down(image: Path, end: Callable[[OnATerminal], None], status: int) -> None:
    command = OnATerminal(image)
    (session,) = standing(image)
    end(command)
    assert command.status() == status
    assert standing(image) == []
    assert traces(session) == []


def test_while_it_waits_for_what_is_not_mounted(image: Path) -> None:
    needs("mkswap")
    swap = image.with_name("swap.img")
    with swap.open("wb") as file:
        file.truncate(1 << 20)
    swap.chmod(0o600)
    subprocess.run(["mkswap", swap], check=True, capture_output=True)
    command = OnATerminal("--wait", image, swap, prompt=b"go on")
    sent(signal.SIGTERM)(command)
    assert command.status() == 128 + signal.SIGTERM
    assert standing(image) == []


def test_with_keep_it_stands(image: Path) -> None:
    command = OnATerminal("--keep", image, prompt=b"takes this down")
    gone(command)
    command.status()
    (session,) = standing(image)
    subprocess.run([sys.executable, "-m", "pyimount", "unmount", session], check=True)
    assert traces(session) == []


def test_a_signal_that_is_ignored_stays_so(image: Path) -> None:
    """As under nohup."""
    command = OnATerminal(image, ignoring=signal.SIGHUP)
    sent(signal.SIGHUP)(command)
    assert len(standing(image)) == 1
    enter(command)
    assert command.status() == 0
    assert standing(image) == []


IMOUNT = ("-c", "import sys; from pyimount.cli.imount import main; sys.exit(main(sys.argv[1:]))")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_imount_at_its_prompts(image: Path, number: int) -> None:
    command = OnATerminal(image, program=IMOUNT)
    sent(number)(command)
    assert command.status() == 128 + number
    assert standing(image) == []
    shell = OnATerminal("--interactive", image, prompt=b"(imount) ", program=IMOUNT)
    os.write(shell.terminal, b"mount 1 -r\n")
    until = time.monotonic() + 60
    while not standing(image) and time.monotonic() < until:
        time.sleep(0.1)
    assert len(standing(image)) == 1
    sent(number)(shell)
    assert shell.status() == 128 + number
    assert standing(image) == []
