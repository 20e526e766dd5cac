"""GFS, GFS2, OCFS, OCFS2, ASM disks and ScoutFS."""

import pytest

from fixtures.recipes.cluster import scoutfs_block
from fixtures.structures import changed
from pyimount.parsers.filesystems import gfs, gfs2, gfs_superblock, ocfs, ocfs2, oracleasm, scoutfs
from pyimount.sources.view import View
from tests.kept import ask, codes, kept, put, recognise

GFS_AT = 64 << 10
NEAR = 128 << 10


def test_the_declarations_have_the_length_that_the_formats_say() -> None:
    # From linux' headers; the comments in ocfs1_vol_label count its last name as 32 bytes, and it has 64.
    assert gfs_superblock.SUPERBLOCK.size == 24 + 24 + 48 + 128 + 48
    assert ocfs.HEADER.size == 0x1B0
    assert ocfs.LABEL.size == 0x84 + 64 + 2
    assert ocfs2.SUPERBLOCK.size == 0xC0 + 0xB8 + 2
    assert oracleasm.HEADER.size == 232


def test_the_two_versions_of_gfs_are_told_apart_by_their_formats() -> None:
    first, second = kept("gfs", NEAR), kept("gfs2", NEAR)
    assert ask(gfs2.FORMAT, first) is None
    assert ask(gfs.FORMAT, second) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"mh_type": 2},
        {"mh_format": 200},
        {"sb_fs_format": 1309},
        {"sb_multihost_format": 2000},
        {"sb_bsize": 4097},
        {"sb_bsize_shift": 0xFFFFFFFF},
        {"sb_bsize": 256, "sb_bsize_shift": 8},
    ],
)
def test_a_gfs2_that_is_none(fields: dict[str, int]) -> None:
    image = changed(kept("gfs2", NEAR), gfs_superblock.SUPERBLOCK, GFS_AT, **fields)
    assert ask(gfs2.FORMAT, image) is None


def test_a_gfs2_of_before_the_uuid() -> None:
    fields = {"sb_uuid": bytes(16), "sb_locktable": bytes(64)}
    found = recognise(gfs2.FORMAT, changed(kept("gfs2", NEAR), gfs_superblock.SUPERBLOCK, GFS_AT, **fields))
    assert (found.uuid, found.label, found.version) == (None, None, "1")


def test_gfs_cut_off() -> None:
    assert ask(gfs2.FORMAT, kept("gfs2", GFS_AT + gfs_superblock.SUPERBLOCK.size - 1)) is None


def test_the_checksum_of_ocfs2() -> None:
    image = kept("ocfs2", NEAR)
    assert recognise(ocfs2.FORMAT, image).checked
    image[2048 + 1023] ^= 1
    found = recognise(ocfs2.FORMAT, image)
    assert (found.label, found.checked, codes(found)) == ("shared", False, ["bad-checksum"])


@pytest.mark.parametrize(
    "fields",
    [
        {"s_blocksize_bits": 8},
        {"s_blocksize_bits": 9},
        {"s_blocksize_bits": 0xFFFFFFFF},
        {"s_clustersize_bits": 21},
        {"i_blkno": 3},
        {"i_blkno": (1 << 64) - 1},
        {"i_clusters": 0},
    ],
)
def test_an_ocfs2_that_is_none(fields: dict[str, int]) -> None:
    assert ask(ocfs2.FORMAT, changed(kept("ocfs2", NEAR), ocfs2.SUPERBLOCK, 2048, **fields)) is None


class Sparse:
    """A source of which only some runs are not zeros."""

    def __init__(self, size: int, runs: dict[int, bytes]) -> None:
        self.size = size
        self.runs = runs

    def read_at(self, offset: int, length: int) -> bytes:
        data = bytearray(min(length, self.size - offset))
        for at, run in self.runs.items():
            for index, byte in enumerate(run):
                if 0 <= at + index - offset < len(data):
                    data[at + index - offset] = byte
        return bytes(data)


def test_the_backup_of_ocfs2_at_a_gibibyte() -> None:
    block = kept("ocfs2", NEAR)[2048:3072]
    changed(block, ocfs2.SUPERBLOCK, 0, i_blkno=ocfs2.BACKUP // 1024)
    found = ocfs2.parse(View(Sparse(2 << 30, {ocfs2.BACKUP: bytes(block)})))
    assert (found.offset, found.label) == (ocfs2.BACKUP, "shared")
    assert codes(found) == ["backup-used", "bad-checksum"]


def test_the_state_of_ocfs2() -> None:
    image = changed(kept("ocfs2-4k-blocks", NEAR), ocfs2.SUPERBLOCK, 8192, s_state=1)
    assert recognise(ocfs2.FORMAT, image).state == "error"


def test_ocfs2_with_another_cluster_stack() -> None:
    fields = {
        "s_feature_incompat": ocfs2.USERSPACE_STACK,
        "ci_stack": b"pcmk",
        "ci_cluster": b"flock".ljust(16, b"\0"),
    }
    found = recognise(ocfs2.FORMAT, changed(kept("ocfs2-4k-blocks", NEAR), ocfs2.SUPERBLOCK, 8192, **fields))
    assert (found.details["cluster_stack"], found.details["cluster_name"]) == ("pcmk", "flock")


def test_what_ocfs2_writes_for_ocfs_to_stumble_on_is_no_ocfs() -> None:
    assert ask(ocfs.FORMAT, kept("ocfs2", NEAR)) is None


@pytest.mark.parametrize(("major", "other"), [(1, "ocfs1"), (2, None), (9, "ntocfs")])
def test_the_versions_of_ocfs(major: int, other: str | None) -> None:
    found = recognise(ocfs.FORMAT, changed(kept("ocfs", NEAR), ocfs.HEADER, 0, major_version=major))
    assert (found.version, found.details.get("sec_type")) == (f"{major}.0", other)


def test_ocfs_without_its_label() -> None:
    assert codes(recognise(ocfs.FORMAT, kept("ocfs", 600))) == ["damaged"]
    assert ask(ocfs.FORMAT, kept("ocfs", 400)) is None
    assert ask(ocfs.FORMAT, changed(kept("ocfs", NEAR), ocfs.HEADER, 0, major_version=0)) is None


def test_a_label_of_ocfs_longer_than_its_field() -> None:
    found = recognise(ocfs.FORMAT, changed(kept("ocfs", NEAR), ocfs.LABEL, 512, label_len=0xFFFF))
    assert found.label == "ledger"


@pytest.mark.parametrize("fields", [{"ausize": 3}, {"blksize": 4097}])
def test_an_asm_header_that_lies(fields: dict[str, int]) -> None:
    assert ask(oracleasm.FORMAT, changed(kept("oracleasm"), oracleasm.HEADER, 0, **fields)) is None


def test_an_asm_disk_of_a_big_endian_machine() -> None:
    fields = oracleasm.HEADER.construct.parse(bytes(kept("oracleasm")[: oracleasm.HEADER.size]))
    image = kept("oracleasm")
    put(image, 0, oracleasm.HEADER_BE.construct.build({**fields, "kfbh_endian": 0}))
    big, little = recognise(oracleasm.FORMAT, image), recognise(oracleasm.FORMAT, kept("oracleasm"))
    assert {**big.details, "byte_order": "little"} == little.details


@pytest.mark.parametrize("stamp", [0, 0xFFFFFFFF, 15 << 10])
def test_time_stamps_that_are_none(stamp: int) -> None:
    image = changed(kept("oracleasm"), oracleasm.HEADER, 0, crestmp_hi=stamp, crestmp_lo=0)
    assert recognise(oracleasm.FORMAT, image).details["created"] is None


def scoutfs_image(**fields: int) -> bytearray:
    image = bytearray(NEAR)
    put(image, scoutfs.OFFSET, scoutfs_block(**fields))
    return image


def test_the_checksum_of_scoutfs() -> None:
    image = scoutfs_image()
    assert recognise(scoutfs.FORMAT, image).checked
    image[scoutfs.OFFSET + 4095] = 1
    assert codes(recognise(scoutfs.FORMAT, image)) == ["bad-checksum"]
    assert ask(scoutfs.FORMAT, image[: scoutfs.OFFSET + 4095]) is None


@pytest.mark.parametrize("fields", [{"blkno": 17}, {"fmt_vers": 0}, {"fmt_vers": 1 << 63}])
def test_a_scoutfs_that_is_none(fields: dict[str, int]) -> None:
    assert ask(scoutfs.FORMAT, scoutfs_image(**fields)) is None
