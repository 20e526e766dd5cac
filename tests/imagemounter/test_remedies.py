"""A program is told of arguments, not of options of a command line that it does not have."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyimount
from pyimount.exceptions import MountError
from pyimount.imagemounter.failures import raised
from pyimount.imagemounter.image_parser import ImageParser
from pyimount.imagemounter.remedies import for_programs


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "--allow-fs ntfs-3g",
            "policy=pyimount.planning.policy.FORENSIC.replaced(allow_fs=frozenset({'ntfs-3g'}))",
        ),
        ("--disk-mounter auto", "disk_mounter='auto'"),
        ("give its key: --keys 1.0=p:…, --key-file or --ask", "give its key: keys={'1.0': 'p:…'}"),
        ("--keys", "keys={index: key}"),
        (
            "--fstypes 1=TYPE, if you know it; 1=unknown: let the kernel try",
            "fstypes={'1': 'TYPE'}, if you know it; 1=unknown: let the kernel try",
        ),
        (
            "--read-write: the driver then writes into a cache",
            "read_write=True: the driver then writes into a cache",
        ),
        ("--only-mount 2", "only_mount=['2']"),
        ("install ntfs-3g: see `pyimount check`", "install ntfs-3g: see `pyimount check`"),
        (None, None),
    ],
)
def test_in_words_of_a_program(said: str | None, told: str | None) -> None:
    assert for_programs(said) == told
    assert raised(MountError, "why", said).remedy == told


def remedies() -> Iterator[str]:
    """Every text in the planning and the execution that names an option and is no command line."""
    package = Path(pyimount.__file__).parent
    for folder in ("planning", "execution"):
        for path in (package / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                    "Refused", "StepFailed", "WrongKey", "ToolMissing"
                ):  # fmt: skip
                    for argument in node.args[1:]:
                        text = ast.unparse(argument)
                        if "--" in text:
                            yield text


@pytest.mark.parametrize("text", sorted(set(remedies())))
def test_every_option_that_is_advised_has_its_argument(text: str) -> None:
    told = for_programs(text)
    assert told is not None
    left = re.findall(r"--[a-z][a-z-]*", told)
    assert left == [] or "sudo" in text, left


def test_what_is_advised_can_be_done() -> None:
    policy = pyimount.planning.policy.FORENSIC.replaced(allow_fs=frozenset({"ntfs-3g"}))
    assert ImageParser([], policy=policy).policy.allow_fs == {"ntfs-3g"}
