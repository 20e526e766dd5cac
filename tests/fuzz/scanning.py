"""What is done with an image: it is scanned without the net, told in each way, and its layers are read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pyimount
from pyimount.layers import Layer, Scan
from pyimount.mapping import open_layer, open_volume
from pyimount.reports.export import blocks
from pyimount.reports.tree import TreeReport
from pyimount.sources.budget import Budget
from pyimount.sources.errors import SourceError

MIB = 1 << 20
BUDGET = Budget(derivation=100_000, derivation_memory=32 * MIB)
"""What a user has, but for the derivation of keys, which is OpenSSL's work and not ours."""
READING = Budget(bytes_read=64 * MIB, unpacked=256 * MIB, derivation=100_000, derivation_memory=32 * MIB)
_LAYERS = 12
_READS = 3


def scan(paths: Sequence[Path], keys: Mapping[str | int, str] | None, dice: Random) -> Scan:
    """Scan as users do, mostly as they do mostly."""
    search = dice.random() < 0.02 and sum(path.stat().st_size for path in paths) < 4 * MIB
    return pyimount.detect(
        list(paths), keys=keys, budget=BUDGET, free=dice.random() < 0.1, search=search, net=False
    )


def tell(found: Scan) -> None:
    """Write the report in each way; what is stored is what was found."""
    report = found.to_dict()
    stored = Scan.from_dict(json.loads(json.dumps(report)))
    if stored != found:
        raise AssertionError("a stored scan is another one")
    pending = [*TreeReport(everything=True, details=True).trees(found)]
    while pending:
        branch = pending.pop()
        if not str(branch.label).isprintable():
            raise AssertionError(f"a line of the report has {str(branch.label)!r}")
        pending += branch.children
    "".join(blocks(found))


def read_layers(found: Scan, keys: Mapping[str | int, str] | None, dice: Random) -> tuple[int, int]:
    """Read layers at random places, those first that are more than a run of another; how many, how often."""
    layers: list[Layer] = [*found.disks, *found.volumes]
    dice.shuffle(layers)
    layers.sort(key=lambda layer: layer.recipe.kind in {"slice", "none"})
    opened = reads = 0
    for layer in layers[:_LAYERS]:
        try:
            with open_layer(found, layer, keys=keys, budget=READING) as source:
                opened += 1
                for _ in range(_READS):
                    place = dice.choice((0, max(0, source.size - 512), dice.randrange(source.size + 1)))
                    length = dice.choice((1, 512, 4096, 65536, MIB))
                    reads += 1
                    data = source.read_at(place, length)
                    if len(data) != min(length, source.size - place):
                        raise AssertionError(f"{len(data)} bytes at {place} of {source.size}")
        except SourceError:
            continue
    return opened, reads


def read_as_files(found: Scan, keys: Mapping[str | int, str] | None, dice: Random) -> None:
    """Read volumes as file objects."""
    for volume in found.volumes[:_LAYERS]:
        try:
            with open_volume(found, volume.index, keys=keys) as file:
                file.seek(dice.choice((0, volume.size or 0, -1 & (1 << 62))))
                file.read(4096)
                file.seek(0, 2)
        except (SourceError, OSError):
            continue
