"""From a scan to the steps that mount it: a pure function, which needs no root and touches nothing."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pyimount.formats import KernelMount, ToolMount, Usage
from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.planning.choice import Choice, told_type
from pyimount.planning.contents import NONE, Contents, MountedAs
from pyimount.planning.machine import Machine
from pyimount.planning.naming import USUAL, Naming, Unique, safe_name
from pyimount.planning.nothing import of_nothing
from pyimount.planning.owner import Owner
from pyimount.planning.places import LOCKS, Places
from pyimount.planning.policy import Policy
from pyimount.planning.recipes import (
    arguments_of,
    erase_size,
    is_written,
    options_of,
    way_to_mount,
)
from pyimount.planning.refusing import Refused
from pyimount.planning.session_steps import Folders, Steps
from pyimount.planning.steps import (
    READABLE,
    AttachFlash,
    Carve,
    MakeDirectory,
    Mount,
    MountPlan,
    MountWithTool,
    Refusal,
    Result,
    ShowDirectory,
    readable_arguments,
)
from pyimount.records import EMPTY

if TYPE_CHECKING:
    from pyimount.keys import Keyring

BASE = "/run/pyimount"
"""Where root's sessions have their folders."""


def key_kinds(scan: Scan, keys: "Keyring | None") -> dict[str, frozenset[str]]:
    """The kinds of keys that there are for each volume that is or was locked, by its index."""
    if keys is None:
        return {}
    return {
        volume.index: frozenset(key.kind for key in keys.for_volume(volume.index, volume.uuid))
        for volume in scan.volumes
        if volume.usage == Usage.CRYPTO
    }


def plan(
    scan: Scan,
    policy: Policy,
    machine: Machine,
    *,
    session: str,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    fstypes: Mapping[str, str] = EMPTY,
    keys_for: Mapping[str, Collection[str]] | None = None,
    shadows: bool = False,
    base: str = BASE,
    folder: str | None = None,
    naming: Naming = USUAL,
    cache: str | None = None,
    carve: str | None = None,
    cwd: str = "/",
    owner: Owner | None = None,
    readable: bool = False,
    first: int = 0,
) -> MountPlan:
    """What mounting all file systems of ``scan`` does; what is left out, and why, stands in ``refused``.

    ``session``: eight hexadecimal digits. ``only``, ``skip``: indexes, UUIDs or labels of volumes, or the
    index of a disk; what lies within them counts too. ``fstypes``: ``{index: type}``: what to mount a volume
    as, with ``*`` for every one and ``?`` for those that are not recognised; ``unknown``: without a type,
    ``none``: not at all. ``keys_for``: the kinds of keys that there are, by the index of the locked volume
    (``key_kinds``); None: for all that the scan opened. ``shadows``: mount shadow copies too.
    ``base``: where the session has its folder. ``folder``: where mountpoints are made, else in the session's
    own; ``naming``: how they are called. ``cache``: the folder for what is written where the policy has
    ``read_write``. ``carve``: a folder for files that are carved: from the free space of what is mounted, as
    far as photorec knows what is free there, and from all of what is not mounted, not recognised or not
    allocated. ``cwd``: what relative paths of the scan are meant from. ``owner``: whose
    files are shown as that are nobody's; ``readable``: that user reads all files, whosever they are.
    ``first``: the first step's id.

    The same arguments give the same plan. Raises ValueError for a session that is none, for ``read_write``
    without a cache.
    """
    if len(session) != 8 or not set(session) <= set("0123456789abcdef"):
        raise ValueError(f"a session is eight hexadecimal digits, not {session!r}")
    if policy.read_write and cache is None:
        raise ValueError("reading and writing needs a folder for what is written")
    steps = Steps(first)
    folders = Folders(steps, session, base, cache if policy.read_write else None)
    places = Places(scan, policy, machine, steps, folder=folders, keys=keys_for, cwd=cwd)
    planner = _Planner(scan, policy, machine, steps=steps, places=places, folders=folders, owner=owner)
    planner.readable = readable and owner is not None and owner.uid != 0
    contents = Contents(scan, policy)
    choice = Choice(scan, only, skip, shadows=shadows)
    unique = Unique()
    refused: list[Refusal] = []
    for disk in scan.disks:
        if disk.is_folder:
            if choice.has_disk(disk):
                called = unique(naming.of_folder(disk))
                planner.show(disk, os.path.join(cwd, disk.paths[0]), folder, naming.folder(), called)
        elif disk.size is None:
            why = next((problem.message for problem in disk.problems), "it could not be opened")
            refused.append(Refusal(layer=disk.id, index=disk.index or "", code="no-bytes", reason=why))
        for volume in scan.walk(disk):
            if not choice.has(volume):
                continue
            mark = places.mark()
            try:
                found = contents.of(volume, told_type(volume, fstypes))
                if found is not None:
                    called = unique(naming.of(scan, volume))
                    planner.mount(volume, found, folder, naming.folder(), called)
            except Refused as why_not:
                places.back_to(mark)
                refused.append(_refusal(volume, why_not))
    if carve is None:
        mounts = (Mount, MountWithTool, ShowDirectory)
        reached = {step.layer for step in steps.made if isinstance(step, mounts) and step.layer is not None}
        left_alone = {each.id for each in scan.volumes if told_type(each, fstypes) == NONE}
        left_alone |= {layer.id for name in skip for layer in scan.named(name)}
        refused += of_nothing(scan, only, left_alone, reached | {each.layer for each in refused})
    uncarved: list[Refusal] = []
    if carve is not None:
        # Last: it takes long.
        mounted = {step.layer for step in steps.made if isinstance(step, Mount | MountWithTool)}
        for volume in scan.volumes:
            if choice.has(volume, gaps=True) and _is_carved(scan, volume):
                mark = places.mark()
                free = volume.id in mounted and volume.type in FREE_KNOWN
                try:
                    planner.carve(volume, f"{carve}/{carved_name(volume)}", free_only=free)
                except Refused as why_not:
                    places.back_to(mark)
                    uncarved.append(_refusal(volume, why_not))
    places.finish()
    images = tuple(dict.fromkeys(os.path.join(cwd, path) for disk in scan.disks for path in disk.paths))
    return MountPlan(
        session=session,
        images=images,
        steps=tuple(steps.made),
        refused=tuple(refused),
        uncarved=tuple(uncarved),
        missing=tuple(places.missing.items()),
    )


FREE_KNOWN = frozenset(("ext2", "ext3", "ext4", "vfat", "exfat", "ntfs"))
"""The file systems of which photorec knows what is free."""


def carved_name(volume: VolumeLayer) -> str:
    """The name of the folder for what is carved from a volume: of each in a scan another."""
    name = safe_name(volume.index)
    # An index has digits and dots, unless somebody else wrote the report.
    return name if name == volume.index else f"layer{volume.id}"


def _is_carved(scan: Scan, volume: VolumeLayer) -> bool:
    """Whether a volume may have files of its own, whatever tells of them."""
    if not volume.size or volume.recipe.kind == "none":
        return False
    unknown = volume.type is None and volume.pttype is None and not scan.children(volume)
    return unknown or volume.usage == Usage.FILESYSTEM


def _refusal(volume: VolumeLayer, why: Refused) -> Refusal:
    return Refusal(layer=volume.id, index=volume.index, code=why.code, reason=why.reason, remedy=why.remedy)


class _Planner:
    """Adds the steps that mount a volume, show a folder or carve."""

    def __init__(
        self, scan: Scan, policy: Policy, machine: Machine, *, steps: Steps, places: Places, folders: Folders,
        owner: Owner | None,
    ) -> None:  # fmt: skip
        self._scan = scan
        self._policy = policy
        self._machine = machine
        self._steps = steps
        self._places = places
        self._folders = folders
        self._owner = owner
        self.readable = False
        self._has_flash = False

    def mount(
        self, volume: VolumeLayer, found: MountedAs, folder: str | None, case: str | None, called: str
    ) -> None:
        """Add the steps that mount a volume; raises Refused."""
        if found.declared is None:
            device = self._places.device(volume)
            at = self._place(volume, folder, case, called, owned=False)
            made = self._steps.add(Mount, layer=volume.id, device=device, at=at, type=None)
            self._show(volume, made, folder, case, called, owned=False)
            return
        way = way_to_mount(volume, found.declared, self._policy, self._machine)
        if isinstance(way, ToolMount):
            source = self._places.device(volume) if way.on_device else self._places.file(volume)
            if isinstance(source, str):
                # The image itself: nobody gets that who could write to it.
                source = self._places.device(volume)
            at = self._mountpoint(volume, folder, case, called)
            self._steps.add(
                MountWithTool,
                layer=volume.id,
                tool=way.tool,
                source=source,
                at=at,
                arguments=arguments_of(way, self._owner),
            )
            return
        options = options_of(way, volume, self._policy, self._owner)
        device = self._places.device(volume)
        if way.flash is not None:
            if self._has_flash:
                why = "the kernel makes one flash device of memory at a time, and another volume has it"
                raise Refused("unsupported", why, f"--only-mount {volume.index}")
            device = self._steps.add(
                AttachFlash,
                layer=volume.id,
                device=device,
                size=volume.size,
                erase_size=erase_size(way, volume),
            )
            self._has_flash = True
        others = [each for each in self._scan.members(volume) if each is not volume and way.every_member]
        if others and way.named_by and not self._policy.read_write:
            # Linux opens them so even for a mount that is read-only (xfs_blkdev_get, fs/xfs/xfs_super.c).
            why = f"the driver {way.driver} opens its other devices for writing, and these are read-only"
            raise Refused("unsupported", why, "--read-write: over a cache, the images stay as they are")
        at = self._place(volume, folder, case, called, owned="umask" in way.owner)
        made = self._steps.add(
            Mount,
            layer=volume.id,
            device=device,
            at=at,
            type=way.driver,
            options=options,
            members=tuple(self._places.device(other) for other in others),
            named_by=_named_by(way, others),
            read_only=not (self._policy.read_write and is_written(way)),
        )
        self._show(volume, made, folder, case, called, owned="umask" in way.owner)

    def _place(
        self, volume: VolumeLayer, folder: str | None, case: str | None, called: str, *, owned: bool
    ) -> Result:
        """Where a volume is mounted; ``owned``: its files are the caller's already. Raises Refused."""
        if owned or not self.readable:
            return self._mountpoint(volume, folder, case, called)
        if READABLE not in self._machine.tools:
            why = f"{READABLE} is not installed, which shows files as another user's"
            raise Refused("needs-tool", why, f"install {READABLE}: see `pyimount check`")
        return self._folders.of_kept(volume)

    def _show(
        self, volume: VolumeLayer, made: Result, folder: str | None, case: str | None, called: str,
        *, owned: bool,
    ) -> None:  # fmt: skip
        """Show what was mounted as the caller's, if that was asked for."""
        if owned or not self.readable or self._owner is None:
            return
        at = self._mountpoint(volume, folder, case, called)
        self._steps.add(
            MountWithTool,
            layer=volume.id,
            tool=READABLE,
            source=made,
            at=at,
            arguments=readable_arguments(self._owner.uid, self._owner.gid),
        )

    def show(self, disk: DiskLayer, path: str, folder: str | None, case: str | None, called: str) -> None:
        """Add the steps that show a folder."""
        at = self._mountpoint(disk, folder, case, called)
        self._steps.add(ShowDirectory, layer=disk.id, path=path, at=at)

    def carve(self, volume: VolumeLayer, at: str, *, free_only: bool) -> None:
        """Add the steps that carve a volume; raises Refused."""
        if "photorec" not in self._machine.tools:
            raise Refused("needs-tool", "photorec is not installed", "install photorec: see `pyimount check`")
        device = self._places.device(volume)
        self._steps.add(Carve, layer=volume.id, source=device, at=at, free_only=free_only)

    def _mountpoint(self, layer: Layer, folder: str | None, case: str | None, called: str) -> Result:
        inside = self._folders.of_mountpoints(folder, case)
        return self._steps.add(MakeDirectory, layer=layer.id, inside=inside, path=called)


def _named_by(way: KernelMount, others: Sequence[VolumeLayer]) -> tuple[str, ...]:
    """The options by which a driver is told of other devices, where they go by their roles."""
    options = dict(way.named_by)
    return tuple(options.get(other.group.role or "", "device") for other in others if other.group and options)


def needs_keys(scan: Scan) -> Iterator[VolumeLayer]:
    """The locked volumes whose keys mounting this scan takes."""
    for volume in scan.volumes:
        if volume.recipe.kind in LOCKS:
            parent = scan.parents(volume)[0]
            if isinstance(parent, VolumeLayer):
                yield parent
