"""The steps of a plan as they are thought of, and the folders that they make."""

from collections.abc import Mapping
from typing import Any

from pyimount.layers import DiskLayer, Layer, VolumeLayer
from pyimount.planning.steps import MOUNTPOINTS, MakeDirectory, Result, Step


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


class Folders:
    """The folders of a session, made when they are first needed; ``made`` has them by their names."""

    def __init__(self, steps: Steps, session: str, base: str, cache: str | None) -> None:
        self.made: Mapping[str, Result] = {}
        self._steps = steps
        self._path = f"{base}/{session}"
        self._cache = cache

    def _folder(self, name: str, inside: Result | None) -> Result:
        found = self.made.get(name)
        if found is None:
            found = self._steps.add(MakeDirectory, inside=inside, path=name)
            self.made = {**self.made, name: found}
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

    def of_kept(self, volume: VolumeLayer) -> Result:
        """Where a volume is mounted that is shown elsewhere as one user's."""
        kept = self._folder("kept", self.session())
        return self._steps.add(MakeDirectory, layer=volume.id, inside=kept, path=f"{volume.id}")

    def of_mountpoints(self, named: str | None, case: str | None) -> Result:
        """Where mountpoints are made: the folder that the caller named, else the session's."""
        made = self._folder(MOUNTPOINTS, self.session()) if named is None else self._folder(named, None)
        return made if case is None else self._folder(case, made)

    def cache(self) -> str | None:
        """Where what is written is kept; None where nothing is."""
        return self._cache
