"""What a process reaches that runs hostile code where images are looked at: nothing."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pyimount.confinement import landlock, seccomp
from pyimount.confinement.process import NOBODY
from pyimount.confinement.users import FIRST, LAST, LOCKS, own_user, tidy
from tests.needing import needs_root

# What a parser that was taken over would try; each says what it reached.
MODULES = (
    "import ctypes, errno, fcntl, json, mmap, os, resource, signal, socket, struct, subprocess, sys, _thread"
)
ATTEMPTS = f"""
{MODULES}
"""
ATTEMPTS += """
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
victim = int(sys.argv[2])
def blow():
    file = os.memfd_create("x")
    os.write(file, b"no program")
    try:
        os.execve(file, ["none"], {})
    except OSError as error:
        return error.errno == errno.ENOEXEC
def limits():
    import resource
    resource.prlimit(victim, resource.RLIMIT_NOFILE, (3, 3))
def owner():
    # The signal that tells of what can be read goes to whoever the file's owner is said to be.
    file = os.pipe()[0]
    fcntl.fcntl(file, 8, victim)
def lock():
    fcntl.fcntl(int(sys.argv[3]), 37, struct.pack("hhqqi4x", 1, 0, 0, 0, 0))
def abstract():
    s = socket.socket(socket.AF_UNIX)
    s.connect("\\0pyimount-test-" + sys.argv[2])
def ring():
    parameters = ctypes.create_string_buffer(120)
    return system(425, 1, parameters)
def remote():
    data = ctypes.create_string_buffer(8)
    class IO(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))
    here = IO(ctypes.addressof(data), 8)
    return libc.process_vm_readv(victim, ctypes.byref(here), 1, ctypes.byref(here), 1, 0) >= 0 \
        or ctypes.get_errno() == 14  # EFAULT: it may, but not there
def large():
    file = os.memfd_create("x")
    os.ftruncate(file, 1 << 30)
def inherited():
    # By what it is, not by its number: that may have become another's here.
    for file in range(4096):
        try:
            found = os.fstat(file)
        except OSError:
            continue
        if f"{found.st_dev}:{found.st_ino}" == sys.argv[4]:
            return True
    return False
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
# Seized, not attached to, which would stop it: whoever it is, the machine's first process least of all.
attempt("ptrace", lambda: libc.ptrace(0x4206, victim, 0, 0) >= 0)
attempt("memory", lambda: mmap.mmap(-1, 10 << 30))
attempt("memfd", large)
attempt("mount", lambda: system(165, b"none", b"/mnt", b"tmpfs", 0, None))
attempt("namespace", lambda: system(272, 0x10000000))
attempt("keys", lambda: system(250, 0, -3, 0))
attempt("bpf", lambda: system(321, 0, None, 0))
attempt("io_uring", lambda: system(425, 1, None))
attempt("userfaultfd", lambda: system(323, 0))
attempt("tgkill", lambda: system(234, victim, victim, 0))
attempt("kill another", lambda: os.kill(victim, 0) or True)
attempt("pidfd", lambda: os.pidfd_open(victim))
attempt("limits of another", limits)
attempt("priority of another", lambda: os.setpriority(os.PRIO_PROCESS, victim, 19))
attempt("affinity of another", lambda: os.sched_setaffinity(victim, {0}))
attempt("owner of a file", owner)
attempt("lock", lock)
attempt("memory of another", remote)
attempt("mem of another", lambda: open(f"/proc/{victim}/mem", "rb"))
attempt("environment of another", lambda: open(f"/proc/{victim}/environ", "rb").read())
attempt("own mem", lambda: open("/proc/self/mem", "r+b"))
attempt("fexecve", blow)
attempt("execveat", lambda: system(322, -100, b"/there/is/none", None, None, 0) or ctypes.get_errno() == 2)
attempt("abstract socket", abstract)
attempt("io_uring with room", ring)
attempt("dumpable", lambda: libc.prctl(4, 1, 0, 0, 0) == 0)
attempt("add a key", lambda: system(248, b"user", b"x", b"y", ctypes.c_size_t(1), -4))
attempt("request a key", lambda: system(249, b"user", b"x", None, -4))
attempt("handle", lambda: system(304, -100, None, 0) or ctypes.get_errno() == 14)
how = ctypes.create_string_buffer(24)
attempt("openat2", lambda: system(437, -100, b"/etc/passwd", how, ctypes.c_size_t(24)))
attempt("open_tree", lambda: system(428, -100, b"/", 1))
attempt("fsopen", lambda: system(430, b"tmpfs", 0))
attempt("setns", lambda: system(308, 0, 0))
attempt("chroot", lambda: os.chroot("/"))
attempt("perf", lambda: system(298, ctypes.create_string_buffer(128), 0, -1, -1, 0))
attempt("fanotify", lambda: system(300, 0, 0))
attempt("inotify", lambda: system(294, 0))
attempt("terminal", lambda: fcntl.ioctl(2, 0x5412, b"x"))
attempt("rename", lambda: os.rename(sys.argv[1], sys.argv[1] + ".x"))
attempt("link", lambda: os.symlink("/", sys.argv[1] + ".link"))
attempt("directory", lambda: os.mkdir(sys.argv[1] + ".d"))
attempt("truncate", lambda: os.truncate(sys.argv[1], 0))
attempt("times", lambda: os.utime(sys.argv[1]))
attempt("descriptors", inherited)
attempt("root", lambda: os.setuid(0))
print(json.dumps(reached))
"""


IMPORT = "import pyimount.confinement.prison as prison"
AS_NOBODY = f"""{MODULES}
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
"""


def taken_over(prologue: str, secret: Path, user: int = NOBODY) -> list[str]:
    """What the attempts reach in a process that this prologue shuts in; another of its user's stands by."""
    identity = {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}
    lock = secret.with_name("locks")
    kept = os.open(secret, os.O_RDONLY)  # what is not for a child does not get there
    with (
        subprocess.Popen(["sleep", "600"], **identity) as victim,  # type: ignore[call-overload]
        lock.open("wb") as locks,
        socket.socket(socket.AF_UNIX) as listening,
    ):
        listening.bind(f"\0pyimount-test-{victim.pid}")
        listening.listen()
        try:
            done = subprocess.run(
                [sys.executable, "-c", "\n".join((IMPORT, prologue, ATTEMPTS)), secret, str(victim.pid),
                 str(locks.fileno()), f"{secret.stat().st_dev}:{secret.stat().st_ino}"],
                capture_output=True, text=True, check=False, cwd="/", pass_fds=(locks.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
            assert victim.poll() is None
        finally:
            victim.kill()
            os.close(kept)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("another's evidence")
    path.chmod(0o644)
    return path


def test_the_attempts_reach_something_outside(secret: Path) -> None:
    reached = taken_over(AS_NOBODY, secret)
    assert {*reached} >= {
        "etc", "inet", "spawn", "tgkill", "limits of another", "owner of a file", "lock", "abstract socket",
        "pidfd", "memfd", "inotify", "memory of another", "environment of another", "fork", "dumpable",
    }  # fmt: skip


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
    assert taken_over(prologue, secret, FIRST + 7) == []


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
            MODULES,
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
