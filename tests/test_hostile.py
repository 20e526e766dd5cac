"""Whatever the bytes: a report within the budgets, no exception but our own, no flood of memory."""

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyimount
from fixtures.workshop import Fixture, fixtures
from pyimount.formats import ContainerFormat, Format, NotThisFormat, TableFormat
from pyimount.layers import Scan
from pyimount.recognition.registry import container_formats, table_formats, volume_formats
from pyimount.sources.source import BytesSource
from pyimount.sources.view import ShortRead, View
from tests.strategies import Edit, edits

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(pyimount.__file__).parent / "reports" / "schema.json").read_text())
)
BUDGET = pyimount.Budget(seconds=10)
MIB = 1 << 20
DECLARED: list[Any] = [*container_formats(), *table_formats(), *volume_formats()]
NEAR = 80 * 1024
"""How much of an image is random in these tests; most superblocks lie within."""

quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


def ask(declared: Format | TableFormat | ContainerFormat, data: bytes) -> None:
    """Parse, as the prober does; any other exception is a failure."""
    parse: Callable[[View], object] = declared.parse
    try:
        parse(View(BytesSource(data)))
    except (NotThisFormat, ShortRead):
        return


def scan_bytes(folder: Path, data: bytes, name: str = "image.bin") -> Scan:
    path = folder / name
    path.write_bytes(data)
    return pyimount.detect(path, budget=BUDGET)


@pytest.mark.parametrize("declared", DECLARED, ids=lambda declared: declared.name)
@given(seed=st.binary(max_size=600), size=st.integers(0, NEAR), fill=st.sampled_from((0, 0xFF, 0x41)))
@quick
def test_random_bytes_behind_a_good_magic(declared: Any, seed: bytes, size: int, fill: int) -> None:
    image = bytearray([fill]) * size
    image[: len(seed)] = seed[:size]
    for signature in declared.signatures:
        at = (
            signature.offset
            if signature.offset >= 0
            else size // signature.align * signature.align + signature.offset
        )
        if 0 <= at <= size - len(signature.magic):
            # What stands around the magic is random too.
            image[at : at + len(seed)] = seed[: size - at]
            image[at : at + len(signature.magic)] = signature.magic
    ask(declared, bytes(image))


FIXTURES = fixtures()


@pytest.fixture(params=FIXTURES, ids=lambda fixture: fixture.name, scope="module")
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fixture, unpacked once for all that is done to it; each test leaves it as it was."""
    fixture: Fixture = request.param
    return fixture.unpack(tmp_path_factory.mktemp(fixture.name))


@contextmanager
def changed(path: Path, changes: list[Edit]) -> Iterator[None]:
    """The file with the changes made, for the length of the block."""
    with path.open("r+b") as file:
        kept = []
        size = path.stat().st_size
        for offset, piece in changes:
            file.seek(offset)
            kept.append((offset, file.read(min(len(piece), size - offset))))
            file.seek(offset)
            file.write(piece[: size - offset])
        file.flush()
        try:
            yield
        finally:
            for offset, piece in reversed(kept):
                file.seek(offset)
                file.write(piece)


@given(data=st.data())
@settings(quick, max_examples=10)
def test_mutated_fixtures_give_a_report(image: Path, data: st.DataObject) -> None:
    size = image.stat().st_size
    near = data.draw(edits(min(size, NEAR), most=6))
    far = data.draw(edits(size, most=4))
    with changed(image, near + far):
        scan = pyimount.detect(image, budget=BUDGET)
    report = scan.to_dict()
    SCHEMA.validate(report)
    assert Scan.from_dict(json.loads(json.dumps(report))) == scan


def test_truncation_gives_a_report(image: Path, tmp_path: Path) -> None:
    cut = tmp_path / image.name
    size = image.stat().st_size
    with image.open("rb") as source:
        cut.write_bytes(source.read(65537))
    for boundary in (65537, 65536, 32768, 4097, 4096, 4095, 2048, 1024, 1023, 513, 512, 511, 1, 0):
        if boundary < size:
            os.truncate(cut, boundary)
            pyimount.detect(cut, budget=BUDGET)


def test_memory_stays_small(image: Path) -> None:
    pyimount.detect(image)  # imports are not counted
    tracemalloc.start()
    try:
        pyimount.detect(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB


@given(data=st.binary(max_size=8192))
@quick
def test_random_bytes_are_not_recognised(data: bytes, tmp_path: Path) -> None:
    scan = scan_bytes(tmp_path, data)
    assert [volume.type for volume in scan.volumes if volume.type] == []
