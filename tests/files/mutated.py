"""Images of every type with bytes changed at random: what is read of them, each in a process of its own.

    python -m tests.files.mutated --count 200 --seed 1 [TYPE …]

Prints, for each type, how many were recognised, how many of their files were read as they were, how many were
told to be damaged, and what must not be: crashes, hangs, memory, and exceptions other than those of files.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyimount
from pyimount.files.libraries import readers_of
from pyimount.files.records import Kind
from pyimount.files.system import CannotRead, Entry
from pyimount.sources.errors import SourceError
from tests.files import makers

SECONDS = 10
MEMORY = 512 << 20
ENTRIES_CAP = 5000
_SECTOR = 512


def everything(folder: Entry, deep: int = 0) -> Iterator[tuple[str, str]]:
    """The files below a folder, with the hash of each, or what is wrong; as many as a test looks at."""
    try:
        for entry in folder.entries():
            yield entry.path, _of(entry)
            if entry.kind is Kind.FOLDER and deep < 20:
                yield from everything(entry, deep + 1)
    except OSError as error:
        yield folder.path, f"! {error.strerror}"
    for problem in folder.problems:
        yield f"{folder.path}#", f"! {problem.message}"


def _of(entry: Entry) -> str:
    try:
        entry.stat()
        entry.streams()
        if entry.kind is Kind.LINK:
            return entry.target()
        if entry.kind is not Kind.FILE:
            return str(entry.kind)
        made = hashlib.sha256()
        for number, piece in enumerate(entry.pieces()):
            made.update(piece)
            if number > 50:
                return "! endless"
        return made.hexdigest()
    except OSError as error:
        return f"! {error.strerror}"


def read(image: Path, library: str | None = None) -> dict[str, str] | None:
    """What is in an image, by path; None: nothing in it is recognised that has files."""
    scan = pyimount.detect(image)
    found: dict[str, str] = {}
    volumes = [each for each in scan.volumes if readers_of(each) and not each.hidden]
    for volume in volumes[:3]:
        try:
            with pyimount.open_filesystem(scan, volume, in_process=True, library=library) as files:
                for number, (path, said) in enumerate(everything(files.root)):
                    found[path] = said
                    if number > ENTRIES_CAP:
                        break
        except (CannotRead, SourceError, OSError) as error:
            found["/"] = f"! {error}"
    return found if volumes else None


def used_sectors(image: Path) -> list[int]:
    """Where something is in an image: the offsets of its sectors that are not blank."""
    found = []
    with image.open("rb") as file:
        at = 0
        while piece := file.read(1 << 20):
            if any(piece):
                sectors = range(0, len(piece) - _SECTOR + 1, _SECTOR)
                found += [at + each for each in sectors if piece[each : each + _SECTOR].strip(b"\0\xff")]
            at += len(piece)
    return found


def changes(image: Path, used: Sequence[int], dice: random.Random) -> Iterator[tuple[int, bytes]]:
    """A few bytes to be changed where something is: a bit, a word of extremes, a piece of somewhere else."""
    with image.open("rb") as file:
        for _ in range(dice.choice((1, 1, 2, 4, 16))):
            at = dice.choice(used) + dice.randrange(_SECTOR - 8)
            how = dice.randrange(4)
            if how == 0:
                file.seek(at)
                yield at, bytes([file.read(1)[0] ^ 1 << dice.randrange(8)])
            elif how == 1:
                yield at, dice.choice((b"\xff\xff\xff\xff", bytes(4), b"\xff\xff\xff\x7f", b"\1\0\0\0"))
            elif how == 2:
                file.seek(dice.choice(used))
                yield at, file.read(8)
            else:
                yield at, dice.randbytes(2)


@contextmanager
def changed(image: Path, what: Sequence[tuple[int, bytes]]) -> Iterator[None]:
    """An image with these bytes changed for the time being."""
    before = []
    with image.open("r+b", 0) as file:
        for at, data in what:
            file.seek(at)
            before.append((at, file.read(len(data))))
            file.seek(at)
            file.write(data)
        try:
            yield
        finally:
            for at, data in reversed(before):
                file.seek(at)
                file.write(data)


def apart(work: Callable[[], Any]) -> tuple[str, Any]:
    """What some work gives, done in a process with limits: ``ok`` and that, or how it ended."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
                resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY,) * 2)
                said.write(json.dumps(work()).encode("ascii"))
                status = 0
            except BaseException as error:  # noqa: BLE001  (this is what is looked for)
                said.write(f"{type(error).__name__}: {error}".encode("ascii", "replace")[:500])
            finally:
                said.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        text = said.read()
    if os.WIFSIGNALED(status):
        return ("hang" if os.WTERMSIG(status) in (24, 9) else "crash"), os.WTERMSIG(status)
    if os.WEXITSTATUS(status):
        return "raised", text.decode("ascii", "replace")
    return "ok", json.loads(text)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def run(kind: str, folder: Path, count: int, seed: int, library: str | None = None) -> "Counter[str]":
    """Mutate an image of a type so many times; what came of it."""
    image = folder / kind.replace(" ", "-")
    if not image.exists():
        makers.make(kind, image)
    read(image, library)  # what it needs is loaded once, and not in each process
    whole = apart(lambda: read(image, library))
    assert whole[0] == "ok", whole
    sound: Mapping[str, str] = whole[1]
    assert sound or kind in makers.EMPTY
    assert not any(said.startswith("! ") for said in sound.values()), sound
    used, found = used_sectors(image), Counter[str]()
    for number in range(count):
        dice = random.Random(f"{seed} {number}")  # noqa: S311
        with changed(image, list(changes(image, used, dice))):
            how, said = apart(lambda: read(image, library))
        if how != "ok":
            found[how] += 1
            print(f"{kind} {library or ''} number {number}: {how}: {said}", file=sys.stderr)
        elif said is None:
            found["not recognised"] += 1
        else:
            found["recognised"] += 1
            found["files as they were"] += sum(said.get(path) == of for path, of in sound.items())
            found["files in all"] += len(sound)
            found["told to be damaged"] += sum(of.startswith("! ") for of in said.values())
    return found


def main() -> int:
    """Run, and print a line for each type."""
    parser = argparse.ArgumentParser(prog="python -m tests.files.mutated", description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--library")
    parser.add_argument("types", nargs="*", metavar="TYPE", help=", ".join(makers.MAKERS))
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.types or makers.MAKERS:
            found = run(kind, Path(folder), options.count, options.seed, options.library)
            # What takes too long ends the reader, which is another process, and is told.
            bad += found["crash"] + found["raised"]
            print(f"{kind}: {dict(found)}", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
