"""Shadow copies whose stores are on another volume: which volumes of one call keep them."""

from pyimount.layers import VolumeLayer
from pyimount.mapping.assembly import Assembly
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.source import Source


class Shadowed(Record):
    """A volume with shadow copies, or with stores of another's; ``copies``: what it says itself of them."""

    volume: VolumeLayer
    source: Source
    depth: int
    copies: Assembly


class Apart:
    """The volumes of one scan whose shadow copies, or whose stores, belong to another's."""

    def __init__(self) -> None:
        self._found: list[Shadowed] = []

    def note(self, one: Shadowed) -> bool:
        """Note a volume; whether it lacks something that another may keep, or keeps something for another."""
        apart = bool(one.copies.wants or one.copies.keeps)
        if apart:
            self._found.append(one)
        return apart

    def incomplete(self) -> list[Shadowed]:
        """The volumes that have copies whose stores they lack."""
        return [one for one in self._found if one.copies.wants]

    def keepers(self, one: Shadowed) -> list[Shadowed]:
        """The other volumes that keep stores for a volume's copies."""
        wanted = {*one.copies.wants}
        return [other for other in self._found if other is not one and wanted & {*other.copies.keeps}]

    def unclaimed(self) -> list[tuple[int, Problem]]:
        """What to say of volumes that keep stores for copies of which none is here, by the volume's id."""
        wanted = {name for one in self._found for name in one.copies.wants}
        found = []
        for one in self._found:
            left = {*one.copies.keeps} - wanted
            if left:
                message = (
                    f"it keeps stores of shadow copies ({len(left)}) of another volume, which is not here"
                )
                found.append((one.volume.id, Problem(Code.MISSING_MEMBER, message)))
        return found
