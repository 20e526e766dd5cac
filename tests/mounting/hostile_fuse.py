"""A FUSE server that was taken over: it shows one name, as whatever it likes, or never answers.

The kernel's protocol, include/uapi/linux/fuse.h, spoken by hand: the library would not let us.
"""

import errno
import os
import struct
import threading
import time

_HEADER = struct.Struct("<IIQQIIII")
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
LOOKUP, FORGET, GETATTR, READLINK, OPEN, INIT, OPENDIR = 1, 2, 3, 5, 14, 26, 27
BATCH_FORGET = 42


class HostileFuse:
    """Serves ``device`` in a thread: every name is of this ``mode``, and a link to ``target``."""

    def __init__(self, device: int, mode: int, target: str = "/", *, answers: bool = True) -> None:
        self._device = device
        self._mode = mode
        self._target = target
        self._answers = answers
        self.asked: list[int] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _attributes(self, node: int) -> bytes:
        mode = 0o40755 if node == 1 else self._mode
        return _ATTRIBUTES.pack(node, 1 << 20, 2048, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0x0700, 4096, 0)

    def _answer(self, code: int, node: int) -> bytes | int:
        match code:
            case c if c == INIT:
                return struct.pack("<IIIIHHIIHHI28x", 7, 31, 1 << 17, 0, 8, 6, 1 << 17, 1, 32, 0, 0)
            case c if c == LOOKUP:
                return struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + self._attributes(2)
            case c if c == GETATTR:
                return struct.pack("<QII", 0, 0, 0) + self._attributes(node)
            case c if c == READLINK:
                return self._target.encode()
            case c if c in (OPEN, OPENDIR):
                return struct.pack("<QII", 1, 0, 0)
        return -errno.ENOSYS

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, 1 << 20)
            except OSError:
                return  # it has been unmounted, or closed
            _, code, unique, node, *_ = _HEADER.unpack_from(request)
            self.asked.append(code)
            if code in (FORGET, BATCH_FORGET):
                continue
            if not self._answers and code != INIT:
                time.sleep(1)
                os.close(self._device)
                return
            answer = self._answer(code, node)
            body, error = (b"", answer) if isinstance(answer, int) else (answer, 0)
            os.write(self._device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
