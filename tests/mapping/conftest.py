"""The two ways of arithmetic on many bytes."""

import sys

import pytest

from pyimount.mapping.optional_numpy import numpy
from tests.needing import lacking


@pytest.fixture(params=["numpy", "integers"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs with numpy, and as where that is not installed."""
    if request.param == "integers":
        monkeypatch.setitem(sys.modules, "numpy", None)
    elif numpy() is None:
        lacking("no numpy: pip install 'pyimount[fast]'")
