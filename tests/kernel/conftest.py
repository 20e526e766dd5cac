"""The kernel as a fixture."""

from pathlib import Path

import pytest

from tests.kernel.uml import Kernel, kernel_in


@pytest.fixture
def uml(tmp_path: Path) -> Kernel:
    """A kernel with an empty share; the test is skipped where user-mode-linux is not installed."""
    return kernel_in(tmp_path / "share")
