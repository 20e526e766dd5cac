"""What the volumes of a scan are mounted as, by what was recognised in them or what the user says."""

from pyimount.formats import Format, KernelMount, Usage
from pyimount.layers import Scan, VolumeLayer
from pyimount.planning.nothing import HOLDS_NOTHING
from pyimount.planning.policy import Policy
from pyimount.planning.recipes import UNKNOWN, format_called, format_of
from pyimount.planning.refusing import Refused
from pyimount.records import Record

NONE = "none"
"""The word for leaving a volume alone."""

_UNREAD = frozenset(("unsupported", "missing-member", "damaged", "read-error", "outside-parent"))
"""The codes of problems for which a volume's contents are not recognised."""


class MountedAs(Record, kw_only=True):
    """What a volume is mounted as: ``declared``, or without a type."""

    declared: Format | None


class Contents:
    """What each volume is mounted as; it remembers which file systems over several volumes are taken."""

    def __init__(self, scan: Scan, policy: Policy) -> None:
        self._scan = scan
        self._policy = policy
        self._joined: dict[int, str] = {}
        """The UUIDs of the file systems over several volumes that were taken, by their first member's id."""

    def of(self, volume: VolumeLayer, told: str | None) -> MountedAs | None:
        """What to mount a volume as; None for what holds no file system. Raises Refused.

        ``told``: the type that the user gives it, NONE or UNKNOWN; None: what was recognised counts.
        """
        if told == NONE:
            return None
        if told == UNKNOWN:
            return MountedAs(declared=None)
        if told is not None:
            declared = format_called(told)
            if declared is None:
                raise Refused("unsupported", f"there is no file system called {told}")
            return MountedAs(declared=declared)
        if volume.usage == Usage.FILESYSTEM:
            return self._file_system(volume)
        if volume.locked:
            if not self._scan.children(volume):
                remedy = f"give its key: --keys {volume.index}=p:…, --key-file or --ask"
                why = next((each.message for each in volume.problems if each.code == "wrong-key"), None)
                raise Refused("locked", why or f"{volume.type} is locked", remedy)
            return None
        if volume.usage == Usage.RAID:
            self._member(volume)
        if volume.type is None and volume.pttype is None and not self._scan.children(volume):
            return self._not_recognised(volume)
        return None

    def _file_system(self, volume: VolumeLayer) -> MountedAs | None:
        if volume.recipe.kind == "none":
            # One of several in its parent, which shows them all.
            if volume.locked:
                raise Refused("locked", f"{volume.type} volume {volume.label or ''} is locked".strip())
            return None
        declared = format_of(volume.type)
        if declared is None:
            raise Refused("unsupported", f"nothing here knows file systems of type {volume.type}")
        group = volume.group
        together = [way for way in declared.mounts if isinstance(way, KernelMount) and way.every_member]
        if group is not None and group.type == volume.type and group.members != 1 and not together:
            why = f"over several devices: the {volume.type} driver finds the others by itself, or not at all"
            raise Refused("unsupported", why)
        if group is not None and together:
            # A seed that it has too is no member of it alone.
            members = [each for each in self._scan.members(volume) if each.group is not None]
            first = next(each.id for each in members if each.group and each.group.uuid == group.uuid)
            if first in self._joined:
                return None
            is_clone = group.uuid in self._joined.values()
            self._joined[first] = group.uuid
            if is_clone:
                why = (
                    "the kernel mounts one file system of this UUID at a time, and a clone of it comes first"
                )
                raise Refused("unsupported", why, f"--only-mount {volume.index}")
        return MountedAs(declared=declared)

    def _member(self, volume: VolumeLayer) -> None:
        group = volume.group
        if group is None:
            first = None if self._scan.children(volume) else volume
        elif group.volume is not None:
            return
        else:
            first = self._scan.members(volume)[0]
        if first is volume:
            problem = next(iter(volume.problems), None)
            why = problem.message if problem else f"nothing here assembles {volume.type}"
            raise Refused("damaged" if problem else "unsupported", why)

    def _not_recognised(self, volume: VolumeLayer) -> MountedAs | None:
        if not volume.size or (volume.part_type or "").lower() in HOLDS_NOTHING:
            return None
        unread = next(
            (problem.message for problem in volume.problems if problem.code in _UNREAD),
            None,
        )
        if unread is not None:
            raise Refused("no-bytes", unread)
        if self._policy.unknown:
            return MountedAs(declared=None)
        remedy = (
            f"--fstypes {volume.index}=TYPE, if you know it; {volume.index}={UNKNOWN}: let the kernel try"
        )
        raise Refused("unknown", "its contents are not recognised", remedy)
