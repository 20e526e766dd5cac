"""Which changes are made: Cosmic Ray's, of comparisons, boolean and arithmetic operators and numbers."""

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

KINDS = (
    "AddNot",
    "NumberReplacer",
    "ReplaceAndWithOr",
    "ReplaceBinaryOperator",
    "ReplaceComparisonOperator",
    "ReplaceFalseWithTrue",
    "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse",
    "ReplaceUnaryOperator",
)
Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change of one file."""

    file: str
    """From the top of the tree."""
    operator: str
    """Cosmic Ray's name of it."""
    occurrence: int
    """The how manieth place in the file that this operator can change, from 0."""
    line: int
    was: str
    """The line before, without its indentation."""
    becomes: str


def sample(top: Path, file: str, count: int, seed: int) -> list[Mutation]:
    """Some changes of one file, the same for the same seed; each at another place.

    Changes are drawn by place and then by operator: else an addition, which can become ten other operators,
    would be drawn ten times as often as a number. There are fewer where the file has fewer places.
    """
    source = (top / file).read_text()
    dice = random.Random(f"{seed}:{file}")  # noqa: S311
    places = _places(source)
    drawn = dice.sample(sorted(places), min(count, len(places)))
    return [_made(file, source, line, *dice.choice(places[line, column])) for line, column in sorted(drawn)]


def _made(file: str, source: str, line: int, operator: str, occurrence: int) -> Mutation:
    before, after = source.splitlines(), mutated(source, operator, occurrence).splitlines()
    # An operator may stand on a later line than what it belongs to.
    at = next((i for i, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), line - 1)
    return Mutation(file, operator, occurrence, at + 1, before[at].strip(), after[at].strip())


def mutated(source: str, operator: str, occurrence: int) -> str:
    """A source text with one change made."""
    text = mutate_code(source, get_operator(operator)(), occurrence)
    if text is None:
        raise ValueError(f"{operator} has no place number {occurrence}")
    return str(text)


def _places(source: str) -> dict[Position, list[tuple[str, int]]]:
    """Operator and occurrence of each change that there can be, by the place of what it changes."""
    within = list(_bodies(ast.parse(source)))
    annotations = list(_annotations(ast.parse(source)))
    tree = get_ast(source)
    places: dict[Position, list[tuple[str, int]]] = {}
    for name in operator_names():
        if not _is_of_kind(name):
            continue
        operator = get_operator(name)()
        spans = (span for node in ast_nodes(tree) for span in operator.mutation_positions(node))
        for occurrence, (start, _) in enumerate(spans):
            if _lies_in(start, within) and not _lies_in(start, annotations):
                places.setdefault(start, []).append((name, occurrence))
    return places


def _is_of_kind(name: str) -> bool:
    kind, _, words = name.partition("/")[2].partition("_")
    if kind not in KINDS:
        return False
    # Small numbers are the same object in CPython: `==` and `is` differ there in nothing.
    was, _, becomes = words.partition("_")
    return kind != "ReplaceComparisonOperator" or was.startswith("Is") or not becomes.startswith("Is")


def _lies_in(place: Position, spans: list[tuple[Position, Position]]) -> bool:
    return any(start <= place < end for start, end in spans)


def _span(node: ast.stmt | ast.expr) -> tuple[Position, Position]:
    return (node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0)


def _bodies(tree: ast.Module) -> Iterator[tuple[Position, Position]]:
    """What functions do; outside of them are declarations."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (_span(statement) for statement in node.body)


def _annotations(tree: ast.Module) -> Iterator[tuple[Position, Position]]:
    """What only type checkers read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            yield _span(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield _span(node.returns)
