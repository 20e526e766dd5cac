"""What a process reaches that runs hostile code where images are looked at: nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyimount.confinement import landlock, seccomp
from pyimount.confinement.users import FIRST, LAST, LOCKS, own_user, tidy
from tests.needing import needs_root

# What a parser that was taken over would try; each says what it reached.
ATTEMPTS = """
import ctypes, json, mmap, os, signal, socket, subprocess, sys
reached = []
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, act):
    try:
        done = act()
    except (OSError, ValueError, MemoryError, subprocess.SubprocessError, RuntimeError):
        return
    if done is not False:
        reached.append(name)
def system(number, *arguments):
    return libc.syscall(number, *arguments) >= 0
def fork():
    if os.fork() == 0:
        os._exit(0)
def bomb():
    import _thread
    for _ in range(200):
        _thread.start_new_thread(signal.pause, ())
def execute():
    try:
        os.execv("/there/is/none", ["none"])
    except FileNotFoundError:
        return True
def large():
    file = os.memfd_create("x")
    os.ftruncate(file, 1 << 30)
attempt("etc", lambda: open("/etc/passwd").read())
attempt("secret", lambda: open(sys.argv[1]).read())
attempt("list", lambda: os.listdir("/"))
attempt("write", lambda: open(sys.argv[1] + ".new", "w"))
attempt("unlink", lambda: os.unlink(sys.argv[1]))
attempt("chmod", lambda: os.chmod(sys.argv[1], 0o777))
attempt("proc", lambda: open("/proc/1/environ", "rb").read())
attempt("device", lambda: os.open("/dev/null", os.O_RDWR))
attempt("inet", lambda: socket.socket())
attempt("unix", lambda: socket.socket(socket.AF_UNIX).connect("/run/x"))
attempt("pair", lambda: socket.socketpair())
attempt("exec", lambda: execute())
attempt("spawn", lambda: subprocess.run(["/bin/true"]))
attempt("fork", fork)
attempt("threads", bomb)
attempt("kill", lambda: os.kill(os.getppid() or 1, 0) or True)
attempt("ptrace", lambda: libc.ptrace(16, 1, 0, 0) >= 0)
attempt("memory", lambda: mmap.mmap(-1, 10 << 30))
attempt("memfd", large)
attempt("mount", lambda: system(165, b"none", b"/mnt", b"tmpfs", 0, None))
attempt("namespace", lambda: system(272, 0x10000000))
attempt("keys", lambda: system(250, 0, -3, 0))
attempt("bpf", lambda: system(321, 0, None, 0))
attempt("io_uring", lambda: system(425, 1, None))
attempt("userfaultfd", lambda: system(323, 0))
attempt("root", lambda: os.setuid(0))
print(json.dumps(reached))
"""


IMPORT = "import pyimount.confinement.prison as prison"


def taken_over(prologue: str, secret: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", "\n".join((IMPORT, prologue, ATTEMPTS)), secret],
        capture_output=True, text=True, check=False, cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("another's evidence")
    path.chmod(0o644)
    return path


def test_the_attempts_reach_something_outside(secret: Path) -> None:
    reached = taken_over("", secret)
    assert {"etc", "secret", "list", "write", "inet", "spawn", "fork", "memory"} & {*reached} >= {
        "etc",
        "inet",
        "spawn",
    }


def test_the_confined_scan_reaches_nothing(secret: Path) -> None:
    needs_root()
    if not landlock.version() or not seccomp.is_known():
        pytest.skip("this kernel has no Landlock, or no filter is known for this processor")
    prologue = (
        "from pyimount.confinement.namespaces import go_on_in_a_child, leave_namespaces\n"
        "left = leave_namespaces()\n"
        "if left: go_on_in_a_child()\n"
        f"print(prison.shut_in({FIRST + 7}, namespaces=left))"
    )
    # A thread may be started, as libraries do; its number is bounded.
    assert taken_over(prologue, secret) == []


def test_a_users_server_reaches_nothing_but_by_its_own_limits(secret: Path) -> None:
    """Without root there are no namespaces and no other user; all else holds."""
    if not landlock.version() or not seccomp.is_known():
        pytest.skip("this kernel has no Landlock, or no filter is known for this processor")
    reached = taken_over("prison.shut_in(prison.NOBODY)", secret)
    assert set(reached) <= {"threads"}


def test_where_landlock_is_missing_nothing_is_opened_at_all(secret: Path) -> None:
    if not seccomp.is_known():
        pytest.skip("no filter is known for this processor")
    prologue = "\n".join(
        (
            "prison.landlock.version = lambda: 0",
            "import ctypes, json, mmap, os, signal, socket, subprocess, sys, _thread",
            "from pyimount.confinement.everything import load_everything",
            "bars = prison.shut_in(prison.NOBODY, load_first=load_everything)",
            "assert not bars.landlock and bars.seccomp",
        )
    )
    assert set(taken_over(prologue, secret)) <= {"threads"}


def test_two_processes_never_have_one_user() -> None:
    needs_root()
    first, second = own_user(), own_user()
    if first is None or second is None:
        pytest.skip("the range of users is not mapped here")
    assert first.number != second.number
    assert FIRST <= min(first.number, second.number) <= max(first.number, second.number) <= LAST
    for each in (first, second):
        os.close(each.lock)


def test_a_user_in_use_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_root()
    monkeypatch.setattr("pyimount.confinement.users.secrets.randbelow", lambda _: 5)
    first = own_user()
    if first is None:
        pytest.skip("the range of users is not mapped here")
    try:
        assert own_user() is None, "the only one that is drawn is locked"
        tidy()
        assert Path(LOCKS).exists(), "it is in use"
    finally:
        os.close(first.lock)
    again = own_user()
    assert again is not None
    assert again.number == FIRST + 5
    os.close(again.lock)


def test_the_file_of_locks_goes_with_the_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs_root()
    monkeypatch.setattr("pyimount.confinement.users.LOCKS", str(tmp_path / "locks"))
    first, second = own_user(), own_user()
    if first is None or second is None:
        pytest.skip("the range of users is not mapped here")
    os.close(first.lock)
    tidy()
    assert (tmp_path / "locks").exists()
    os.close(second.lock)
    tidy()
    assert not (tmp_path / "locks").exists()
    tidy()
