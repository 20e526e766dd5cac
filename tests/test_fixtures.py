"""Every committed image reads as the tools say, alone and made anew."""

from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import Fixture, Recipe, Workshop, as_found, differences, fixtures, recipes
from tests.needing import needs


@pytest.mark.parametrize("fixture", fixtures(), ids=lambda fixture: fixture.name)
def test_a_committed_image_reads_as_expected(fixture: Fixture, tmp_path: Path) -> None:
    report = pyimount.detect(fixture.unpack(tmp_path)).to_dict()
    assert differences(fixture.expected, as_found(report)) == []
    for index, volume in as_found(report)["volumes"].items():
        if volume["usage"] == "filesystem" and volume["fstype"] and volume["free"] is None:
            assert volume["details"].get("free_unknown"), f"{index}: not a word on why nothing is free"


@pytest.mark.parametrize("recipe", recipes().values(), ids=lambda recipe: recipe.name)
def test_an_image_made_now_reads_as_its_tools_say(recipe: Recipe, tmp_path: Path) -> None:
    needs(*recipe.tools)
    made = recipe.make(Workshop(tmp_path))
    report = pyimount.detect(made.files[0]).to_dict()
    assert differences(made.expected, as_found(report)) == []


def test_every_committed_image_has_a_recipe() -> None:
    kept = {name for name, recipe in recipes().items() if recipe.commit}
    assert {fixture.name for fixture in fixtures()} == kept
