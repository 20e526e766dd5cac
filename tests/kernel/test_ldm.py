"""Dynamic disks as libldm has the kernel map them."""

from hashlib import sha256
from pathlib import Path

import pytest

from tests.kernel.uml import kernel_in
from tests.mapping.ldm_disks import KINDS
from tests.needing import needs

SCRIPT = """
modprobe -a dm-mod dm-raid raid1 raid456
disks=""
for image in {name}.*; do disks="$disks -d $(losetup -r -f --show $image)"; done
ldmtool $disks create all >/dev/null
dmsetup mknodes
echo "read $(sha256sum </dev/mapper/ldm_vol_LAB-Dg0_Volume1)"
"""


@pytest.mark.parametrize("name", KINDS)
def test_the_disks_of_the_other_tests_are_what_libldm_takes_them_for(name: str, tmp_path: Path) -> None:
    needs("ldmtool", "dmsetup")
    kernel = kernel_in(tmp_path / "share")
    images, data, _ = KINDS[name]()
    for number, image in enumerate(images):
        (kernel.share / f"{name}.{number}").write_bytes(image)
    assert f"read {sha256(data).hexdigest()}" in kernel.shell(SCRIPT.format(name=name))
