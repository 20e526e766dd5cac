"""Whole scans: an image is scanned without the net, told, and its layers are read."""

import tempfile
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["pyimount"]):
    from tests.fuzz import scanning
    from tests.fuzz.guided import Target, load_all
    from tests.fuzz.images import Sparse, store

    load_all()


class Looker:
    """Scans images as one file after the other."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "image"

    def look(self, image: Sparse) -> None:
        """Scan it and read what was found."""
        store(image, self._path)
        dice = Random(len(image.runs))  # noqa: S311
        found = scanning.scan([self._path], {"*": "p:key"}, dice)
        scanning.tell(found)
        scanning.read_layers(found, {"*": "p:key"}, dice)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="pyimount-fuzz.") as made:
        Target(Looker(Path(made)).look).fuzz()
