"""Which tests run which line: from one run of the suite under coverage.py, with a context for each test."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from coverage import CoverageData

from tests.mutants.durations import WRITTEN_TO

ACTING = ("tests/kernel", "tests/mounting", "tests/fuzz", "tests/benchmarks", "tests/mutants")
"""Tests that are not run: what they would notice takes minutes each time."""


@dataclass(frozen=True, slots=True)
class Covering:
    """What one run of the suite showed."""

    lines: dict[str, dict[int, list[str]]]
    """By file and line, the tests that ran it."""
    seconds: dict[str, float]
    """How long each test took that passed."""

    def tests(self, file: str, line: int, at_most: float) -> list[list[str]]:
        """Tests to try on a change of a line, in rounds: the first has what is most likely to notice.

        Those that ran the line, the quickest first, and then those that ran others of the file: what is kept
        from one test to the next, like a declaration's struct, is run by the first only.
        """
        by_line = self.lines.get(file, {})
        here = set(by_line.get(line, ()))
        others = {test for tests in by_line.values() for test in tests} - here
        rounds = [self._within(here, file, at_most), self._within(others, file, at_most)]
        return [each for each in rounds if each]

    def _within(self, tests: set[str], file: str, at_most: float) -> list[str]:
        """As many as fit into some seconds; those of the file's own test module first."""
        name = Path(file).stem
        ordered = sorted(
            (test for test in tests if test in self.seconds),
            key=lambda test: (name not in test.partition("::")[0], self.seconds[test], test),
        )
        taken, total = [], 0.0
        for test in ordered:
            total += self.seconds[test]
            if total > at_most:
                break
            taken.append(test)
        return taken


def made(top: Path, folder: Path) -> None:
    """Run the suite once, and write what it showed into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    durations = folder / "durations"
    durations.unlink(missing_ok=True)
    (folder / "config").write_text("[run]\nrelative_files = true\nsource = pyimount\n")
    ignored = [f"--ignore={each}" for each in ACTING]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "auto", "-q", "-p", "tests.mutants.durations",
         "--cov", f"--cov-config={folder / 'config'}", "--cov-context=test", "--cov-report=", *ignored],
        cwd=top,
        env=os.environ | {WRITTEN_TO: str(durations), "COVERAGE_FILE": str(folder / "coverage")},
        check=False,  # a test that coverage itself makes fail is not in the durations
    )  # fmt: skip


def read(folder: Path, files: list[str]) -> Covering:
    """What ``made`` wrote, of some files."""
    data = CoverageData(str(folder / "coverage"))
    data.read()
    measured = {os.path.realpath(each): each for each in data.measured_files()}
    lines = {}
    for file in files:
        known = measured.get(os.path.realpath(file))
        contexts = data.contexts_by_lineno(known) if known else {}
        lines[file] = {
            line: [each.partition("|")[0] for each in tests if each] for line, tests in contexts.items()
        }
    seconds: dict[str, float] = dict(map(json.loads, (folder / "durations").read_text().splitlines()))
    return Covering(lines, seconds)
