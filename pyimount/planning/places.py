"""How the bytes of a layer become a file or a device on this machine: steps, and what they give.

There are two ways to the bytes of what stands above a lock, an array or a volume group: the kernel's
device-mapper and md, and our own server, which shows any layer as a file. A partition is a run of what it
lies in, so a chain of partitions is one loop device.
"""

import os
from collections.abc import Collection, Iterator, Mapping

from pyimount.formats import Json
from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.mapping.kinds import ASSEMBLED, OPENED
from pyimount.planning.locks import Locks, needs_no_key
from pyimount.planning.machine import Machine
from pyimount.planning.mapper_tables import DEPTH_CAP, SECTOR, MapperTables, areas_of
from pyimount.planning.naming import raw_name
from pyimount.planning.other_programs import OtherPrograms
from pyimount.planning.policy import Policy
from pyimount.planning.refusing import Refused
from pyimount.planning.session_steps import Folders, Steps
from pyimount.planning.steps import (
    AssembleArray,
    AttachLoop,
    ExposeRaw,
    MapVolume,
    OpenEncrypted,
    Place,
    Result,
    TableLine,
)
from pyimount.planning.ways import Run, Ways
from pyimount.records import Record

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


class Mark(Record):
    """How far a plan has come: its steps, the folders that they make, the ways that were found."""

    steps: int
    folders: Mapping[str, Result]
    ways: Ways


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
        folder: Folders,
        keys: Mapping[str, Collection[str]] | None,
        cwd: str,
    ) -> None:
        self._scan = scan
        self._policy = policy
        self._machine = machine
        self._steps = steps
        self._folders = folder
        self._locks = Locks(scan, keys)
        self._cwd = cwd
        self._others = OtherPrograms(
            scan, policy, machine, steps=steps, folders=folder, locks=self._locks, device=self.device,
            layer=self._layer, cwd=cwd,
        )  # fmt: skip
        self._ways = Ways(runs={}, loops={}, files={}, mapped={}, shadows={})
        self._sound: set[int] = set()
        self._within: list[int] = []
        self.missing: dict[int, int] = {}
        """How many bytes of a volume's end are not there, by its id."""

    # Going back, where a way ends nowhere.

    def mark(self) -> Mark:
        """How far the plan has come."""
        return Mark(len(self._steps.made), self._folders.made, self._ways.copy())

    def back_to(self, mark: Mark) -> None:
        """Forget all that came after ``mark``."""
        del self._steps.made[mark.steps :]
        self._folders.made = mark.folders
        self._ways = mark.ways.copy()
        self._within.clear()

    def finish(self) -> None:
        """Fill in what is known only at the end: the layers that our server shows."""
        if self._ways.server is not None:
            self._steps.replace(self._ways.server, files=tuple(self._ways.files.items()))

    # What is asked for.

    def device(self, layer: Layer) -> Result:
        """A device with the layer's bytes; raises Refused."""
        found = self._ways.loops.get(layer.id)
        if found is None:
            run = self.run(layer)
            if run.device and run.whole and isinstance(run.backing, Result):
                found = run.backing
            else:
                found = self._loop(layer, run)
            self._ways.loops[layer.id] = found
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
        found = self._ways.runs.get(layer.id)
        if found is None:
            if layer.id in self._within or len(self._within) >= DEPTH_CAP:
                raise Refused("damaged", "its layers lie within one another without an end")
            self._within.append(layer.id)
            found = self._disk(layer) if isinstance(layer, DiskLayer) else self._volume(layer)
            self._within.pop()
            self._ways.runs[layer.id] = found
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
        if "part" in disk.recipe.parameters:
            raise Refused("unsupported", f"{mounter} shows one disk of a file", "--disk-mounter auto")
        if mounter == "qemu-nbd":
            return self._others.nbd(disk, path, str(kind))
        return self._others.image_mounter(disk, path, str(kind), mounter)

    # Volumes.

    def _volume(self, volume: VolumeLayer) -> Run:
        kind = volume.recipe.kind
        run = self._slice(volume) if kind == "slice" else self._made(volume, kind)
        return self._with_its_end(volume, run)

    def _with_its_end(self, volume: VolumeLayer, run: Run) -> Run:
        """The same, or where the image ends before the volume does: by our server, the end as unreadable."""
        native = self._policy.disk_mounter in ("auto", "user", "dummy")
        if volume.claimed_size <= run.size or self._policy.read_write or not (native and self._machine.fuse):
            return run
        self.missing[volume.id] = volume.claimed_size - run.size
        for number in self._inputs(volume):
            self._check(number)
        return Run(backing=self._exposed(volume), size=volume.claimed_size)

    def _made(self, volume: VolumeLayer, kind: str) -> Run:
        """What the kernel, our server or another program makes of what lies beneath."""
        if kind not in SERVER_OPENS or volume.size is None:
            raise Refused("no-bytes", "it has no bytes of its own that can be read")
        if kind in LOCKS and not self._locks.opens(volume):
            raise self._locks.refusal(volume)
        other = self._others.volume(volume, self._ways.shadows)
        if other is not None:
            return other
        why = self._why_not_kernel(volume)
        if why is not None and kind == "bitlocker" and self._policy.bitlocker == "cryptsetup":
            raise Refused("unsupported", f"not by cryptsetup: {why}", "--bitlocker auto")
        if why is not None and self._others.takes_lvm(volume):
            device = self._others.activated(volume)
            return Run(backing=device, size=volume.size, device=True, kernel=True)
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
        if layer.recipe.kind in LOCKS and not self._locks.opens(layer):
            raise self._locks.refusal(layer)
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

    # Our own server.

    def _exposed(self, layer: Layer) -> Result:
        if not self._machine.fuse:
            none = ("this kernel has no FUSE, by which its bytes would be shown", None)
            raise Refused("unsupported", *self._machine.lacks.get("fuse", none))
        server = self._ways.server
        if server is None:
            server = self._steps.add(
                ExposeRaw, at=self._folders.of_server(), files=(), cache=self._folders.cache()
            )
            self._ways = self._ways.replaced(server=server)
        name = self._ways.files.setdefault(layer.id, raw_name(layer))
        return Result(server.step, name)

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
        if self._locks.locked(volume).details.get("requirements"):
            return "it is being reencrypted, and cryptsetup would go on with that"
        word, kinds = CRYPTSETUP[volume.recipe.kind]
        if self._locks.all_open and not needs_no_key(self._locks.locked(volume)):
            return None
        if not kinds.intersection(self._locks.kinds(volume)):
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
        table = MapperTables(volume)
        return table.why_not([self._layer(number).size or 0 for number in self._inputs(volume)])

    def _by_kernel(self, volume: VolumeLayer) -> Result:
        devices = [self.device(self._layer(number)) for number in self._inputs(volume)]
        if volume.recipe.kind == "md":
            return self._steps.add(AssembleArray, layer=volume.id, devices=tuple(devices))
        if volume.recipe.kind == "lvm2":
            return self._map(volume, MapperTables(volume), str(volume.recipe.parameters["volume"]), devices)
        locked, header = self._locks.locked(volume), volume.recipe.parameters.get("header")
        return self._steps.add(
            OpenEncrypted,
            layer=volume.id,
            device=devices[0],
            type=CRYPTSETUP[volume.recipe.kind][0],
            key=locked.index,
            uuid=locked.uuid,
            header=os.path.join(self._cwd, header) if isinstance(header, str) else None,
        )

    def _map(self, volume: VolumeLayer, table: MapperTables, name: str, devices: list[Result]) -> Result:
        """Recursive, as deep as logical volumes stand over one another; ``why_not`` has looked at that."""
        lines = []
        for target in table.targets(name):
            arguments: list[str | int | Result] = []
            if target["type"] == "striped":
                arguments += [len(target["areas"]), target["chunk"] // SECTOR]
            for area in areas_of(target):
                if "pv" in area:
                    below = devices[table.pvs[area["pv"]]]
                else:
                    below = self._map(volume, table, area["volume"], devices)
                arguments += [below, area["offset"] // SECTOR]
            at, size = target["start"] // SECTOR, target["size"] // SECTOR
            lines.append(TableLine(at, size, target["type"], tuple(arguments)))
        made = tuple(lines)
        if made not in self._ways.mapped:
            # What stands below several volumes is mapped once.
            self._ways.mapped[made] = self._steps.add(MapVolume, layer=volume.id, table=made)
        return self._ways.mapped[made]


def _is_in_step(device: Json) -> bool:
    return isinstance(device, dict) and device.get("trusted") is None and not device.get("bad_blocks")
