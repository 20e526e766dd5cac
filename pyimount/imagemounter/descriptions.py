"""What a volume says of itself in words: index, size, label, file system."""

import re
from typing import Any

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class FileSystem:
    """What a volume holds. ``type``: as ``Volume.fstype`` has it."""

    def __init__(self, type: str) -> None:  # noqa: A002
        self.type = type

    def __str__(self) -> str:
        return self.type

    def __repr__(self) -> str:
        return f"<FileSystem: {self.type}>"


class Described:
    """A volume as far as it needs only its own attributes to be told in words."""

    index: str
    size: int
    info: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.index}:{self.info.get('fsdescription') or '-'}"

    def __repr__(self) -> str:
        return f"<Volume {self}>"

    @property
    def numeric_index(self) -> tuple[int, ...]:
        """The index as numbers, to sort by; empty when it is none."""
        parts = self.index.split(".")
        return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()

    @property
    def duplicate_volume_group(self) -> bool:
        """Whether a volume group could not be had because this machine has another of its name: it never is.

        A fork of imagemounter has this; here every logical volume is mapped under a name of its own.
        """
        return False

    @property
    def vgname(self) -> str:
        """The name of the volume group that it is of, or a member of; empty where there is none."""
        return self.info.get("volume_group") or ""

    def get_description(self, with_size: bool = True, with_index: bool = True) -> str:
        """Size, index, file system, label and version in a line."""
        kind = self.info.get("statfstype") or self.info.get("fsdescription") or "-"
        words = [
            self.get_formatted_size() if with_size and self.size else None,
            f"{self.index}:{kind}" if with_index else kind,
            self.info.get("label"),
            f"[{self.info['version']}]" if self.info.get("version") else None,
        ]
        return " ".join(word for word in words if word)

    def get_safe_label(self) -> str:
        """The label as a part of a path; empty where there is none, ``root`` for ``/``."""
        label = self.info.get("label") or ""
        if label == "/":
            return "root"
        safe = re.sub(r"[^\w.+@=~-]+", "_", label).lstrip("._-")
        return safe[:-1] if len(safe) > 2 and safe.endswith("_") else safe

    def get_formatted_size(self) -> str:
        """The size for people, two digits after the point: ``512 B``, ``1.5 GiB``."""
        size: float = self.size or 0
        unit = 0
        while size >= 1024 and unit < len(_UNITS) - 1:
            size /= 1024
            unit += 1
        return f"{int(size) if unit == 0 else round(size, 2)} {_UNITS[unit]}"
