"""The helper that stands by itself: what is in it, who runs it, and what becomes of other versions."""

import ast
import io
import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import pyimount
from pyimount import cli
from pyimount.cli import install_helper
from pyimount.confinement.messages import receive, send
from pyimount.execution import asking, helper_archive, protocol
from pyimount.execution.asking import AskingExecutor, Helper
from pyimount.execution.errors import Refused, StepFailed
from pyimount.mounting import mounting
from pyimount.planning import steps
from tests.mounting.images import attached, check, content, make, traces
from tests.needing import needs, needs_root

AS_SUDO = ("/usr/bin/env", f"SUDO_UID={os.getuid()}")
DEBIANS = "/usr/bin/python3"


@pytest.fixture(scope="module")
def helper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("helper") / "pyimount-helper"
    path.write_bytes(helper_archive.archive())
    path.chmod(0o755)
    return path


def debians_python() -> str:
    if not Path(DEBIANS).exists():
        pytest.skip("there is no /usr/bin/python3")
    return DEBIANS


def test_it_is_the_same_whenever_it_is_made() -> None:
    assert helper_archive.archive() == helper_archive.archive()


def test_its_first_line_is_the_systems_own_python_and_nothing_from_around_it() -> None:
    assert helper_archive.archive().startswith(b"#!/usr/bin/python3 -I\n")


def test_what_it_names_is_in_it_or_the_standard_librarys() -> None:
    """Every import in every file of it, those within functions too."""
    with zipfile.ZipFile(io.BytesIO(helper_archive.archive())) as zipped:
        inside = set(zipped.namelist())
        for name in inside:
            tree = ast.parse(zipped.read(name))
            for node in ast.walk(tree):
                if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                    node.body = []
            for node in ast.walk(tree):
                named = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for each in named:
                    path = each.replace(".", "/")
                    assert (
                        each.split(".")[0] in sys.stdlib_module_names
                        or {f"{path}.py", f"{path}/__init__.py"} & inside
                    ), (name, each)
    assert not [name for name in inside if name.startswith(("pyimount/parsers", "pyimount/fuse"))]
    assert "pyimount/execution/helper.py" in inside


LOADS_ALL = """
import importlib, json, sys, zipfile
before = {*sys.modules}
sys.path.insert(0, sys.argv[1])
for name in zipfile.ZipFile(sys.argv[1]).namelist():
    if name.startswith("pyimount/"):
        importlib.import_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
loaded = {name: sys.modules[name] for name in {*sys.modules} - before}
print(json.dumps({name: str(getattr(each, "__spec__", None)) for name, each in loaded.items()}))
"""


def test_loaded_whole_it_takes_nothing_but_the_standard_library(helper: Path) -> None:
    done = subprocess.run(
        [debians_python(), "-I", "-c", LOADS_ALL, helper], capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    assert "pyimount.execution.helper" in loaded
    for name, origin in loaded.items():
        ours = name.split(".")[0] == "pyimount"
        assert ours or name.split(".")[0] in sys.stdlib_module_names or name.startswith("_sysconfigdata"), (
            name
        )
        assert not ours or f"origin='{helper}/" in origin, origin
        assert "-packages" not in origin


def test_the_systems_python_runs_it_and_takes_nothing_from_around_it(helper: Path, tmp_path: Path) -> None:
    debians_python()
    (tmp_path / "json.py").write_text("raise SystemExit('taken from the folder that it was started in')")
    surroundings = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "json.py"),
        "PATH": "/nowhere",
    }
    done = subprocess.run(
        [helper, "--version"], capture_output=True, text=True, check=True, cwd=tmp_path, env=surroundings
    )
    assert json.loads(done.stdout) == {"protocol": protocol.PROTOCOL, "version": pyimount.__version__}


def test_a_container_mounts_through_it(helper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_root()
    needs("mksquashfs", "qemu-img")
    debians_python()
    monkeypatch.setattr(asking, "_helper", lambda: (str(helper),))
    raw = make("squashfs", tmp_path / "disk.img", content(tmp_path))
    image = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, image], check=True)
    scan = mounting.look(image)
    with AskingExecutor(way=AS_SUDO) as executor:
        mounted = mounting.mount(scan, executor, policy=mounting.FORENSIC.replaced(backend="user"))
        (volume,) = mounted.standing
        check(Path(volume.mountpoint or ""))
    with Helper(AS_SUDO) as talking:
        assert talking.ask("undo", {"session": mounted.session, "only": None, "lazy": False})["ended"]
    assert traces(mounted.session) == []
    assert attached(image) == []


class Started:
    """A helper that was started, and the user's end of its socket."""

    def __init__(self, helper: Path, folder: Path) -> None:
        path = folder / "socket"
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(path))
            door.listen()
            door.settimeout(60)
            environment = {"SUDO_UID": str(os.getuid()), "PATH": "/usr/bin:/bin"}
            self.process = subprocess.Popen([helper, path], env=environment, stderr=subprocess.PIPE)
            self.socket, _ = door.accept()
        self.socket.settimeout(60)

    def ask(self, message: Any) -> dict[str, Any]:
        send(self.socket, message)
        return dict(receive(self.socket)[0])

    def end(self) -> bytes:
        self.socket.close()
        return self.process.communicate(timeout=300)[1]


OTHERS = (
    None, {}, [], "1", {"protocol": protocol.PROTOCOL + "0", "version": "9.9"},
    {"protocol": protocol.MESSAGES}, {"protocol": True}, {"version": pyimount.__version__},
    {"protocol": "x" * 5000, "version": "x" * 5000},
    {"protocol": "1\n2", "version": "\x1b[2J"},
)  # fmt: skip


def test_it_refuses_who_speaks_another_protocol(helper: Path, tmp_path: Path) -> None:
    needs_root()
    debians_python()
    started = Started(helper, tmp_path)
    begin = {"begin": {"session": "0badcafe", "images": []}}
    for message in (begin, {"list": None}, *({"greeting": other} for other in OTHERS), begin):
        refused = started.ask(message)["refused"]
        assert "protocol" in refused
        assert refused.isprintable()
        assert len(refused) < 200
    assert started.ask({"greeting": protocol.greeting()})["protocol"] == protocol.PROTOCOL
    assert started.ask({"list": None})["done"]
    assert started.end() == b""


OLD_HELPER = """#!{python}
import sys
sys.path[:] = {path!r}
import socket
from pyimount.confinement.messages import receive, send
with socket.socket(socket.AF_UNIX) as other:
    other.connect(sys.argv[1])
    receive(other)
    send(other, {answer!r})
"""


@pytest.mark.parametrize(
    "answer",
    [{"done": True, **other} for other in OTHERS if isinstance(other, dict)]
    + [
        {"refused": "who asks (version '0.1') speaks protocol 1, and not 9 as version 9.9 does"},
        {"done": True},
    ],
    ids=str,
)
def test_a_helper_of_another_version_is_not_worked_with(
    answer: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old"
    old.write_text(OLD_HELPER.format(python=sys.executable, path=sys.path, answer=answer))
    old.chmod(0o755)
    monkeypatch.setattr(asking, "_helper", lambda: (str(old),))
    with pytest.raises(StepFailed, match="speaks") as caught, Helper(("/usr/bin/env",)):
        pass
    assert str(caught.value).isprintable()
    assert "install-helper" in (caught.value.remedy or "")


def test_a_step_that_has_another_field_is_another_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = protocol._protocol()
    assert kept == protocol.PROTOCOL

    class Mount(steps.Mount):
        more: str = ""

    monkeypatch.setattr(steps, "Mount", Mount)
    assert protocol._protocol() != kept


def test_it_is_installed_where_root_alone_may_write(tmp_path: Path) -> None:
    needs_root()
    open_ = tmp_path / "open"
    open_.mkdir()
    open_.chmod(0o777)
    with pytest.raises(Refused, match="what root runs cannot lie there"):
        helper_archive.install(str(open_ / "libexec" / "helper"), b"", 0o755)
    assert list(open_.iterdir()) == []


def test_a_plain_user_is_told_that_it_takes_root(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["install-helper"]) == 1
    assert capsys.readouterr().err == "pyimount: this needs root: sudo pyimount install-helper\n"


INSTALLED = """
set -e
for each in /usr/local /etc/sudoers.d /run /usr/share/polkit-1; do
    test -d $each || continue
    mount -t tmpfs -o mode=755 none $each
done
{pyimount} install-helper
stat -c '%U %G %a' {helper}
test ! -e /usr/local/libexec/.pyimount-helper*
echo 'nobody ALL=(root) NOPASSWD: {helper}' > /etc/sudoers.d/pyimount
chmod 440 /etc/sudoers.d/pyimount
user() {{ setpriv --reuid=65534 --regid=65534 --clear-groups env -i PATH=/usr/bin:/bin "$@"; }}
user sudo -n {helper} --version
user sudo -n /usr/bin/id > /dev/null 2>&1 || echo nothing else
{pyimount} install-helper --remove
test ! -e {helper} && echo gone
"""


def test_installed_it_is_all_that_sudo_has_to_allow(tmp_path: Path) -> None:
    """In a mount namespace of its own, where /usr/local and sudo's rules are the test's."""
    needs_root()
    needs("sudo", "unshare", "setpriv")
    debians_python()
    command = Path(sys.executable).with_name("pyimount")
    if not command.exists() or not Path("/etc/sudoers.d").is_dir():
        pytest.skip("pyimount is not installed as a command, or sudo has no folder of rules")
    script = INSTALLED.format(pyimount=command, helper=protocol.HELPER)
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "root root 755" in lines
    assert json.dumps(protocol.greeting()) in lines
    assert "nothing else" in lines
    assert lines[-1] == "gone"
    assert not Path(protocol.HELPER).exists() or asking.installed_helper()


def test_the_action_for_polkit_names_the_helper_alone() -> None:
    from xml.etree import ElementTree

    action = ElementTree.fromstring(install_helper._ACTION.split("?>", 1)[1].strip())  # noqa: S314
    found = [each.text for each in action.iter("annotate")]
    assert found == [protocol.HELPER]
