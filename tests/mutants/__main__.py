"""``python -m tests.mutants``: see ``--help``."""

import argparse
import json
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

from tests.mutants import covering
from tests.mutants.mutations import Mutation, sample
from tests.mutants.trying import copied, noticed

TOP = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).parent / "equivalent.json"
"""Changes that change nothing, each with the reason."""


def main() -> int:
    """Make the changes, and print which of them no test noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=main.__doc__)
    parser.add_argument("--each", type=int, default=30, help="changes a file (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="what is drawn; default: another each time; it is printed")
    parser.add_argument("--jobs", type=int, default=2, help="changes at once (default: %(default)s)")
    parser.add_argument(
        "--at-most", type=float, default=30, help="seconds of tests a round (default: %(default)s)"
    )
    parser.add_argument("--kept", type=Path, default=TOP / "build/mutants", help="a folder for what is known")
    parser.add_argument("--again", action="store_true", help="see anew which tests run which line")
    parser.add_argument("files", nargs="+")
    asked = parser.parse_args()
    seed = random.randrange(1 << 16) if asked.seed is None else asked.seed  # noqa: S311
    print(f"seed {seed}, {asked.each} a file")
    if asked.again or not (asked.kept / "durations").exists():
        covering.made(TOP, asked.kept)
    known = covering.read(asked.kept, asked.files)
    drawn = [each for file in asked.files for each in sample(TOP, file, asked.each, seed)]
    results: list[tuple[Mutation, str | None]] = []
    with ExitStack() as stack:
        copies: SimpleQueue[Path] = SimpleQueue()
        for _ in range(asked.jobs):
            copies.put(stack.enter_context(copied(TOP)))

        def tried(mutation: Mutation) -> str | None:
            copy = copies.get()
            try:
                rounds = known.tests(mutation.file, mutation.line, asked.at_most)
                return noticed(copy, mutation, rounds, asked.at_most)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(asked.jobs) as pool, (asked.kept / f"{seed}.jsonl").open("w") as written:
            for mutation, by in zip(drawn, pool.map(tried, drawn), strict=True):
                results.append((mutation, by))
                written.write(json.dumps(asdict(mutation) | {"noticed": by}) + "\n")
                written.flush()
                if by is None:
                    print(
                        f"{mutation.file}:{mutation.line}: {mutation.was}\n    {mutation.becomes}", flush=True
                    )
    _tell(asked.files, results)
    return 0


def _tell(files: list[str], results: list[tuple[Mutation, str | None]]) -> None:
    same = {(each["file"], each["was"], each["becomes"]) for each in json.loads(EQUIVALENT.read_text())}
    equivalent = 0
    for file in files:
        of_file = [(mutation, by) for mutation, by in results if mutation.file == file]
        left = [mutation for mutation, by in of_file if by is None]
        named = [each for each in left if (each.file, each.was, each.becomes) in same]
        equivalent += len(named)
        print(f"{file}: {len(of_file) - len(left)} of {len(of_file)} noticed, {len(named)} change nothing")
    total, seen = len(results), sum(by is not None for _, by in results)
    print(f"together: {seen} of {total} noticed ({seen / max(total, 1):.1%}), {equivalent} change nothing")


raise SystemExit(main())
