"""The mount recipes beside the parsers: each is whole, and the checks of root's helper know it."""

import pytest

from pyimount.execution.checking import OPTIONS
from pyimount.execution.tools import TOOLS
from pyimount.formats import Format, KernelMount, ToolMount, Usage
from pyimount.layers import Scan
from pyimount.planning.owner import Owner
from pyimount.planning.policy import FORENSIC
from pyimount.planning.recipes import format_called
from pyimount.planning.steps import AttachLoop, Mount, MountWithTool, Result
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


def test_whose_the_files_are() -> None:
    """File systems without owners get the caller's uid, gid and umask; Unix modes stay as they are."""
    bare = BARE.replaced(filesystems=frozenset(("vfat", "exfat", "iso9660", "ext4", "udf")))
    told = ("uid=1000", "gid=100", "umask=0027")
    for kind, options in {
        "vfat": ("utf8", *told),
        "exfat": told,
        "iso9660": ("iocharset=utf8", *told[:2]),
        "ext4": ("noload", "errors=continue"),
        "udf": (),
    }.items():
        scan = Scan((disk(),), (part(1, 0, "1", type=kind),))
        made = planned(scan, bare, owner=Owner(uid=1000, gid=100, umask=0o027))
        (step,) = made.mounts()
        assert isinstance(step, Mount)
        assert step.options == options, kind
        # Root reads an ISO's own owners, where it has any.
        (step,) = planned(scan, bare, owner=Owner(uid=0, gid=0)).mounts()
        assert isinstance(step, Mount)
        assert ("uid=0" in step.options) == (kind in {"vfat", "exfat"}), kind


@pytest.mark.parametrize(
    ("kind", "driver", "tool", "by_itself"),
    [("ntfs", "ntfs3", "ntfs-3g", True), ("exfat", "exfat", "mount.exfat-fuse", False)],
)
def test_a_program_stands_in_for_a_driver(kind: str, driver: str, tool: str, by_itself: bool) -> None:
    """ntfs-3g is allowed where the kernel has no ntfs3, and there alone; others are named."""
    scan = Scan((disk(),), (part(1, 0, "1", type=kind),))
    without = BARE.replaced(filesystems=frozenset(("ext4",)), tools={tool: f"/usr/bin/{tool}"})
    (step,) = planned(scan, without.replaced(filesystems=frozenset((driver,)))).mounts()
    assert isinstance(step, Mount)
    for policy in (FORENSIC, FORENSIC.replaced(allow_fs=frozenset((tool,)))):
        made = planned(scan, without, policy=policy, owner=Owner(uid=7, gid=8))
        if policy is FORENSIC and not by_itself:
            assert [refusal.code for refusal in made.refused] == ["not-allowed"]
            continue
        (step,) = made.mounts()
        assert isinstance(step, MountWithTool)
        assert step.arguments[1].endswith(",uid=7,gid=8,umask=0022")
        # They read what nobody else can change meanwhile.
        assert isinstance(step.source, Result)
        device = made.steps[step.source.step]
        assert isinstance(device, AttachLoop)
        assert device.read_only
