"""``python -m tests.fuzz``: see ``--help``."""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic

from pyimount.scanning import detecting
from tests.fuzz import scanning
from tests.fuzz.bases import Base, bases, committed
from tests.fuzz.images import load, pack, unpack
from tests.fuzz.inputs import Change, Written, write
from tests.fuzz.mutating import Changes, Ground, mutation
from tests.fuzz.tracing import traced
from tests.fuzz.watching import Seen, Tally, watched

HERE = Path(__file__).parent
TARGETS = sorted(HERE.glob("fuzz_*.py"))
EACH = 300
"""Mutations of an image before it is another one's turn."""
MEMORY = 3 << 30
"""Bytes of address space; what would take more fails, and the machine lives."""


def main() -> int:
    """Run what is asked for; 1 where it found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, what in (
        ("scans", "scan mutated images"),
        ("huge", "the same, with fields as large as they can be"),
        ("layers", "read the layers of mutated images, too, at random places"),
    ):
        one = kinds.add_parser(kind, help=what)
        one.add_argument("--seconds", type=float, default=60)
        one.add_argument("--runs", type=int, default=sys.maxsize, help="end after so many")
        one.add_argument(
            "--seed", type=int, default=None, help="default: another one each time; it is printed"
        )
        one.add_argument("--found", type=Path, default=Path("build/fuzz"), help="a folder for what was found")
        one.add_argument("bases", nargs="*", help="only these images")
    guided = kinds.add_parser("guided", help="coverage-guided, by atheris: all targets, one after the other")
    guided.add_argument("--seconds", type=int, default=60)
    guided.add_argument("--corpus", type=Path, default=Path("build/fuzz"), help="a folder for what was found")
    guided.add_argument(
        "--seed", type=int, default=0, help="of the fuzzer; 0, the default: another each time"
    )
    guided.add_argument("targets", nargs="*", help="only these: " + ", ".join(each.stem for each in TARGETS))
    seeds = kinds.add_parser("seeds", help="write the committed images as seeds for a fuzzer")
    seeds.add_argument("folder", type=Path)
    keep = kinds.add_parser("keep", help="write a fuzzer's input as a regression input")
    keep.add_argument("input", type=Path)
    keep.add_argument("text", type=Path)
    keep.add_argument("about")
    given = parser.parse_args()
    if given.kind == "seeds":
        write_seeds(given.folder)
        return 0
    if given.kind == "keep":
        image = unpack(given.input.read_bytes())
        change = Change([*image.runs.items()], image.size)
        write(given.text, Written(given.about, changes={"": change}))
        return 0
    if given.kind == "guided":
        return guide(given.seconds, given.corpus, given.seed, given.targets)
    seed = Random().getrandbits(32) if given.seed is None else given.seed  # noqa: S311
    return mutate(given.kind, given.seconds, given.runs, seed, given.found, given.bases)


def mutate(kind: str, seconds: float, runs: int, seed: int, found: Path, names: list[str]) -> int:  # noqa: PLR0917
    """Mutate images for so long; prints figures as one line of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    chosen = [base for name, base in bases().items() if not names or name in names]
    dice = Random(seed)  # noqa: S311
    dice.shuffle(chosen)
    end = monotonic() + seconds
    tally, turn = Tally(), 0
    while monotonic() < end and tally.runs < runs:
        base = chosen[turn % len(chosen)]
        with tempfile.TemporaryDirectory(prefix="pyimount-fuzz.") as folder:
            ground = Ground.of(base, Path(folder))
            each = max(EACH, 2 * len(ground.counted)) if kind == "huge" else EACH
            for number in range(each):
                if monotonic() > end or tally.runs >= runs:
                    break
                which = f"{seed}-{turn}-{number}"
                ask = Asked(kind, which, number if kind == "huge" else None, found)
                run(ground, ask, tally)
        turn += 1
    figures = {
        "kind": kind, "seed": seed, "images": min(turn, len(chosen)), "turns": turn, "scans": tally.runs,
        "layers": tally.layers, "reads": tally.reads, "processor_seconds": round(tally.seconds),
        "slowest": round(tally.slowest, 2), "most_growth": tally.most_growth, "faults": dict(tally.faults),
    }  # fmt: skip
    print(json.dumps(figures))
    return 1 if tally.faults else 0


@dataclass(frozen=True)
class Asked:
    """One mutation: ``which`` is its seed, ``found`` a folder for what it did wrong."""

    kind: str
    which: str
    huge: int | None
    found: Path


def run(ground: Ground, asked: Asked, tally: Tally) -> None:
    """One mutation, and what became of it; what is new is written to ``found``."""
    changes: Changes = {}
    dice = Random(asked.which)  # noqa: S311

    def act() -> None:
        changes.update(mutation(ground, dice, asked.huge))
        with ground.changed(changes):
            scan = scanning.scan(ground.paths, ground.base.keys, dice)
            if dice.random() < 0.1:
                scanning.tell(scan)
            if asked.kind == "layers":
                layers, reads = scanning.read_layers(scan, ground.base.keys, dice)
                tally.layers += layers
                tally.reads += reads
                if dice.random() < 0.2:
                    scanning.read_as_files(scan, ground.base.keys, dice)

    seen = watched(act)
    tally.add(seen)
    if seen.fault is not None and tally.faults[seen.fault] <= 3:
        _note(ground, changes, seen, asked)


def _note(ground: Ground, changes: Changes, seen: Seen, asked: Asked) -> None:
    found, which = asked.found, asked.which
    found.mkdir(parents=True, exist_ok=True)
    about = f"A mutation of {ground.base.name}, {which}: {seen.fault}."
    write(found / f"{ground.base.name}-{which}.txt", ground.written(changes, about))
    print(f"{ground.base.name} {which}: {seen.fault}\n{seen.told}", file=sys.stderr, flush=True)


def skeleton(base: Base) -> bytes | None:
    """What a scan reads of an image's only file, packed; None where there are several."""
    with tempfile.TemporaryDirectory(prefix="pyimount-fuzz.") as folder:
        (path, *more) = base.make(Path(folder))
        if more:
            return None
        with traced() as trace:
            detecting.detect(path)
        return pack(load(path, [(at, length) for name, at, length in trace.reads if name == str(path)]))


def write_seeds(folder: Path) -> None:
    """Write the committed images as seeds: of each what a scan reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for base in committed():
        if (data := skeleton(base)) is not None:
            (folder / base.name).write_bytes(data)


def guide(seconds: int, corpus: Path, seed: int, names: list[str]) -> int:
    """Run the targets by turns; what they reach is kept in ``corpus``, for the next time.

    ``seed``: from it and an empty corpus, the same inputs come in the same order.
    """
    seeds = corpus / "seeds"
    write_seeds(seeds)
    targets = [target for target in TARGETS if not names or target.stem in names]
    failed = 0
    for target in targets:
        own = corpus / target.stem
        own.mkdir(parents=True, exist_ok=True)
        arguments = [
            f"-seed={seed}", f"-max_total_time={max(1, seconds // len(targets))}", "-timeout=20",
            "-rss_limit_mb=2048",
            "-max_len=262144", "-len_control=0", "-print_final_stats=1", f"-artifact_prefix={own}-", str(own),
            str(seeds),
        ]  # fmt: skip
        print(f"== {target.stem}", flush=True)
        command = [sys.executable, "-m", f"tests.fuzz.{target.stem}", *arguments]
        failed |= subprocess.run(command, check=False).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
