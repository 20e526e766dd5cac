"""Compressed files that are recognised, and not read: what their parsers share."""

from pyimount.formats import Container, Opened
from pyimount.formats.image import Image
from pyimount.problems import Code, Problem


def open_unread(container: Container, image: Image) -> Opened:  # noqa: ARG001
    """No bytes, and a word on what unpacks them: ``details`` have it under ``unpacked_by``."""
    tool = container.details["unpacked_by"]
    message = f"what is packed in this file ({container.type}) is not read: unpack it first ({tool})"
    problem = Problem(Code.UNSUPPORTED, message)
    return Opened(container=container.replaced(problems=(*container.problems, problem)), source=None)
