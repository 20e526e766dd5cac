"""numpy, which makes arithmetic on many bytes faster and is not needed for any."""

from types import ModuleType


def numpy() -> ModuleType | None:
    """The module; None where it is not installed (``pip install 'pyimount[fast]'``).

    Nor where this process may open no files any more, and did not load it before.
    """
    try:
        import numpy as found
    except (ImportError, OSError):
        return None
    return found
