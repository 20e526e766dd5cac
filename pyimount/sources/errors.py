"""What can go wrong with bytes."""

import struct
import zlib


class SourceError(Exception):
    """Base of all errors of this package; ``str()`` is a sentence for a person."""


class ReadError(SourceError):
    """Bytes within a source's size could not be had."""


class MissingBytes(ReadError):  # noqa: N818  (what they are)
    """Bytes that stand in a file, or a part of one, that is not there: a problem of the container says so."""


class BudgetError(SourceError):
    """A read would pass the scan's budget."""


class OpenError(SourceError):
    """A path cannot be opened as an image."""


class NoFilesLeft(SourceError):  # noqa: N818  (what it is)
    """This process, or the machine, may open no more files; nothing is known of what was to be opened."""


class IsFolder(OpenError):  # noqa: N818  (what it is)
    """A path is a folder, and no image."""


FOREIGN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What a library that was not written for hostile bytes raises on them (RuntimeError takes in
RecursionError and its kin). Caught only around calls into such a library, never around our own code.
Not MemoryError: what the machine lacks says nothing of the image."""
