"""XFS external logs that have been written round."""

import pytest

from pyimount.parsers.filesystems.xfs_log import FORMAT, LEAST, SCANNED
from tests.kept import ask, kept, put, recognise

PLACE = 20 << 10


def test_a_record_in_the_middle_of_a_sector_is_none() -> None:
    image = kept("xfs-log-round")
    record = bytes(image[PLACE : PLACE + 512])
    put(image, PLACE, bytes(512))
    put(image, PLACE + 7, record)
    assert ask(FORMAT, image) is None


@pytest.mark.parametrize("at", [0, 512, SCANNED - 512])
def test_a_record_is_found_at_every_sector(at: int) -> None:
    image = kept("xfs-log-round")
    record = bytes(image[PLACE : PLACE + 512])
    put(image, PLACE, bytes(512))
    put(image, at, record)
    assert recognise(FORMAT, image).offset == at


def test_a_record_that_lies_is_passed_over() -> None:
    image = kept("xfs-log-round")
    put(image, 512, image[PLACE : PLACE + 512])
    put(image, 512 + 12, bytes(4))
    assert recognise(FORMAT, image).offset == PLACE


def test_a_log_has_ten_megabytes() -> None:
    assert ask(FORMAT, kept("xfs-log-round", LEAST)) is not None
    assert ask(FORMAT, kept("xfs-log-round", LEAST - 1)) is None
