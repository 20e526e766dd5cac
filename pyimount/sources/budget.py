"""What one scan may cost, and what it has cost so far: counted in work, so that it is the same everywhere."""

from time import monotonic

from pyimount.records import Record
from pyimount.sources.errors import BudgetError

MIB = 1 << 20
GIB = 1 << 30


class Budget(Record):
    """The limits of a scan, each for one image. All but ``seconds`` count work, not time.

    ``bytes_read``: bytes read from files. ``seconds``: time on the clock; None, which is usual: no such
    limit, since what a busy machine finds in some time is not what an idle one does. ``layers``: how many
    layers may be found. ``depth``: how many layers may lie within one another. ``unpacked``: bytes that may
    be unpacked from what is compressed; those of slow methods count several times. ``derivation``: what
    deriving keys may cost, in iterations of PBKDF2; ``mapping.kdf`` says what else is worth how many.
    ``derivation_memory``: bytes of memory that deriving one key may take.

    What members of several images make up together is scanned with the same limits once more.
    """

    bytes_read: int = 512 * MIB
    seconds: float | None = None
    layers: int = 16384
    depth: int = 16
    unpacked: int = 8 * GIB
    derivation: int = 400_000_000
    derivation_memory: int = 4 * GIB


NO_LIMIT = Budget(
    bytes_read=1 << 62, unpacked=1 << 62, derivation=1 << 62, derivation_memory=1 << 62, layers=1 << 62
)
"""The budget of who reads a layer's contents, and not only what a scan needs."""


class Meter:
    """Counts what one image costs, and refuses what would pass the budget.

    The clock runs from the start, or while between ``resume`` and ``pause``: who works on several images
    stops the clocks of the others.

    ``apart``: what is read now is for allocation structures; it counts as ``allocation_read``, up to the same
    limit, so that counting what is free takes nothing from recognising what is there.

    ``shared``: what is counted here counts there as well: what several images may cost together.
    """

    __slots__ = (
        "_passed", "_shared", "_since", "allocation_read", "apart", "budget", "bytes_read", "derived",
        "layers", "reads", "unpacked",
    )  # fmt: skip

    def __init__(self, budget: Budget | None = None, shared: "Meter | None" = None) -> None:
        self.budget = budget or Budget()
        self._shared = shared
        self.bytes_read = 0
        self.allocation_read = 0
        self.apart = False
        self.reads = 0
        self.renew()

    def renew(self) -> None:
        """Allow the whole budget anew. All counts begin at zero, too."""
        self.bytes_read = self.allocation_read = self.reads = 0
        self.layers = self.unpacked = self.derived = 0
        self._passed = 0.0
        self._since: float | None = monotonic()

    def pause(self) -> None:
        """Stop the clock."""
        if self._since is not None:
            self._passed += monotonic() - self._since
            self._since = None

    def resume(self) -> None:
        """Let the clock go on."""
        if self._since is None:
            self._since = monotonic()

    def charge(self, length: int, reads: int = 1) -> None:
        """Count ``reads`` of ``length`` bytes in all that are about to be made; raise BudgetError instead."""
        so_far = self.allocation_read if self.apart else self.bytes_read
        if so_far + length > self.budget.bytes_read:
            raise BudgetError(f"{so_far} bytes read, {self.budget.bytes_read} allowed for one image")
        if self.budget.seconds is not None:
            self.check_time()
        if self._shared is not None:
            self._shared.apart = self.apart
            self._shared.charge(length, reads)
        if self.apart:
            self.allocation_read += length
        else:
            self.bytes_read += length
        self.reads += reads

    def charge_unpacked(self, length: int) -> None:
        """Count ``length`` bytes that are about to be unpacked; raise BudgetError instead."""
        if self.unpacked + length > self.budget.unpacked:
            raise BudgetError(
                f"{self.unpacked} bytes unpacked (slow methods count several times), "
                f"{self.budget.unpacked} allowed for one image"
            )
        self.check_time()
        if self._shared is not None:
            self._shared.charge_unpacked(length)
        self.unpacked += length

    def charge_layer(self) -> None:
        """Count a layer that is about to be noted; raise BudgetError instead."""
        if self.layers >= self.budget.layers:
            raise BudgetError(f"{self.layers} layers found, all that one image may have")
        if self._shared is not None:
            self._shared.charge_layer()
        self.layers += 1

    @property
    def derivation_left(self) -> int:
        """What deriving keys may still cost."""
        left = self.budget.derivation - self.derived
        return left if self._shared is None else min(left, self._shared.derivation_left)

    def count_derived(self, work: int) -> None:
        """Count what deriving a key costs, of which ``derivation_left`` was asked before."""
        self.derived += work
        if self._shared is not None:
            self._shared.count_derived(work)

    def extend(self, bytes_read: int = 0, unpacked: int = 0, layers: int = 0) -> None:
        """Allow so much more: for what is asked for besides, and is known to cost this."""
        self.budget = self.budget.replaced(
            bytes_read=self.budget.bytes_read + bytes_read,
            unpacked=self.budget.unpacked + unpacked,
            layers=self.budget.layers + layers,
        )

    def check_time(self) -> None:
        """Raise BudgetError when the time is up, where the caller has set a time."""
        if self.budget.seconds is None:
            return
        passed = self._passed + (0.0 if self._since is None else monotonic() - self._since)
        if passed > self.budget.seconds:
            raise BudgetError(
                f"{self.budget.seconds:g} seconds spent, the time that was set for one image; "
                "how far that goes depends on the machine"
            )
