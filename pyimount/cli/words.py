"""The words that options take for types, and what may have been meant by another."""

from pyimount.recognition import words

TABLES = words.TABLES | {"none", "detect"}
"""Types of partition tables, for ``--vstype``."""

VOLUMES = words.VOLUMES
"""Types of volumes, for ``--fstypes``: the report's, and the names of their formats."""

DRIVERS = words.DRIVERS
"""Drivers and programs that mount, for ``--allow-fs``."""

FSTYPES = frozenset(("bde", "bluestore", "hfs+", "iso", "lvm", "raid", "unknown"))
"""imagemounter's words for the same (``fstype`` in the report), where they differ."""


def meant(word: str, known: frozenset[str]) -> str:
    """What may have been meant by an unknown word, as the end of a sentence; empty when nothing is close."""
    from difflib import get_close_matches

    close = get_close_matches(word, sorted(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""
