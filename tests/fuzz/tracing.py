"""What a scan looks at: the structures that it parses, what it reads, the checksums that it takes."""

import hashlib
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, wraps
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any
from unittest.mock import patch

from construct import Construct

from pyimount.formats.layouts import Layout
from pyimount.recognition.registry import container_formats, table_formats, volume_formats
from pyimount.sources.file import FileSource

SUMS_CAP = 64
"""So many checksums by one function of one length are noted; the chunks of an image have thousands."""
_SUMS = re.compile(r"crc|adler|checksum|sum_of|xxh64|rotated_sum")


@dataclass(frozen=True)
class Sum:
    """A checksum that was taken: by which function, of how many bytes, the how-manieth of these."""

    function: str
    length: int
    number: int


@dataclass
class Trace:
    """What one scan did. ``structures``: each declaration with the bytes that were parsed by it, once.

    ``reads``: ``(path, offset, length)``. ``sums``: what each checksum came to.
    """

    structures: dict[tuple[int, bytes], Construct] = field(default_factory=dict)
    reads: list[tuple[str, int, int]] = field(default_factory=list)
    sums: dict[Sum, int | bytes] = field(default_factory=dict)


@cache
def _places() -> tuple[tuple[ModuleType, str, Callable[..., Any]], ...]:
    """Where the functions are that take checksums: a module, a name in it, the function."""
    # All parsers have to be there.
    _ = [*container_formats(), *table_formats(), *volume_formats()]
    own = [module for name, module in sorted(sys.modules.items()) if name.startswith("pyimount.")]
    found = [
        (module, name, value)
        for module in own
        for name, value in vars(module).items()
        if isinstance(value, FunctionType | BuiltinFunctionType) and _SUMS.search(value.__name__)
    ]
    return (
        *found,
        (zlib, "crc32", zlib.crc32),
        (zlib, "adler32", zlib.adler32),
        *((hashlib, name, getattr(hashlib, name)) for name in ("new", "sha1", "sha256", "blake2b", "md5")),
    )


@contextmanager
def traced() -> Iterator[Trace]:
    """A block whose scans are traced. Not for threads: it changes what modules have."""
    trace = Trace()
    places = _places()
    read, parse = FileSource._read, Layout.parse
    counts: dict[tuple[str, int], int] = {}

    def parse_noted(layout: Layout, data: bytes, offset: int = 0) -> Any:
        declared, own = layout.construct, bytes(data[offset : offset + layout.size])
        trace.structures.setdefault((id(declared), own), declared)
        return parse(layout, data, offset)

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def sum_up(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            data = next((each for each in args if isinstance(each, bytes | bytearray | memoryview)), None)
            value = result.digest() if hasattr(result, "digest") else result
            if data is not None and type(value) in {int, bytes}:
                key = function.__name__, len(data)
                counts[key] = counts.get(key, 0) + 1
                if counts[key] <= SUMS_CAP:
                    trace.sums[Sum(*key, counts[key])] = value
            return result

        return sum_up

    def read_noted(source: FileSource, offset: int, length: int) -> bytes:
        trace.reads.append((source.path, offset, length))
        return read(source, offset, length)

    def one_by_one(source: FileSource, runs: Sequence[tuple[int, int]]) -> None:
        """Nothing is read together, so that each read is noted."""

    wrapped = {function: noting(function) for _, _, function in places}
    for module, name, function in places:
        setattr(module, name, wrapped[function])
    try:
        with (
            patch.object(FileSource, "_read", read_noted),
            patch.object(FileSource, "read_runs", one_by_one),
            patch.object(Layout, "parse", parse_noted),
        ):
            yield trace
    finally:
        for module, name, function in places:
            setattr(module, name, function)
