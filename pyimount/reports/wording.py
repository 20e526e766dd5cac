"""How values are written for people; ``pyimount.wording`` has it, for layers show themselves too."""

from pyimount.wording import printable, size_text

__all__ = ["printable", "size_text"]
