"""The attributes of ChromeOS kernels in a GPT."""

import pytest

from pyimount.parsers.partitions.gpt import FORMAT
from tests.parsers.partitions.building import Part, gpt_disk, table

KERNEL = bytes.fromhex("5d2a3afe324fa741b725accc3285a309")


@pytest.mark.parametrize(
    ("attributes", "flags"),
    [
        (0, ("priority=0", "tries=0")),
        (0x0159 << 48, ("priority=9", "tries=5", "successful")),
        (0x00FF << 48 | 1, ("priority=15", "tries=15", "RequiredPartition")),
        (0x0200 << 48, ("priority=0", "tries=0", "GUID:57")),
    ],
)
def test_a_kernel_s_attributes_are_named(attributes: int, flags: tuple[str, ...]) -> None:
    image = gpt_disk([Part(1, 64, 127, kind=KERNEL, attributes=attributes)])
    assert table(FORMAT, image).partitions[0].flags == flags


def test_other_types_use_the_same_bits_for_something_else() -> None:
    image = gpt_disk([Part(1, 64, 127, attributes=0x0100 << 48)])
    assert table(FORMAT, image).partitions[0].flags == ("GUID:56",)
