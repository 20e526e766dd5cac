"""What is free and used in a volume that was recognised, and how that was found."""

from pyimount.formats import Identity, NotThisFormat
from pyimount.formats.allocation import Allocation, Elsewhere, Reader, Space, TooMuch
from pyimount.problems import Code, Problem
from pyimount.sources.errors import BudgetError, ReadError
from pyimount.sources.view import ShortRead


def with_space(identity: Identity, *, whole: bool = False) -> Identity:
    """The identity with ``free`` and ``used``, and in its details how they were found or why they were not.

    ``whole``: read all that tells it, else little. Never raises for what the volume holds. Where the
    allocation structures cannot be read, what the parser took from a counter stays.
    """
    free, used = identity.free, identity.used
    source, reason = identity.free_from or "superblock", None
    problems, details = identity.problems, identity.details
    if identity.free_from is None and identity.state == "dirty":
        source = "superblock, as it was last written: the volume was not unmounted"
    if identity.allocation is not None:
        counted = _counted(identity.allocation, whole=whole)
        if isinstance(counted, Space):
            free, used, source = counted.free, counted.used, counted.found
            details = {**details, **counted.details}
        elif isinstance(counted, ReadError):
            reason = f"what tells it could not be read: {counted}"
            problems = (*problems, Problem(Code.READ_ERROR, f"what is free: {counted}"))
        else:
            reason = counted
    elif free is None:
        reason = identity.free_unknown
    size = identity.fs_size
    if size is not None and free is not None and not 0 <= free <= size:
        message = f"the {source} would have {free} bytes free, of {size}"
        problems, free, used = (*problems, Problem(Code.DAMAGED, message)), None, None
    if used is None and free is not None and size is not None:
        used = size - free
    found = {"free_from": source if free is not None else None, "free_unknown": reason}
    details = {**details, **{name: said for name, said in found.items() if said}}
    return identity.replaced(free=free, used=used, details=details, problems=problems, allocation=None)


def _counted(allocation: Allocation, *, whole: bool) -> Space | ReadError | str:
    """What the allocation structures say, or why they say nothing."""
    try:
        return allocation.count(Reader(allocation.view, whole=whole))
    except (Elsewhere, TooMuch) as error:
        return str(error)
    except ShortRead as error:
        return f"the image ends before what tells it: {error}"
    except NotThisFormat as error:
        return f"what tells it is damaged: {error}"
    except BudgetError as error:
        return f"what tells it was not read: {error}"
    except ReadError as error:
        return error
