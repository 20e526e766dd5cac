"""A module of our own as a process that takes nothing from its surroundings: its command and its answer."""

import json
import os
import subprocess
import sys
from typing import Any

from pyimount.exceptions import StepFailed

_ANSWER_CAP = 1 << 20
# Where the package lies: the folder to import it from.
_PLACE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Isolated, Python looks for modules only where it is installed itself; we may lie elsewhere, last of all.
_PROGRAM = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line that runs ``module`` with the Python that runs this."""
    return (sys.executable, "-I", "-c", _PROGRAM, _PLACE, module, *arguments)


def ask(module: str, descriptor: int, *arguments: str, timeout: float = 60.0) -> Any:
    """What ``module``, run with this file as its standard input, prints: JSON. Raises StepFailed."""
    try:
        done = subprocess.run(  # noqa: S603
            command(module, *arguments), stdin=descriptor, capture_output=True, check=False, timeout=timeout,
            env={"LC_ALL": "C.UTF-8"}, cwd="/",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise StepFailed(f"{module} did not end within {timeout:g} s") from None
    if done.returncode or len(done.stdout) > _ANSWER_CAP:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise StepFailed(f"{module} failed: {lines[-1] if lines else done.returncode}")
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise StepFailed(f"{module} gave no answer") from error
