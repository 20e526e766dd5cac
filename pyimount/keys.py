"""Keys for encrypted volumes, and which volume each is for.

A key is written ``KIND:VALUE``: ``p:`` a passphrase, ``f:`` a key file, ``m:`` a file with the master
(volume) key, ``r:`` a recovery password, ``s:`` a startup key (.bek), ``k:`` a full volume encryption
key in hexadecimal. A key never shows: not in ``repr``, not in a message, not in a pickle.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

KEY_FILE_CAP = 8 << 20
"""No key file is longer, in bytes: cryptsetup's own limit."""

VARIABLE = "PYIMOUNT_KEY"
"""The environment variable that may have a key."""

KINDS: Mapping[str, str] = {
    "p": "passphrase",
    "f": "key file",
    "m": "master key file",
    "r": "recovery password",
    "s": "startup key",
    "k": "full volume encryption key",
}
"""The kinds of key by their letters."""

_DERIVED = 64
"""So many keys are kept that were derived from one: of the keyslots of a few volumes."""
_FROM_FILE = frozenset("fms")
_HOW = (
    f"a key is written KIND:VALUE; the kinds are {', '.join(f'{one}: {name}' for one, name in KINDS.items())}"
)
# A passphrase may hold any bytes that a command line can; this is how Python passes them on.
_ANY_BYTES = "surrogateescape"


class BadKey(ValueError):  # noqa: N818
    """A key that is not written as one, or whose file cannot be read. Never says what the key is."""


class Key:
    """One key. ``kind``: its letter; ``secret``: the bytes that open, for a key file those in it.

    What VeraCrypt mixes into a passphrase: ``keyfiles``, the contents of key files; ``pim``, the personal
    iterations multiplier, 0 for the default.
    """

    __slots__ = ("_derived", "_keyfiles", "_secret", "kind", "pim")

    def __init__(self, kind: str, secret: bytes, *, keyfiles: Sequence[bytes] = (), pim: int = 0) -> None:
        if kind not in KINDS:
            raise BadKey(_HOW)
        self.kind = kind
        self.pim = pim
        self._secret = secret
        self._keyfiles = tuple(keyfiles)
        self._derived: dict[Hashable, bytes] = {}

    @classmethod
    def parse(cls, text: str) -> "Key":
        """The key written as ``KIND:VALUE``; reads its file, where it is one. Raises BadKey."""
        kind, colon, value = text.partition(":")
        if not colon or kind not in KINDS:
            raise BadKey(_HOW)
        if kind in _FROM_FILE:
            return cls(kind, _read(value, KINDS[kind]))
        if not value and kind != "p":
            raise BadKey(f"the {KINDS[kind]} is empty")
        try:
            return cls(kind, value.encode("utf-8", _ANY_BYTES))
        except UnicodeEncodeError:
            raise BadKey(f"the {KINDS[kind]} has characters that no encoding has") from None

    @property
    def name(self) -> str:
        """What kind of key this is, in words."""
        return KINDS[self.kind]

    @property
    def secret(self) -> bytes:
        """The key itself."""
        return self._secret

    @property
    def keyfiles(self) -> tuple[bytes, ...]:
        """What the key files hold that go with the passphrase."""
        return self._keyfiles

    @property
    def text(self) -> str:
        """The key as text, for what takes text: a BitLocker passphrase, a recovery password."""
        return self._secret.decode("utf-8", _ANY_BYTES)

    def derived(self, how: Hashable, derive: Callable[[], bytes]) -> bytes:
        """What ``derive`` makes of this key; for who opens the same volume again, what was made before.

        ``how``: all that the outcome depends on besides the key.
        """
        made = self._derived.get(how)
        if made is None:
            made = derive()
            if len(self._derived) >= _DERIVED:
                self._derived.clear()
            self._derived[how] = made
        return made

    def __repr__(self) -> str:
        return f"<Key: {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not to be stored")


def _read(path: str, what: str) -> bytes:
    if not path:
        raise BadKey(f"the {what} has no name")
    try:
        with Path(path).open("rb") as file:
            data = file.read(KEY_FILE_CAP + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadKey(f"cannot read the {what} {path}: {reason or 'no such name'}") from None
    if len(data) > KEY_FILE_CAP:
        raise BadKey(f"the {what} {path} is larger than {KEY_FILE_CAP} bytes")
    return data


# Neither an index nor a UUID has a colon or an equals sign, so no passphrase is taken apart.
_INDEX = re.compile(r"[0-9]+(\.[0-9]+)*")
_FOR_VOLUME = re.compile(r"([^=:\s]+)=([a-z]:.*)", re.DOTALL)
_FOR_UUID = re.compile(r"([^=:\s]+)\s+([a-z]:.*)", re.DOTALL)


class Keyring:
    """Keys, each for every volume or for the one of an index or UUID."""

    __slots__ = ("_keys", "_of_files")

    def __init__(self, keys: Mapping[str | int, str] | None = None) -> None:
        self._keys: list[tuple[str | None, Key]] = []
        self._of_files: set[str] = set()
        for volume, text in (keys or {}).items():
            self.add(Key.parse(text), str(volume))

    def add(self, key: Key, volume: str | None = None) -> None:
        """Add a key for the volume of this index or UUID; for every one, without (or with ``*``)."""
        self._keys.append((None if volume in (None, "*") else str(volume).lower(), key))

    def add_text(self, text: str) -> None:
        """Add a key written ``p:PASS``, for every volume, or ``INDEX=p:PASS``. Raises BadKey."""
        named = None if text[:1] in KINDS and text[1:2] == ":" else _FOR_VOLUME.fullmatch(text)
        if named:
            self.add(Key.parse(named[2]), named[1])
        else:
            self.add(Key.parse(text))

    def add_environment(self, environment: Mapping[str, str]) -> None:
        """Add the key in the variable ``PYIMOUNT_KEY``, written as for ``add_text``, if there is one."""
        text = environment.get(VARIABLE)
        if text:
            try:
                self.add_text(text)
            except BadKey as error:
                raise BadKey(f"{VARIABLE}: {error}") from None

    def add_file(self, path: str | Path) -> None:
        """Add the keys of a file with one a line, ``[UUID] p:PASS``; empty lines and ``#`` are passed over.

        A line ends at its newline: blanks before that belong to a passphrase. Raises BadKey.
        """
        lines = _read(str(path), "file of keys").decode("utf-8", _ANY_BYTES).split("\n")
        for number, line in enumerate(lines, 1):
            written = line.removesuffix("\r").lstrip()
            if not written or written.startswith("#"):
                continue
            named = None if written[1:2] == ":" else _FOR_UUID.fullmatch(written)
            try:
                before = len(self._keys)
                if named:
                    self.add(Key.parse(named[2]), named[1])
                else:
                    self.add_text(written)
                self._of_files.update(volume for volume, _ in self._keys[before:] if volume is not None)
            except BadKey as error:
                raise BadKey(f"{path}, line {number}: {error}") from None

    def mix_in(self, keyfiles: Sequence[str | Path] = (), pim: int = 0) -> None:
        """Have VeraCrypt volumes opened by every passphrase so far together with these. Raises BadKey."""
        contents = [_read(str(path), "VeraCrypt key file") for path in keyfiles]
        self._keys = [
            (volume, Key(key.kind, key.secret, keyfiles=contents, pim=pim) if key.kind in "pf" else key)
            for volume, key in self._keys
        ]

    def for_volume(self, index: str, uuid: str | None = None) -> tuple[Key, ...]:
        """The keys to try on this volume: those meant for it first, none twice."""
        names = {index.lower(), uuid.lower()} if uuid else {index.lower()}
        own = [key for volume, key in self._keys if volume in names]
        found: dict[tuple[str, bytes], Key] = {}
        for key in [*own, *(key for volume, key in self._keys if volume is None)]:
            found.setdefault((key.kind, key.secret), key)
        return tuple(found.values())

    def reveal(self) -> list[dict[str, Any]]:
        """Every key as JSON values, to be sent to another process of ours and nowhere else."""
        return [
            {
                "volume": volume,
                "kind": key.kind,
                "secret": key.secret.hex(),
                "keyfiles": [each.hex() for each in key.keyfiles],
                "pim": key.pim,
                "of_file": volume in self._of_files,
            }
            for volume, key in self._keys
        ]

    @classmethod
    def revealed(cls, values: Iterable[Mapping[str, Any]]) -> "Keyring":
        """The keys that ``reveal`` gave."""
        made = cls()
        for each in values:
            keyfiles = [bytes.fromhex(text) for text in each["keyfiles"]]
            key = Key(each["kind"], bytes.fromhex(each["secret"]), keyfiles=keyfiles, pim=each["pim"])
            made.add(key, each["volume"])
            if each.get("of_file"):
                made._of_files.add(each["volume"])
        return made

    def elsewhere(self) -> "Keyring":
        """The keys that may open volumes of another image, one within this: none for an index of this one.

        That there is such a volume is not expected of it.
        """
        made = Keyring()
        made._keys = [(volume, key) for volume, key in self._keys if not _INDEX.fullmatch(volume or "")]
        made._of_files = {volume for volume, _ in made._keys if volume is not None}
        return made

    @property
    def expected(self) -> frozenset[str]:
        """The indexes and UUIDs that were named one by one: a file of keys may have those of other images."""
        return frozenset(self.volumes) - self._of_files

    @property
    def volumes(self) -> Iterator[str]:
        """The indexes and UUIDs for which there are keys, in lower case."""
        return (volume for volume, _ in self._keys if volume is not None)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<Keyring of {len(self)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not to be stored")
