"""In what containers are: root by name, a /dev with few nodes. The cause is said, or what lacks is made."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyimount.execution import nodes, rights
from pyimount.execution.errors import StepFailed
from tests.needing import lacking, needs, needs_root

PYIMOUNT = f"{sys.executable} -m pyimount"
KEEP = "mount --keep --no-interaction --mountdir at"

# A /dev of its own, as a container has it; what is mounted here is gone with the namespace.
FEW_NODES = r"""
mount -t tmpfs -o mode=755 run /run; mkdir nodes; mount -t tmpfs dev nodes
for each in null zero full random urandom tty; do cp -a /dev/$each nodes/; done
ln -s /proc/self/fd nodes/fd
for each in $GIVEN; do cp -a $each nodes/; done
mount --bind nodes /dev
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    needs_root()
    needs("mke2fs", "qemu-img", "setpriv", "unshare")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "marker").write_text("evidence\n")
    tool("truncate", "-s", "8M", "d.img", cwd=tmp_path)
    tool("mke2fs", "-q", "-F", "-t", "ext4", "-d", "tree", "d.img", cwd=tmp_path)
    tool("qemu-img", "convert", "-q", "-O", "qcow2", "d.img", "d.qcow2", cwd=tmp_path)
    return tmp_path


def tool(*words: str, cwd: Path) -> None:
    subprocess.run(words, check=True, cwd=cwd)


def inside(folder: Path, script: str, given: str = "") -> tuple[int, str]:
    """Run a script among few nodes; its status, and all that it said."""
    done = subprocess.run(
        ("unshare", "--mount", "--propagation", "private", "sh", "-c", FEW_NODES + script),
        cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "GIVEN": given, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    return done.returncode, said


def loop_nodes() -> str:
    return " ".join(str(path) for path in Path("/dev").glob("loop*"))


@pytest.mark.parametrize("given", ["", "/dev/fuse", "/dev/loop-control"])
@pytest.mark.parametrize("name", ["d.img", "d.qcow2"])
def test_nodes_are_made(name: str, given: str, image: Path) -> None:
    status, said = inside(
        image, f"{PYIMOUNT} {KEEP} {name} && cat at/0/marker && {PYIMOUNT} unmount --all", given
    )
    assert status == 0, said
    assert "evidence" in said


@pytest.mark.parametrize(
    ("name", "given", "lacks"),
    [
        ("d.img", "", "/dev/loop-control"),
        ("d.img", "/dev/loop-control", "/dev/loop"),
        ("d.qcow2", "", "/dev/fuse"),
    ],
)
def test_who_may_not_make_them_is_told(name: str, given: str, lacks: str, image: Path) -> None:
    status, said = inside(
        image, f"setpriv --bounding-set -mknod --inh-caps=-all {PYIMOUNT} {KEEP} {name}", given
    )
    assert status == 4, said
    assert lacks in said
    assert "CAP_MKNOD" in said
    assert "--privileged" in said
    status, said = inside(image, f"{PYIMOUNT} list --json")
    assert json.loads(said.splitlines()[0])["sessions"] == []


@pytest.mark.parametrize("name", ["d.img", "d.qcow2"])
@pytest.mark.parametrize(
    ("start", "cause"),
    [
        ("setpriv --bounding-set -sys_admin --inh-caps=-all", "CAP_SYS_ADMIN"),
        ("setpriv --bounding-set -setuid,-setgid --inh-caps=-all", "CAP_SETUID"),
        ("unshare --user --map-root-user", "user namespace"),
    ],
)
def test_root_by_name(start: str, cause: str, name: str, image: Path) -> None:
    if (
        "--user" in start
        and subprocess.run((*start.split(), "true"), check=False, capture_output=True).returncode
    ):
        lacking("this machine lets nobody make user namespaces")
    status, said = inside(image, f"{start} {PYIMOUNT} {KEEP} {name}", f"/dev/fuse {loop_nodes()}")
    assert status == 1, said
    assert cause in said
    assert len(said.splitlines()) == 2, "one cause, and what to do"
    for wrong in ("capacity change", "modprobe"):
        assert wrong not in said
    # What needs no root goes on; and check says beforehand what mount says.
    status, said = inside(image, f"{start} {PYIMOUNT} detect {name}", f"/dev/fuse {loop_nodes()}")
    assert (status, "ext4" in said) == (0, True)
    status, said = inside(image, f"{start} {PYIMOUNT} check --json", f"/dev/fuse {loop_nodes()}")
    here = json.loads(said.splitlines()[0])["here"]
    assert here["mounts"] is False
    assert cause in here["cause"]
    assert cause in inside(image, f"{start} {PYIMOUNT} check", f"/dev/fuse {loop_nodes()}")[1]


def test_check_tells_of_nodes(image: Path) -> None:
    _, said = inside(image, f"{PYIMOUNT} check --json")
    told = json.loads(said.splitlines()[0])
    assert told["here"]["mounts"] is True
    assert all("mount makes it" in told["here"]["nodes"][path] for path in ("/dev/fuse", "/dev/loop-control"))
    _, said = inside(image, f"setpriv --bounding-set -mknod --inh-caps=-all {PYIMOUNT} check --json")
    told = json.loads(said.splitlines()[0])
    assert told["kernel"]["fuse"] is False
    assert told["here"]["mounts"] is False
    assert "/dev/loop-control is not there" in told["here"]["cause"]


@pytest.mark.parametrize("number", [1, 13])
def test_a_device_that_the_rules_forbid(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's rules let the node be there, and nobody open it: EPERM; on a nodev mount: EACCES."""

    def refuse(path: str, flags: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pyimount.execution.nodes.os.open", refuse)
    with pytest.raises(StepFailed, match="a container's rules") as raised:
        nodes.open_node("/dev/loop3", os.O_RDONLY)
    assert "--device-cgroup-rule 'b 7:* rwm'" in str(raised.value.remedy)


@pytest.mark.parametrize(
    ("users", "is_in"),
    [
        ("         0          0 4294967295\n", False),
        ("         0       1000          1\n", True),
        ("         0     100000      65536\n", True),
        ("         0          0       1000\n", True),
    ],
)
def test_a_user_namespace(users: str, is_in: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uid_map").write_text(users)
    real = open
    monkeypatch.setattr("builtins.open", lambda *_: real(tmp_path / "uid_map"))
    assert rights.in_user_namespace() == is_in
