"""A plan that is added to what stands: what is shared, what is not, and how it is called then."""

from typing import Any

from pyimount.planning.standing import joined
from pyimount.planning.steps import (
    AttachLoop,
    ExposeRaw,
    MakeDirectory,
    MapVolume,
    Mount,
    MountPlan,
    Result,
    RunImageMounter,
    Step,
    TableLine,
)

FOLDER = MakeDirectory(id=0, path="/run/pyimount/00c0ffee")
RAW = MakeDirectory(id=1, inside=Result(0), path="raw")
SERVER = ExposeRaw(id=2, at=Result(1), files=((0, "disk.raw"),))
LOOP = AttachLoop(id=3, layer=7, backing=Result(2, "disk.raw"), offset=512, size=1024)


def plan(*steps: Step) -> MountPlan:
    return MountPlan(session="00c0ffee", images=("/disk",), steps=steps)


def volume(first: int, name: str, device: int, **changes: Any) -> tuple[Step, ...]:
    """The steps that mount what is at a device."""
    mnt = MakeDirectory(id=first, inside=Result(0), path="mnt")
    at = MakeDirectory(id=first + 1, layer=7, inside=Result(first), path=name)
    mount = Mount(id=first + 2, layer=7, device=Result(device), at=Result(first + 1), type="ext4")
    return mnt, at, mount.replaced(**changes)


SHOWN = {Result(2, "disk.raw"): Result(2, "disk.raw")}


def test_onto_nothing_a_plan_stays_what_it_is() -> None:
    made = plan(FOLDER, RAW, SERVER, LOOP, *volume(4, "1", 3))
    added = joined(made, (), first=0)
    assert added.plan == made
    assert added.place(Result(3)) == Result(3)


def test_what_stands_is_used_and_only_the_mount_is_new() -> None:
    made = plan(FOLDER, RAW, SERVER, LOOP, *volume(4, "1", 3))
    added = joined(made, made.steps, first=20, files=SHOWN)
    at, mount = added.plan.steps
    assert (at.id, mount.id) == (20, 21)
    assert at == MakeDirectory(id=20, layer=7, inside=Result(4), path="1")
    assert mount == Mount(id=21, layer=7, device=Result(3), at=Result(20), type="ext4")
    assert added.place(Result(6)) == Result(21)
    assert added.place(Result(2, "disk.raw")) == Result(2, "disk.raw")


def test_what_differs_in_what_it_makes_is_made() -> None:
    other = LOOP.replaced(offset=4096)
    added = joined(plan(FOLDER, RAW, SERVER, other), (FOLDER, RAW, SERVER, LOOP), first=4, files=SHOWN)
    assert added.plan.steps == (other.replaced(id=4),)
    same = LOOP.replaced(layer=99)
    assert (
        joined(plan(FOLDER, RAW, SERVER, same), (FOLDER, RAW, SERVER, LOOP), first=4, files=SHOWN).plan.steps
        == ()
    )


def test_a_server_is_shared_by_what_it_shows_and_never_by_its_looks() -> None:
    """The ids of layers are of one scan: a server of another may look the same."""
    added = joined(plan(FOLDER, RAW, SERVER, LOOP), (FOLDER, RAW, SERVER), first=3)
    folder, server, loop = added.plan.steps
    assert folder == MakeDirectory(id=3, inside=Result(0), path="raw-3")
    assert server == ExposeRaw(id=4, at=Result(3), files=((0, "disk.raw"),))
    assert loop == LOOP.replaced(id=5, backing=Result(4, "disk.raw"))


def test_a_second_server_shows_only_what_the_first_does_not() -> None:
    wanted = SERVER.replaced(files=((0, "disk.raw"), (5, "1.0.raw")))
    inner = AttachLoop(id=3, backing=Result(2, "1.0.raw"))
    added = joined(plan(FOLDER, RAW, wanted, inner), (FOLDER, RAW, SERVER), first=3, files=SHOWN)
    folder, server, loop = added.plan.steps
    assert server == ExposeRaw(id=4, at=Result(folder.id), files=((5, "1.0.raw"),))
    assert loop.needs() == (server.id,)


def test_another_program_gets_a_folder_of_its_own() -> None:
    image = MakeDirectory(id=1, inside=Result(0), path="image0")
    first = RunImageMounter(id=2, tool="ewfmount", images=("/a",), at=Result(1), arguments=("{image}",))
    added = joined(plan(FOLDER, image, first.replaced(images=("/b",))), (FOLDER, image, first), first=3)
    assert [step.id for step in added.plan.steps] == [3, 4]
    assert added.plan.steps[1].needs() == (3,)
    assert joined(plan(FOLDER, image, first), (FOLDER, image, first), first=3).plan.steps == ()


def test_names_within_the_table_of_a_map_are_followed() -> None:
    def mapped(device: int, number: int) -> MapVolume:
        return MapVolume(id=number, table=(TableLine(0, 8, "linear", (Result(device), 2048)),))

    standing = (FOLDER, RAW, SERVER, LOOP, mapped(3, 4))
    again = plan(FOLDER, RAW, SERVER, LOOP, mapped(3, 4))
    assert joined(again, standing, first=9, files=SHOWN).stand[4] == 4
    moved = plan(LOOP.replaced(id=0, backing="/disk"), mapped(0, 1))
    loop, made = joined(moved, standing, first=9).plan.steps
    assert made == mapped(loop.id, 10)


def test_folders_for_nothing_are_left_out() -> None:
    added = joined(
        plan(FOLDER, RAW, SERVER), (FOLDER.replaced(id=8), SERVER.replaced(id=9)), first=10, files=SHOWN
    )
    assert added.plan.steps == ()
