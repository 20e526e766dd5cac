"""What holds for all tests."""

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import is_hypothesis_test, settings

from fixtures.workshop import SBIN, Hindered, NotInstalled
from pyimount.scanning import detecting
from tests.needing import lacking, needs, not_installed, summary

# How long one example takes says more of the machine, and of what is imported first, than of the code.
settings.register_profile("pyimount", deadline=None)
settings.load_profile("pyimount")


@pytest.fixture(autouse=True)
def _no_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans raise what users get as ``internal-error``: a test is to see every fault."""
    monkeypatch.setitem(detecting.detect.__kwdefaults__, "net", False)


# What started this may have had signals ignored (nohup; a shell, of what it runs beside itself), and that is
# handed on to all that tests start.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


# Tests start tools by their names, and a user's PATH may lack the folders where half of them are.
os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="run the files, and the tests of each, in random order"
    )
    parser.addoption(
        "--quick", action="store_true", help="of each test few cases, and none that starts a program"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(tool, ...): programs without which the test is skipped")
    config.addinivalue_line("markers", "thorough: takes long whatever is tried; not for --quick")
    if config.getoption("quick"):
        # What a test that is ended early leaves open.
        config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnraisableExceptionWarning")


_ACTING = ("fuzz", "kernel", "mounting")
"""Folders whose tests act on the machine, or start what does."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("quick") and collection_path.name in _ACTING else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("quick"):
        items[:] = _quick(items)
    seed = config.getoption("shuffle")
    if seed is None:
        return
    dice = random.Random(seed)  # noqa: S311
    files: dict[object, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    shuffled = list(files.values())
    dice.shuffle(shuffled)
    for each in shuffled:
        dice.shuffle(each)
    items[:] = [item for each in shuffled for item in each]


_CASES = 2


def _quick(items: list[pytest.Item]) -> list[pytest.Item]:
    """Of each test a few of its cases, the first and the last among them; of what tries many things none."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        is_thorough = item.get_closest_marker("thorough") or is_hypothesis_test(getattr(item, "obj", None))
        if not is_thorough:
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = {id(each) for alike in cases.values() for each in (*alike[: _CASES - 1], alike[-1])}
    return [item for item in items if id(item) in kept]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    for mark in item.iter_markers("needs"):
        needs(*mark.args)
    with missing_tools_named(), programs(item.config):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with missing_tools_named(), programs(item.config):
        yield


_STARTS = "starts a program"


class _NoProgram(subprocess.Popen[Any]):
    """Ends the test that would start one."""

    wanted = False
    """Whether the test that runs wanted one; in a thread, it alone would be ended."""

    def __init__(self, *_: Any, **__: Any) -> None:
        _NoProgram.wanted = True
        pytest.skip(_STARTS)


@contextmanager
def programs(config: pytest.Config) -> Iterator[None]:
    """With --quick no program is started, so that nobody has to list which tests are quick."""
    if not config.getoption("quick"):
        yield
        return
    _NoProgram.wanted = False
    with (
        mock.patch.object(subprocess, "Popen", _NoProgram),
        mock.patch.object(BaseProcess, "start", _NoProgram),
    ):
        try:
            yield
        except Exception:
            if not _NoProgram.wanted:
                raise
    if _NoProgram.wanted:
        pytest.skip(_STARTS)


@contextmanager
def missing_tools_named() -> Iterator[None]:
    """A test that comes upon a tool which is not installed ends like one that asks beforehand."""
    try:
        yield
    except NotInstalled as error:
        not_installed([error.tool])
    except Hindered as error:
        lacking(str(error))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = list(summary(_reasons(terminalreporter)))
    if lines:
        terminalreporter.section("what was skipped, and why")
        for line in lines:
            terminalreporter.write_line(line)


def _reasons(terminalreporter: pytest.TerminalReporter) -> Iterator[str]:
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            yield str(report.longrepr[2]).removeprefix("Skipped: ")
