"""``make bench``: the table."""

import compileall
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import pyimount
from fixtures.workshop import Workshop, find_tool, fixtures, recipes
from tests.benchmarks import link, mapping, mapping_luks, mapping_lvm, unpacking, verifying, wide
from tests.benchmarks.libblkid import Libblkid
from tests.benchmarks.measure import Spent, bytes_read, command, in_turn, peak_memory

BIN = Path(sys.executable).parent
PYIMOUNT = BIN / "pyimount"
MIB = 1 << 20
SIZE = 256 * MIB
"""Of a raw image. libblkid looks for less in smaller ones."""

Row = tuple[str, float, tuple[str, float], str]
"""What ``row`` prints: what, ours, the other's name and value, and the unit."""

RAW = {"ext4": ("mkfs.ext4", "-q"), "ntfs": ("mkntfs", "-q", "-F", "-f")}
EARLY = ("iso9660", "ldm", "luks2", "lvm2", "md-1.2", "ubi", "udf")
"""Images that libblkid is done with early."""


def images(folder: Path) -> dict[str, Path]:
    """The images that are measured; those for which this machine lacks a tool are named and left out."""
    found = {}
    kept = {fixture.name: fixture for fixture in fixtures()}
    for name in ("eight", *RAW, *EARLY):
        place = folder / name
        place.mkdir()
        workshop = Workshop(place)
        if name in RAW and find_tool(RAW[name][0]):
            found[name] = workshop.blank(SIZE)
            workshop.run(*RAW[name], found[name])
        elif name in kept:
            found[name] = kept[name].unpack(place)
        elif name in recipes() and not recipes()[name].missing():
            found[name] = recipes()[name].make(workshop).files[0]
        else:
            left_out(name)
    return found


def left_out(what: str) -> None:
    print(f"left out for want of tools: {what}", file=sys.stderr)


def row(what: str, ours: float, theirs: tuple[str, float], unit: str) -> None:
    """Print one comparison; ``theirs``: the name of the other, and its value."""
    other, value = theirs
    ratio = ours / float(value)
    # At once: the whole table takes minutes.
    print(
        f"{what:36} {_spread(ours)} {unit:5}  {other:34} {_spread(value)} {unit:5}  {ratio:8.2f}", flush=True
    )


def _spread(value: float) -> str:
    """The figure, and the least and the most that was measured."""
    extremes = f"{value.least:.3f} to {value.most:.3f}" if isinstance(value, Spent) else ""
    return f"{float(value):10.3f} {extremes:22}"


def in_process(found: dict[str, Path]) -> None:
    """detect() beside libblkid, both in this process: time and bytes."""
    lib = Libblkid()
    for name, image in found.items():
        detect, probe = partial(pyimount.detect, image), partial(lib.types, image)
        ours = [volume.type for volume in detect().volumes if volume.type]
        theirs = [kind for kind in probe() if kind]
        if ours != theirs:
            print(f"{name}: ours are {ours}, libblkid's {theirs}", file=sys.stderr)
        spent = in_turn((detect, probe), 200)
        row(f"detect() {name}", spent[0] * 1000, ("libblkid in-process", spent[1] * 1000), "ms")
        read = bytes_read(detect), bytes_read(probe)
        if read[0] is not None and read[1]:
            row(f"detect() {name}, read", read[0] / 1024, ("libblkid in-process", read[1] / 1024), "KiB")


def commands(found: dict[str, Path]) -> None:
    """The command beside other commands, each with what it takes to start."""
    # As an installed package is: compiled.
    for folder in ("pyimount", "parsers"):
        compileall.compile_dir(Path(pyimount.__file__).parent.parent / folder, quiet=2)
    detect = command([PYIMOUNT, "detect", "--json", found["ext4"]])
    spent = in_turn((detect, command([sys.executable, "-c", "import construct"])), 25)
    row(
        "detect --json ext4, cold start", spent[0] * 1000, ("python: import construct", spent[1] * 1000), "ms"
    )
    for name, line in (
        ("ext4", ("blkid", "-p")),
        ("ext4", ("fsstat",)),
        ("eight", ("sfdisk", "-J")),
        ("eight", ("mmls",)),
    ):
        tool = find_tool(line[0])
        if tool is None or name not in found:
            left_out(" ".join(line))
            continue
        detect = command([PYIMOUNT, "detect", "--json", found[name]])
        spent = in_turn((detect, command([tool, *line[1:], found[name]])), 15)
        row(f"detect --json {name}", spent[0] * 1000, (" ".join(line), spent[1] * 1000), "ms")


def sizes(found: dict[str, Path], folder: Path) -> None:
    """A large sparse image beside a small one; memory."""
    small = found["ext4"]
    large = folder / "large.img"
    with small.open("rb") as source, large.open("wb") as target:
        target.write(source.read(16 * MIB))
    os.truncate(large, 100 << 30)
    spent = in_turn((partial(pyimount.detect, large), partial(pyimount.detect, small)), 200)
    row("detect() ext4 in 100 GiB", spent[0] * 1000, ("the same in 256 MiB", spent[1] * 1000), "ms")
    for name in ("ext4", "eight"):
        if name in found:
            peak = peak_memory([PYIMOUNT, "detect", "--json", found[name]])
            row(f"detect --json {name}, memory", peak / MIB, ("limit", 80), "MiB")


PARTS: dict[str, Callable[[Path], Iterable[Row]]] = {
    "containers": unpacking.containers,
    "groups": wide.groups,
    "nothing": wide.nothing,
    "search": wide.searches,
    "arrays": mapping.arrays,
    "lvm": mapping_lvm.volumes,
    "ciphers": lambda _: mapping_luks.ciphers(),
    "small-reads": lambda _: mapping_luks.small_reads(),
    "verify": lambda folder: verifying.images(folder, PYIMOUNT),
    "link": lambda folder: link.images(folder, PYIMOUNT),
}
"""What makes the rows of each part but detect's."""


def main(names: Sequence[str]) -> int:
    """Print the table, or the parts of these names; returns the exit status."""
    known = ("detect", *PARTS)
    if unknown := set(names) - {*known}:
        print(f"no part is called {', '.join(sorted(unknown))}: {', '.join(known)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("processor time: the median, and the least and the most; ratio: ours to the other's")
        print(f"{'pyimount':36} {'':39}  {'beside':34} {'':39}     ratio")
        if not names or "detect" in names:
            found = images(folder)
            in_process(found)
            commands(found)
            sizes(found, folder)
        for part, rows in PARTS.items():
            if not names or part in names:
                for line in rows(folder):
                    row(*line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
