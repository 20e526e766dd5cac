"""The ways to a layer's bytes that a plan has found: which file or device, and from where on."""

from pyimount.planning.steps import Place, Result, TableLine
from pyimount.records import Record


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


class Ways(Record, kw_only=True):
    """The ways that were found, by the layer's id: what one layer takes, the next one shares.

    ``runs``: where its bytes lie; ``loops``: its device; ``files``: its name at our server, whose step is
    ``server``; ``mapped``: the device of a device-mapper table; ``shadows``: where its
    shadow copies are shown.
    """

    runs: dict[int, Run]
    loops: dict[int, Result]
    files: dict[int, str]
    mapped: dict[tuple[TableLine, ...], Result]
    shadows: dict[int, Result]
    server: Result | None = None

    def copy(self) -> "Ways":
        """The same, to come back to."""
        return Ways(
            runs=dict(self.runs), loops=dict(self.loops), files=dict(self.files), mapped=dict(self.mapped),
            shadows=dict(self.shadows), server=self.server,
        )  # fmt: skip
