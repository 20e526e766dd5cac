"""Any scan gives a plan: steps that need only earlier results, and words that are nobody's but ours."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pyimount.formats import Json
from pyimount.layers import DiskLayer, Group, Recipe, Scan, VolumeLayer
from pyimount.planning.plan import plan
from pyimount.planning.policy import FORENSIC, RECOVERY
from pyimount.planning.steps import Mount, MountPlan, MountWithTool, Names
from tests.planning.scans import BARE, FULL, MIB, SESSION, check

HOSTILE = st.sampled_from(
    (
        "",
        "x",
        "a\nb",
        "$(reboot)",
        "`x`",
        "; rm -rf /",
        "--bind",
        "-o",
        "rw,exec",
        "../../etc",
        "\x1b[2J",
        "L" * 4096,
    )
) | st.text(max_size=12)
TYPES = st.sampled_from(
    (
        "ext4", "xfs", "btrfs", "vfat", "ntfs", "ufs", "apfs", "hfsplus", "squashfs", "reiserfs", "VMFS",
        "zfs_member", "linux_raid_member", "LVM2_member", "crypto_LUKS", "BitLocker", "swap", "no\nsuch",
    )
)  # fmt: skip
USAGES = st.sampled_from(("filesystem", "raid", "crypto", "other"))
NUMBERS = st.sampled_from((0, 1, -1, 512, 511, MIB, 4 * MIB, 1 << 62, 1 << 80)) | st.integers(0, 20).map(
    lambda sectors: sectors * 512
)
IDS = st.integers(0, 9)
JUNK: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | NUMBERS | HOSTILE | IDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE, inner, max_size=3),
    max_leaves=6,
)
AREAS = st.fixed_dictionaries(
    {"offset": NUMBERS, "size": NUMBERS},
    optional={"pv": st.sampled_from(("pv0", "pv1", "pv9")), "volume": st.sampled_from(("lv", "in", "no"))},
)
TARGETS = st.fixed_dictionaries(
    {"type": st.sampled_from(("linear", "striped", "error", "raid")), "start": NUMBERS, "size": NUMBERS},
    optional={"area": AREAS, "areas": st.lists(AREAS, max_size=3), "chunk": NUMBERS},
)
PARAMETERS: st.SearchStrategy[dict[str, Json]] = st.fixed_dictionaries(
    {},
    optional={
        "offset": NUMBERS | JUNK,
        "size": NUMBERS | JUNK,
        "inputs": st.lists(IDS, max_size=3) | JUNK,
        "volume": st.just("lv") | JUNK,
        "tables": st.dictionaries(st.sampled_from(("lv", "in")), st.lists(TARGETS, max_size=3)) | JUNK,
        "pvs": st.fixed_dictionaries({"pv0": st.none() | IDS, "pv1": st.none() | IDS}) | JUNK,
        "level": st.sampled_from(("raid1", "raid5", "linear")) | JUNK,
        "devices": st.lists(st.none() | st.just({"input": 0, "trusted": None}), max_size=3) | JUNK,
        "header": HOSTILE,
    },
)  # type: ignore[arg-type]
KINDS = st.sampled_from(
    ("slice", "slice", "slice", "none", "luks", "bitlocker", "lvm2", "md", "vss", "corestorage", "no such")
)


@st.composite
def groups(draw: st.DrawFn) -> Group | None:
    if draw(st.booleans()):
        return None
    return Group(
        type=draw(st.sampled_from(("md", "lvm2", "btrfs"))),
        uuid=draw(st.sampled_from(("a", "b"))),
        name=draw(HOSTILE),
        role=draw(st.sampled_from((None, "1", "2"))),
        members=2,
        present=1,
        complete=draw(st.booleans()),
        volume=draw(st.none() | HOSTILE),
    )


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    count = draw(st.integers(1, 2))
    disks = tuple(
        DiskLayer(
            id=number,
            index=draw(st.none() | HOSTILE),
            paths=(f"/images/{number}",),
            container={"type": draw(st.sampled_from(("raw", "ewf", "qcow2", "split")))},
            size=draw(st.none() | st.sampled_from((0, 10 * MIB, 1 << 40))),
            sector_size=512,
            recipe=Recipe("image"),
        )
        for number in range(count)
    )
    volumes = []
    for number in range(count, count + draw(st.integers(0, 6))):
        parents = draw(st.lists(st.integers(0, number - 1), min_size=1, max_size=2))
        values: dict[str, Any] = {
            "label": draw(st.none() | HOSTILE),
            "uuid": draw(st.none() | HOSTILE),
            "version": draw(st.none() | HOSTILE),
            "last_mountpoint": draw(st.none() | HOSTILE),
            "name": draw(st.none() | HOSTILE),
            "state": draw(st.sampled_from((None, "clean", "dirty", "hibernated", "error"))),
            "type": draw(st.none() | TYPES),
            "usage": draw(st.none() | USAGES),
            "locked": draw(st.none() | st.booleans()),
            "details": draw(st.fixed_dictionaries({}, optional={"ufstype": JUNK, "opened_by": JUNK})),
            "group": draw(groups()),
            "hidden": draw(st.booleans()),
            "size": draw(st.none() | NUMBERS),
        }
        volumes.append(
            VolumeLayer(
                id=number,
                parents=tuple(parents),
                recipe=Recipe(draw(KINDS), draw(PARAMETERS)),
                index=f"{number}" if draw(st.booleans()) else draw(HOSTILE),
                **values,
            )
        )
    return Scan(disks, tuple(volumes))


def words(made: MountPlan) -> list[str]:
    names = Names(SESSION, {step.id: f"@{step.id}" for step in made.steps})
    return [word for step in made.steps for word in step.argv(names)]


@settings(max_examples=120, deadline=None)
@given(scans(), st.booleans(), st.booleans(), st.sampled_from(("auto", "kernel", "user")), st.booleans())
def test_any_scan_gives_a_plan(scan: Scan, full: bool, shadows: bool, backend: str, keys: bool) -> None:
    policy = (RECOVERY if full else FORENSIC).replaced(backend=backend)
    known = {volume.index: frozenset("p") for volume in scan.volumes} if keys else None
    machine = FULL if full else BARE
    made = plan(scan, policy, machine, session=SESSION, shadows=shadows, keys_for=known)
    check(made)
    assert made == plan(scan, policy, machine, session=SESSION, shadows=shadows, keys_for=known)
    mounted = [step.layer for step in made.steps if isinstance(step, Mount | MountWithTool)]
    assert len(mounted) == len(set(mounted))
    assert not set(mounted) & {refusal.layer for refusal in made.refused}
    # Nothing hangs in the air that no mount needs.
    if not mounted:
        assert made.steps == ()


@settings(max_examples=80, deadline=None)
@given(scans())
def test_no_word_is_the_images(scan: Scan) -> None:
    """Whatever text the image has is replaced by another: the plan differs in names of folders alone."""
    made = plan(scan, RECOVERY, FULL, session=SESSION)
    said = {
        text
        for volume in scan.volumes
        for text in (volume.label, volume.uuid, volume.last_mountpoint, volume.name, volume.version)
        if text and not text.isalnum()
    }
    unsafe = {text for text in said if any(char in text for char in "\n$`; /\x1b,") and len(text) > 1}
    for word in words(made):
        for text in unsafe - set(made.images):
            assert text not in word, (text, word)
