"""What a machine can do, as a plan needs to know it."""

from collections.abc import Mapping

from pyimount.records import EMPTY, Record


class Machine(Record, kw_only=True):
    """What the kernel has and which tools are installed; made by ``execution.survey``.

    ``filesystems``: the names that ``mount -t`` takes here, those of modules that can be loaded
    included. ``device_mapper``, ``md``, ``fuse``, ``nbd``: whether the kernel has these, or can load them;
    ``flash``: whether it can make a flash device in memory.
    ``tools``: absolute paths by name, of those that are installed. ``kernel``: its version's first two
    numbers; ``(0, 0)`` where that is not known, and it is taken for a new one. ``lacks``: why a part of
    the kernel cannot be used here, and what to do, by the field's name.
    """

    filesystems: frozenset[str] = frozenset()
    device_mapper: bool = False
    md: bool = False
    fuse: bool = False
    nbd: bool = False
    flash: bool = False
    tools: Mapping[str, str] = EMPTY
    kernel: tuple[int, int] = (0, 0)
    lacks: Mapping[str, tuple[str, str]] = EMPTY
