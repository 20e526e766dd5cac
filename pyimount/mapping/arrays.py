"""numpy, which makes arithmetic on many bytes faster and is not needed for any."""

from types import ModuleType


def numpy() -> ModuleType | None:
    """The module; None where it is not installed (``pip install 'pyimount[fast]'``)."""
    try:
        import numpy as found
    except ImportError:
        return None
    return found
