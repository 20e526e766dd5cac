"""What root refuses to do for a user, whatever the user sends."""

from typing import Any

import pytest

from pyimount.execution.checking import _OWNERS, FEW_KEEP, OPTIONS, TOOLS, Checker
from pyimount.execution.errors import Refused
from pyimount.formats import KernelMount
from pyimount.planning.steps import (
    AssembleArray,
    AttachLoop,
    BindMount,
    Carve,
    ConnectNbd,
    ExposeRaw,
    ExposeShadows,
    MakeDirectory,
    MapVolume,
    Mount,
    MountWithTool,
    OpenEncrypted,
    Place,
    Result,
    RunImageMounter,
    ShowDirectory,
    Step,
    TableLine,
    step_from_dict,
)
from pyimount.recognition.registry import volume_formats

FOLDER = "/run/pyimount/0123abcd"
IMAGE = "/evidence/disk.img"


def steps() -> list[Step]:
    """What a user may have done: one of every kind."""
    return [
        MakeDirectory(id=1, path=FOLDER),
        MakeDirectory(id=2, inside=Result(1), path="raw"),
        ExposeRaw(id=3, at=Result(2), files=((5, "1.raw"),)),
        AttachLoop(id=4, backing=IMAGE, offset=512, size=4096),
        AttachLoop(id=5, backing=Result(3, "1.raw"), sector_size=4096),
        AssembleArray(id=6, devices=(Result(4), Result(5))),
        MapVolume(
            id=7,
            table=(
                TableLine(0, 8, "linear", (Result(6), 2048)),
                TableLine(8, 8, "striped", (1, 8, Result(4), 0)),
            ),
        ),
        OpenEncrypted(id=8, device=Result(7), type="luks", key="1.0", uuid="a-b", header=IMAGE),
        MakeDirectory(id=9, inside=Result(1), path="root"),
        Mount(id=10, device=Result(8), at=Result(9), type="ext4", options=("noload", "errors=continue")),
        AttachLoop(id=11, backing=Result(8)),
        MakeDirectory(id=14, inside=Result(1), path="home"),
        MakeDirectory(id=15, inside=Result(1), path="free"),
        Mount(
            id=12,
            device=Result(11),
            at=Result(14),
            type="btrfs",
            members=(Result(4),),
            options=("subvol=/@home",),
        ),
        BindMount(id=13, source=Result(12), root=Result(10), target="/home"),
    ]


def checker(upto: int = 99) -> Checker:
    made = Checker(FOLDER, frozenset((IMAGE,)), user=1000, groups=frozenset((100, 27)))
    for step in steps():
        if step.id < upto:
            made.check(step)
    return made


def test_what_a_plan_does_passes_also_as_json() -> None:
    made = Checker(FOLDER, frozenset((IMAGE,)))
    for step in steps():
        made.check(step_from_dict(step.to_dict()))


REFUSED: list[tuple[Step, str]] = [
    (MakeDirectory(id=20, path="/etc"), "outside"),
    (MakeDirectory(id=20, path=f"{FOLDER}/../../../etc"), "outside"),
    (MakeDirectory(id=20, inside="/etc", path="x"), "not the result"),
    (MakeDirectory(id=20, inside=Result(1), path=".."), "name"),
    (MakeDirectory(id=20, inside=Result(1), path="a/b"), "name"),
    (MakeDirectory(id=20, inside=Result(1), path=""), "name"),
    (MakeDirectory(id=20, inside=Result(1), path="a\0b"), "name"),
    (MakeDirectory(id=20, inside=Result(10), path="x"), "nothing that serves"),
    (ExposeRaw(id=20, at="/mnt", files=((1, "x"),)), "not the result"),
    (ExposeRaw(id=20, at=Result(15), files=((1, "../x"),)), "name"),
    (ExposeRaw(id=20, at=Result(15), files=()), "nothing to show"),
    (AttachLoop(id=20, backing="/dev/sda"), "not handed over"),
    (AttachLoop(id=20, backing="/etc/shadow"), "not handed over"),
    (AttachLoop(id=20, backing=IMAGE, read_only=False), "write to the image"),
    (AttachLoop(id=20, backing=Result(3, "1.raw"), read_only=False), "write to the image"),
    (AttachLoop(id=20, backing=Result(5), read_only=False), "write to the image"),
    (AttachLoop(id=20, backing=Result(3, "2.raw")), "no such file"),
    (AttachLoop(id=20, backing=Result(3)), "no disk"),
    (AttachLoop(id=20, backing=Result(10, "etc/shadow")), "nothing that serves"),
    (AttachLoop(id=20, backing=IMAGE, offset=-1), "numbers"),
    (AttachLoop(id=20, backing=IMAGE, size=1 << 64), "numbers"),
    (AttachLoop(id=20, backing=IMAGE, sector_size=513), "numbers"),
    (OpenEncrypted(id=20, device="/dev/sda2", type="luks", key="0"), "not the result"),
    (OpenEncrypted(id=20, device=IMAGE, type="luks", key="0"), "not the result"),
    (ExposeRaw(id=20, at=Result(15), files=((5, "1.raw"),), cache="/etc"), "no cache"),
    (OpenEncrypted(id=20, device=Result(4), type="plain", key="0"), "no 'plain'"),
    (OpenEncrypted(id=20, device=Result(4), type="luks", key="0", header="/etc/shadow"), "header"),
    (OpenEncrypted(id=20, device=Result(4), type="luks", key="0", read_only=False), "write to the image"),
    (AssembleArray(id=20, devices=("/dev/sda1",)), "not the result"),
    (AssembleArray(id=20, devices=()), "nothing"),
    (MapVolume(id=20, table=()), "empty"),
    (MapVolume(id=20, table=(TableLine(0, 8, "linear", ("/dev/sda", 0)),)), "not the result"),
    (MapVolume(id=20, table=(TableLine(0, 8, "linear", ("8:0", 0)),)), "not the result"),
    (MapVolume(id=20, table=(TableLine(0, 8, "multipath", (Result(4), 0)),)), "target"),
    (MapVolume(id=20, table=(TableLine(0, 8, "linear\n0 8 error", (Result(4), 0)),)), "target"),
    (MapVolume(id=20, table=(TableLine(0, -8, "linear", (Result(4), 0)),)), "numbers"),
    (Mount(id=20, device="/dev/sda1", at=Result(15), type="ext4"), "not the result"),
    (Mount(id=20, device=Result(4), at="/etc", type="ext4"), "not the result"),
    (Mount(id=20, device=Result(4), at=Result(10), type="ext4"), "nothing that serves"),
    (Mount(id=20, device=Result(4), at=Result(15), type="fuse.evil"), "mounts no"),
    (Mount(id=20, device=Result(4), at=Result(15), type=None), "mounts no"),
    (Mount(id=20, device=Result(4), at=Result(15), type="ext4", options=("suid",)), "option"),
    (Mount(id=20, device=Result(4), at=Result(15), type="ext4", options=("noload,suid",)), "option"),
    (Mount(id=20, device=Result(4), at=Result(15), type="ext4", options=("subvol=/@",)), "option"),
    (Mount(id=20, device=Result(4), at=Result(15), type="btrfs", options=("subvol=/../x",)), "option"),
    (Mount(id=20, device=Result(4), at=Result(15), type="btrfs", options=("subvol=/@,suid",)), "option"),
    (Mount(id=20, device=Result(4), at=Result(15), type="btrfs", options=("subvol=/@\n",)), "option"),
    (Mount(id=20, device=Result(4), at=Result(15), type="ext4", read_only=False), "write to the image"),
    (Mount(id=20, device=Result(4), at=Result(15), type="btrfs", members=("/dev/sda",)), "not the result"),
    (
        Mount(id=20, device=Result(4), at=Result(15), type="xfs", members=(Result(4),), named_by=("suid,x",)),
        "does not have",
    ),
    (
        Mount(id=20, device=Result(4), at=Result(15), type="btrfs", members=(Result(4),), named_by=("suid",)),
        "does not have",
    ),
    (Mount(id=20, device=Result(4), at=Result(15), type="xfs", named_by=("logdev",)), "does not have"),
    (BindMount(id=20, source="/etc", root=Result(10), target="/home"), "not the result"),
    (BindMount(id=20, source=Result(12), root="/", target="/home"), "not the result"),
    (BindMount(id=20, source=Result(12), root=Result(10), target="/../../etc"), "target"),
    (BindMount(id=20, source=Result(12), root=Result(10), target=""), "target"),
    (AttachLoop(id=4, backing=IMAGE), "number of its own"),
    (AttachLoop(id=-1, backing=IMAGE), "number of its own"),
    (AttachLoop(id=20, backing=Result(21)), "nothing that serves"),
    (ConnectNbd(id=20, image=IMAGE, format="qcow2"), "does no ConnectNbd"),
    (RunImageMounter(id=20, tool="sh", images=(), at=Result(15), arguments=()), "does no RunImageMounter"),
    (ShowDirectory(id=20, path="/etc", at=Result(15)), "does no ShowDirectory"),
    (MountWithTool(id=20, tool="sh", source=Result(4), at=Result(15), arguments=()), "runs no 'sh'"),
    (ExposeShadows(id=20, device=Result(4), at=Result(15)), "does no ExposeShadows"),
    (Carve(id=20, source=Result(4), at="/tmp"), "does no Carve"),  # noqa: S108
]


@pytest.mark.parametrize(("step", "why"), REFUSED, ids=lambda value: type(value).__name__)
def test_everything_else_is_refused(step: Step, why: str) -> None:
    with pytest.raises(Refused, match=why):
        checker().check(step)


WRONG: list[dict[str, Any]] = [
    {"id": "1"}, {"id": True}, {"layer": "x"}, {"backing": 5}, {"backing": None}, {"backing": [IMAGE]},
    {"offset": "0"}, {"offset": None}, {"size": 1.5}, {"read_only": 1}, {"sector_size": "512"},
    {"backing": {"result": "4"}}, {"backing": {"result": 4, "file": ["x"]}},
]  # fmt: skip


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_values_of_a_wrong_type_are_refused(change: dict[str, Any]) -> None:
    said = AttachLoop(id=20, backing=IMAGE).to_dict() | change
    with pytest.raises(Refused):
        checker().check(step_from_dict(said))


def test_every_recipe_of_the_kernel_is_on_the_list() -> None:
    """What a plan wants, root allows: else a user could mount less than root."""
    for declared in volume_formats():
        for mounting in declared.mounts:
            if isinstance(mounting, KernelMount):
                allowed = OPTIONS[mounting.driver]
                assert set(mounting.options) | set(mounting.incomplete) <= allowed, declared.name


def test_what_says_whose_the_files_are_is_on_the_list() -> None:
    for declared in volume_formats():
        for way in declared.mounts:
            if isinstance(way, KernelMount):
                assert (way.driver in FEW_KEEP) == (not way.maintained), declared.name
                if way.maintained:
                    assert set(way.owner) == _OWNERS.get(way.driver, frozenset()), declared.name
            elif way.tool in TOOLS:
                options, owner = TOOLS[way.tool]
                assert set(way.arguments[1].split(",")) == options
                assert set(way.owner) == owner
                assert way.on_device, "what it reads could be changed under it by the user"
            else:
                assert not way.stands_in


OWN = "uid=1000,gid=100,umask=0022"


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ("uid=1000", True),
        ("gid=100", True),
        ("gid=27", True),
        ("umask=077", True),
        ("umask=0022", True),
        ("utf8", True),
        ("uid=0", False),
        ("uid=1001", False),
        ("uid=+1000", False),
        ("uid=1000 ", False),
        ("uid=\u0661000", False),
        ("uid", False),
        ("gid=0", False),
        ("umask=9", False),
        ("umask=0022\n", False),
        ("umask=-1", False),
        ("fmask=0", False),
    ],
)
def test_files_are_said_to_be_the_users_alone(options: str, passes: bool) -> None:
    for kind in ("vfat", "ext4"):
        step = Mount(id=20, device=Result(4), at=Result(15), type=kind, options=(options,))
        if passes and kind == "vfat":
            checker().check(step)
        else:
            with pytest.raises(Refused, match="option"):
                checker().check(step)


NTFS = "ro,show_sys_files,streams_interface=windows"


@pytest.mark.parametrize(
    ("tool", "arguments", "source", "passes"),
    [
        ("ntfs-3g", ("-o", NTFS, "{source}", "{at}"), Result(4), True),
        ("ntfs-3g", ("-o", f"{NTFS},{OWN}", "{source}", "{at}"), Result(4), True),
        ("mount.exfat-fuse", ("-o", f"ro,{OWN}", "{source}", "{at}"), Result(4), True),
        ("ntfs-3g", ("-o", f"{NTFS},uid=0", "{source}", "{at}"), Result(4), False),
        ("ntfs-3g", ("-o", f"{NTFS},rw", "{source}", "{at}"), Result(4), False),
        ("ntfs-3g", ("-o", f"{NTFS},ro", "{source}", "{at}"), Result(4), False),
        ("ntfs-3g", ("-o", "show_sys_files,streams_interface=windows", "{source}", "{at}"), Result(4), False),
        ("ntfs-3g", ("-o", f"{NTFS},", "{source}", "{at}"), Result(4), False),
        ("ntfs-3g", ("-o", NTFS, "{source}", "{at}", "--"), Result(4), False),
        ("ntfs-3g", ("-o", NTFS, "/dev/sda1", "{at}"), Result(4), False),
        ("ntfs-3g", ("-o", NTFS, "{source}", "/etc"), Result(4), False),
        ("ntfs-3g", (), Result(4), False),
        ("ntfs-3g", ("-o", NTFS, "{source}", "{at}"), Result(3, "1.raw"), False),
        ("ntfs-3g", ("-o", NTFS, "{source}", "{at}"), "/dev/sda1", False),
        ("fuse2fs", ("-o", "ro,norecovery", "{source}", "{at}"), Result(4), False),
    ],
)
def test_programs_get_just_what_is_on_the_list(
    tool: str, arguments: tuple[str, ...], source: Place, passes: bool
) -> None:
    step = MountWithTool(id=20, tool=tool, source=source, at=Result(15), arguments=arguments)
    if passes:
        checker().check(step)
    else:
        with pytest.raises(Refused):
            checker().check(step)


@pytest.mark.parametrize("driver", sorted(FEW_KEEP))
def test_drivers_that_few_look_after_are_off_for_users(driver: str) -> None:
    with pytest.raises(Refused, match="few look after") as raised:
        checker().check(Mount(id=20, device=Result(4), at=Result(15), type=driver))
    assert raised.value.remedy == f"sudo pyimount mount --allow-fs {driver}"
