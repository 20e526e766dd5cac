"""A plugin for pytest that writes how long each test took, a line each: ``-p tests.mutants.durations``."""

import json
import os
from pathlib import Path

import pytest

WRITTEN_TO = "PYIMOUNT_DURATIONS"
"""The variable that names the file."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed and "PYTEST_XDIST_WORKER" not in os.environ:
        with Path(os.environ[WRITTEN_TO]).open("a") as written:
            written.write(json.dumps([report.nodeid, report.duration]) + "\n")
