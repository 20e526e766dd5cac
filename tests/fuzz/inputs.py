"""Inputs that once did harm, as text: who found them and what they did, an image, and what is changed in it.

# Where it is from, and what it did.
image ext4          the committed image that it is made from; without one, it is made of zeros
file disk.E01       the lines below are about this file of the image, not about its first
size 4096           bytes: the file is cut there, or longer than it was
key p:secret        what it is unlocked with
438 53ef            at this offset, hexadecimal as all here is but the size, stand these bytes
438 text 123        the same, in ASCII
438 20000*5b        the same, a byte again and again
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fixtures.workshop import fixtures

FOLDER = Path(__file__).parent / "regressions"
Edit = tuple[int, bytes]


@dataclass
class Change:
    """What is changed in one file: bytes at offsets, and its size, None where that stays."""

    edits: list[Edit] = field(default_factory=list)
    size: int | None = None

    def apply(self, path: Path) -> None:
        """Change the file, which is made if it is not there."""
        with path.open("r+b" if path.exists() else "w+b") as file:
            if self.size is not None:
                file.truncate(self.size)
            for offset, piece in self.edits:
                file.seek(offset)
                file.write(piece)


@dataclass
class Written:
    """An input; ``changes`` by the names of files, ``""`` for the first one."""

    about: str
    image: str | None = None
    key: str | None = None
    changes: dict[str, Change] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str | int, str] | None:
        """Its key as ``detect`` takes it."""
        return {"*": self.key} if self.key else None

    def make(self, folder: Path) -> list[Path]:
        """Make the files; returns those that ``detect`` is given."""
        if self.image is None:
            paths = [folder / "image.bin"]
        else:
            base = next(each for each in fixtures() if each.name == self.image)
            base.unpack(folder)
            paths = [folder / name for name in base.files]
        for name, change in self.changes.items():
            change.apply(folder / name if name else paths[0])
        return paths


def read(path: Path) -> Written:
    """An input from its file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    about = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    found = Written(" ".join(about))
    change = found.changes.setdefault("", Change())
    for line in lines:
        word, _, rest = line.partition(" ")
        if not line or line.startswith("#"):
            continue
        if word == "image":
            found.image = rest
        elif word == "key":
            found.key = rest
        elif word == "file":
            change = found.changes.setdefault(rest, Change())
        elif word == "size":
            change.size = int(rest)
        else:
            change.edits.append((int(word, 16), _bytes(rest)))
    return found


def _bytes(said: str) -> bytes:
    count, star, what = said.partition("*")
    if said.startswith("text "):
        return said.removeprefix("text ").encode()
    return bytes.fromhex(what) * int(count) if star else bytes.fromhex(said)


def write(path: Path, made: Written) -> None:
    """Keep an input."""
    lines = [f"# {line}" for line in made.about.splitlines()]
    lines += [f"image {made.image}"] if made.image else []
    lines += [f"key {made.key}"] if made.key else []
    for name, change in made.changes.items():
        lines += [f"file {name}"] if name else []
        lines += [f"size {change.size}"] if change.size is not None else []
        lines += [f"{offset:x} {_said(piece)}" for offset, piece in change.edits]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _said(piece: bytes) -> str:
    alike = len(piece) > 16 and piece.count(piece[0]) == len(piece)
    return f"{len(piece)}*{piece[:1].hex()}" if alike else piece.hex()


def all_inputs() -> Mapping[str, Path]:
    """Every input that is kept, by its name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.txt"))}
