"""md: places, states, roles and reshapes, and which superblocks are none."""

from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings

import pyimount
from fixtures.recipes.md import BITMAP, CREATED, SIZE, superblock_0, superblock_1
from pyimount.formats import TableRule
from pyimount.parsers.volumes.md import FORMAT
from pyimount.parsers.volumes.md_array import array_size, layout_name
from tests.kept import ask, codes, kept, put, recognise
from tests.strategies import Edit, edited, edits

AT_0, AT_1_0 = SIZE - 65536, SIZE - 8192


def member(*superblocks: tuple[int, bytes], size: int = SIZE) -> bytearray:
    image = bytearray(size)
    for offset, superblock in superblocks:
        put(image, offset, superblock)
    return image


def of_1_2(**changed: object) -> bytearray:
    return member((4096, superblock_1(4096, **changed)))


@pytest.mark.parametrize("name", ["md-0.90", "md-0.90-big", "md-1.0", "md-1.1", "md-1.2"])
def test_a_wrong_checksum_is_told_and_the_member_still_known(name: str) -> None:
    image = kept(name)
    found = recognise(FORMAT, image)
    assert found.checked
    # The update time: nothing else hangs on it.
    at = found.offset + (32 * 4 + 1 if name.startswith("md-0") else 193)
    image[at] ^= 0x10
    again = recognise(FORMAT, image)
    assert (again.uuid, again.checked, codes(again)) == (found.uuid, False, ["bad-checksum"])


@pytest.mark.parametrize("size", [SIZE + 512, SIZE + 4095])
def test_the_end_is_rounded_down_to_4_kib(size: int) -> None:
    assert recognise(FORMAT, member((AT_1_0, superblock_1(AT_1_0)), size=size)).offset == AT_1_0


def test_the_end_is_rounded_down_to_64_kib_for_version_0() -> None:
    image = member((AT_0, superblock_0()), size=SIZE + 65535)
    assert recognise(FORMAT, image).offset == AT_0
    assert ask(FORMAT, member((AT_0, superblock_0()), size=SIZE + 65536)) is None


def test_only_a_superblock_at_the_end_is_behind_what_it_describes() -> None:
    assert recognise(FORMAT, kept("md-1.0")).with_table is TableRule.HIDES_WHEN_BEHIND
    assert recognise(FORMAT, kept("md-0.90")).with_table is TableRule.HIDES_WHEN_BEHIND
    assert recognise(FORMAT, kept("md-1.2")).with_table is None


@pytest.mark.parametrize(
    "changed",
    [
        {"super_offset": 9},
        {"major_version": 2},
        {"level": 7, "sb_csum": 1},
        {"set_uuid": bytes(16)},
        {"max_dev": 1921, "roles": ()},
        {"raid_disks": 5000, "sb_csum": 1},
        {"dev_number": 128, "sb_csum": 1},
    ],
)
def test_figures_that_cannot_be_true(changed: dict[str, object]) -> None:
    superblock = superblock_1(4096, **changed)
    assert ask(FORMAT, member((4096, superblock[: SIZE - 4096]))) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"major_version": 1},
        {"level": 3, "sb_csum": 1},
        {"raid_disks": 0},
        {"raid_disks": 28},
        {"nr_disks": 28},
    ],
)
def test_figures_that_cannot_be_true_in_version_0(changed: dict[str, object]) -> None:
    assert ask(FORMAT, member((AT_0, superblock_0(**changed)))) is None  # type: ignore[arg-type]


def test_a_level_that_mainline_has_not_is_told_by_its_number() -> None:
    found = recognise(FORMAT, of_1_2(level=70))
    assert (found.details["level"], found.details["array_size"], found.problems) == ("70", None, ())
    # The magic and the checksum, over a whole sector of it, leave no doubt: mdadm -E says "-unknown-", too.
    found = recognise(FORMAT, member((AT_0, superblock_0(level=70))))
    assert (found.details["level"], found.version) == ("70", "0.90.3")


def test_version_1_is_little_endian_only() -> None:
    superblock = superblock_1(4096)
    assert ask(FORMAT, member((4096, superblock[3::-1] + superblock[4:]))) is None


@pytest.mark.parametrize(
    ("number", "role"),
    [(0, "0"), (1, "1"), (2, "spare"), (3, "2"), (4, "faulty"), (5, "journal"), (500, "spare")],
)
def test_roles(number: int, role: str) -> None:
    found = recognise(FORMAT, of_1_2(dev_number=number, roles=(0, 1, 0xFFFF, 2, 0xFFFE, 0xFFFD)))
    assert found.group is not None
    assert (found.group.role, found.details["device_role"]) == (role, role)
    assert found.details["roles"] == ["0", "1", "spare", "2", "faulty", "journal"]


def test_array_state_tells_missing_and_replaced_devices() -> None:
    assert recognise(FORMAT, of_1_2(roles=(0, 2, 2))).details["array_state"] == "A.R"


def test_an_unclean_array_tells_how_far_it_is() -> None:
    found = recognise(FORMAT, of_1_2(resync_offset=2048, recovery_offset=1024, feature_map=0x2))
    assert found.state == "dirty"
    assert (found.details["resync_offset"], found.details["recovery_offset"]) == (1 << 20, 1 << 19)


def test_a_reshape_is_told() -> None:
    found = recognise(
        FORMAT,
        of_1_2(feature_map=0x44, reshape_position=512, delta_disks=1, new_chunk=256, new_offset=-64),
    )
    assert found.details["reshape"] == {
        "position": 262144,
        "delta_disks": 1,
        "new_level": "raid5",
        "new_layout": "left-symmetric",
        "new_layout_number": 2,
        "new_chunk": 131072,
        "new_data_offset": (2048 - 64) * 512,
    }
    assert found.details["array_state"] == "AAA."


def test_a_reshape_of_version_0_91() -> None:
    changes = {
        "minor_version": 91,
        "reshape_position": 512,
        "new_level": 5,
        "new_layout": 2,
        "new_chunk": 65536,
    }
    found = recognise(FORMAT, member((AT_0, superblock_0(**changes))))  # type: ignore[arg-type]
    assert found.version == "0.91.3"
    reshape = found.details["reshape"]
    assert isinstance(reshape, dict)
    assert (reshape["position"], reshape["new_level"], reshape["new_chunk"]) == (262144, "raid5", 65536)


def test_a_bitmap_is_told() -> None:
    image = of_1_2()
    put(image, 4096 + 16 * 512, BITMAP)
    found = recognise(FORMAT, image)
    assert found.details["bitmap"] == {
        "version": 4,
        "events": 0,
        "events_cleared": 0,
        "sync_size": 4096 * 512,
        "state": [],
        "chunk_size": 65536,
        "daemon_sleep_seconds": 5,
        "write_behind": 0,
    }
    assert recognise(FORMAT, of_1_2()).details["bitmap"] is None


def test_recorded_bad_blocks_are_told() -> None:
    # 54 bits of sector, 10 bits of length, each moved by the shift; all ones end the log.
    image = of_1_2(feature_map=8, bblog_shift=3, bblog_size=8, bblog_offset=8)
    put(image, 8192, pack("<3Q", 512 << 10 | 2, 600 << 10 | 1, (1 << 64) - 1))
    found = recognise(FORMAT, image)
    assert found.details["bad_blocks"] == [[512 * 8 * 512, 2 * 8 * 512], [600 * 8 * 512, 8 * 512]]
    hostile = of_1_2(feature_map=8, bblog_shift=255, bblog_size=0xFFFF, bblog_offset=8)
    put(hostile, 8192, b"\x01" * 65536)
    bad = recognise(FORMAT, hostile).details["bad_blocks"]
    assert isinstance(bad, list)
    assert len(bad) == 512


def test_a_partial_parity_log_is_no_bitmap() -> None:
    found = recognise(FORMAT, of_1_2(feature_map=0x400, bitmap_offset=16 | 24 << 16))
    assert found.details["ppl"] == {"offset": 4096 + 16 * 512, "size": 24 * 512}
    assert found.details["bitmap_offset"] is None


def test_data_beyond_the_end_is_told() -> None:
    assert codes(recognise(FORMAT, of_1_2(data_size=SIZE // 512))) == ["truncated"]


def test_before_0_90_only_the_first_word_of_the_uuid_counts() -> None:
    # As libblkid has it.
    found = recognise(FORMAT, member((AT_0, superblock_0(minor_version=89))))  # type: ignore[arg-type]
    assert found.uuid == "478bb4e6-0000-0000-0000-000000000000"


def test_of_two_superblocks_the_one_created_last_counts() -> None:
    older = superblock_1(AT_1_0, ctime=CREATED - 5, set_uuid=b"o" * 16)
    found = recognise(FORMAT, member((4096, superblock_1(4096)), (AT_1_0, older)))
    assert (found.version, codes(found)) == ("1.2", ["ambiguous"])
    newer = superblock_1(AT_1_0, ctime=CREATED + 5, set_uuid=b"n" * 16)
    found = recognise(FORMAT, member((4096, superblock_1(4096)), (AT_1_0, newer)))
    assert found.version == "1.0"
    assert found.details["other_superblocks"] == [
        {"version": "1.2", "offset": 4096, "uuid": "478bb4e6-83f4-5060-6591-94edd9949c0e"}
    ]
    damaged = superblock_1(AT_1_0, ctime=CREATED + 5, sb_csum=1)
    assert recognise(FORMAT, member((4096, superblock_1(4096)), (AT_1_0, damaged))).version == "1.2"


@pytest.mark.parametrize(
    ("geometry", "size"),
    [
        ((1, 0, 0, 2, 1000), 1000),
        ((4, 0, 64, 3, 130), 256),
        ((5, 2, 64, 3, 128), 256),
        ((6, 2, 64, 4, 128), 256),
        ((10, 0x102, 64, 4, 128), 256),
        ((10, 0x102, 64, 3, 128), 192),
        ((10, 0x201, 64, 4, 128), 256),
        ((10, 0x10201, 64, 2, 128), 128),
        ((0, 1, 64, 2, 128), None),
        ((-1, 0, 64, 2, 128), None),
        ((5, 2, 0, 3, 128), None),
        ((6, 2, 64, 2, 128), None),
        ((10, 0, 64, 2, 128), None),
    ],
)
def test_array_size(geometry: tuple[int, int, int, int, int], size: int | None) -> None:
    # Level, layout, chunk, disks, bytes used of each; as drivers/md has it: raid5_size and raid10_size.
    assert array_size(*geometry) == size


def test_layout_names() -> None:
    names = [layout_name(10, number) for number in (0x102, 0x201, 0x10202)]
    assert names == ["near=2", "near=1, far=2", "near=2, offset=2"]
    assert layout_name(5, 2) == "left-symmetric"
    assert layout_name(1, 0) is None


LITTLE = 128 << 10


@pytest.mark.parametrize(
    ("offset", "superblock"),
    [(LITTLE // 2, superblock_0()), (0, superblock_1(0)), (4096, superblock_1(4096))],
)
def test_every_cut_is_an_answer(offset: int, superblock: bytes) -> None:
    whole = member((offset, superblock), size=LITTLE)
    assert ask(FORMAT, whole) is not None
    for end in range(offset, offset + len(superblock) + 100, 7):
        ask(FORMAT, whole[:end])


@settings(max_examples=40, deadline=None)
@given(edits(4096))
def test_any_superblock_gives_an_answer(changes: list[Edit]) -> None:
    for offset, superblock in ((LITTLE // 2, superblock_0()), (4096, superblock_1(4096))):
        ask(FORMAT, member((offset, edited(superblock, changes)), size=LITTLE))


def test_a_whole_disk_member_hides_the_table_within(tmp_path: Path) -> None:
    """A mirror of whole disks shows the array's own partition table at the start of each."""
    image = member((AT_1_0, superblock_1(AT_1_0, level=1, size=8000, data_size=8000)))
    put(image, 446, bytes.fromhex("00000000 83000000 08000000 00100000"))
    put(image, 510, b"\x55\xaa")
    path = tmp_path / "disk.img"
    path.write_bytes(image)
    disk = pyimount.detect(path).to_dict()["disks"][0]
    assert disk["pttype"] is None
    assert [volume["type"] for volume in disk["volumes"]] == ["linux_raid_member"]
    assert disk["volumes"][0]["candidates"][0]["type"] == "dos"
