"""md arrays in the middle of a reshape: one layout holds up to its position, another beyond.

Linux moves the data from the start to the end, or, where there are fewer members afterwards, from the end to
the start, and records its position before it writes over what it has moved: super_1_validate in md.c of
drivers/md, raid5_compute_sector and reshape_request in raid5.c, raid10_find_phys in raid10.c.
"""

from pyimount.formats import Details, Json
from pyimount.parsers.volumes.md_array import array_size
from pyimount.problems import Code, Problem
from pyimount.records import Record


class Reshape(Record, kw_only=True):
    """The two layouts of an array that is being reshaped, as superblocks of arrays that are not have them.

    ``before``, ``after``: facts of the old and the new layout. ``position`` and ``size`` of the array in
    bytes; the new layout holds before the position, or behind it where the reshape goes ``backwards``.
    ``moved``: the members' data begins elsewhere afterwards, so that nothing was written over itself.
    """

    before: Details
    after: Details
    position: int
    size: int
    backwards: bool
    moved: bool

    @property
    def parts(self) -> dict[str, Json]:
        """Where the one layout ends and the other begins, for the recipe."""
        return {"position": self.position, "backwards": self.backwards}

    @property
    def problem(self) -> Problem | None:
        """What may be wrong at the position; None where nothing is."""
        if self.moved:
            return None
        return Problem(
            Code.AMBIGUOUS,
            f"the array was being reshaped and had come to byte {self.position}: what was on its way there "
            "may be half moved, and mdadm's backup of it, a file of its own, is not read",
        )


def reshape_of(facts: Details) -> Reshape | None:
    """The reshape that a superblock tells of; raises ValueError for one that there cannot be."""
    said = facts.get("reshape")
    if not isinstance(said, dict):
        return None
    level = facts.get("level")
    if said.get("new_level") != level:
        raise ValueError(f"a reshape from {level} to {said.get('new_level')} in one go")
    disks, delta = _figure(facts, "raid_disks"), _figure(said, "delta_disks")
    used, number = _figure(facts, "used_size"), _figure(facts, "level_number")
    layouts = _figure(facts, "layout_number"), _figure(said, "new_layout_number")
    chunks = _figure(facts, "chunk_size"), _figure(said, "new_chunk")
    if disks <= delta:
        raise ValueError(f"a reshape from {disks - delta} members to {disks}")
    # While it lasts, the array has the smaller size of the two.
    sizes = [array_size(number, layout, max(chunks), min(disks, disks - delta), used) for layout in layouts]
    size = min(each or 0 for each in sizes)
    before, after = (
        {
            **facts,
            "layout_number": layout,
            "chunk_size": chunk,
            "raid_disks": count,
            "array_size": array_size(number, layout, chunk, count, used),
            "reshape": None,
        }
        for layout, chunk, count in zip(layouts, chunks, (disks - delta, disks), strict=True)
    )
    features = facts.get("features")
    return Reshape(
        before=before,
        after=after,
        position=min(_figure(said, "position"), size),
        size=size,
        backwards=delta < 0 or (isinstance(features, list) and "reshape_backwards" in features),
        moved=said.get("new_data_offset") is not None,
    )


def _figure(facts: Details, key: str) -> int:
    value = facts.get(key)
    if not isinstance(value, int):
        raise ValueError(f"a reshape without {key}")  # noqa: TRY004  (a fault of the superblock)
    return value
