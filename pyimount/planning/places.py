"""How the bytes of a layer become a file or a device on this machine: steps, and what they give.

There are two ways to the bytes of what stands above a lock, an array or a volume group: the kernel's
device-mapper and md, and our own server, which shows any layer as a file. A partition is a run of what it
lies in, so a chain of partitions is one loop device.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pyimount.formats import Json
from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.mapping.kinds import ASSEMBLED, OPENED
from pyimount.planning.machine import Machine
from pyimount.planning.mounters import MOUNTERS, NBD_FORMATS, UNLOCKERS, Mounter
from pyimount.planning.naming import raw_name
from pyimount.planning.policy import Policy
from pyimount.planning.refusing import Refused
from pyimount.planning.steps import (
    ActivateVolumeGroup,
    AssembleArray,
    AttachLoop,
    ConnectNbd,
    ExposeRaw,
    ExposeShadows,
    ExposeUnlocked,
    MakeDirectory,
    MapVolume,
    OpenEncrypted,
    Place,
    Result,
    RunImageMounter,
    Step,
    TableLine,
)
from pyimount.records import Record

SECTOR = 512
DEPTH_CAP = 64
"""So many layers may lie within one another: a scan stops far below; a report may say anything."""
LINES_CAP = 1 << 16
"""Lines of one device-mapper table."""

SERVER_OPENS = frozenset((*ASSEMBLED.values(), *OPENED.values(), "vss"))
"""The kinds of recipe whose bytes our own server gives."""
LOCKS = frozenset(OPENED.values())
"""The kinds of recipe that want a key."""
CRYPTSETUP: Mapping[str, tuple[str, frozenset[str]]] = {
    # Not VeraCrypt: cryptsetup mixes what comes as a key file into the passphrase.
    "luks": ("luks", frozenset("pf")),
    "bitlocker": ("bitlk", frozenset("prs")),
}
"""What cryptsetup opens: its word for it, and the kinds of keys that it takes through standard input."""
NAMES_OTHERS = ("backing_file", "data_file", "parent")
"""Where a container's details name another file."""
MD_LEVELS = frozenset(("raid0", "raid1", "raid4", "raid5", "raid6", "raid10"))


class Steps:
    """The steps of a plan as they are thought of; ``first`` is the id of the first."""

    def __init__(self, first: int = 0) -> None:
        self.made: list[Step] = []
        self._first = first

    def add(self, kind: type[Step], **fields: Any) -> Result:
        """A further step; returns what stands for its result."""
        number = self._first + len(self.made)
        self.made.append(kind(id=number, **fields))
        return Result(number)

    def replace(self, result: Result, **changes: Any) -> None:
        """Change a step that was added before."""
        at = result.step - self._first
        self.made[at] = self.made[at].replaced(**changes)


class Run(Record, kw_only=True):
    """Where a layer's bytes lie: so many from ``offset`` on of a file or a device.

    ``device``: it is one, and not a file; ``kernel``: which the kernel makes, by device-mapper or md.
    """

    backing: Place
    size: int
    offset: int = 0
    device: bool = False
    kernel: bool = False
    whole: bool = True


class Mark(Record):
    """How far a plan has come."""

    steps: int
    runs: int
    loops: int
    files: int
    mapped: int
    shadows: int


class Places:
    """Finds ways to the bytes of a scan's layers; what one layer's takes, the next one's shares.

    ``folder``: makes those of the session. ``keys``: the kinds of keys that there are, by the index of the
    locked volume; None: whatever was opened can be opened again. ``cwd``: what relative paths of the scan
    are meant from.
    """

    def __init__(
        self,
        scan: Scan,
        policy: Policy,
        machine: Machine,
        steps: Steps,
        *,
        folder: "Folders",
        keys: Mapping[str, Collection[str]] | None,
        cwd: str,
    ) -> None:
        self._scan = scan
        self._policy = policy
        self._machine = machine
        self._steps = steps
        self._folders = folder
        self._keys = keys
        self._cwd = cwd
        self._runs: dict[int, Run] = {}
        self._loops: dict[int, Result] = {}
        self._mapped: dict[tuple[TableLine, ...], Result] = {}
        self._shadows: dict[int, Result] = {}
        self._sound: set[int] = set()
        self._files: dict[int, str] = {}
        self._server: Result | None = None
        self._within: list[int] = []

    # Going back, where a way ends nowhere.

    def mark(self) -> Mark:
        """How far the plan has come."""
        return Mark(
            len(self._steps.made), len(self._runs), len(self._loops), len(self._files), len(self._mapped),
            len(self._shadows),
        )  # fmt: skip

    def back_to(self, mark: Mark) -> None:
        """Forget all that came after ``mark``."""
        del self._steps.made[mark.steps :]
        for known, count in (
            (self._runs, mark.runs),
            (self._loops, mark.loops),
            (self._files, mark.files),
            (self._mapped, mark.mapped),
            (self._shadows, mark.shadows),
        ):
            while len(known) > count:
                known.popitem()
        last = self._folders.first + mark.steps
        if self._server is not None and self._server.step >= last:
            self._server = None
        self._folders.forget(last)
        self._within.clear()

    def finish(self) -> None:
        """Fill in what is known only at the end: the layers that our server shows."""
        if self._server is not None:
            self._steps.replace(self._server, files=tuple(self._files.items()))

    # What is asked for.

    def device(self, layer: Layer) -> Result:
        """A device with the layer's bytes; raises Refused."""
        found = self._loops.get(layer.id)
        if found is None:
            run = self.run(layer)
            if run.device and run.whole and isinstance(run.backing, Result):
                found = run.backing
            else:
                found = self._loop(layer, run)
            self._loops[layer.id] = found
        return found

    def file(self, layer: Layer) -> Place:
        """A file with the layer's bytes, for a program that reads them itself; a device where only one has.

        Raises Refused.
        """
        run = self.run(layer)
        if run.kernel:
            return self.device(layer)
        return run.backing if run.whole else self._exposed(layer)

    def run(self, layer: Layer) -> Run:
        """Where the layer's bytes lie; raises Refused."""
        found = self._runs.get(layer.id)
        if found is None:
            if layer.id in self._within or len(self._within) >= DEPTH_CAP:
                raise Refused("damaged", "its layers lie within one another without an end")
            self._within.append(layer.id)
            found = self._disk(layer) if isinstance(layer, DiskLayer) else self._volume(layer)
            self._within.pop()
            self._runs[layer.id] = found
        return found

    # Disks.

    def _disk(self, disk: DiskLayer) -> Run:
        if disk.size is None:
            why = next((problem.message for problem in disk.problems), "it could not be opened")
            raise Refused("no-bytes", why)
        mounter, kind = self._policy.disk_mounter, disk.container.get("type")
        path = os.path.join(self._cwd, disk.paths[0])
        is_raw = kind == "raw" and len(disk.paths) == 1
        if not self._policy.read_write and (mounter == "dummy" or (mounter == "auto" and is_raw)):
            return Run(backing=path, size=disk.size)
        if mounter in ("auto", "user", "dummy"):
            return Run(backing=self._exposed(disk), size=disk.size)
        if self._policy.read_write:
            raise Refused("unsupported", f"{mounter} has no cache of ours", "--disk-mounter auto")
        if any(disk.container.get(key) for key in NAMES_OTHERS):
            why = f"the image names further files, which {mounter} would open unasked"
            raise Refused("not-allowed", why, "--disk-mounter auto")
        if mounter == "qemu-nbd":
            return self._nbd(disk, path, str(kind))
        return self._foreign(disk, path, str(kind), mounter)

    def _nbd(self, disk: DiskLayer, path: str, kind: str) -> Run:
        said = NBD_FORMATS.get(kind)
        if len(disk.paths) > 1:
            why = "qemu-nbd gets images of one file only: what others they name it would open unasked"
            raise Refused("not-allowed", why, "--disk-mounter auto")
        if said is None:
            raise Refused("unsupported", f"qemu-nbd reads no {kind}", "--disk-mounter auto")
        self._need("qemu-nbd")
        if not self._machine.nbd:
            raise Refused("unsupported", "this kernel has no network block devices", "--disk-mounter auto")
        device = self._steps.add(ConnectNbd, layer=disk.id, image=path, format=said)
        return Run(backing=device, size=disk.size or 0, device=True)

    def _foreign(self, disk: DiskLayer, path: str, kind: str, name: str) -> Run:
        mounter = MOUNTERS.get(name)
        if mounter is None:
            raise Refused("unsupported", f"there is no disk mounter {name}", "--disk-mounter auto")
        if kind not in mounter.types:
            raise Refused("unsupported", f"{name} reads no {kind}", "--disk-mounter auto")
        tool = mounter.tool or name
        self._need(tool)
        images = tuple(os.path.join(self._cwd, each) for each in disk.paths) if mounter.all_files else (path,)
        arguments = tuple(argument.replace("{type}", mounter.types[kind]) for argument in mounter.arguments)
        shown = self._steps.add(
            RunImageMounter,
            layer=disk.id,
            tool=tool,
            images=images,
            at=self._folders.of_mounter(disk),
            arguments=arguments,
        )
        return Run(backing=Result(shown.step, _shown_by(mounter, disk, path, kind)), size=disk.size or 0)

    def _need(self, tool: str) -> None:
        if tool not in self._machine.tools:
            raise Refused("needs-tool", f"{tool} is not installed", f"install {tool}: see `pyimount check`")

    # Volumes.

    def _volume(self, volume: VolumeLayer) -> Run:
        kind = volume.recipe.kind
        if kind == "slice":
            return self._slice(volume)
        if kind not in SERVER_OPENS or volume.size is None:
            raise Refused("no-bytes", "it has no bytes of its own that can be read")
        if kind in LOCKS and not self._has_key(volume):
            locked = self._locked(volume)
            raise Refused("locked", f"volume {locked.index} needs its key again", _give_key(locked))
        other = self._by_another(volume)
        if other is not None:
            return other
        why = self._why_not_kernel(volume)
        if why is not None and self._takes_lvm(volume):
            return Run(backing=self._activated(volume), size=volume.size, device=True, kernel=True)
        if why is None:
            return Run(backing=self._by_kernel(volume), size=volume.size, device=True, kernel=True)
        if self._policy.backend == "kernel":
            raise Refused("unsupported", f"not by the kernel: {why}", "--backend auto")
        for number in self._inputs(volume):
            self._check(number)
        return Run(backing=self._exposed(volume), size=volume.size)

    def _slice(self, volume: VolumeLayer) -> Run:
        offset, size = volume.recipe.parameters.get("offset"), volume.recipe.parameters.get("size")
        if not isinstance(offset, int) or not isinstance(size, int) or offset < 0 or size < 0:
            raise Refused("damaged", "the report does not say where it lies")
        parent = self.run(self._layer(volume.parents[0]))
        there = min(size, parent.size - offset)
        if there <= 0:
            raise Refused("no-bytes", "it lies beyond the end of what holds it")
        whole = offset == 0 and there == parent.size
        return parent.replaced(offset=parent.offset + offset, size=there, whole=parent.whole and whole)

    def _check(self, number: int) -> None:
        """Raise Refused where our server cannot come by the bytes of a layer; recursive, as ``run`` is."""
        if number in self._sound:
            return
        layer = self._layer(number)
        if isinstance(layer, DiskLayer):
            if layer.size is None:
                raise Refused("no-bytes", f"{layer.paths[0]} could not be opened")
            self._sound.add(number)
            return
        if number in self._within or len(self._within) >= DEPTH_CAP:
            raise Refused("damaged", "its layers lie within one another without an end")
        if layer.recipe.kind in LOCKS and not self._has_key(layer):
            locked = self._locked(layer)
            raise Refused("locked", f"volume {locked.index} needs its key again", _give_key(locked))
        self._within.append(number)
        for below in self._inputs(layer):
            self._check(below)
        self._within.pop()
        self._sound.add(number)

    def _inputs(self, volume: VolumeLayer) -> Iterator[int]:
        inputs = volume.recipe.parameters.get("inputs")
        numbers = inputs if isinstance(inputs, list) else list(volume.parents)
        return (number for number in numbers if isinstance(number, int))

    def _layer(self, number: int) -> Layer:
        try:
            return self._scan.by_id(number)
        except KeyError:
            raise Refused("damaged", f"the report has no layer {number}") from None

    # Other programs, where they are asked for.

    def _by_another(self, volume: VolumeLayer) -> Run | None:
        """The bytes of a volume by the program that the policy names for its kind; None: it names none."""
        kind, policy = volume.recipe.kind, self._policy
        if kind == "vss" and policy.vshadow_mounter != "native":
            return self._shadow(volume)
        if kind == "bitlocker" and policy.bitlocker in UNLOCKERS:
            return self._unlocked(volume)
        if kind == "bitlocker" and policy.bitlocker == "cryptsetup":
            why = self._why_not_kernel(volume)
            if why is not None:
                raise Refused("unsupported", f"not by cryptsetup: {why}", "--bitlocker auto")
        if kind == "lvm2" and policy.lvm == "lvm":
            device = self._activated(volume)
            return Run(backing=device, size=volume.size or 0, device=True, kernel=True)
        return None

    def _no_cache(self, tool: str, remedy: str) -> None:
        if self._policy.read_write:
            raise Refused("unsupported", f"{tool} has no cache of ours", remedy)

    def _shadow(self, volume: VolumeLayer) -> Run:
        remedy = "--vshadow-mounter native"
        self._no_cache("vshadowmount", remedy)
        if self._policy.vshadow_mounter != "vshadowmount":
            raise Refused("unsupported", f"nothing called {self._policy.vshadow_mounter} shows them", remedy)
        if re.fullmatch(r"vss[0-9]{1,4}", volume.name or "") is None:
            raise Refused("damaged", "the report does not say which shadow copy it is")
        self._need("vshadowmount")
        within = self._layer(volume.parents[0])
        if within.id not in self._shadows:
            device = self.device(within)
            self._shadows[within.id] = self._steps.add(
                ExposeShadows, layer=within.id, device=device, at=self._folders.of_shadows(within)
            )
        return Run(backing=Result(self._shadows[within.id].step, volume.name), size=volume.size or 0)

    def _unlocked(self, volume: VolumeLayer) -> Run:
        unlocker, locked = UNLOCKERS[self._policy.bitlocker], self._locked(volume)
        self._no_cache(unlocker.tool, "--bitlocker auto")
        self._need(unlocker.tool)
        known = self._keys is None or _needs_no_key(locked)
        if not known and not unlocker.kinds.intersection(self._key_kinds(volume)):
            kinds = ", ".join(sorted(unlocker.kinds))
            why = f"{unlocker.tool} gets keys of the kinds {kinds}: others would be in its arguments, for all"
            raise Refused("locked", f"{why} to read", "--bitlocker auto")
        shown = self._steps.add(
            ExposeUnlocked,
            layer=volume.id,
            tool=unlocker.tool,
            device=self.device(locked),
            at=self._folders.of_unlocked(volume),
            key=locked.index,
            uuid=locked.uuid,
        )
        return Run(backing=Result(shown.step, unlocker.file), size=volume.size or 0)

    def _takes_lvm(self, volume: VolumeLayer) -> bool:
        """Whether LVM is to make what our own tables do not cover."""
        policy = self._policy
        return (
            volume.recipe.kind == "lvm2"
            and (policy.lvm, policy.backend) == ("auto", "kernel")
            and not policy.read_write
            and self._machine.device_mapper
            and "lvm" in self._machine.tools
            and not self._has_clone(volume)
        )

    def _has_clone(self, volume: VolumeLayer) -> bool:
        """Whether a member of the group is there twice: LVM has one group of a UUID at a time."""
        groups = (each.group for each in self._scan.parents(volume) if isinstance(each, VolumeLayer))
        return any(group is not None and group.copies for group in groups)

    def _activated(self, volume: VolumeLayer) -> Result:
        """A logical volume that LVM makes, of all the group's members that there are."""
        self._no_cache("LVM", "--lvm native")
        self._need("lvm")
        if not self._machine.device_mapper:
            raise Refused("unsupported", "this kernel has no device-mapper", "--lvm native --backend user")
        member = next((each for each in self._scan.parents(volume) if isinstance(each, VolumeLayer)), None)
        group = None if member is None else member.group
        uuid = volume.mapping.get("uuid")
        if member is None or group is None or not _is_lvm_uuid(group.uuid) or not _is_lvm_uuid(uuid):
            raise Refused("unsupported", "LVM makes no volume of its own of this", "--lvm native")
        if self._has_clone(volume):
            why = "LVM has one volume group of a UUID at a time, and there is a clone of this one"
            raise Refused("unsupported", why, "--lvm native")
        return self._steps.add(
            ActivateVolumeGroup,
            layer=volume.id,
            devices=tuple(self.device(each) for each in self._scan.members(member)),
            group=group.uuid,
            volume=uuid,
        )

    # Keys.

    def _locked(self, volume: VolumeLayer) -> VolumeLayer:
        layer = self._layer(volume.parents[0])
        if isinstance(layer, DiskLayer):
            raise Refused("damaged", f"volume {volume.index} was opened, and nothing was locked")
        return layer

    def _has_key(self, volume: VolumeLayer) -> bool:
        return self._keys is None or bool(self._key_kinds(volume)) or _needs_no_key(self._locked(volume))

    def _key_kinds(self, volume: VolumeLayer) -> Collection[str]:
        return (self._keys or {}).get(self._locked(volume).index, ())

    # Our own server.

    def _exposed(self, layer: Layer) -> Result:
        if not self._machine.fuse:
            raise Refused("unsupported", "this kernel has no FUSE, by which its bytes would be shown")
        if self._server is None:
            self._server = self._steps.add(
                ExposeRaw, at=self._folders.of_server(), files=(), cache=self._folders.cache()
            )
        name = self._files.setdefault(layer.id, raw_name(layer))
        return Result(self._server.step, name)

    def _loop(self, layer: Layer, run: Run) -> Result:
        return self._steps.add(
            AttachLoop,
            layer=layer.id,
            backing=run.backing,
            offset=run.offset,
            size=0 if run.whole else run.size,
            read_only=not self._policy.read_write,
        )

    # The kernel.

    def _why_not_kernel(self, volume: VolumeLayer) -> str | None:
        """Why the kernel is not to make this volume; None when it is."""
        kind = volume.recipe.kind
        if self._policy.backend == "user":
            return "it was not asked for"
        if self._policy.read_write:
            return "what is written goes into our server's cache"
        if kind in CRYPTSETUP:
            return self._why_not_crypt(volume)
        if kind == "md":
            return self._why_not_md(volume)
        if kind == "lvm2":
            return self._why_not_lvm(volume)
        return f"the kernel has nothing for {kind} that does not guess"

    def _why_not_crypt(self, volume: VolumeLayer) -> str | None:
        if not self._machine.device_mapper:
            return "this kernel has no device-mapper"
        if "cryptsetup" not in self._machine.tools:
            return "cryptsetup is not installed"
        word, kinds = CRYPTSETUP[volume.recipe.kind]
        if self._keys is None and not _needs_no_key(self._locked(volume)):
            return None
        if not kinds.intersection(self._key_kinds(volume)):
            return f"cryptsetup opens {word} with keys of the kinds {', '.join(sorted(kinds))}"
        return None

    def _why_not_md(self, volume: VolumeLayer) -> str | None:
        if not self._machine.md:
            return "this kernel has no md"
        if "mdadm" not in self._machine.tools:
            return "mdadm is not installed"
        parameters = volume.recipe.parameters
        level, devices = parameters.get("level"), parameters.get("devices")
        if level not in MD_LEVELS:
            return f"arrays of level {level} are not the kernel's everywhere"
        if not isinstance(devices, list) or not all(_is_in_step(device) for device in devices):
            return "a member is missing or not in step, and the kernel may refuse it, or take it for good"
        if volume.problems:
            return volume.problems[0].message
        for number in self._inputs(volume):
            member = self._layer(number)
            features = member.details.get("features") if isinstance(member, VolumeLayer) else None
            if isinstance(features, list) and "journal" in features:
                return "the array has a write journal"
        return None

    def _why_not_lvm(self, volume: VolumeLayer) -> str | None:
        if not self._machine.device_mapper:
            return "this kernel has no device-mapper"
        if "dmsetup" not in self._machine.tools:
            return "dmsetup is not installed"
        table = _Table(volume)
        return table.why_not([self._layer(number).size or 0 for number in self._inputs(volume)])

    def _by_kernel(self, volume: VolumeLayer) -> Result:
        devices = [self.device(self._layer(number)) for number in self._inputs(volume)]
        if volume.recipe.kind == "md":
            return self._steps.add(AssembleArray, layer=volume.id, devices=tuple(devices))
        if volume.recipe.kind == "lvm2":
            return self._map(volume, _Table(volume), str(volume.recipe.parameters["volume"]), devices)
        locked, header = self._locked(volume), volume.recipe.parameters.get("header")
        return self._steps.add(
            OpenEncrypted,
            layer=volume.id,
            device=devices[0],
            type=CRYPTSETUP[volume.recipe.kind][0],
            key=locked.index,
            uuid=locked.uuid,
            header=os.path.join(self._cwd, header) if isinstance(header, str) else None,
        )

    def _map(self, volume: VolumeLayer, table: "_Table", name: str, devices: list[Result]) -> Result:
        """Recursive, as deep as logical volumes stand over one another; ``why_not`` has looked at that."""
        lines = []
        for target in table.targets(name):
            arguments: list[str | int | Result] = []
            if target["type"] == "striped":
                arguments += [len(target["areas"]), target["chunk"] // SECTOR]
            for area in _areas(target):
                if "pv" in area:
                    below = devices[table.pvs[area["pv"]]]
                else:
                    below = self._map(volume, table, area["volume"], devices)
                arguments += [below, area["offset"] // SECTOR]
            at, size = target["start"] // SECTOR, target["size"] // SECTOR
            lines.append(TableLine(at, size, target["type"], tuple(arguments)))
        made = tuple(lines)
        if made not in self._mapped:
            # What stands below several volumes is mapped once.
            self._mapped[made] = self._steps.add(MapVolume, layer=volume.id, table=made)
        return self._mapped[made]


class Folders:
    """The folders of a session, made when they are first needed."""

    def __init__(self, steps: Steps, first: int, session: str, base: str, cache: str | None) -> None:
        self.first = first
        self._steps = steps
        self._path = f"{base}/{session}"
        self._cache = cache
        self._made: dict[str, Result] = {}

    def forget(self, last: int) -> None:
        """Forget those that a step from ``last`` on makes."""
        self._made = {name: result for name, result in self._made.items() if result.step < last}

    def _folder(self, name: str, inside: Result | None) -> Result:
        found = self._made.get(name)
        if found is None:
            found = self._steps.add(MakeDirectory, inside=inside, path=name)
            self._made[name] = found
        return found

    def session(self) -> Result:
        """The session's own."""
        return self._folder(self._path, None)

    def of_server(self) -> Result:
        """Where our server shows layers."""
        return self._folder("raw", self.session())

    def of_mounter(self, disk: DiskLayer) -> Result:
        """Where another program shows this disk."""
        return self._folder(f"image{disk.id}", self.session())

    def of_shadows(self, within: Layer) -> Result:
        """Where another program shows the shadow copies of a volume."""
        return self._folder(f"shadows{within.id}", self.session())

    def of_unlocked(self, volume: VolumeLayer) -> Result:
        """Where another program shows what a locked volume holds."""
        return self._folder(f"unlocked{volume.id}", self.session())

    def of_mountpoints(self, named: str | None, case: str | None) -> Result:
        """Where mountpoints are made: the folder that the caller named, else the session's."""
        made = self._folder("mnt", self.session()) if named is None else self._folder(named, None)
        return made if case is None else self._folder(case, made)

    def cache(self) -> str | None:
        """Where what is written is kept; None where nothing is."""
        return self._cache


class _Table:
    """The device-mapper tables in the recipe of a logical volume, as far as the kernel is to make them."""

    def __init__(self, volume: VolumeLayer) -> None:
        parameters = volume.recipe.parameters
        self._name = parameters.get("volume")
        tables, pvs = parameters.get("tables"), parameters.get("pvs")
        self.tables: dict[str, Json] = tables if isinstance(tables, dict) else {}
        self.pvs: dict[str, Any] = pvs if isinstance(pvs, dict) else {}
        self._lines = 0

    def targets(self, name: str) -> list[dict[str, Any]]:
        """The targets of one of the volumes."""
        table = self.tables.get(name)
        return [target for target in table if isinstance(target, dict)] if isinstance(table, list) else []

    def why_not(self, sizes: list[int]) -> str | None:
        """Why the kernel is not to map this; ``sizes``: bytes of each physical volume that is there."""
        pending = [(str(self._name), 0)]
        while pending:
            name, depth = pending.pop()
            if depth > DEPTH_CAP:
                return "volumes stand over one another without an end"
            targets = self.targets(name)
            if not targets:
                return "the report has no table for it"
            self._lines += len(targets)
            if self._lines > LINES_CAP:
                return f"it has more than {LINES_CAP} targets"
            for target in targets:
                why = self._why_not_target(target, sizes)
                if why is not None:
                    return why
                pending.extend((area["volume"], depth + 1) for area in _areas(target) if "pv" not in area)
        return None

    def _why_not_target(self, target: Mapping[str, Any], sizes: list[int]) -> str | None:
        kind, areas = target.get("type"), list(_areas(target))
        if kind not in ("linear", "striped", "zero", "error"):
            return f"targets of type {kind} are our own server's to read"
        if not _sectors(target, "start", "size") or not target["size"]:
            return "a target that is no run of sectors"
        if kind in ("zero", "error"):
            return "a target with areas" if areas else None
        if kind == "linear" and len(areas) != 1:
            return "a linear target of several areas"
        if kind == "striped" and (
            not areas
            or not _sectors(target, "chunk")
            or not target["chunk"]
            or target["size"] % (target["chunk"] * len(areas))
        ):
            return "stripes that are no whole chunks"
        for area in areas:
            if not _sectors(area, "offset", "size") or area["size"] * len(areas) != target["size"]:
                return "an area that is no run of sectors"
            if "pv" in area:
                number = self.pvs.get(area["pv"])
                if not isinstance(number, int) or not 0 <= number < len(sizes):
                    return "a physical volume is missing"
                if area["offset"] + area["size"] > sizes[number]:
                    return "a physical volume is cut off"
            elif not isinstance(area.get("volume"), str):
                return "an area of nothing"
        return None


_LVM_UUID = re.compile(r"[A-Za-z0-9]{6}(?:-[A-Za-z0-9]{4}){5}-[A-Za-z0-9]{6}")


def _is_lvm_uuid(value: Json) -> bool:
    return isinstance(value, str) and _LVM_UUID.fullmatch(value) is not None


def _shown_by(mounter: Mounter, disk: DiskLayer, path: str, kind: str) -> str:
    """The file by which another program shows a disk, within its folder. Raises Refused."""
    name = os.path.basename(path)
    values = {"{name}": name, "{stem}": name.rpartition(".")[0] or name, "{path}": path[1:], "{member}": ""}
    if "{member}" in mounter.types[kind]:
        member = disk.container.get("name")
        # What an archive says is a path into it, and into nothing else.
        if not isinstance(member, str) or not _leads_down(member):
            raise Refused("unsupported", "the archive does not say what its file is called")
        values["{member}"] = f"/{member}"
    if "{path}" in mounter.file and not _leads_down(path[1:]):
        raise Refused("unsupported", f"the image's path has what means something else to {mounter.tool}")
    words = re.split(r"(\{[a-z]+\})", mounter.file.replace("{type}", mounter.types[kind]))
    return "".join(values.get(word, word) for word in words)


def _leads_down(path: str) -> bool:
    """Whether a path leads down from where it begins, and nowhere else, also where ``#`` opens an archive."""
    return (
        bool(path) and path.isprintable() and "#" not in path and not {"", ".", ".."} & set(path.split("/"))
    )


def _areas(target: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for area in [target.get("area"), *(target.get("areas") or ())]:
        if isinstance(area, dict):
            yield area


def _sectors(values: Mapping[str, Any], *keys: str) -> bool:
    return all(
        isinstance(values.get(key), int) and values[key] >= 0 and values[key] % SECTOR == 0 for key in keys
    )


def _is_in_step(device: Json) -> bool:
    return isinstance(device, dict) and device.get("trusted") is None and not device.get("bad_blocks")


def _needs_no_key(locked: VolumeLayer) -> bool:
    """Whether a volume was opened without a key: a suspended BitLocker has it beside the lock."""
    by = locked.details.get("opened_by")
    return isinstance(by, dict) and by.get("protector_type") == "clear-key"


def _give_key(locked: VolumeLayer) -> str:
    return f"give its key: --keys {locked.index}=p:… or --key-file (`pyimount mount --help` tells the kinds)"
