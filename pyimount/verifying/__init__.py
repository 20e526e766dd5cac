"""Holding an image against what it keeps of itself: hashes, checksums, and the structures they stand in."""

from pyimount.verifying.records import Check, Place, Status, Verified
from pyimount.verifying.verify import verify

__all__ = ["Check", "Place", "Status", "Verified", "verify"]
