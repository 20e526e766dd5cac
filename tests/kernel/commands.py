"""In the guest: pyimount's commands, run as from a shell, and checks that leave the machine as it was.

``main(checks)`` runs each check in a process of its own and prints how it ended; afterwards nothing may
stand, exist or run that was not there before.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pyimount.cli import main as pyimount
from pyimount.cli import parser
from pyimount.recognition.registry import volume_formats
from tests.mounting.images import FILES

TEMPORARY = Path("/run/temporary")
"""Where everything here keeps what is temporary; the machine's own is shared with others."""

Check = Callable[[], None]


class Said(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


def tool(*command: str | Path, data: bytes = b"") -> str:
    """Run a program, which must succeed."""
    done = subprocess.run(
        [str(word) for word in command], input=data, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, (command, done.returncode, done.stderr)
    return done.stdout.decode("utf-8", "backslashreplace").strip()


def begun(*words: str | Path) -> tuple[int, Callable[[], Said]]:
    """Start pyimount in a process of its own; its number, and what waits for its end.

    A copy of this process: what every command loads is loaded already.
    """
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.setsid()
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            status = pyimount([str(word) for word in words])
        except BaseException:  # noqa: BLE001  (the child must never come back)
            traceback.print_exc()
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def ended() -> Said:
        _, status = os.waitpid(child, 0)
        with out, err:
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "surrogateescape"))
        return Said(os.waitstatus_to_exitcode(status), *texts)

    return child, ended


def command(*words: str | Path, status: int = 0) -> Said:
    """Run pyimount, which must end with this status, without a traceback."""
    _, ended = begun(*words)
    said = ended()
    assert "Traceback" not in said.err, said.err
    assert said.status == status, said
    return said


class Mounted:
    """What a mount said, while it stands."""

    def __init__(self, *words: str | Path, status: int = 0) -> None:
        self.said: dict[str, Any] = json.loads(
            command("mount", "--keep", "--json", *words, status=status).out
        )
        self.session: str = self.said["session"]
        self.volumes: dict[str, dict[str, Any]] = {each["index"]: each for each in self.said["volumes"]}

    def at(self, index: str) -> Path:
        """The mount point of a volume."""
        found = self.volumes[index]
        assert found["mountpoint"], found
        return Path(found["mountpoint"])

    def reason(self, index: str) -> str:
        """Why a volume is not mounted."""
        assert self.volumes[index]["mountpoint"] is None, self.volumes[index]
        return str(self.volumes[index]["reason"])


@contextlib.contextmanager
def mounted(*words: str | Path, status: int = 0) -> Iterator[Mounted]:
    """Mount, and unmount at the end."""
    made = Mounted(*words, status=status)
    try:
        yield made
    finally:
        stands = any(each["mountpoint"] for each in made.volumes.values())
        command("unmount", made.session, status=0 if stands else 1)  # of what failed nothing stays


def same(mountpoint: Path) -> None:
    """What is mounted holds FILES, byte for byte."""
    assert {name: (mountpoint / name).read_bytes() for name in FILES} == FILES


def listed() -> list[dict[str, Any]]:
    """The sessions that stand."""
    return list(json.loads(command("list", "--json").out)["sessions"])


def state() -> dict[str, str]:
    """Everything that stands in this kernel."""
    lines = {
        "loops": tool("losetup", "-a"),
        "mounts": Path("/proc/self/mounts").read_text(),
        "mappings": tool("dmsetup", "ls"),
        "arrays": "\n".join(
            line for line in Path("/proc/mdstat").read_text().splitlines() if line.startswith("md")
        ),
        "blocks": "\n".join(map(str, Path("/sys/block").glob("nbd*/pid"))),
        "processes": "\n".join(_ours()),
    }
    for name in (
        "/run/pyimount*",
        "/run/pyimount*/**/*",
        "/run/udev/**/*",
        "/run/temporary/**/*",
        "/dev/m[ad]*/*",
    ):
        lines[name] = "\n".join(sorted(map(str, Path("/").glob(name[1:]))))
    return lines


def _ours() -> Iterator[str]:
    """The processes that pyimount started, but for this one and its commands."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.startswith((b"--mark=", b"pyimount.")) for word in words):
            yield b" ".join(words).decode(errors="replace")


def differences(before: dict[str, str], now: dict[str, str]) -> str:
    """What stands that did not, and the other way round."""
    found = []
    for name, text in before.items():
        old, new = text.splitlines(), now[name].splitlines()
        found += [f"{name}: no longer {line}" for line in old if line not in new]
        found += [f"{name}: now {line}" for line in new if line not in old]
    return "\n".join(found)


def left_since(before: dict[str, str]) -> str:
    """What is different from before, also a moment later: whose starter was killed ends when it notices."""
    until = time.monotonic() + 60
    while (different := differences(before, state())) and time.monotonic() < until:
        time.sleep(0.2)
    return different


def attached(image: Path | str) -> str:
    """A loop device as the host has them."""
    return tool("losetup", "--find", "--show", image)


def main(checks: Sequence[Check], prepare: Check | None = None) -> None:
    """Run these; each ends with a line of its name and ``passed`` or ``failed``."""
    tool("modprobe", "-a", "md-mod", "dm-crypt")
    TEMPORARY.mkdir()
    tempfile.tempdir = str(TEMPORARY)
    os.environ["TMPDIR"] = str(TEMPORARY)
    # What every command loads is loaded once.
    parser()
    volume_formats()
    if prepare is not None:
        prepare()
    for check in checks:
        before = state()
        print(f"== {check.__name__}", flush=True)
        passed = _in_a_child(check)
        if different := left_since(before):
            print(different)
            passed = False
        if not passed:
            print(command("unmount", "--all", "--lazy"))
        print(f"== {check.__name__}: {'passed' if passed else 'failed'}", flush=True)


def _in_a_child(check: Check) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException:  # noqa: BLE001  (the child must never come back)
            traceback.print_exc(file=sys.stdout)
        finally:
            sys.stdout.flush()
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0
