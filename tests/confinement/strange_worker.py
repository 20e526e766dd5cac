"""The worker, with scans that do what an image should never make them do, by the image's name."""

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from pyimount.confinement import worker
from pyimount.scanning import telling

usual = telling.line_of


def line_of(path: str, images: Any, told: Any) -> tuple[int, str, bool]:
    word = Path(path).stem.partition("-")[0]
    if word == "abort":
        os.abort()
    elif word == "exit":
        os._exit(3)
    elif word == "spin":
        while True:
            pass
    elif word == "sleep":
        time.sleep(3600)
    elif word == "grow":
        held = b"x" * (1 << 20)
        while True:
            held += held
    elif word == "once" and not Path(f"{path}.tried").exists():
        Path(f"{path}.tried").touch()
        os.abort()
    elif word == "print":
        os.write(1, b"what a library prints")
    return usual(path, images, told)


telling.line_of = line_of

if __name__ == "__main__":
    sys.exit(worker.main())
