"""Windows of what is slow to make: the same bytes and the same errors, with fewer reads of what is below."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyimount.keys import Key
from pyimount.mapping import windows
from pyimount.mapping.bitlocker import BitLockerSource, reopen, unlock
from pyimount.mapping.windows import WINDOW, WindowSource
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource, Source
from tests.mapping.bitlocker_volume import SIZE, build

CONTENT = random.Random(5).randbytes(5 * WINDOW + 777)  # noqa: S311


class Below(Source):
    """Counts reads; from ``bad`` on, 512 bytes cannot be read."""

    def __init__(self, bad: int = -1) -> None:
        self.size = len(CONTENT)
        self.reads: list[tuple[int, int]] = []
        self._bad = bad

    def lost_around(self, offset: int) -> tuple[int, int] | None:
        return (self._bad, self._bad + 512) if self._bad <= offset < self._bad + 512 else None

    def _read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        if self._bad >= 0 and offset < self._bad + 512 and self._bad < offset + length:
            raise ReadError("a bad sector")
        return CONTENT[offset : offset + length]


def test_reads_give_what_the_source_below_does() -> None:
    source = WindowSource(Below())
    dice = random.Random(6)  # noqa: S311
    runs = [
        (dice.randrange(len(CONTENT)), dice.choice((1, 512, 4096, WINDOW, WINDOW + 1))) for _ in range(300)
    ]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda run: source.read_at(*run), runs))
    assert found == [CONTENT[at : at + length] for at, length in runs]


def test_reads_near_each_other_are_one_below() -> None:
    below = Below()
    source = WindowSource(below)
    for at in range(WINDOW, 2 * WINDOW, 4096):
        source.read_at(at, 4096)
    assert below.reads == [(WINDOW, 4096), (WINDOW, WINDOW)]
    source.read_at(0, 3 * WINDOW)
    assert below.reads[2:] == [(0, 3 * WINDOW)]


def test_a_window_with_a_bad_sector_is_read_around_it() -> None:
    bad = WINDOW + 4096
    source = WindowSource(Below(bad))
    assert source.read_at(WINDOW, 4096) == CONTENT[WINDOW : WINDOW + 4096]
    assert source.read_at(bad + 512, 512) == CONTENT[bad + 512 : bad + 1024]
    assert source.lost_around(bad + 3) == (bad, bad + 512)
    with pytest.raises(ReadError, match="a bad sector"):
        source.read_at(bad - 512, 1024)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "KEPT", 2)
    monkeypatch.setattr(windows, "TOUCHED", 4)
    below = Below()
    source = WindowSource(below)
    for number in (0, 1, 2, 0, 1, 0, 2, 0, 1):
        source.read_at(number * WINDOW, 16)
    assert [at // WINDOW for at, length in below.reads if length == WINDOW] == [0, 1, 2, 1]
    assert len(source._kept) == 2
    for number in range(6):
        source.read_at(number * WINDOW, 16)
    assert len(source._touched) == 4


@pytest.mark.parametrize("method", [0x8000, 0x8001, 0x8002, 0x8004])
def test_only_what_reads_contents_has_windows_and_only_over_the_diffuser(method: int) -> None:
    image, plain = build(method=method)
    found = unlock(BytesSource(image), None)
    assert isinstance(found.source, BitLockerSource)
    again = reopen(BytesSource(image), found.parameters, Key.parse("p:of another"))
    assert isinstance(again, WindowSource) == (method in (0x8000, 0x8001))
    for at in range(0, SIZE, 8192):
        assert again.read_at(at, 512) == plain[at : at + 512] == found.source.read_at(at, 512)


@pytest.mark.usefixtures("arithmetic")
def test_larger_windows_are_made_after_some_reads_or_a_long_one() -> None:
    below = Below()
    source = WindowSource(below, 2 * WINDOW, after=3)
    for at in range(0, 5 * 4096, 4096):
        assert source.read_at(at, 4096) == CONTENT[at : at + 4096]
    assert below.reads == [(0, 4096), (4096, 4096), (8192, 4096), (0, 2 * WINDOW)]
    del below.reads[:]
    assert source.read_at(2 * WINDOW, WINDOW) == CONTENT[2 * WINDOW : 3 * WINDOW]
    assert source.read_at(2 * WINDOW, 3 * WINDOW + 777) == CONTENT[2 * WINDOW :]
    assert below.reads == [(2 * WINDOW, 2 * WINDOW), (2 * WINDOW, 3 * WINDOW + 777)]
