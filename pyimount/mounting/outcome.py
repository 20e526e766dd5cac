"""What became of a mount: of each volume, of what was carved, and of the tree as a whole."""

from collections.abc import Mapping
from typing import Any

from pyimount.layers import Scan, VolumeLayer
from pyimount.planning.reconstruct import Placed, Unplaced
from pyimount.planning.steps import ExposeRaw, MountPlan, Refusal
from pyimount.records import Record

READ_ONLY = "read-only"
"""The code for what stands and cannot be written to, although that was asked for."""


class MountedVolume(Record, kw_only=True):
    """What became of one volume that was to be mounted.

    ``mountpoint``: where it stands, None when it does not; ``device``: what is mounted there.
    ``refusal``: why it does not stand, or cannot be written to, and what to do about that. ``missing``: so
    many bytes at its end the image does not have: to read there is an error. ``volume`` is None for a disk
    without any: one that could not be read or has nothing to mount, or, with ``is_folder``, a folder of
    files, whose ``device`` is its path.
    """

    volume: VolumeLayer | None
    index: str
    mountpoint: str | None = None
    device: str | None = None
    refusal: Refusal | None = None
    is_folder: bool = False
    missing: int = 0

    @property
    def type(self) -> str | None:
        """The type of its file system; ``dir`` for a folder."""
        if self.is_folder:
            return "dir"
        return None if self.volume is None else self.volume.type

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        volume, refusal = self.volume, self.refusal
        return {
            "index": self.index,
            "type": self.type,
            "label": None if volume is None else volume.label,
            "uuid": None if volume is None else volume.uuid,
            "mountpoint": self.mountpoint,
            "device": self.device,
            "missing": self.missing,
            "code": None if refusal is None else refusal.code,
            "reason": None if refusal is None else refusal.reason,
            "remedy": None if refusal is None else refusal.remedy,
        }


class Carved(Record, kw_only=True):
    """What became of the carving of one volume, or of a gap.

    ``folder``: where what was found is, and stays. ``free_only``: only what its file system has free was
    looked at. ``files``: how many were found. ``refusal``: why it was not carved, or not to the end.
    """

    volume: VolumeLayer | None
    index: str
    folder: str | None = None
    free_only: bool = False
    files: int = 0
    refusal: Refusal | None = None

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        refusal = self.refusal
        return {
            "index": self.index,
            "folder": self.folder,
            "free_only": self.free_only,
            "files": self.files,
            "code": None if refusal is None else refusal.code,
            "reason": None if refusal is None else refusal.reason,
            "remedy": None if refusal is None else refusal.remedy,
        }


class Mounted(Record, kw_only=True):
    """What became of a mount: its session, what was found, what was planned, and each volume."""

    session: str
    scan: Scan
    plan: MountPlan
    volumes: tuple[MountedVolume, ...]
    places: Mapping[int, str]
    """What each step of the plan made, by its id."""
    carved: tuple[Carved, ...] = ()
    tree: "Tree | None" = None

    @property
    def cache(self) -> str | None:
        """The folder of what is written; None where nothing is."""
        return next((step.cache for step in self.plan.steps if isinstance(step, ExposeRaw)), None)

    @property
    def standing(self) -> tuple[MountedVolume, ...]:
        """The volumes that are mounted."""
        return tuple(each for each in self.volumes if each.mountpoint is not None)

    @property
    def unwritable(self) -> tuple[MountedVolume, ...]:
        """The volumes that are mounted, and cannot be written to although they should."""
        return tuple(each for each in self.standing if each.refusal is not None)

    @property
    def failed(self) -> tuple[MountedVolume, ...]:
        """The volumes that should stand and do not."""
        return tuple(each for each in self.volumes if each.mountpoint is None)

    def to_dict(self) -> dict[str, Any]:
        """All of it but scan and plan, as JSON values."""
        return {
            "session": self.session,
            "images": list(self.plan.images),
            "cache": self.cache,
            "volumes": [each.to_dict() for each in self.volumes],
            "carved": [each.to_dict() for each in self.carved],
            "tree": None if self.tree is None else self.tree.to_dict(),
        }


class Tree(Record, kw_only=True):
    """The tree as it was, put together again; the fields are those of a Reconstruction, after the act.

    ``root``: the index of the root volume, None where none was found; ``path``: where the tree stands.
    """

    root: str | None
    root_by: str | None
    path: str | None
    placed: tuple[Placed, ...]
    unplaced: tuple[Unplaced, ...]
    system: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "root": self.root,
            "root_by": self.root_by,
            "path": self.path,
            "placed": [{"index": each.index, "target": each.target, "by": each.by} for each in self.placed],
            "unplaced": [{"index": each.index, "reason": each.reason} for each in self.unplaced],
            "system": dict(self.system),
        }
