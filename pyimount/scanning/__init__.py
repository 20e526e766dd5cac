"""Layer within layer: everything in an image, found by looking into what was found."""

from pyimount.scanning.scanner import PathLike, detect, hints_of, scan

__all__ = ["PathLike", "detect", "hints_of", "scan"]
