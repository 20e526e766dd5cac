"""vinum: both copies of the configuration, words in all spellings, and drives that share volumes."""

from fixtures.recipes.vinum import configuration, drive
from pyimount.parsers.volumes.vinum import CONFIG_AT, CONFIG_SIZE, FORMAT, HEADER_AT, parse_configuration
from tests.kept import ask, codes, kept, recognise


def test_the_second_copy_serves_where_the_first_is_damaged() -> None:
    image = kept("vinum")
    image[CONFIG_AT : CONFIG_AT + 6] = b"bolume"
    found = recognise(FORMAT, image)
    assert codes(found) == ["backup-used"]
    assert found.group is not None
    assert found.group.members == 3


def test_copies_that_differ_are_told() -> None:
    image = kept("vinum")
    at = image.index(b"up", CONFIG_AT + CONFIG_SIZE)
    image[at : at + 2] = b"no"
    assert codes(recognise(FORMAT, image)) == ["copies-differ"]


def test_lines_that_cannot_be_understood_are_counted() -> None:
    said = (
        configuration() + b"sd name x drive\nplex name y org odd vol vol\nvolume\nwhatever\n# a comment\n\n"
    )
    assert parse_configuration(said).broken == 4
    assert codes(recognise(FORMAT, drive("a", said))) == ["damaged"]


def test_units() -> None:
    said = b"sd name s drive a length 1k driveoffset 265s plex p plexoffset 2b\nsd name t drive a len 1m"
    subdisk = parse_configuration(said).subdisks["s"]
    assert (subdisk.length, subdisk.drive_offset, subdisk.plex_offset) == (1024, 135680, 1024)


def test_drives_belong_together_by_the_volumes_that_they_share() -> None:
    both = configuration(drives="ab") + configuration(drives="cd").replace(b"vol", b"two").replace(
        b"twoume", b"volume"
    ).replace(b"two two", b"vol two")
    found = [recognise(FORMAT, drive(name, both)).group for name in "abcd"]
    assert [(group.uuid, group.members) for group in found if group] == [
        ("lab:vol", 2), ("lab:vol", 2), ("lab:two", 2), ("lab:two", 2),
    ]  # fmt: skip


def test_a_drive_that_was_given_up_is_none() -> None:
    image = kept("vinum")
    image[HEADER_AT : HEADER_AT + 8] = b"VINUM--\0"
    assert ask(FORMAT, image) is None


def test_a_configuration_of_no_plausible_length_is_none() -> None:
    image = kept("vinum")
    image[HEADER_AT + 8 : HEADER_AT + 16] = b"\xff" * 8
    assert ask(FORMAT, image) is None
