"""What can be wrong with a layer: a closed list of codes, each with a sentence for a person.

Scripts match codes, people read messages. A code keeps its meaning for as long as the report's
``schema`` keeps its number.
"""

from enum import StrEnum

from pyimount.records import Record


class Code(StrEnum):
    """The codes of a problem; the value is what the report shows."""

    UNREADABLE = "unreadable"
    """The path could not be opened as an image at all: missing, no permission, not a file."""
    READ_ERROR = "read-error"
    """Bytes that should be there could not be read."""
    TRUNCATED = "truncated"
    """The bytes end before the structure that describes them says so."""
    DAMAGED = "damaged"
    """A structure was recognised, but what it says contradicts itself."""
    BAD_CHECKSUM = "bad-checksum"
    """A checksum does not match the bytes it covers."""
    BACKUP_USED = "backup-used"
    """The first copy of a structure is unusable; the facts come from a backup copy."""
    COPIES_DIFFER = "copies-differ"
    """Copies of one structure, each valid, say different things."""
    AMBIGUOUS = "ambiguous"
    """Several readings of the same bytes hold; ``candidates`` has those that were not chosen."""
    OVERLAP = "overlap"
    """Two extents of one table claim the same bytes."""
    OUTSIDE_PARENT = "outside-parent"
    """An extent reaches beyond the bytes that hold it."""
    LOOP = "loop"
    """A chain of structures on the disk leads back to itself."""
    LOCKED = "locked"
    """The contents are encrypted, and no key has been given that opens them."""
    WRONG_KEY = "wrong-key"
    """A key was given, and does not open this volume."""
    UNSUPPORTED = "unsupported"
    """Recognised, but pyimount cannot read what lies inside, or not this part of it."""
    MISSING_MEMBER = "missing-member"
    """A member of an array or a volume group is not among the images."""
    MISSING_SEGMENT = "missing-segment"
    """A segment of a split image was not found beside the others."""
    MISSING_BACKING_FILE = "missing-backing-file"
    """The image refers to another file that is missing, or that it may not open."""
    STALE_MEMBER = "stale-member"
    """This member of an array is older than the others, and is not used."""
    NOT_AS_TOLD = "not-as-told"
    """The caller, or the image's container, said what the bytes do not show: a type, the size of sectors."""
    BUDGET = "budget"
    """A limit of this scan was reached; what lies beyond was not looked at."""
    OUT_OF_MEMORY = "out-of-memory"
    """The machine, or a limit set for this process, lacks the memory or the open files that this takes:
    nothing is known of it, and elsewhere it may be read. The exit status is 1."""
    INTERNAL_ERROR = "internal-error"
    """pyimount itself failed at this, by a fault that should be reported. The exit status is 1."""


NOT_DONE = frozenset((Code.OUT_OF_MEMORY, Code.INTERNAL_ERROR))
"""What is no fact about the image, but kept this run from finding one out."""


class Problem(Record):
    """One thing that is wrong, as ``code`` for scripts and ``message`` for people."""

    code: Code
    message: str
