"""How values are written for people: sizes, and names that come from an image."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size_text(size: int | None, *, exact: bool = False) -> str:
    """A size in bytes: in IEC units with one digit after the point, or exact; ``?`` for None."""
    if size is None:
        return "?"
    if exact:
        return str(size)
    value, unit = float(size), 0
    while value >= 1023.95 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{size} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def printable(name: str) -> str:
    r"""A name from an image, safe for a terminal: what is not printable as ``\xNN`` or ``\uNNNN``.

    Escape sequences, line breaks and marks that turn the writing direction are among these.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in name
    )
