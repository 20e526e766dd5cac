"""What a scan answers about its layers: what a caller's name for one means."""

import pytest

from pyimount.layers import DiskLayer, Layer, Recipe, Scan, VolumeLayer


def volume(number: int, index: str, *parents: int, **facts: object) -> VolumeLayer:
    recipe = Recipe("slice", {"offset": 0, "size": 512})
    return VolumeLayer(id=number, parents=parents or (1,), recipe=recipe, index=index, **facts)


def disk(number: int, index: str | None) -> DiskLayer:
    return DiskLayer(
        id=number, index=index, paths=(f"{number}.img",), container={"type": "raw"}, size=1 << 20,
        sector_size=512, recipe=Recipe("file"),
    )  # fmt: skip


MEMBERS = (volume(3, "1.1", uuid="ARRAY-1"), volume(4, "2.1", 2, uuid="array-1"))
SCAN = Scan(
    (disk(1, "1"), disk(2, "2")),
    (
        *MEMBERS,
        volume(5, "1.1.0", 3, 4, mapping={"uuid": "array-1"}, uuid="FS", label="1.2"),
        volume(6, "1.2", label="home", last_mountpoint="/home"),
        volume(7, "1.3", label="home", last_mountpoint="/srv", uuid="home"),
        volume(8, "1.3.0", 7, uuid="home", mapping={"type": "vss"}),
        volume(9, "2.2", 2, label="/home", last_mountpoint="/"),
    ),
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("1.3", (7,)),  # an index
        ("1", (1,)),  # a disk's
        ("1.2", (6,)),  # an index before a label
        ("fs", (5,)),  # a UUID, in either case
        ("ARRAY-1", (5,)),  # an array before the members that bear its UUID
        ("home", (7,)),  # a UUID before a label, and a volume before its shadow copies
        ("/home", (9,)),  # a label before a path
        ("/srv", (7,)),  # where it was last mounted
        ("HOME2", ()),
        ("", ()),
    ],
)
def test_a_name_means_an_index_else_a_uuid_else_a_label_else_a_path(
    name: str, found: tuple[int, ...]
) -> None:
    assert tuple(layer.id for layer in SCAN.named(name)) == found


def test_all_that_a_label_names_are_meant() -> None:
    labelled: tuple[Layer, ...] = (volume(3, "1", label="data"), volume(4, "2", label="data"))
    scan = Scan((disk(1, None),), labelled)  # type: ignore[arg-type]
    assert scan.named("data") == labelled
