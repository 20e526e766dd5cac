"""A place for sessions which, whatever a test did, is taken down again, and is then held to be clean."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounting.ground import Ground
from tests.needing import needs_root


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """A folder for images and one for ledgers; as root only."""
    needs_root()
    made = Ground(tmp_path)
    yield made
    made.clear()
    made.check()
