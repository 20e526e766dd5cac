"""FileVault 2: which keys open it, and what is not read."""

import pytest

from fixtures.recipes.corestorage import (
    ITERATIONS,
    OTHER,
    PASSWORDS,
    UNIT,
    USER,
    VOLUME_AT,
    VOLUME_KEY,
    VOLUME_SIZE,
    build,
    contents,
    context,
    everything,
    listed,
    segments,
    volume,
    wrapped_kek,
    wrapped_volume_key,
)
from pyimount.keys import Key
from pyimount.mapping.corestorage import reopen, unlock
from pyimount.mapping.errors import DamagedHeader, KdfTooCostly, Unsupported, WrongKey
from pyimount.parsers.volumes.corestorage import CONTEXT_BLOCK, VOLUME_BLOCK
from pyimount.sources.source import BytesSource


def source(blocks: list[bytes] | None = None) -> BytesSource:
    return BytesSource(bytes(build(everything() if blocks is None else blocks)))


@pytest.mark.parametrize("user", [USER, OTHER])
def test_a_users_passphrase_opens_it(user: str) -> None:
    key = Key.parse(f"p:{PASSWORDS[user]}")
    found = unlock(source(), key)
    assert found.source.read_at(0, VOLUME_SIZE) == contents()
    assert found.source.size == VOLUME_SIZE
    assert (found.kind, found.parameters, found.details) == ("corestorage", {"user": user}, {"user": user})
    assert reopen(source(), found.parameters, key).read_at(700, 1000) == contents()[700:1700]


def test_the_volumes_own_key_opens_it() -> None:
    from hashlib import sha256

    family = bytes.fromhex("33a76caa14814bc58d041ac1707c19c0")
    both = VOLUME_KEY + sha256(VOLUME_KEY + family).digest()[:16]
    for key in (Key("m", both), Key.parse(f"k:{both.hex()}")):
        assert unlock(source(), key).source.read_at(0, VOLUME_SIZE) == contents()


@pytest.mark.parametrize(
    ("key", "tried"),
    [
        (Key.parse("p:wrong"), 2),
        (Key.parse("p:"), 2),
        (Key("s", b"heslo123"), 0),
        (Key.parse("k:" + "11" * 32), 1),
        (Key.parse("k:11"), 0),
        (Key.parse("k:no hexadecimal"), 0),
        (Key("m", b"heslo123"), 0),
        (None, 0),
    ],
)
def test_a_wrong_key_is_told(key: Key | None, tried: int) -> None:
    with pytest.raises(WrongKey) as raised:
        unlock(source(), key)
    assert raised.value.tried == tried


@pytest.mark.parametrize(
    ("segment", "status"),
    [
        (segments(entries=2), "Complete"),
        (segments(count=VOLUME_SIZE // UNIT - 1), "Complete"),
        (segments(), "Converting"),
    ],
)
def test_what_is_not_read(segment: bytes, status: str) -> None:
    said = context({USER: wrapped_kek("heslo123")}, wrapped_volume_key(), status)
    blocks = [segment, listed(CONTEXT_BLOCK, 1, said), listed(VOLUME_BLOCK, 2, volume())]
    with pytest.raises(Unsupported):
        unlock(source(blocks), Key.parse("p:heslo123"))


def test_a_volume_that_is_not_encrypted_is_not_read() -> None:
    with pytest.raises(Unsupported):
        unlock(source([segments(), listed(VOLUME_BLOCK, 1, volume())]), Key.parse("p:x"))


def test_a_damaged_volume_key_is_not_a_wrong_key() -> None:
    for damaged in (wrapped_volume_key(bytes(16)), bytes(8)):
        said = context({USER: wrapped_kek("heslo123")}, damaged)
        blocks = [segments(), listed(CONTEXT_BLOCK, 1, said), listed(VOLUME_BLOCK, 2, volume())]
        with pytest.raises(DamagedHeader):
            unlock(source(blocks), Key.parse("p:heslo123"))


def test_what_would_take_too_long_is_not_tried() -> None:
    said = context({USER: wrapped_kek("heslo123", (1 << 31) - 1)}, wrapped_volume_key())
    blocks = [segments(), listed(CONTEXT_BLOCK, 1, said), listed(VOLUME_BLOCK, 2, volume())]
    with pytest.raises(KdfTooCostly):
        unlock(source(blocks), Key.parse("p:heslo123"))
    assert ITERATIONS < 1 << 20


def test_users_whose_keys_are_no_keys_are_passed_over() -> None:
    users = {OTHER: b"short", USER: wrapped_kek("heslo123")}
    blocks = [
        segments(),
        listed(CONTEXT_BLOCK, 1, context(users, wrapped_volume_key())),
        listed(VOLUME_BLOCK, 2, volume()),
    ]
    assert unlock(source(blocks), Key.parse("p:heslo123")).details == {"user": USER}


def test_a_volume_that_is_cut_off() -> None:
    image = bytes(build(everything()))[: VOLUME_AT * UNIT + 1024]
    found = unlock(BytesSource(image), Key.parse("p:heslo123"))
    assert found.source.read_at(0, VOLUME_SIZE) == contents()[:1024]


def test_no_metadata_is_damage() -> None:
    for image in (bytes(1024), bytes(build([]))):
        with pytest.raises(DamagedHeader):
            unlock(BytesSource(image), Key.parse("p:heslo123"))
