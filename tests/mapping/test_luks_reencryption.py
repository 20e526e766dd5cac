"""LUKS2 volumes in the middle of a reencryption: each part is read with its own key, the rest is said.

Segments, digests and flags: "LUKS2 On-Disk Format Specification", 3.3, 3.4 and "Reencryption"
(https://gitlab.com/cryptsetup/LUKS2-docs); what ``cryptsetup reencrypt --init-only`` writes is read too.
"""

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from fixtures.workshop import Workshop
from pyimount.keys import Key
from pyimount.mapping import luks
from pyimount.mapping.errors import Unsupported, WrongKey
from pyimount.problems import Code
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource
from tests.mapping.luks_volumes import (
    CONTENT,
    DATA_AT,
    DATA_SIZE,
    ITERATIONS,
    KIB,
    MIB,
    PASSPHRASE,
    SALT,
    SLOT_AT,
    STRIPES,
    VOLUME_KEY,
    base64_of,
    document,
    encrypted,
    luks2,
    split,
    xts,
)
from tests.needing import needs

NEW_KEY = random.Random(5).randbytes(64)  # noqa: S311
NEW_SLOT = SLOT_AT + 2048
DONE, HOT = 24 * KIB, 8 * KIB
"""Bytes that have the new key already; bytes that were on their way."""
PASS = Key.parse(f"p:{PASSPHRASE.decode()}")
KDF = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")


def reencrypting(
    hot: int = HOT, other: bytes = PASSPHRASE, *, needed: str = "online-reencrypt-v2"
) -> bytearray:
    """The volume of luks_volumes, whose first part has another key by now, with a keyslot for ``other``."""
    said: dict[str, Any] = document()
    old, tail = said["segments"]["0"], DONE + hot
    new = {**old, "size": str(DONE)}
    rest = {**old, "offset": str(DATA_AT + tail), "iv_tweak": str(tail // 512)}
    parts = [new, rest]
    if hot:
        parts.insert(
            1, {**old, "offset": str(DATA_AT + DONE), "size": str(hot), "flags": ["in-reencryption"]}
        )
    parts += [{**old, "flags": ["backup-previous"]}, {**old, "flags": ["backup-final"]}]
    said["segments"] = {str(number): part for number, part in enumerate(parts)}
    slot = said["keyslots"]["0"]
    said["keyslots"]["1"] = {**slot, "area": {**slot["area"], "offset": str(NEW_SLOT), "size": "2048"}}
    said["keyslots"]["2"] = {"type": "reencrypt", "mode": "reencrypt", "direction": "forward", "key_size": 1}
    digest = hashlib.pbkdf2_hmac("sha256", NEW_KEY, SALT, ITERATIONS, 32)
    last = len(parts)
    said["digests"]["0"]["segments"] = [str(number) for number in range(1, last - 1)]
    said["digests"]["1"] = {
        **said["digests"]["0"], "keyslots": ["1"], "segments": ["0", str(last - 1)],
        "digest": base64_of(digest),
    }  # fmt: skip
    said["config"]["requirements"] = {"mandatory": [needed]}
    image = luks2(said)
    area = xts(hashlib.pbkdf2_hmac("sha256", other, SALT, ITERATIONS, 64), split(NEW_KEY, STRIPES))
    image[NEW_SLOT : NEW_SLOT + len(area)] = area
    image[DATA_AT : DATA_AT + DONE] = xts(NEW_KEY, CONTENT[:DONE])
    return image


def read(image: bytearray, key: Key = PASS) -> tuple[list[bytes | None], list[Code]]:
    """What is read of each 4 KiB, None where nothing is; the codes of the problems."""
    opened = luks.unlock(BytesSource(bytes(image)), key)
    again = luks.reopen(BytesSource(bytes(image)), opened.parameters, key)
    assert opened.source.size == again.size == DATA_SIZE
    found: list[bytes | None] = []
    for at in range(0, DATA_SIZE, 4096):
        try:
            found.append(opened.source.read_at(at, 4096))
            assert again.read_at(at, 4096) == found[-1]
        except ReadError:
            found.append(None)
    return found, [problem.code for problem in opened.problems]


def wanted(*lost: tuple[int, int]) -> list[bytes | None]:
    return [
        None if any(start <= at < end for start, end in lost) else CONTENT[at : at + 4096]
        for at in range(0, DATA_SIZE, 4096)
    ]


@pytest.mark.parametrize("needed", ["online-reencrypt", "online-reencrypt-v2", "online-reencrypt-v3"])
def test_each_part_is_read_with_its_key(needed: str) -> None:
    assert read(reencrypting(0, needed=needed)) == (wanted(), [])


def test_what_was_on_its_way_is_not_read_and_said() -> None:
    assert read(reencrypting()) == (wanted((DONE, DONE + HOT)), [Code.UNSUPPORTED])


def test_a_key_for_the_old_part_alone_reads_that() -> None:
    image = reencrypting(0, other=b"another passphrase")
    assert read(image) == (wanted((0, DONE)), [Code.WRONG_KEY])
    new = Key.parse("p:another passphrase")
    assert read(image, new) == (wanted((DONE, DATA_SIZE)), [Code.WRONG_KEY])


@pytest.mark.parametrize(("key", "lost"), [(VOLUME_KEY, (0, DONE)), (NEW_KEY, (DONE, DATA_SIZE))])
def test_a_master_key_reads_what_it_encrypts(key: bytes, lost: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(key)
    assert read(reencrypting(0), Key.parse(f"m:{tmp_path / 'key'}"))[0] == wanted(lost)


def test_a_key_that_opens_neither_part() -> None:
    with pytest.raises(WrongKey):
        luks.unlock(BytesSource(bytes(reencrypting())), Key.parse("p:neither"))


def test_other_requirements_are_still_refused() -> None:
    with pytest.raises(Unsupported, match="may only be read by what can do this: opal"):
        luks.unlock(BytesSource(bytes(reencrypting(needed="opal"))), PASS)


def test_a_reencryption_that_cryptsetup_has_begun(tmp_path: Path) -> None:
    needs("cryptsetup")
    work = Workshop(tmp_path)
    content = random.Random(8).randbytes(MIB)  # noqa: S311
    data, header = encrypted(work, content, *KDF)
    work.run(
        "cryptsetup", "reencrypt", "--disable-locks", "-q", "--force-offline-reencrypt", "--init-only",
        "--header", header, *KDF, "--key-file", "-", data, stdin=PASSPHRASE,
    )  # fmt: skip
    opened = luks.unlock(BytesSource(data.read_bytes()), PASS, header=BytesSource(header.read_bytes()))
    assert opened.source.read_at(0, MIB) == content
    assert not opened.problems
