"""The language of the parsers: declarations, layouts, notation, checksums, and an image's files.

The names of the declarations are handed on here: ``from pyimount.formats import Format``.
"""

from pyimount.formats.container import Container, Opened
from pyimount.formats.declarations import (
    Candidate,
    ContainerFormat,
    Extent,
    FileReader,
    Format,
    Identity,
    KernelMount,
    Membership,
    Mounting,
    NotThisFormat,
    Partition,
    Precedence,
    Signature,
    Table,
    TableFormat,
    TableRule,
    ToolMount,
    Usage,
)
from pyimount.records import Details, Json

__all__ = [
    "Candidate",
    "Container",
    "ContainerFormat",
    "Details",
    "Extent",
    "FileReader",
    "Format",
    "Identity",
    "Json",
    "KernelMount",
    "Membership",
    "Mounting",
    "NotThisFormat",
    "Opened",
    "Partition",
    "Precedence",
    "Signature",
    "Table",
    "TableFormat",
    "TableRule",
    "ToolMount",
    "Usage",
]
