"""Disks with known contents, put into containers and read back."""

import random
import shutil
import threading
from pathlib import Path

from pyimount.formats import Opened
from pyimount.problems import Code
from pyimount.recognition.opening import open_image
from pyimount.sources.broker import Broker
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.segments import gather
from pyimount.sources.source import Source

MIB = 1 << 20


def contents(size: int, seed: int = 1) -> bytes:
    """Runs of noise, of zeros and of words, so that every kind of block and chunk comes about."""
    dice = random.Random(seed)  # noqa: S311
    made = bytearray()
    while len(made) < size:
        length = dice.choice((512, 4096, 40_000, 200_000, 1 << 20))
        kind = dice.randrange(3)
        made += (
            dice.randbytes(length) if kind == 0 else bytes(length) if kind == 1 else b"words " * (length // 6)
        )
    return bytes(made[:size])


def opened(path: Path, *, allow: tuple[Path, ...] = ()) -> Opened:
    """Open the one image at ``path``, with a generous budget."""
    (segments,) = gather([path])
    budget = Budget(bytes_read=1 << 32, seconds=60)
    return open_image(segments, Broker(allow), Meter(budget))[1]


def source_of(path: Path, *, allow: tuple[Path, ...] = ()) -> Source:
    """The disk in the image at ``path``."""
    source = opened(path, allow=allow).source
    assert source is not None
    return source


def codes(found: Opened) -> list[Code]:
    """The codes of a container's problems."""
    return [problem.code for problem in found.container.problems]


def assert_holds(source: Source, content: bytes, *, reads: int = 200) -> None:
    """``source`` has this content, wherever one looks."""
    assert source.size == len(content)
    assert source.read_at(0, len(content)) == content
    dice = random.Random(7)  # noqa: S311
    for _ in range(reads):
        offset = dice.randrange(len(content))
        length = dice.choice((1, 511, 512, 4096, 70_000))
        assert source.read_at(offset, length) == content[offset : offset + length]
    assert source.read_at(len(content), 10) == b""


def readable(source: Source, content: bytes, step: int = 4096) -> float:
    """Which part of the content can be read; what is read must be right."""
    good = 0
    for offset in range(0, len(content), step):
        wanted = content[offset : offset + step]
        try:
            piece = source.read_at(offset, step)
        except ReadError:
            continue
        assert piece == wanted, f"wrong bytes at {offset}"
        good += len(wanted)
    return good / len(content)


def assert_threads_agree(source: Source, content: bytes) -> None:
    """Several threads read at once, and none gets another's bytes."""
    wrong: list[int] = []

    def read(seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311
        for _ in range(150):
            offset = dice.randrange(len(content))
            if source.read_at(offset, 5000) != content[offset : offset + 5000]:
                wrong.append(offset)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def cut(path: Path, size: int) -> Path:
    """A copy of the file in a folder of its own, ``size`` bytes of it."""
    folder = path.parent / f"cut-{size}"
    folder.mkdir(exist_ok=True)
    copy = folder / path.name
    shutil.copy(path, copy)
    with copy.open("r+b") as file:
        file.truncate(size)
    return copy
