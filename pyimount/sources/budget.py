"""What one scan may cost, and what it has cost so far."""

import time

from pyimount.records import Record
from pyimount.sources.errors import BudgetError

MIB = 1 << 20


class Budget(Record):
    """The limits of a scan, each for one image.

    ``bytes_read``: bytes read from files. ``seconds``: wall time. ``layers``: how many layers
    may be found. ``depth``: how many layers may lie within one another.
    """

    bytes_read: int = 512 * MIB
    seconds: float = 20.0
    layers: int = 4096
    depth: int = 16


class Meter:
    """Counts what is read from files, and refuses a read past the budget.

    ``apart``: what is read now is for allocation structures; it counts as ``allocation_read``, up to the same
    limit, so that counting what is free takes nothing from recognising what is there.
    """

    __slots__ = ("allocation_read", "apart", "budget", "bytes_read", "reads", "started")

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self.bytes_read = 0
        self.allocation_read = 0
        self.apart = False
        self.reads = 0
        self.started = time.monotonic()

    def charge(self, length: int) -> None:
        """Count a read of ``length`` bytes that is about to be made; raise BudgetError instead."""
        so_far = self.allocation_read if self.apart else self.bytes_read
        if so_far + length > self.budget.bytes_read:
            raise BudgetError(f"{so_far} bytes read, {self.budget.bytes_read} allowed for one image")
        self.check_time()
        if self.apart:
            self.allocation_read += length
        else:
            self.bytes_read += length
        self.reads += 1

    def forgive(self, seconds: float) -> None:
        """Do not count this much of the time that has passed: deriving a key has a limit of its own."""
        self.started += seconds

    def extend(self, bytes_read: int, seconds: float) -> None:
        """Allow so much more: for what is asked for besides, and is known to cost this."""
        self.budget = self.budget.replaced(
            bytes_read=self.budget.bytes_read + bytes_read, seconds=self.budget.seconds + seconds
        )

    def check_time(self) -> None:
        """Raise BudgetError when the time is up; loops that read nothing call this."""
        if time.monotonic() - self.started > self.budget.seconds:
            raise BudgetError(f"{self.budget.seconds:g} seconds spent, all that one image may take")
