"""Machines other than a full Linux: without POSIX's modules, and without what is not in the base install."""

import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.workshop import Fixture, fixtures

TOP = Path(__file__).parents[2]
ABSENT_ELSEWHERE = ("fcntl", "grp", "pwd", "resource", "termios", "syslog", "tty", "pty")
ON_LINUX = (["mount", "disk.img"], ["unmount", "--all"], ["list"], ["check"])


def run(*arguments: str, without: tuple[str, ...] = (), platform: str = sys.platform) -> tuple[int, str, str]:
    """The command in a process of its own, in which these modules cannot be had."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({without!r})); "
        "from pyimount import cli; "
        f"sys.platform = {platform!r}; sys.exit(cli.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=TOP, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> str:
    (found,) = (fixture for fixture in fixtures() if fixture.name == "demo")
    return str(found.unpack(tmp_path_factory.mktemp("demo")))


@pytest.mark.parametrize(
    "arguments",
    [["detect", "IMAGE"], ["detect", "--json", "IMAGE"], ["formats"], ["completion", "bash"]],
    ids=str,
)
def test_what_works_everywhere_says_the_same(arguments: list[str], demo: str) -> None:
    words = [demo if word == "IMAGE" else word for word in arguments]
    status, out, err = run(*words, without=ABSENT_ELSEWHERE)
    assert (status, err) == (0, "")
    assert (status, out, err) == run(*words)


def test_a_partition_is_exported_everywhere(demo: str, tmp_path: Path) -> None:
    target = tmp_path / "part.img"
    assert run("export", demo, "1", "-o", str(target), without=ABSENT_ELSEWHERE)[0] == 0
    assert target.stat().st_size == 8 << 20


@pytest.mark.parametrize("command", ON_LINUX, ids=lambda words: words[0])
@pytest.mark.parametrize(("without", "platform"), [(ABSENT_ELSEWHERE, "linux"), ((), "darwin")])
def test_what_acts_is_for_linux(command: list[str], without: tuple[str, ...], platform: str) -> None:
    status, out, err = run(*command, without=without, platform=platform)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"{command[0]} is for Linux" in err


@pytest.mark.parametrize("command", ON_LINUX, ids=lambda words: words[0])
def test_help_is_everywhere(command: list[str]) -> None:
    status, out, err = run(command[0], "--help", without=ABSENT_ELSEWHERE)
    assert (status, err) == (0, "")
    assert f"pyimount {command[0]}" in out


@pytest.mark.parametrize("package", ["jsonschema", "mfusepy"])
def test_mounting_without_its_extra_says_what_to_install(package: str, demo: str) -> None:
    status, out, err = run("mount", "--keep", demo, without=(package,))
    assert (status, out) == (1, "")
    assert err == f"pyimount: mounting needs {package}: pip install 'pyimount[mount]'\n"


def test_check_says_which_extras_bring_what_is_missing() -> None:
    _, out, _ = run("check", without=("numpy", "liblzfse"))
    assert "(pip install 'pyimount[fast]')" in out
    assert "(pip install 'pyimount[lzfse]')" in out


NEED_EXTRAS = {"zstd": "pyimount[zstd]", "vma-zstd": "pyimount[zstd]"}


@pytest.mark.parametrize("fixture", [each for each in fixtures() if each.name in NEED_EXTRAS], ids=str)
def test_an_image_that_needs_an_extra_says_so_once(fixture: Fixture, tmp_path: Path) -> None:
    image = str(fixture.unpack(tmp_path))
    status, out, err = run("detect", image, without=("backports.zstd", "compression.zstd"))
    assert status in (0, 1)
    assert (out + err).count(f"pip install '{NEED_EXTRAS[fixture.name]}'") == 1
