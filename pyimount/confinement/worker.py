"""``python -m pyimount.confinement.worker``: scans images one after the other, each asked for by a message.

What one image does to this process (a crash, a hang, memory without end) costs that image alone: whoever
started it starts another. A message is four bytes of length and JSON; the answer is the exit status, flags,
the length, and a line of ``reports.lines``.
"""

import gc
import json
import os
import struct
import sys
from typing import Any, BinaryIO

LENGTH = struct.Struct("<I")
"""The length of a question."""
ANSWER = struct.Struct("<BBI")
"""Of an answer: the exit status, flags, the length of its line."""
GROWN, LACKED = 1, 2
"""Flags: the process has grown, and another should go on; memory was lacking for a part of the image."""
OUT_OF_MEMORY = 70
"""The exit status of a worker that had not even the memory to say so."""

_GROWN = 512 << 20
"""A process that holds this many bytes after an image is replaced: what was freed is rarely given back."""


def main() -> int:
    """Answer until there is nobody who asks."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What a library prints is no answer.
    _bind(int(sys.argv[1]), int(sys.argv[2]))
    gc.set_threshold(100_000)  # as the command line does: looking for garbage takes longer than a scan
    while (request := _next(asked)) is not None:
        try:
            status, line, lacked = _answer(request)
            data = line.encode()
            flags = GROWN * (_size() > _GROWN) | LACKED * lacked
            answers.write(ANSWER.pack(status, flags, len(data)) + data)
        except MemoryError:
            return OUT_OF_MEMORY
        answers.flush()
    return 0


def _bind(memory: int, parent: int) -> None:
    """Set the limit of memory, and end when the one who asks does; as far as this system has that."""
    try:
        from pyimount.confinement.limits import limit_memory
        from pyimount.confinement.process import end_with_parent
    except ImportError:
        return
    limit_memory(memory)
    if sys.platform == "linux":
        end_with_parent()
        if os.getppid() != parent:
            sys.exit(0)


def _next(asked: BinaryIO) -> dict[str, Any] | None:
    head = asked.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    request: dict[str, Any] = json.loads(asked.read(length))
    return request


def _answer(request: dict[str, Any]) -> tuple[int, str, bool]:
    from pyimount.scanning.telling import line_of

    return line_of(request["path"], request["images"], request["options"])


def _size() -> int:
    """The bytes of memory that this process holds now; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
