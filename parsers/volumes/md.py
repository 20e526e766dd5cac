"""Linux software RAID (md): members with superblocks of version 0.90, 1.0, 1.1 and 1.2.

Where they lie: md(4), mdadm(8); what stands in them: ``md_version_0.py`` and ``md_version_1.py``.
https://raid.wiki.kernel.org/index.php/RAID_superblock_formats
"""

from collections.abc import Iterator

from pyimount.formats import Format, Identity, Json, NotThisFormat, Precedence, Signature, Usage
from pyimount.parsers.volumes.md_version_0 import version_0
from pyimount.parsers.volumes.md_version_1 import version_1
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC_LITTLE = b"\xfc\x4e\x2b\xa9"
MAGIC_BIG = MAGIC_LITTLE[::-1]
# Where a superblock lies; from the end, the size being rounded down to a multiple of ALIGN first.
PLACE_0, ALIGN_0 = -65536, 65536
PLACE_1_0, ALIGN_1_0 = -8192, 4096
PLACE_1_1, PLACE_1_2 = 0, 4096


def parse(view: View) -> Identity:
    """The identity of a member. Of several superblocks the one created last counts, as for mdadm."""
    found = list(_superblocks(view))
    if not found:
        raise NotThisFormat("no md superblock whose figures can be true")
    _, best = max(found, key=lambda one: (one[1].checked, one[0]))
    others = [identity for _, identity in found if identity is not best]
    if not others:
        return best
    named = ", ".join(f"{other.version} at {other.offset} of array {other.uuid}" for other in others)
    message = f"further md superblocks, created earlier or damaged: {named}"
    stale: list[Json] = [
        {"version": other.version, "offset": other.offset, "uuid": other.uuid} for other in others
    ]
    return best.replaced(
        details={**best.details, "other_superblocks": stale},
        problems=(*best.problems, Problem(Code.AMBIGUOUS, message)),
    )


def _superblocks(view: View) -> Iterator[tuple[int, Identity]]:
    """What every superblock that can be true says, each after the second in which its array was created."""
    at_1_0 = view.size // ALIGN_1_0 * ALIGN_1_0 + PLACE_1_0
    at_0 = view.size // ALIGN_0 * ALIGN_0 + PLACE_0
    for offset, minor in ((PLACE_1_1, 1), (PLACE_1_2, 2), (at_1_0, 0), (at_0, None)):
        order = {MAGIC_LITTLE: "little", MAGIC_BIG: "big"}.get(view.glance(offset, 4))
        if order is None or (minor is not None and order == "big"):
            continue
        try:
            yield version_0(view, offset, order) if minor is None else version_1(view, offset, minor)
        except (NotThisFormat, ShortRead):
            continue


FORMAT = Format(
    name="md",
    title="Linux software RAID",
    specification="https://raid.wiki.kernel.org/index.php/RAID_superblock_formats",
    usage=Usage.RAID,
    types=("linux_raid_member",),
    parse=parse,
    signatures=(
        Signature(MAGIC_LITTLE, PLACE_1_1),
        Signature(MAGIC_LITTLE, PLACE_1_2),
        Signature(MAGIC_LITTLE, PLACE_1_0, align=ALIGN_1_0),
        Signature(MAGIC_LITTLE, PLACE_0, align=ALIGN_0),
        Signature(MAGIC_BIG, PLACE_0, align=ALIGN_0),
    ),
    precedence=Precedence.RAID,
)
