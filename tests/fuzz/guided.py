"""What the coverage-guided targets have in common: atheris, and a mutator that knows fields.

An input is an image as ``images.pack`` has it.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from random import Random

import atheris

import pyimount.mapping
from pyimount.recognition.registry import container_formats, table_formats, volume_formats
from tests.fuzz.fields import Window, checksums, placed, repaired
from tests.fuzz.images import Sparse, changed, pack, unpack
from tests.fuzz.inputs import Edit
from tests.fuzz.mutating import another
from tests.fuzz.tracing import traced

_KNOWING = 0.4
"""How often a field is changed, and not just bytes by libFuzzer."""
_REPAIRED = 0.5
_FIELDS = (1, 1, 2, 3)


def load_all() -> None:
    """Import what is else imported when it is needed: every parser, and what maps volumes."""
    for formats in (container_formats, table_formats, volume_formats):
        formats()
    for module in walk_packages(pyimount.mapping.__path__, "pyimount.mapping."):
        import_module(module.name)


class Target:
    """Something that is done with images."""

    def __init__(self, act: Callable[[Sparse], None]) -> None:
        self._act = act

    def fuzz(self) -> None:
        """Hand over to libFuzzer, with the command's own arguments."""
        atheris.Setup(sys.argv, self.one, custom_mutator=self.mutate)
        atheris.Fuzz()

    def one(self, data: bytes) -> None:
        """Do it with one input."""
        self._act(unpack(data))

    def mutate(self, data: bytes, most: int, seed: int) -> bytes:
        """Another input, of ``most`` bytes: with other fields, and often with checksums that are right."""
        dice = Random(seed)  # noqa: S311
        if dice.random() > _KNOWING:
            return bytes(atheris.Mutate(data, most))
        image = unpack(data)
        path = Path("image")
        windows = [Window(path, start, run) for start, run in image.runs.items()]
        with traced() as trace:
            self._act(image)
        fields = placed(trace, windows)
        if not fields:
            return bytes(atheris.Mutate(data, most))
        edits: list[Edit] = []
        for each, old in dice.choices(fields, k=dice.choice(_FIELDS)):
            _, other = dice.choice(fields)
            edits.append((each.field.offset, another(each.field, old, other, image.size, dice)))
        made = changed(image, edits)
        if dice.random() < _REPAIRED and (sums := checksums(trace, fields, windows)):
            with traced() as trace:
                self._act(made)
            right = repaired(trace, sums, lambda at: made.read_at(at.field.offset, at.field.size))
            made = changed(made, [(offset, piece) for _, offset, piece in right])
        return pack(made)[:most]
