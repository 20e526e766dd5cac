"""imagemounter 3.1.0 and pyimount in one kernel: what both mount, and what the one leaves behind."""

import json
from pathlib import Path

import pytest

from tests.imagemounter.original import install
from tests.kernel import imagemounter_leftovers as guest
from tests.kernel.uml import Kernel, kernel_in
from tests.needing import needs, needs_root


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter that has imagemounter 3.1.0."""
    needs("affuse", "mmls", "fsstat", "blkid", "file", "disktype", "mdadm", "lvm", "cryptsetup", "sgdisk")
    return install(tmp_path_factory.mktemp("imagemounter") / "venv")


@pytest.fixture(scope="module")
def images(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """A kernel with images of a volume group, a LUKS volume in a partition, and an array in two parts."""
    needs_root()  # the guest's root has the rights on files that this user has
    kernel = kernel_in(tmp_path_factory.mktemp("images"))
    kernel.shell(guest.MAKE)
    return kernel


def run(images: Kernel, original: Path, name: str) -> str:
    snippet = f"from tests.kernel.imagemounter_leftovers import {name} as run; run({str(original)!r})"
    return images.python(snippet, timeout=900)


def test_what_it_leaves_is_taken_away(images: Kernel, original: Path) -> None:
    assert run(images, original, "taken_away").endswith("nothing left\n")


def test_what_a_parser_mounts_is_one_session(images: Kernel, original: Path) -> None:
    assert run(images, original, "one_session") == "one session\n"


def test_both_mount_the_same(images: Kernel, original: Path) -> None:
    """Index, flag, size, file system, and whether it is mounted, of each; gaps are numbered otherwise."""
    theirs, ours = json.loads(run(images, original, "side_by_side").splitlines()[-1])
    assert theirs.pop() == ours.pop() == ["lost+found"]
    differing = [
        # It cannot read the size that today's cryptsetup prints, and then mounts nothing; and it numbers
        # partitions and gaps in one row.
        (["2.4.0", "alloc", None, "ext", False], ["2.1.0", "alloc", 8388608, "ext", True]),
        # It takes the member's size for the array's.
        (["3.0.0", "alloc", 8388608, "ext", True], ["3.0.0", "alloc", 7340032, "ext", True]),
    ]
    found = [
        pair
        for pair in zip(
            (each for each in theirs if each[1] == "alloc"),
            (each for each in ours if each[1] == "alloc"),
            strict=True,
        )
        if pair[0] != pair[1]
    ]
    assert found == differing
