"""Make a change in a copy of the tree, and see whether a test notices."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.mutations import Mutation, mutated

SLOWER = 10
"""A run that takes so many times as long as it should has noticed: the change made it go on for ever."""
LEAST = 30
"""Seconds that a run has in any case."""


@contextmanager
def copied(top: Path) -> Iterator[Path]:
    """A copy of the tree as git has it, with what is not committed; removed at the end."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=top, capture_output=True, check=True
    ).stdout
    with tempfile.TemporaryDirectory(prefix="pyimount-mutants-") as folder:
        copy = Path(folder)
        for name in filter(None, listed.decode().split("\0")):
            if (top / name).is_symlink() or (top / name).exists():
                place = copy / name
                place.parent.mkdir(parents=True, exist_ok=True)
                if (top / name).is_symlink():
                    place.symlink_to((top / name).readlink())
                else:
                    place.write_bytes((top / name).read_bytes())
        yield copy


def noticed(copy: Path, mutation: Mutation, rounds: list[list[str]], expected: float) -> str | None:
    """Which test noticed a change; None where none did.

    Raises:
        RuntimeError: pytest ended in a way that says nothing of the change.
    """
    file = copy / mutation.file
    source = file.read_text()
    file.write_text(mutated(source, mutation.operator, mutation.occurrence))
    try:
        for tests in rounds:
            if (by := _failing(copy, tests, expected)) is not None:
                return by
    finally:
        file.write_text(source)
    return None


def _failing(copy: Path, tests: list[str], expected: float) -> str | None:
    with tempfile.NamedTemporaryFile("w", dir=copy, suffix=".tests") as named:
        named.write("\n".join(tests))
        named.flush()
        command = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", "--no-header", "--tb=no",
                   "-p", "no:cacheprovider", f"@{named.name}"]  # fmt: skip
        try:
            done = subprocess.run(
                command,
                cwd=copy,
                # The copy is what is imported, also by what the tests start; and a source that was changed
                # twice in one second and has the same size is not taken for what it was.
                env=os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                timeout=max(LEAST, SLOWER * expected),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "time"
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if not failed and "ImportError" not in done.stdout + done.stderr:
        raise RuntimeError(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return failed[0].split(" ")[1] if failed else "import"
