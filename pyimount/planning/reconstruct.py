"""The tree that was there before: which volume was the root, and where the others were mounted in it.

Last mount points, fstab and directories are the image's word. What becomes a path is checked here, and again
when it is resolved within the root: nothing leads out of it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyimount.layers import Scan, VolumeLayer
from pyimount.planning.facts import Facts
from pyimount.planning.fstab import Fstab
from pyimount.planning.steps import BindMount, MakeDirectory, Mount, MountPlan, Place, Result, Step
from pyimount.records import EMPTY, Record

LONGEST_PATH = 1024
LONGEST_NAME = 255


class Unplaced(Record, kw_only=True):
    """A mounted volume that has no place in the tree, and why."""

    layer: int
    index: str
    reason: str


class Placed(Record, kw_only=True):
    """A volume that has its place: ``target`` in the root, and what says so, in ``by``."""

    layer: int
    index: str
    target: str
    by: str


class Subvolume(Record, kw_only=True):
    """A subvolume of the root's btrfs that has a place in the tree; ``name``: its path in the volume."""

    name: str
    target: str


class Reconstruction(Record, kw_only=True):
    """The tree: its root, the steps that make it, and what was left out.

    ``root``: the root volume's layer, None where none was found; ``root_by``: what shows that it is.
    ``subvolumes``: of the root's volume, its own first, where the root is one.
    ``path``: where the whole tree stands. ``system``: name, version and hostname of what is installed there.
    """

    root: int | None = None
    root_by: str | None = None
    path: Place | None = None
    steps: tuple[Step, ...] = ()
    placed: tuple[Placed, ...] = ()
    subvolumes: tuple[Subvolume, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    system: Mapping[str, str] = EMPTY


class BadTarget(ValueError):  # noqa: N818
    """A mount point that no tree can have; the message says why."""


def target_of(text: str | None) -> str:
    """A mount point from an image as a plain absolute path; raises BadTarget for what is none.

    Nothing goes up, nothing is relative, empty, too long, or more than a path.
    """
    if not text:
        raise BadTarget("it is empty")
    if not text.startswith("/"):
        raise BadTarget("it is relative")
    if not text.isprintable():
        raise BadTarget("it has control characters")
    if len(text.encode()) > LONGEST_PATH:
        raise BadTarget(f"it is longer than {LONGEST_PATH} bytes")
    elements = [element for element in text.split("/") if element]
    if "." in elements or ".." in elements:
        raise BadTarget("it goes up or nowhere with . or ..")
    if any(len(element.encode()) > LONGEST_NAME for element in elements):
        raise BadTarget(f"a name in it is longer than {LONGEST_NAME} bytes")
    return "/" + "/".join(elements)


def mounted_by(plan: MountPlan) -> dict[int, Result]:
    """Where a plan mounts the volumes, by their layers."""
    return {step.layer: Result(step.id) for step in plan.mounts() if step.layer is not None}


def reconstruct(
    scan: Scan,
    mounted: Mapping[int, Place],
    facts: Sequence[Facts],
    *,
    first: int,
    plan: MountPlan | None = None,
    root: int | None = None,
) -> Reconstruction:
    """How the volumes that are ``mounted`` (a place by each layer's id) were mounted before.

    ``facts``: what was read in each of them. ``first``: the id of the first step. ``plan``: the one that
    mounted them; with it, subvolumes of a btrfs are mounted as the fstab has them. ``root``: the layer
    that is the root, where the caller knows. Volumes are placed by their last mount points, then by the
    root's fstab, then by the directories in them; the first to claim a place has it.
    """
    known = {each.layer: each for each in facts}
    volumes = [volume for volume in scan.volumes if volume.id in mounted]
    found = _root(volumes, known, root)
    if found is None:
        reason = "no root was found: none was last mounted on /, and none has the directories of one"
        return Reconstruction(unplaced=tuple(_unplaced(volume, reason) for volume in volumes))
    top, by = found
    said = known.get(top.id, Facts(layer=top.id))
    tree = _Tree(scan, mounted, top, said, first=first, plan=plan)
    tree.find_root()
    for volume in volumes:
        if volume is not top:
            tree.place(volume, known.get(volume.id, Facts(layer=volume.id)))
    return tree.finish(by)


# The root.

_UNIX = frozenset(("bin", "boot", "dev", "home", "lib", "opt", "proc", "root", "sbin", "sys", "usr", "var"))
_WINDOWS = frozenset(("program files", "users", "documents and settings", "programdata", "pagefile.sys"))


def _root(
    volumes: Sequence[VolumeLayer], facts: Mapping[int, Facts], told: int | None
) -> tuple[VolumeLayer, str] | None:
    if told is not None:
        return next(((volume, "named") for volume in volumes if volume.id == told), None)
    best: tuple[int, VolumeLayer, str] | None = None
    for volume in volumes:
        said = facts.get(volume.id, Facts(layer=volume.id))
        score, by = 0, ""
        if _looks_like_root(said):
            score, by = 2, "its directories"
        if volume.last_mountpoint == "/":
            score, by = score + 3, "its last mount point"
        if score and (said.fstab is not None or said.os_release is not None or said.windows):
            score += 1
        if score and (best is None or score > best[0]):
            best = score, volume, by
    return None if best is None else best[1:]


def _looks_like_root(said: Facts) -> bool:
    if said.subvolume is not None or said.windows:
        return True
    names = set(said.names)
    if "etc" in names and len(names & _UNIX) >= 4:
        return True
    small = {name.lower() for name in names}
    return "windows" in small and bool(small & _WINDOWS)


# The others.


class _Tree:
    """The tree under one root, while it grows."""

    def __init__(
        self,
        scan: Scan,
        mounted: Mapping[int, Place],
        root: VolumeLayer,
        said: Facts,
        *,
        first: int,
        plan: MountPlan | None,
    ) -> None:
        self._scan = scan
        self._mounted = mounted
        self._root = root
        self._said = said
        self._first = first
        self._plan = plan
        self._path: Place = mounted[root.id]
        self._made: list[Step] = []
        self._at: dict[str, tuple[VolumeLayer, Place, str]] = {}
        self._unplaced: list[Unplaced] = []
        self._subvolumes: list[Subvolume] = []
        self._fstab = list(Fstab(scan, mounted, root, said).found())

    def find_root(self) -> None:
        """Mount the root's subvolume, and those of the same btrfs that its fstab names."""
        name = self._said.subvolume
        if name is None:
            return
        if self._plan is None:
            self._find_subvolumes(name)
            return
        path = self._subvolume(self._root, name, "root")
        if path is None:
            return
        self._path = path
        for entry, volume in self._fstab:
            if volume is self._root and entry.subvolume and entry.target != "/":
                try:
                    target = target_of(entry.target)
                except BadTarget as why:
                    self._unplaced.append(_unplaced(volume, f"{entry.subvolume}: {why}"))
                    continue
                place = self._subvolume(volume, entry.subvolume, f"sub{len(self._made)}")
                if place is not None and target not in self._at:
                    self._at[target] = volume, place, "fstab"

    def _find_subvolumes(self, root: str) -> None:
        """Without mounting any: the root's subvolume, and those of the same btrfs that its fstab names."""
        self._subvolumes.append(Subvolume(name=root, target="/"))
        for entry, volume in self._fstab:
            if volume is self._root and entry.subvolume and entry.target != "/":
                try:
                    self._subvolumes.append(
                        Subvolume(name=entry.subvolume.strip("/"), target=target_of(entry.target))
                    )
                except BadTarget as why:
                    self._unplaced.append(_unplaced(volume, f"{entry.subvolume}: {why}"))

    def _subvolume(self, volume: VolumeLayer, name: str, folder: str) -> Place | None:
        """Mount one subvolume of a mounted btrfs; its name goes into an option, and so must be plain."""
        at = next((step for step in self._mounts() if step.layer == volume.id), None)
        plain = name.strip("/")
        if at is None or not _SUBVOLUME.fullmatch(plain) or ".." in plain.split("/"):
            self._unplaced.append(_unplaced(volume, f"subvolume {plain[:80]!r} is not one to be mounted"))
            return None
        inside = at.at
        if isinstance(inside, Result) and self._plan is not None:
            above = next((step for step in self._plan.steps if step.id == inside.step), None)
            if isinstance(above, MakeDirectory):
                folder, inside = f"{above.path}-{folder}", above.inside or inside
        made = self._add(MakeDirectory, layer=volume.id, inside=inside, path=folder)
        options = (*at.options, f"subvol=/{plain}")
        return self._add(
            Mount,
            layer=volume.id,
            device=at.device,
            at=made,
            type=at.type,
            options=options,
            members=at.members,
            named_by=at.named_by,
            read_only=at.read_only,
        )

    def _mounts(self) -> Iterator[Mount]:
        for step in self._plan.steps if self._plan is not None else ():
            if isinstance(step, Mount):
                yield step

    def _add(self, kind: type[Step], **fields: Any) -> Result:
        number = self._first + len(self._made)
        self._made.append(kind(id=number, **fields))
        return Result(number)

    def place(self, volume: VolumeLayer, said: Facts) -> None:
        """Find a volume's place."""
        reasons = []
        for by, text in self._claims(volume, said):
            try:
                target = target_of(text)
            except BadTarget as why:
                reasons.append(f"{by} says {text[:80]!r}: {why}")
                continue
            if target == "/":
                reasons.append(f"{by} says /, and volume {self._root.index} is the root")
            elif target in self._at:
                reasons.append(f"{by} says {target}, where volume {self._at[target][0].index} is")
            else:
                self._at[target] = volume, self._mounted[volume.id], by
                return
        self._unplaced.append(_unplaced(volume, "; ".join(reasons) or "nothing says where it was mounted"))

    def _claims(self, volume: VolumeLayer, said: Facts) -> Iterator[tuple[str, str]]:
        """Where a volume may have been, and what says so, the most dependable first."""
        if volume.last_mountpoint:
            yield "its last mount point", volume.last_mountpoint
        for entry, other in self._fstab:
            if other is volume:
                yield "fstab", entry.target
        guessed = _by_directories(volume, said)
        if guessed is not None:
            yield "its directories", guessed

    def finish(self, by: str) -> Reconstruction:
        """The tree, outer mounts before those within them."""
        placed = []
        for target in sorted(self._at, key=lambda path: path.split("/")):
            volume, source, why = self._at[target]
            self._add(BindMount, layer=volume.id, source=source, root=self._path, target=target)
            placed.append(Placed(layer=volume.id, index=volume.index, target=target, by=why))
        return Reconstruction(
            root=self._root.id,
            root_by=by,
            path=self._path,
            steps=tuple(self._made),
            placed=tuple(placed),
            subvolumes=tuple(self._subvolumes),
            unplaced=tuple(self._unplaced),
            system=self._said.system(),
        )


_SUBVOLUME = re.compile(r"[A-Za-z0-9@_][A-Za-z0-9@_./-]{0,127}")


def _unplaced(volume: VolumeLayer, reason: str) -> Unplaced:
    return Unplaced(layer=volume.id, index=volume.index, reason=reason)


def mountpoint_by_directories(volume: VolumeLayer, said: Facts) -> str | None:
    """Where a volume most likely was mounted, by what is at its top; None where that tells nothing."""
    return "/" if _looks_like_root(said) else _by_directories(volume, said)


def _by_directories(volume: VolumeLayer, said: Facts) -> str | None:
    """Where a volume with these directories at its top most likely belongs."""
    names = set(said.names)
    small = {name.lower() for name in names}
    if volume.type == "vfat" and "efi" in small:
        return "/boot/efi"
    if "etc" not in names and (
        "grub" in names or "grub2" in names or any(name.startswith(("vmlinu", "initrd")) for name in names)
    ):
        return "/boot"
    if {"bin", "lib", "share"} <= names and "usr" not in names:
        return "/usr" if "local" in names else "/usr/local" if "src" in names else None
    if {"lib", "log"} <= names and names & {"cache", "spool"} and not names & {"etc", "usr"}:
        return "/var"
    return "/home" if said.homes and not names & {"etc", "usr"} else None
