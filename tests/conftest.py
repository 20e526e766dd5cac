"""What holds for all tests."""

import pytest
from hypothesis import settings

from pyimount.scanning import detecting

# How long one example takes says more of the machine, and of what is imported first, than of the code.
settings.register_profile("pyimount", deadline=None)
settings.load_profile("pyimount")


@pytest.fixture(autouse=True)
def _no_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans raise what users get as ``internal-error``: a test is to see every fault."""
    monkeypatch.setitem(detecting.detect.__kwdefaults__, "net", False)
