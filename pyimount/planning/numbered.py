"""Names with a number after them, of a length that names have at most."""

LONGEST = 64
"""Bytes that a mountpoint's name has at most: labels may have thousands."""


def cut(text: str, most: int) -> str:
    """As much of a text as fits into so many bytes, no character cut in two."""
    return text.encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")


def numbered(name: str, number: int) -> str:
    """A name with a number after it, of LONGEST bytes at most."""
    end = f"-{number}"
    return cut(name, LONGEST - len(end)) + end
