"""Names of mountpoints: what labels may hold, and never more than a name."""

from hypothesis import given
from hypothesis import strategies as st

from pyimount.layers import Scan
from pyimount.planning.naming import LONGEST, Naming, Unique, raw_name, safe_name
from pyimount.planning.steps import MakeDirectory
from tests.planning.scans import disk, of, part, planned


def is_safe(name: str) -> bool:
    return (
        0 < len(name.encode()) <= LONGEST
        and name not in (".", "..")
        and not name.startswith(("-", "."))
        and name.isprintable()
        and not set(name) & set("/\\ $`'\"!*?[]{}()<>|;&#\n\t%,")
    )


@given(st.text(max_size=200))
def test_any_label_gives_a_name_that_is_one(label: str) -> None:
    name = safe_name(label)
    assert name == "" or is_safe(name)
    assert safe_name(name) == name


def test_labels_are_readable_still() -> None:
    assert safe_name("My Disk (backup)") == "My_Disk_backup"
    assert safe_name("Daten für Zoë") == "Daten_für_Zoë"
    assert safe_name("../../etc") == "etc"
    assert safe_name("$(reboot)\n; rm -rf /") == "reboot_rm_-rf"
    assert safe_name("\x1b[2Jx") == "2Jx"
    assert safe_name("...") == safe_name("///") == ""
    assert len(safe_name("ü" * 4096).encode()) == LONGEST


@given(st.lists(st.text("ab", max_size=2), max_size=20))
def test_no_name_is_given_twice(names: list[str]) -> None:
    unique = Unique()
    given_out = [unique(safe_name(name) or "volume") for name in names]
    assert len(set(given_out)) == len(given_out)
    assert all(map(is_safe, given_out))


def test_long_names_stay_bounded_when_they_are_numbered() -> None:
    unique = Unique()
    assert {len(unique("x" * LONGEST)) for _ in range(120)} == {LONGEST}


@given(st.text(max_size=300), st.text(max_size=30))
def test_a_plan_calls_folders_safely_whatever_the_label(label: str, index: str) -> None:
    scan = Scan((disk(),), (part(1, 0, index, type="ext4", label=label, last_mountpoint=label),))
    for naming in (Naming(), Naming(pretty=True), Naming(pretty=True, casename=label)):
        for step in of(planned(scan, naming=naming), MakeDirectory)[1:]:
            assert is_safe(step.path)


def test_pretty_names_are_imagemounters() -> None:
    scan = Scan(
        (disk(paths=("/images/laptop.E01",)),),
        (
            part(1, 0, "1", type="ext4", label="/"),
            part(2, 0, "2", at=20 << 20, type="ext4", last_mountpoint="/home"),
        ),
    )
    named = [step.path for step in of(planned(scan, naming=Naming(pretty=True)), MakeDirectory)]
    assert named[2:] == ["laptop-1-root", "laptop-2-home"]
    made = planned(scan, naming=Naming(pretty=True, casename="Case 7"), folder="/mnt/cases")
    assert [step.path for step in of(made, MakeDirectory)] == ["/mnt/cases", "Case_7", "1-root", "2-home"]


def test_names_of_raw_files() -> None:
    assert raw_name(disk()) == "disk.raw"
    assert raw_name(disk(index="2")) == "disk2.raw"
    assert raw_name(part(1, 0, "1.0")) == "1.0.raw"
    assert raw_name(part(7, 0, "../x")) == "layer7.raw"
