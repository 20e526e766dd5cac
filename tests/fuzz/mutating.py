"""Images that are changed a little, again and again, where it matters.

A sound image is scanned once to learn where its fields and checksums are. A mutation changes fields, bytes
that the scan reads, numbers in texts, or the file's size; some have their checksums made right again, so that
what stands behind them is reached.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import pyimount
from tests.fuzz.bases import Base
from tests.fuzz.fields import Field, Kept, Placed, Window, checksums, placed, repaired
from tests.fuzz.inputs import Change, Edit, Written
from tests.fuzz.tracing import traced

Changes = dict[Path, Change]
EXTREMES = (0, 1, 2, *((1 << bits) + more for bits in (7, 8, 15, 16, 31, 32, 63, 64) for more in (-1, 0)))
HUGE = tuple((1 << bits) + more for bits in (31, 32, 40, 48, 52, 62, 63, 64) for more in (-1, 0))
ROUNDS = 2
"""So often checksums are made right: one over another is wrong once more when that has changed."""

_DIGITS = re.compile(rb"(?<![0-9])[0-9]{1,20}(?![0-9])")
_TEXT = re.compile(rb"[\t\n\r -~]{16,}")
_PIECE = 16
_LONG_CHUNK = 1 << 16


@dataclass
class Ground:
    """An image in a folder, with what a scan of it looks at; it is as it was after each change."""

    base: Base
    folder: Path
    paths: list[Path]
    files: list[Path]
    fields: list[Placed]
    sums: list[Kept]
    reads: list[tuple[Path, int, int]]
    numbers: list[tuple[Path, int, int]]
    """Runs of digits in what is text: a path, an offset, a length."""

    @cached_property
    def counted(self) -> list[Placed]:
        """Those fields that are numbers."""
        return [each for each in self.fields if each.field.order is not None]

    @classmethod
    def of(cls, base: Base, folder: Path) -> "Ground":
        """Make the image and learn about it."""
        paths = base.make(folder)
        with traced() as trace:
            pyimount.detect(list(paths), keys=base.keys, net=False)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        real = {os.path.realpath(path): path for path in files}
        reads = sorted({(real[path], at, size) for path, at, size in trace.reads if path in real})
        windows = _windows(reads)
        fields = placed(trace, windows)
        numbers = {
            (window.path, window.start + text.start() + found.start(), len(found.group())): None
            for window in windows
            for text in _TEXT.finditer(window.data)
            for found in _DIGITS.finditer(text.group())
        }
        sums = checksums(trace, fields, windows)
        return cls(base, folder, paths, files, [each for each, _ in fields], sums, reads, list(numbers))

    @contextmanager
    def changed(self, changes: Changes) -> Iterator[None]:
        """The image with these changes, for the length of the block."""
        kept = {path: _undoing(path, change) for path, change in changes.items()}
        try:
            for path, change in changes.items():
                change.apply(path)
            yield
        finally:
            for path, change in kept.items():
                change.apply(path)

    def repair(self, changes: Changes) -> None:
        """Add to the changes what makes the checksums right."""
        for _ in range(ROUNDS):
            with self.changed(changes):
                with traced() as trace:
                    pyimount.detect(list(self.paths), keys=self.base.keys, net=False)
                edits = repaired(trace, self.sums, _read)
                for path, offset, data in edits:
                    if _bytes(path, offset, len(data)) != data:
                        changes.setdefault(path, Change()).edits.append((offset, data))

    def written(self, changes: Changes, about: str) -> Written:
        """The image with these changes, to be kept."""
        first = self.paths[0]
        named = {
            "" if path == first else str(path.relative_to(self.folder)): change
            for path, change in changes.items()
        }
        return Written(about, self.base.name, self.base.key, named)


def _windows(reads: Sequence[tuple[Path, int, int]]) -> list[Window]:
    """What was read, each byte once; ``reads`` in their order."""
    runs: list[tuple[Path, int, int]] = []
    for path, at, size in reads:
        if runs and runs[-1][0] == path and at <= runs[-1][2]:
            runs[-1] = path, runs[-1][1], max(runs[-1][2], at + size)
        else:
            runs.append((path, at, at + size))
    return [Window(path, at, _bytes(path, at, end - at)) for path, at, end in runs]


def _undoing(path: Path, change: Change) -> Change:
    """What undoes a change of a file."""
    size = path.stat().st_size
    edits: list[Edit] = [
        (at, _bytes(path, at, min(len(piece), size - at))) for at, piece in change.edits if at < size
    ]
    if change.size is not None and change.size < size:
        for at in range(change.size, size, _LONG_CHUNK):
            piece = _bytes(path, at, min(_LONG_CHUNK, size - at))
            if piece.count(0) != len(piece):
                edits.insert(0, (at, piece))
    # The last one first, so that the first one, which knows what was there, stands. Sizes come before all.
    return Change(edits[::-1], size)


def _read(at: Placed) -> bytes:
    return _bytes(at.path, at.field.offset, at.field.size)


def _bytes(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def mutation(ground: Ground, dice: Random, huge: int | None = None) -> Changes:
    """Some changes to an image; ``huge``: a number becomes as large as it can be, this one first."""
    changes: Changes = {}
    ways = [_some_fields] * 6 + [_some_bytes] * 3 + [_copied, _numbers, _size]
    if huge is not None:
        ways = [_huge_field]
        _each_huge(ground, huge, changes)
    for _ in range(dice.choice((1, 1, 1, 2, 3)) - bool(changes)):
        dice.choice(ways)(ground, dice, changes)
    if ground.sums and dice.random() < 0.3:
        ground.repair(changes)
    return changes


def _edit(changes: Changes, path: Path, offset: int, data: bytes) -> None:
    changes.setdefault(path, Change()).edits.append((offset, data))


def _set(changes: Changes, each: Placed, value: int) -> None:
    field = each.field
    _edit(changes, each.path, field.offset, value.to_bytes(field.size, field.order or "big"))


def _some_fields(ground: Ground, dice: Random, changes: Changes) -> None:
    if ground.fields:
        each = dice.choice(ground.fields)
        other = _read(dice.choice(ground.fields))
        data = another(each.field, _read(each), other, each.path.stat().st_size, dice)
        _edit(changes, each.path, each.field.offset, data)


def another(field: Field, old: bytes, other: bytes, size: int, dice: Random) -> bytes:
    """Another value of a field than ``old``; ``other``: a field's beside it, ``size``: of the file, bytes."""
    if field.order is None:
        values = (bytes(field.size), b"\xff" * field.size, dice.randbytes(field.size), _text(field.size))
        return dice.choice(values)[: dice.choice((1, field.size))]
    number, bits = int.from_bytes(old, field.order), 8 * field.size
    value = dice.choice(
        (
            dice.choice(EXTREMES), dice.choice(EXTREMES), dice.choice(EXTREMES), dice.choice(HUGE),
            number + 1, number - 1, 2 * number, number // 2, -number, number ^ 1 << dice.randrange(bits),
            int.from_bytes(other[:8], field.order), size, size // 512, size + 1, size // 512 + 1,
            1 << dice.randrange(bits), dice.getrandbits(bits),
        )
    )  # fmt: skip
    return (value & ((1 << bits) - 1)).to_bytes(field.size, field.order)


def _each_huge(ground: Ground, which: int, changes: Changes) -> None:
    """A number becomes 2^n-1, or 2^(n-1)-1."""
    if ground.counted:
        each = ground.counted[which // 2 % len(ground.counted)]
        value = ((1 << 8 * each.field.size) - 1) >> which % 2
        _edit(
            changes, each.path, each.field.offset, value.to_bytes(each.field.size, each.field.order or "big")
        )


def _huge_field(ground: Ground, dice: Random, changes: Changes) -> None:
    if not ground.counted or (ground.numbers and dice.random() < 0.1):
        _numbers(ground, dice, changes)
        return
    each = dice.choice(ground.counted)
    field = each.field
    most = (1 << 8 * field.size) - 1
    value = dice.choice((dice.choice(HUGE), most, most >> 1, (most >> 1) + 1)) - dice.choice(
        (0, 0, 1, 16, 512)
    )
    value = value & most if value > most else max(0, value)
    _edit(changes, each.path, field.offset, value.to_bytes(field.size, field.order or "big"))


def _text(size: int) -> bytes:
    return ("\N{ARABIC-INDIC DIGIT THREE}\x1b]0;\n'\"%s/../" * size).encode()[:size]


def _some_bytes(ground: Ground, dice: Random, changes: Changes) -> None:
    path, at, size = dice.choice(ground.reads)
    at += dice.randrange(size)
    length = dice.choice((1, 1, 2, 4, 8, _PIECE))
    old = bytearray(_bytes(path, at, length))
    if not old:
        return
    if dice.random() < 0.5:
        old[0] ^= 1 << dice.randrange(8)
    else:
        old[:] = dice.choice((dice.randbytes(len(old)), bytes(len(old)), b"\xff" * len(old)))
    _edit(changes, path, at, bytes(old))


def _copied(ground: Ground, dice: Random, changes: Changes) -> None:
    """A piece of what is read stands elsewhere, too."""
    source, at, size = dice.choice(ground.reads)
    path, to, room = dice.choice(ground.reads)
    length = min(dice.choice((16, 512, 4096)), size, room)
    data = _bytes(source, at + dice.randrange(max(1, size - length)), length)
    _edit(changes, path, to + dice.randrange(max(1, room - length)), data)


def _numbers(ground: Ground, dice: Random, changes: Changes) -> None:
    """A number in a text is another one, or none; a longer one is written over what follows."""
    if not ground.numbers:
        return
    path, at, length = dice.choice(ground.numbers)
    new = dice.choice(
        (
            b"0" * length, b"9" * length, b"-" + b"1" * (length - 1), b"18446744073709551615",
            b"9223372036854775808", b"9" * 5000, "\N{ARABIC-INDIC DIGIT THREE}".encode(), b"1e9",
            b"0x7fffffff", b"nan", b" " * length, b"[" * 5000, b'{"a":' * 2000, b"&a;" * 500, b"\x00",
            b"\xff\xfe",
        )
    )  # fmt: skip
    _edit(changes, path, at, new)


def _size(ground: Ground, dice: Random, changes: Changes) -> None:
    """A file ends early, or goes on with zeros."""
    path = dice.choice(ground.files)
    size = path.stat().st_size
    _, at, length = dice.choice(ground.reads)
    places: Sequence[int] = (
        dice.randrange(size + 1), at, at + length, at + length // 2, size - 1, size - 512, size + 1,
        size + 512, 2 * size, size + (1 << 32), 1 << 41,
    )  # fmt: skip
    changes.setdefault(path, Change()).size = max(0, dice.choice(places))
