"""Images of every type with bytes changed: a few; ``python -m tests.files.mutated`` makes any number."""

from pathlib import Path

import pytest

from fixtures.workshop import NotInstalled
from tests.files import makers, mutated
from tests.needing import needs


@pytest.mark.parametrize("kind", makers.MAKERS)
def test_what_is_sound_is_read_and_nothing_ends_the_reader(tmp_path: Path, kind: str) -> None:
    try:
        makers.make(kind, tmp_path / kind.replace(" ", "-"))
    except NotInstalled as error:
        needs(error.tool)
    found = mutated.run(kind, tmp_path, count=5, seed=16)
    assert (found["crash"], found["hang"], found["raised"]) == (0, 0, 0)
    assert found["recognised"] + found["not recognised"] == 5
    if found["recognised"] and kind not in makers.EMPTY:
        assert found["files as they were"] + found["told to be damaged"] > 0
