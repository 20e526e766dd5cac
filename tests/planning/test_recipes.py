"""The mount recipes beside the parsers: each is whole, and the checks of root's helper know it."""

import pytest

from pyimount.execution.checking import OPTIONS
from pyimount.execution.tools import TOOLS
from pyimount.formats import Format, KernelMount, ToolMount, Usage
from pyimount.layers import Scan
from pyimount.planning.recipes import format_called
from pyimount.recognition.registry import volume_formats
from tests.planning.scans import BARE, disk, part, planned

FORMATS = [declared for declared in volume_formats() if declared.mounts]
WRITERS = ("rw", "exec", "suid", "dev", "remount", "bind", "loop", "user", "norecovery,rw")


@pytest.mark.parametrize("declared", FORMATS, ids=lambda declared: declared.name)
def test_a_recipe_is_known_to_whoever_runs_it(declared: Format) -> None:
    for way in declared.mounts:
        if isinstance(way, ToolMount):
            assert way.tool in {tool.name if hasattr(tool, "name") else tool for tool in TOOLS}
            assert {"{source}", "{at}"} <= set(way.arguments)
            continue
        options = {*way.options, *(way.written or ()), *way.incomplete}
        assert options <= OPTIONS[way.driver]
        assert not options & set(WRITERS)
        for option, _ in way.from_details:
            assert any(each.startswith(f"{option}=") for each in OPTIONS[way.driver])


@pytest.mark.parametrize(
    "declared",
    [each for each in volume_formats() if each.usage == Usage.FILESYSTEM],
    ids=lambda each: each.name,
)
def test_each_file_system_is_mounted_or_refused_with_a_reason(declared: Format) -> None:
    for kind in declared.types:
        made = planned(Scan((disk(),), (part(1, 0, "1", type=kind, version="4"),)), BARE)
        assert bool(list(made.mounts())) != bool(made.refused)
        assert all(refusal.reason for refusal in made.refused)


def test_journals_are_never_replayed_where_nothing_may_be_written() -> None:
    by_driver = {
        way.driver: way for each in FORMATS for way in each.mounts[:1] if isinstance(way, KernelMount)
    }
    assert by_driver["ext4"].options == ("noload", "errors=continue")
    assert by_driver["xfs"].options == ("norecovery", "nouuid")
    assert by_driver["btrfs"].options == ("rescue=nologreplay",)
    assert by_driver["f2fs"].options == by_driver["nilfs2"].options == ("norecovery",)
    assert by_driver["reiserfs"].refuses == ("dirty",)
    # And none of these is left where they are: a cache is there to be written.
    replaying = {"noload", "norecovery", "rescue=nologreplay", "nochanges"}
    assert not any(replaying & set(way.written or ()) for way in by_driver.values())


def test_users_words_for_file_systems() -> None:
    words = {"ext": "ext", "EXT4": "ext", "hfs+": "hfsplus", "iso": "iso9660", "fat": "fat", "ntfs3": "ntfs"}
    for word, name in words.items():
        found = format_called(word)
        assert found is not None
        assert found.name == name
    assert format_called("nonsense") is None
