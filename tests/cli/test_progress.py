"""How far a long run is: on a terminal in one line of its width, and nowhere else."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest


def shown(arguments: list[str | Path], columns: int) -> tuple[str, int]:
    """What a command shows on a terminal until its rate is there, and what it then ends with at Control-C."""
    argv = [sys.executable, "-m", "pyimount", *map(str, arguments)]
    # Whatever terminal this was started from: on one that is dumb no line is written over.
    sized = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, argv, sized | {"TERM": "xterm"})  # noqa: S606
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    said = b""
    while not re.search(rb"iB/s.*left", said):
        said += os.read(terminal, 4096)
    os.kill(pid, signal.SIGINT)
    try:
        while more := os.read(terminal, 4096):
            said += more
    except OSError:  # the end of a terminal
        pass
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return said.decode(), os.waitstatus_to_exitcode(status)


@pytest.fixture
def long_one(tmp_path: Path) -> Path:
    """A disk that takes long enough to be seen on the way."""
    image = tmp_path / f"{'a long name of an image ' * 3}.raw"
    with image.open("wb") as file:
        file.truncate(1 << 40)
    return image


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", ["verify", "export"])
def test_a_line_has_the_bytes_their_rate_and_the_time_left(
    command: str, columns: int, long_one: Path, tmp_path: Path
) -> None:
    more = ["disk", "-o", tmp_path / "out.raw", "--verify"] if command == "export" else []
    said, status = shown([command, long_one, *more], columns)
    assert status == 130
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
    lines = [line for part in plain.split("\n") for line in part.split("\r") if "iB/s" in line]
    assert lines
    assert max(map(len, lines)) <= columns
    assert re.search(r"/1\.0 TiB [\d.]+ \wiB/s .*left", lines[-1])
    assert "a long name " in lines[-1]


def test_none_is_shown_where_there_is_no_terminal(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(1 << 20))
    done = subprocess.run(
        [sys.executable, "-m", "pyimount", "verify", image], capture_output=True, check=False
    )
    assert done.returncode == 7
    assert done.stderr == b""
