"""Paths as a user gives them: ``VOLUME:/path``, ``/path``, ``:STREAM`` behind it.

The exact name wins over any reading of a colon. Which reading holds is only known where the names are, so
that here the readings are listed, the likeliest first.
"""

import re
from collections.abc import Callable, Iterator

from pyimount.records import Record


class UserPath(Record):
    """A reading: ``volume`` by index, UUID or label (None: the tree of all), path from its root, stream."""

    volume: str | None
    path: str
    stream: str | None = None


class BadPath(ValueError):  # noqa: N818
    """What is no path; the message says what one is."""


_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of UTF-16's characters, which stand for no byte."""


def target_bytes(target: str) -> bytes:
    """The bytes of a link's target, as a link here has it; half a character of UTF-16 as %uNNNN."""
    whole = _HALF.sub(lambda half: f"%u{ord(half[0]):04X}", target)
    return whole.encode("utf-8", "surrogateescape")


def parse(text: str, is_volume: Callable[[str], bool]) -> UserPath:
    """The volume and the path meant; ``is_volume``: whether a volume is called so. Raises BadPath."""
    if text.startswith("/"):
        return UserPath(None, text)
    at = text.find(":")
    while at >= 0:
        # A label may have colons, too.
        if is_volume(text[:at]):
            path = text[at + 1 :]
            if path and not path.startswith("/"):
                raise BadPath(f"{text}: behind the volume stands a path from its root: {text[:at]}:/{path}")
            return UserPath(text[:at], path or "/")
        at = text.find(":", at + 1)
    if is_volume(text):
        return UserPath(text, "/")
    name = text.partition(":")[0]
    raise BadPath(
        f"{text}: there is no volume {name}; a path is /etc/hostname, or 2:/etc/hostname in volume 2"
    )


def with_streams(path: UserPath) -> Iterator[UserPath]:
    """The readings of a path: as it is, then what stands behind each colon of its last name as a stream."""
    yield path
    start = path.path.rfind("/") + 1
    at = path.path.find(":", start)
    while at >= 0:
        if path.path[start:at]:
            yield UserPath(path.volume, path.path[:at], path.path[at + 1 :])
        at = path.path.find(":", at + 1)
