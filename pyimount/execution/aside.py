"""A module of our own asked about an open file, as a process of its own."""

import json
import subprocess
from typing import Any

from pyimount.execution.errors import StepFailed
from pyimount.execution.ourselves import command

_ANSWER_CAP = 1 << 20


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
