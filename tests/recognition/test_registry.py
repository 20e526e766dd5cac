"""Formats are found where they stand, and imported only when they are wanted."""

import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.signatures import PLACE, WORDS_PLACE, text, words_text
from pyimount.formats import ContainerFormat, Format, TableFormat
from pyimount.recognition import registry, signatures
from pyimount.recognition.registry import container_formats, table_formats, volume_formats
from pyimount.sources.source import BytesSource
from pyimount.sources.view import View


def test_the_signature_index_is_what_the_parsers_declare() -> None:
    assert PLACE.read_text() == text(), "run 'make signatures'"
    assert WORDS_PLACE.read_text() == words_text(), "run 'make signatures'"


def test_every_name_is_unique() -> None:
    names = [entry.name for entry in (*container_formats(), *table_formats(), *volume_formats())]
    assert len(names) == len(set(names))


def test_every_room_holds_its_kind() -> None:
    assert all(isinstance(entry, ContainerFormat) for entry in container_formats())
    assert all(isinstance(entry, TableFormat) for entry in table_formats())
    assert all(isinstance(entry, Format) for entry in volume_formats())


def test_a_parser_that_the_index_does_not_know_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    less = tuple(line for line in signatures.INDEX["filesystems"] if line[0] != "ext")
    monkeypatch.setitem(signatures.INDEX, "filesystems", less)
    registry._entries.cache_clear()
    try:
        assert "ext" in [entry.name for entry in volume_formats()]
    finally:
        registry._entries.cache_clear()


def test_only_the_parser_whose_signature_hits_is_imported(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1080) + b"\x53\xef" + bytes(100_000))
    code = (
        "import sys, pyimount; pyimount.detect(sys.argv[1]); "
        "print([name for name in sys.modules if name.startswith('pyimount.parsers.')])"
    )
    done = subprocess.run([sys.executable, "-c", code, image], capture_output=True, text=True, check=True)
    assert "pyimount.parsers.filesystems.ext" in done.stdout
    assert "filesystems.xfs'" not in done.stdout
    assert "parsers.containers." not in done.stdout


def test_a_look_finds_signatures_from_both_ends() -> None:
    image = bytearray(1 << 20)
    image[1080:1082] = b"\x53\xef"
    image[-8192:-8188] = b"\xfc\x4e\x2b\xa9"
    found = registry.volume_signatures().hits(View(BytesSource(bytes(image))))
    assert [entry.name for entry in found] == ["md", "ext"]


@pytest.mark.parametrize(
    "size", [0, 1, 511, 4096, 65536, 1 << 18, (1 << 18) + 512, 1 << 20, (1 << 30) + 1, 1 << 43]
)
def test_the_runs_at_the_end_of_a_round_size_are_those_of_any(size: int) -> None:
    from pyimount.recognition.registry import _tail_of, tail_runs

    assert tail_runs(size) == _tail_of(size)
