"""Layer within layer: everything in an image, found by looking into what was found."""

from pyimount.scanning.detecting import detect
from pyimount.scanning.hints import hints_of
from pyimount.scanning.naming import PathLike
from pyimount.scanning.scanner import scan

__all__ = ["PathLike", "detect", "hints_of", "scan"]
