"""What holds for all tests."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.needing import needs, summary

# How long one example takes says more of the machine, and of what is imported first, than of the code.
settings.register_profile("pyimount", deadline=None)
settings.load_profile("pyimount")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="run the files, and the tests of each, in random order"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(tool, ...): programs without which the test is skipped")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        needs(*mark.args)


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
