"""``pyimount verify`` beside ewfverify: the same E01, in turn, processor time."""

import hashlib
import os
import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from fixtures.workshop import find_tool
from tests.benchmarks.measure import command

MIB = 1 << 20
_SIZE = 512 * MIB
_ROUNDS = 5


def images(folder: Path, pyimount: Path) -> Iterator[tuple[str, float, tuple[str, float], str]]:
    """A row: an E01 with MD5 and SHA-1 of a disk of which a quarter is zeros, a quarter random, half text."""
    acquire, verify = find_tool("ewfacquire"), find_tool("ewfverify")
    if acquire is None or verify is None:
        return
    raw = folder / "verified.raw"
    _write(raw)
    subprocess.run(
        [
            *(acquire, "-u", "-q", "-t", raw.with_suffix(""), "-f", "encase6", "-c", "fast", "-S", "4GiB"),
            *("-d", "sha1", raw),
        ],
        check=True,
        capture_output=True,
    )
    image = raw.with_suffix(".E01")
    ours, theirs = _processor_time(
        ([pyimount, "verify", "--no-files", image], [verify, "-q", "-d", "sha1", image])
    )
    yield f"verify E01 of {_SIZE // MIB} MiB, processor", ours, ("ewfverify", theirs), "s"


def _write(path: Path) -> None:
    dice = random.Random(1)  # noqa: S311
    words = [hashlib.md5(bytes([n % 256, n // 256])).hexdigest()[: n % 9 + 2] for n in range(3000)]  # noqa: S324
    with path.open("wb") as file:
        for number in range(_SIZE // MIB):
            if number % 4 == 0:
                file.write(bytes(MIB))
            elif number % 4 == 1:
                file.write(dice.randbytes(MIB))
            else:
                file.write(" ".join(dice.choices(words, k=MIB // 6)).encode().ljust(MIB, b" ")[:MIB])


def _processor_time(commands: Sequence[Sequence[str | Path]]) -> list[float]:
    """The median processor seconds of each command, children and all threads counted, run in turn."""
    spent: list[list[float]] = [[] for _ in commands]
    for _ in range(_ROUNDS):
        for line, times in zip(commands, spent, strict=True):
            before = os.times()
            command(line)()
            after = os.times()
            used = after.children_user - before.children_user
            times.append(used + after.children_system - before.children_system)
    return [median(times) for times in spent]
