"""Bytes of compressed containers, beside the tools that read them, and beside reads without ``fast``."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pyimount
from fixtures.recipes import aff4
from fixtures.workshop import Workshop, find_tool
from pyimount.mapping import open_layer
from pyimount.parsers.containers import lz4, snappy, zlib_library
from tests.benchmarks.measure import command, in_turn

MIB = 1 << 20
SIZE = 32 * MIB
AFF4_SIZE = 4 * MIB
ROUNDS = 3

Row = tuple[str, float, tuple[str, float], str]
"""What ``row`` prints: what, ours, the other's name and value, and the unit."""


def containers(folder: Path) -> Iterator[Row]:
    """MB a second of each container read in sequence, ours and the others'."""
    work = Workshop(folder)
    raw = folder / "packed.raw"
    raw.write_bytes(content(SIZE))
    null = "driver=null-co,size=32M,read-zeroes=on"
    if find_tool("ewfacquire") and find_tool("ewfexport"):
        work.run(
            "ewfacquire", "-q", "-u", "-t", folder / "packed", "-f", "encase6", "-c", "deflate:best", raw
        )
        theirs = command(["ewfexport", "-q", "-u", "-t", "-", "-f", "raw", folder / "packed.E01"])
        yield from _beside("E01, best", folder / "packed.E01", ("ewfexport", theirs))
    if find_tool("qemu-img"):
        for name, options in (("qcow2", ("-c",)), ("vmdk", ("-o", "subformat=streamOptimized"))):
            path = folder / f"packed.{name}"
            work.run("qemu-img", "convert", "-f", "raw", "-O", name, *options, raw, path)
            line = ["qemu-img", "convert", "-n", "-f", name, path, "--target-image-opts", null]
            yield from _beside(f"{name}, compressed", path, ("qemu-img convert", command(line)))
    for method in ("snappy", "lz4", "deflate"):
        with patch.dict(aff4.PACKERS, _packers()):
            path = aff4.simple(folder / f"{method}.aff4", content(AFF4_SIZE), method)
        yield from _beside(f"AFF4, {method}", path, None)


def _beside(what: str, path: Path, other: tuple[str, Callable[[], object]] | None) -> Iterator[Row]:
    scan = pyimount.detect(path)
    size = scan.disks[0].size or 0
    ours, slow = partial(_read, scan), partial(_without_libraries, partial(_read, scan))
    spent = in_turn((ours, slow, *((other[1],) if other else ())), ROUNDS)
    speeds = [size / 1e6 / each for each in spent]
    yield what, speeds[0], ("pyimount without fast", speeds[1]), "MB/s"
    if other:
        yield what, speeds[0], (other[0], speeds[2]), "MB/s"


def _read(scan: pyimount.Scan) -> None:
    with open_layer(scan, scan.disks[0]) as source:
        for at in range(0, source.size, MIB):
            source.read_at(at, MIB)


def _without_libraries(read: Callable[[], None]) -> None:
    """As where the extra is not installed."""
    names = {"zlib_ng.zlib_ng": zlib_library.zlib_library, "cramjam": snappy.snappy_library}
    names["lz4.block"] = lz4.lz4_library
    kept = {name: sys.modules.get(name) for name in names}
    try:
        for name, found in names.items():
            sys.modules[name] = None  # type: ignore[assignment]
            found.cache_clear()
        read()
    finally:
        for name, found in names.items():
            del sys.modules[name]
            if (module := kept[name]) is not None:
                sys.modules[name] = module
            found.cache_clear()


def _packers() -> dict[str, Callable[[bytes], bytes]]:
    """What packs as the tools do, where it is installed: the recipe's own packers look for runs alone."""
    found: dict[str, Callable[[bytes], bytes]] = {}
    if (cramjam := snappy.snappy_library()) is not None:
        found["snappy"] = lambda data: bytes(cramjam.snappy.compress_raw(data))
    if (block := lz4.lz4_library()) is not None:
        found["lz4"] = lambda data: bytes(block.compress(data, store_size=False))
    return found


def content(size: int) -> bytes:
    """So many bytes of what disks are full of: Python's own library, its text and its machine code."""
    found = bytearray()
    for path in sorted(Path(os.__file__).parent.rglob("*")):
        if path.suffix in (".py", ".so", ".txt") and len(found) < size:
            found += path.read_bytes()
    return bytes((found * (size // len(found) + 1))[:size])
