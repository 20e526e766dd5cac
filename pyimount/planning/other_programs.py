"""Bytes by other programs, where the policy asks for one by name: disk mounters, unlockers, LVM itself."""

import os
import re
from collections.abc import Callable

from pyimount.formats import Json
from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.planning.locks import Locks, needs_no_key
from pyimount.planning.machine import Machine
from pyimount.planning.mounters import MOUNTERS, NBD_FORMATS, UNLOCKERS, Mounter
from pyimount.planning.policy import Policy
from pyimount.planning.refusing import Refused
from pyimount.planning.session_steps import Folders, Steps
from pyimount.planning.steps import (
    ActivateVolumeGroup,
    ConnectNbd,
    ExposeShadows,
    ExposeUnlocked,
    Result,
    RunImageMounter,
)
from pyimount.planning.ways import Run


class OtherPrograms:
    """The steps by which other programs give the bytes of layers.

    ``device`` and ``layer``: a device with a layer's bytes, and the layer of an id; both may raise Refused.
    ``cwd``: what relative paths of the scan are meant from.
    """

    def __init__(
        self,
        scan: Scan,
        policy: Policy,
        machine: Machine,
        *,
        steps: Steps,
        folders: Folders,
        locks: Locks,
        device: Callable[[Layer], Result],
        layer: Callable[[int], Layer],
        cwd: str,
    ) -> None:
        self._scan = scan
        self._policy = policy
        self._machine = machine
        self._steps = steps
        self._folders = folders
        self._locks = locks
        self._device = device
        self._layer = layer
        self._cwd = cwd

    def nbd(self, disk: DiskLayer, path: str, kind: str) -> Run:
        """The disk in a container as a network block device. Raises Refused."""
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

    def image_mounter(self, disk: DiskLayer, path: str, kind: str, name: str) -> Run:
        """The disk in a container as the file that the program ``name`` shows. Raises Refused."""
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

    def volume(self, volume: VolumeLayer, shown: dict[int, Result]) -> Run | None:
        """The bytes of a volume by the program that the policy names for its kind; None: it names none.

        ``shown``: where the shadow copies of a volume are shown already, by its id; added to.
        """
        kind, policy = volume.recipe.kind, self._policy
        if kind == "vss" and policy.vshadow_mounter != "native":
            return self._shadow(volume, shown)
        if kind == "bitlocker" and policy.bitlocker in UNLOCKERS:
            return self._unlocked(volume)
        if kind == "lvm2" and policy.lvm == "lvm":
            device = self.activated(volume)
            return Run(backing=device, size=volume.size or 0, device=True, kernel=True)
        return None

    def _no_cache(self, tool: str, remedy: str) -> None:
        if self._policy.read_write:
            raise Refused("unsupported", f"{tool} has no cache of ours", remedy)

    def _shadow(self, volume: VolumeLayer, shown: dict[int, Result]) -> Run:
        remedy = "--vshadow-mounter native"
        self._no_cache("vshadowmount", remedy)
        if self._policy.vshadow_mounter != "vshadowmount":
            raise Refused("unsupported", f"nothing called {self._policy.vshadow_mounter} shows them", remedy)
        if re.fullmatch(r"vss[0-9]{1,4}", volume.name or "") is None:
            raise Refused("damaged", "the report does not say which shadow copy it is")
        self._need("vshadowmount")
        within = self._layer(volume.parents[0])
        if within.id not in shown:
            device = self._device(within)
            shown[within.id] = self._steps.add(
                ExposeShadows, layer=within.id, device=device, at=self._folders.of_shadows(within)
            )
        return Run(backing=Result(shown[within.id].step, volume.name), size=volume.size or 0)

    def _unlocked(self, volume: VolumeLayer) -> Run:
        unlocker, locked = UNLOCKERS[self._policy.bitlocker], self._locks.locked(volume)
        self._no_cache(unlocker.tool, "--bitlocker auto")
        self._need(unlocker.tool)
        known = self._locks.all_open or needs_no_key(locked)
        if not known and not unlocker.kinds.intersection(self._locks.kinds(volume)):
            kinds = ", ".join(sorted(unlocker.kinds))
            why = f"{unlocker.tool} gets keys of the kinds {kinds}: others would be in its arguments, for all"
            raise Refused("locked", f"{why} to read", "--bitlocker auto")
        shown = self._steps.add(
            ExposeUnlocked,
            layer=volume.id,
            tool=unlocker.tool,
            device=self._device(locked),
            at=self._folders.of_unlocked(volume),
            key=locked.index,
            uuid=locked.uuid,
        )
        return Run(backing=Result(shown.step, unlocker.file), size=volume.size or 0)

    def takes_lvm(self, volume: VolumeLayer) -> bool:
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

    def activated(self, volume: VolumeLayer) -> Result:
        """A logical volume that LVM makes, of all the group's members that there are. Raises Refused."""
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
            devices=tuple(self._device(each) for each in self._scan.members(member)),
            group=group.uuid,
            volume=uuid,
        )


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
