"""Steps of a mount through the kernel's own device-mapper, dm-crypt, md and nbd: done, killed, taken back."""

import pytest

from tests.kernel.mount_steps import MAKERS
from tests.kernel.uml import Kernel
from tests.needing import needs

TOOLS = {
    "mapped": ("mkfs.ext4", "dmsetup"),
    "locked": ("mkfs.ext4", "cryptsetup"),
    "array": ("mkfs.ext4", "mdadm"),
    "activated": ("mkfs.ext4", "lvm"),
    "block": ("mkfs.ext4", "qemu-nbd", "qemu-img"),
    "foreign": ("mkntfs", "ntfscp", "ntfs-3g"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_killed_at_any_moment(name: str, uml: Kernel) -> None:
    needs(*TOOLS[name])
    said = uml.python(f"from tests.kernel.mount_steps import main; main({name!r})", timeout=900)
    assert "nothing left" in said


@pytest.mark.parametrize(
    ("name", "tools", "end"),
    [
        ("with_keys", TOOLS["locked"], "all keys tried"),
        ("arrays_are_told_apart", TOOLS["array"], "the host's array stands"),
        ("beside_udev", (*TOOLS["array"], "udevadm"), "udev kept away"),
    ],
)
def test_in_the_guest(name: str, tools: tuple[str, ...], end: str, uml: Kernel) -> None:
    needs(*tools)
    said = uml.python(f"from tests.kernel.mount_steps import {name}; {name}()", timeout=900)
    assert end in said
