"""Names of images that lie elsewhere: what of a URL may be shown, and what is behind what is shown.

A URL may have credentials in it: a password before the host, a signature behind the question mark. Reports,
messages and logs have only what ``shown`` leaves; what was given stays in this process, by what is shown.
"""

import os
import re
from collections.abc import Mapping

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_USER = re.compile(r"(://)[^/?#@]*@")
_QUERY = re.compile(r"[?#].*?(?=::|$)", re.DOTALL)
_ASKED = re.compile(r"(?:^|::)https?://", re.IGNORECASE)
"""Only these have a query; elsewhere a question mark is a part of the name."""

_GIVEN: dict[str, str] = {}


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether this names something elsewhere, and not a file of that name here."""
    text = os.fspath(path)
    return _URL.match(text) is not None and (text in _GIVEN or not os.path.lexists(text))


def shown(url: str) -> str:
    """A URL without what may be a credential. The same for the same URL, and no other's."""
    plain = _USER.sub(r"\1", url)
    if _ASKED.search(plain):
        plain = _QUERY.sub("?...", plain)
    if plain == url:
        return url
    name, number = plain, 1
    while _GIVEN.setdefault(name, url) != url:
        number += 1
        name = f"{plain}#{number}"
    return name


def given(name: str) -> str:
    """The URL of which this is shown."""
    return _GIVEN.get(name, name)


def remember(urls: Mapping[str, str]) -> None:
    """Take over what another process of ours was given, by what is shown of it."""
    _GIVEN.update(urls)


def without_credentials(text: str, name: str) -> str:
    """A message of somebody else's about this URL, in which nothing of it stands that may not be shown."""
    url = given(name)
    text = text.replace(url, name)
    return _QUERY.sub("?...", _USER.sub(r"\1", text)) if _URL.search(text) else text


def last_part(name: str) -> str:
    """The name of the file itself."""
    path = _QUERY.sub("", name) if _ASKED.search(name) else name
    return path.partition("::")[0].rpartition("/")[2]


def is_signed(name: str) -> bool:
    """Whether the URL is for one file alone: what stands beside it cannot be asked for in its name."""
    return name != given(name) and "?" in name
