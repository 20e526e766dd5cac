"""Where nothing can be loaded any more once hostile bytes are read, all that they may need has been."""

import ast
import codecs
import pkgutil
from collections.abc import Iterator
from encodings import __path__ as codecs_folder
from encodings import aliases, normalize_encoding
from pathlib import Path

import pytest

import pyimount
from pyimount.confinement import everything
from pyimount.parsers.containers import vmdk_descriptor
from tests.test_architecture import run_python

PACKAGE = Path(pyimount.__file__).parent
CODECS = {module.name for module in pkgutil.iter_modules(codecs_folder)}
NO_TEXT = frozenset(("bz2_codec", "zlib_codec", "base64_codec", "mbcs", "oem"))
"""Codecs that are none of texts, or of Windows alone."""


def texts(folder: Path) -> Iterator[str]:
    """Every short text in the sources of a room."""
    for path in folder.resolve().rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 30:
                yield node.value


def codec_of(word: str) -> str | None:
    """The codec that a word is the name of."""
    name = normalize_encoding(word.lower()) if word.isascii() else ""
    name = aliases.aliases.get(name, name)
    return name if name in CODECS - NO_TEXT else None


@pytest.mark.parametrize("room", [*everything._ROOMS, "confinement", "fuse", "reports", "planning"])
def test_every_encoding_that_is_named_is_loaded(room: str) -> None:
    loaded = {codecs.lookup(name).name for name in everything._CODECS}
    folder = PACKAGE / room if (PACKAGE / room).is_dir() else PACKAGE / f"{room}.py"
    named = {name for word in texts(folder) if (name := codec_of(word))}
    # VMware's names are not codecs of Python's own, but the keys to those.
    named -= {codec_of(word) for word in vmdk_descriptor._CODECS}
    assert {codecs.lookup(name).name for name in named} <= loaded


def test_those_of_a_vmdk_are_loaded() -> None:
    loaded = {codecs.lookup(name).name for name in everything._CODECS}
    assert {codecs.lookup(name).name for name in vmdk_descriptor._CODECS.values()} <= loaded


def test_reading_loads_nothing_more() -> None:
    """Of an image of each kind, in a process that has loaded all."""
    code = """
import sys
from pathlib import Path
from fixtures.workshop import fixtures
from pyimount.confinement.everything import load_everything
load_everything()
import pyimount, tempfile
before = set(sys.modules)
wanted = "demo ext4 ewf qcow2-compressed vmdk-stream dmg luks2 lvm2 apfs zip xz udf aff4".split()
for each in fixtures():
    if each.name in wanted:
        with tempfile.TemporaryDirectory() as folder:
            pyimount.detect(each.unpack(Path(folder)))
ours = ("pyimount", "encodings", "construct")
print(*sorted(name for name in set(sys.modules) - before if name.startswith(ours)))
"""
    assert run_python(code).split() == []
