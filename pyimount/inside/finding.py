"""The images in the files of volumes, found by their names, and the machines whose disks they are.

What a file is called decides whether it is looked into; what it is its bytes say. An archive is shown where
an image is in it, a numbered set that is no image's by its name where its bytes are known.
"""

import posixpath
from collections.abc import Iterator, Mapping

from pyimount.files.records import Kind
from pyimount.files.system import CannotRead
from pyimount.inside.images import Level, NoImage
from pyimount.inside.machines import TEXT_CAP, Configured, configured, is_configuration
from pyimount.inside.tree import Place
from pyimount.inside.walking import Walk
from pyimount.keys import Keyring
from pyimount.layers import ImageWithin, Machine, MachineDisk, Scan, VolumeLayer, Within
from pyimount.problems import Code, Problem
from pyimount.sources.budget import Budget
from pyimount.sources.errors import SourceError
from pyimount.sources.segments import Segments, images_within
from pyimount.sources.series import IMAGE_SUFFIXES, extension

IMAGES_CAP = 1024
"""So many images within one image are looked into, archives among them."""
_ARCHIVES = frozenset(("7z", "cpio", "rar", "tar", "zip"))
_FIRST = frozenset(("001", "000", "e01", "ex01", "s01", "aaa"))
"""What the first segment of a set is numbered with, where numbers are an image's."""
_FOLDER_CAP = 1 << 14
"""So many files of a folder are looked at that images, or parts of them, may be called."""


def with_images(scan: Scan, keys: Keyring, budget: Budget) -> Scan:
    """The scan, with the images in the files of its volumes, and in those of theirs."""
    with Level(scan, keys, budget) as level:
        return _Finding().looked_through(level)


class _Finding:
    """The state of one look: how many images were looked into, and why no more are, where that is so."""

    def __init__(self) -> None:
        self._count = 0
        self._over: str | None = None

    def looked_through(self, level: Level) -> Scan:
        """The scan of an image with what is in the files of its volumes."""
        found: dict[int, Within] = {}
        for volume in level.volumes():
            # A shadow copy has its volume's files once more.
            if not volume.locked and volume.mapping.get("type") != "vss":
                found[volume.id] = self._in_volume(level, volume)
        for volume in level.unread():
            why = f"no library reads the files of {volume.type}: what images are in them is not known"
            found[volume.id] = Within(problems=(Problem(Code.UNSUPPORTED, why),))
        return level.scan.replaced(within=found)

    def _in_volume(self, level: Level, volume: VolumeLayer) -> Within:
        images: list[ImageWithin] = []
        machines: list[Machine] = []
        problems: list[Problem] = []
        configurations: list[tuple[Place, Place]] = []
        try:
            walk = Walk(level, level.root(volume))
            for folder, files in _folders(walk):
                images += self._in_folder(level, folder, files, problems)
                configurations += ((folder, each) for name, each in files.items() if is_configuration(name))
            machines += _machines(level, configurations, images)
            problems += (Problem(each.code, f"{place.path}: {each.message}") for place, each in walk.problems)
        except (CannotRead, SourceError, OSError) as error:
            problems.append(Problem(Code.UNSUPPORTED, f"its files cannot be looked through: {error}"))
        if self._over is not None:
            problems.append(Problem(Code.BUDGET, self._over))
        return Within(images=tuple(images), machines=tuple(machines), problems=tuple(problems))

    def _in_folder(
        self, level: Level, folder: Place, files: Mapping[str, Place], problems: list[Problem]
    ) -> Iterator[ImageWithin]:
        at = folder.address.rstrip("/")
        for segments in _candidates(at, files):
            place = files[posixpath.basename(segments.paths[0])]
            if self._over is None and self._count >= IMAGES_CAP:
                self._over = f"{IMAGES_CAP} images and archives were looked into; others were not"
            if self._over is not None:
                return
            self._count += 1
            try:
                inner = level.into(place, segments)
            except NoImage as error:
                problems.append(Problem(error.problem.code, f"{place.path}: {error.problem.message}"))
                continue
            except (SourceError, OSError) as error:
                problems.append(Problem(Code.READ_ERROR, f"{place.path}: {error}"))
                continue
            try:
                if any(each.code is Code.BUDGET for disk in inner.scan.disks for each in disk.problems):
                    self._over = f"{place.path}: the budget ended in this image; others were not looked into"
                found = self.looked_through(inner)
            finally:
                level.leave(inner)
            if _is_shown(place.name, found):
                yield ImageWithin(path=place.path, address=place.address, scan=found)


def _folders(walk: Walk) -> Iterator[tuple[Place, dict[str, Place]]]:
    """Every folder, after those in it, with its files that may be images, or parts of them."""
    open_ones: list[tuple[Place, dict[str, Place]]] = []
    for step in walk:
        if step.leaving:
            yield open_ones.pop()
        elif step.entered:
            open_ones.append((step.place, {}))
        elif step.place.entry.kind is Kind.FILE and open_ones:
            files, name = open_ones[-1][1], step.place.name
            if not _may_belong(name):
                continue
            if "/" in name:
                # No system makes such a name, and what lies beside the file is not found by one.
                wrong = Problem(Code.DAMAGED, "the name has a slash in it; it is not looked into as an image")
                walk.problems.append((step.place, wrong))
            elif len(files) < _FOLDER_CAP:
                files[name] = step.place
            elif len(files) == _FOLDER_CAP and name not in files:
                why = f"of more than {_FOLDER_CAP} files that may be parts of images, others are left out"
                wrong = Problem(Code.BUDGET, why)
                if (open_ones[-1][0], wrong) not in walk.problems[-1:]:
                    walk.problems.append((open_ones[-1][0], wrong))


def _may_belong(name: str) -> bool:
    """Whether a file of this name may be an image, a part of one, or a machine's configuration."""
    suffix = extension(name)
    return (
        suffix in IMAGE_SUFFIXES | _ARCHIVES
        or is_configuration(name)
        or name in ("DiskDescriptor.xml", "Info.plist", "Info.bckup", "file_000.aff")
        or (2 <= len(suffix) <= 4 and (suffix[-2:].isdecimal() or len(suffix) == 3))
        or any(part in IMAGE_SUFFIXES for part in name.lower().split(".")[-2:-1])
    )


def _candidates(folder: str, files: Mapping[str, Place]) -> list[Segments]:
    """The images of a folder by name, then its archives."""
    sizes = {name: place.entry.stat().size or 0 for name, place in files.items()}
    found = [each for each in images_within(folder, sizes) if _is_images(posixpath.basename(each.paths[0]))]
    taken = {path for each in found for path in each.paths}
    archives = (posixpath.join(folder, name) for name in sorted(files) if extension(name) in _ARCHIVES)
    return found + [Segments((path,)) for path in archives if path not in taken]


def _is_images(name: str) -> bool:
    suffix = extension(name)
    inner = name.lower().split(".")[-2:-1]
    return (
        suffix in IMAGE_SUFFIXES | _FIRST
        or any(part in IMAGE_SUFFIXES for part in inner)
        or name in ("DiskDescriptor.xml", "Info.plist", "file_000.aff")
    )


def _is_shown(name: str, found: Scan) -> bool:
    """Whether a file that was looked into is shown: what images are called always is."""
    if extension(name) in IMAGE_SUFFIXES:
        return True
    holds = any(each.images or each.machines or each.problems for each in found.within.values())
    if extension(name) in _ARCHIVES:
        kept = [volume for volume in found.volumes if volume.usage == "filesystem" or volume.pttype]
        return holds or bool(kept)
    return holds or any(volume.type or volume.pttype for volume in found.volumes)


def _machines(
    level: Level, configurations: list[tuple[Place, Place]], images: list[ImageWithin]
) -> Iterator[Machine]:
    """The machines in configurations, each given with the folder that it lies in."""
    known = {image.path: image for image in images}
    for folder, place in configurations:
        try:
            text = b"".join(place.entry.pieces(length=TEXT_CAP)).decode("utf-8", "replace")
        except OSError:
            continue  # the walk tells what cannot be read
        found = configured(place.name, text)
        if found is not None:
            disks = tuple(_disk_of(level, folder, found, slot, called, known) for slot, called in found.disks)
            yield Machine(
                config=place.path, type=found.type, name=found.name, disks=disks, snapshots=found.snapshots
            )


def _disk_of(  # noqa: PLR0917
    level: Level,
    folder: Place,
    found: Configured,
    slot: str,
    called: str,
    known: Mapping[str, ImageWithin],
) -> MachineDisk:
    """Which file a disk is: of the names that the configuration gives it, the first that is there."""
    wanted = called.replace("\\", "/")
    own = folder.path.rstrip("/")
    names = dict.fromkeys((wanted, posixpath.basename(wanted)))
    places = [posixpath.join(own, each, name) for each in found.folders for name in names]
    for path in dict.fromkeys(map(posixpath.normpath, places)):
        try:
            there = level.get(folder.within, path)
        except OSError:
            continue
        if there.entry.kind is Kind.FILE:
            image = known.get(there.path)
            files = image.scan.disks[0].paths if image is not None and image.scan.disks else ()
            prefix = there.address.removesuffix(there.path)
            return MachineDisk(
                slot=slot,
                name=called,
                path=there.path,
                files=tuple(each.removeprefix(prefix) for each in files),
            )
    return MachineDisk(slot=slot, name=called)
