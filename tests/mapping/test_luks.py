"""LUKS volumes: opened, refused, damaged; what cryptsetup encrypts reads as what it encrypted."""

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.workshop import Workshop
from pyimount.keys import Key
from pyimount.mapping import kdf as kdf_module
from pyimount.mapping import luks
from pyimount.mapping.errors import (
    DamagedHeader,
    KdfTooCostly,
    OutOfMemory,
    UnlockError,
    Unsupported,
    WrongKey,
)
from pyimount.mapping.kdf import Argon2, Pbkdf2
from pyimount.mapping.kinds import unlock
from pyimount.problems import Code
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.source import BytesSource, Source
from tests.mapping.luks_volumes import (
    CONTENT,
    DATA_AT,
    DATA_SIZE,
    HEADER_SIZE,
    ITERATIONS,
    MIB,
    PASSPHRASE,
    VOLUME_KEY,
    base64_of,
    document,
    encrypted,
    luks1,
    luks2,
    xts,
)
from tests.needing import needs
from tests.strategies import Edit, edited, edits

PASS = Key("p", PASSPHRASE)
WRONG = Key("p", b"close sesame")
MASTER = Key("m", VOLUME_KEY)
KDF = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", str(ITERATIONS))
Change = Callable[[dict[str, Any]], object]


def source(image: bytes | bytearray) -> Source:
    return BytesSource(bytes(image))


def whole(plain: Source) -> bytes:
    return plain.read_at(0, plain.size)


def changed(change: Change) -> Source:
    """A LUKS2 volume whose JSON was changed."""
    made = document()
    change(made)
    return source(luks2(made))


@pytest.mark.parametrize(("image", "slot"), [(luks1(), 3), (luks2(), 0)], ids=["1", "2"])
def test_a_passphrase_a_key_file_and_the_master_key_open(image: bytearray, slot: int) -> None:
    for key in (PASS, Key("f", PASSPHRASE)):
        opened = luks.unlock(source(image), key)
        assert whole(opened.source) == CONTENT
        assert (opened.details["keyslot"], opened.details["opened_with"]) == (slot, key.name)
        assert whole(luks.reopen(source(image), opened.parameters, key)) == CONTENT
        assert whole(luks.reopen(source(image), opened.parameters, MASTER)) == CONTENT
    opened = luks.unlock(source(image), MASTER)
    assert whole(opened.source) == CONTENT
    assert opened.details["keyslot"] is None
    assert VOLUME_KEY.hex() not in repr(opened)


@pytest.mark.parametrize("image", [luks1(), luks2()], ids=["1", "2"])
def test_a_wrong_key_is_told_with_the_keyslots_tried(image: bytearray) -> None:
    with pytest.raises(WrongKey, match="tried on 1 keyslot") as caught:
        luks.unlock(source(image), WRONG)
    assert caught.value.tried == 1
    assert caught.value.problem.code is Code.WRONG_KEY
    for key in (Key("m", VOLUME_KEY[::-1]), Key("m", b""), Key("m", bytes(5000))):
        with pytest.raises(WrongKey, match="master key"):
            luks.unlock(source(image), key)
    for kind in "rsk":
        with pytest.raises(WrongKey, match="opens no LUKS volume"):
            luks.unlock(source(image), Key(kind, PASSPHRASE))


def test_reopening_tries_the_keyslot_that_opened_alone() -> None:
    made = document()
    made["keyslots"]["1"] = {
        **made["keyslots"]["0"],
        "kdf": {**made["keyslots"]["0"]["kdf"], "iterations": 1},
    }
    made["digests"]["0"]["keyslots"] = ["0", "1"]
    image = source(luks2(made))
    assert whole(luks.reopen(image, {"version": "2", "keyslot": 0}, PASS)) == CONTENT
    with pytest.raises(WrongKey) as caught:
        luks.reopen(image, {"version": "2", "keyslot": 1}, PASS)
    assert caught.value.tried == 1
    with pytest.raises(WrongKey) as caught:
        luks.unlock(image, WRONG)
    assert caught.value.tried == 2


def test_keyslots_are_tried_by_their_priority() -> None:
    made = document()
    for number, priority in (("1", 2), ("2", 0)):
        made["keyslots"][number] = {**made["keyslots"]["0"], "priority": priority}
    made["digests"]["0"]["keyslots"] = ["0", "1", "2"]
    assert luks.unlock(source(luks2(made)), PASS).details["keyslot"] == 1
    made["keyslots"]["1"]["area"] = {**made["keyslots"]["0"]["area"], "offset": str(DATA_AT)}
    assert luks.unlock(source(luks2(made)), PASS).details["keyslot"] == 0
    made["keyslots"]["0"]["area"] = made["keyslots"]["1"]["area"]
    assert luks.unlock(source(luks2(made)), PASS).details["keyslot"] == 2


def test_a_keyslot_of_another_digest_is_none_of_the_volume_s() -> None:
    def unbind(made: dict[str, Any]) -> None:
        made["digests"]["0"]["keyslots"] = []

    with pytest.raises(WrongKey, match="only its master key opens it"):
        luks.unlock(changed(unbind), PASS)
    assert whole(luks.unlock(changed(unbind), MASTER).source) == CONTENT


@pytest.mark.parametrize("lost", [(0, 4096), (4096, 100), (HEADER_SIZE, HEADER_SIZE)])
def test_one_header_of_two_is_enough(lost: tuple[int, int]) -> None:
    image = luks2()
    image[lost[0] : lost[0] + lost[1]] = bytes(lost[1])
    assert whole(luks.unlock(source(image), PASS).source) == CONTENT


def test_a_detached_header() -> None:
    def to_start(made: dict[str, Any]) -> None:
        made["segments"]["0"]["offset"] = "0"

    for header in (source(luks1(payloadOffset=0)[:DATA_AT]), changed(to_start)):
        data = source(xts(VOLUME_KEY, CONTENT))
        opened = luks.unlock(data, PASS, header=header)
        assert whole(opened.source) == CONTENT
        assert whole(luks.reopen(data, opened.parameters, PASS, header=header)) == CONTENT
        with pytest.raises(Unsupported, match="detached"):
            luks.unlock(header, PASS)
    # A backup of the header of a volume that has its own, now damaged.
    for image in (luks1(), luks2()):
        data = source(bytes(DATA_AT) + image[DATA_AT:])
        assert whole(luks.unlock(data, PASS, header=source(image[:DATA_AT])).source) == CONTENT


def test_segments_follow_one_another() -> None:
    def three(made: dict[str, Any]) -> None:
        first = made["segments"]["0"]
        made["segments"] = {
            "0": {**first, "offset": str(DATA_AT + 8192), "size": "8192", "iv_tweak": "16"},
            "1": {"type": "linear", "offset": "0", "size": "512"},
            "2": {**first, "offset": str(DATA_AT + 1024), "iv_tweak": "2"},
            "3": {**first, "flags": ["backup-final"]},
        }
        made["digests"]["0"]["segments"] = ["0", "2", "3"]

    volume = changed(three)
    plain = luks.unlock(volume, PASS).source
    assert whole(plain) == CONTENT[8192:16384] + volume.read_at(0, 512) + CONTENT[1024:]


def test_data_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    def sized(made: dict[str, Any]) -> None:
        made["segments"]["0"]["size"] = str(DATA_SIZE)

    image = whole(changed(sized))
    assert not luks.unlock(source(image), PASS).problems
    opened = luks.unlock(source(image[:-700]), PASS)
    assert [problem.code for problem in opened.problems] == [Code.TRUNCATED]
    assert whole(opened.source) == CONTENT[: DATA_SIZE - 1024]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda made: made["config"].update(requirements={"mandatory": ["opal"]}), "opal"),
        (lambda made: made["segments"]["0"].update(type="hw-opal"), "hw-opal"),
        (lambda made: made["segments"]["0"].update(flags=["in-reencryption"]), "no segment"),
        (lambda made: made["segments"]["0"].update(integrity={"type": "hmac(sha256)"}), "integrity"),
        (lambda made: made["segments"]["0"].update(encryption="serpent-xts-plain64"), "serpent"),
        (lambda made: made["segments"]["0"].update(type="linear"), "no segment of the volume is encrypted"),
        (lambda made: made["digests"]["0"].update(type="scrypt"), "scrypt"),
        (lambda made: made["digests"]["0"].update(segments=[]), "0 volume keys"),
        (lambda made: made["digests"].update({"1": made["digests"]["0"]}), "2 volume keys"),
        (lambda made: made["keyslots"]["0"].update(type="luks3"), "luks3"),
        (lambda made: made["keyslots"]["0"]["kdf"].update(type="scrypt"), "scrypt"),
        (lambda made: made["keyslots"]["0"]["kdf"].update(hash="whirlpool"), "whirlpool"),
        (lambda made: made["keyslots"]["0"]["af"].update(hash="whirlpool"), "whirlpool"),
        (lambda made: made["keyslots"]["0"]["area"].update(encryption="twofish-xts-plain64"), "twofish"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(change: Change, named: str) -> None:
    with pytest.raises(Unsupported, match=named) as caught:
        luks.unlock(changed(change), PASS)
    assert caught.value.problem.code is Code.UNSUPPORTED


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hashSpec": b"whirlpool"}, "whirlpool"),
        ({"cipherName": b"serpent"}, "serpent"),
        ({"cipherMode": b"lrw-benbi"}, "lrw"),
    ],
)
def test_what_cannot_be_read_of_luks1_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(Unsupported, match=named):
        luks.unlock(source(luks1(**changes)), PASS)


ARGON = {"type": "argon2id", "time": 4, "memory": 32, "cpus": 1, "salt": base64_of(bytes(16))}


@pytest.mark.parametrize(
    ("kdf", "why"),
    [
        (
            {**ARGON, "memory": 4 << 20, "cpus": 4, "time": 10_000},
            "as much as 125829121000 iterations of PBKDF2; 400000000 ",
        ),
        ({**ARGON, "memory": (4 << 20) + 1}, "4294968320 bytes of memory; 4294967296 are allowed"),
        ({**ARGON, "time": (1 << 32) - 1}, "are left of 4"),
        (
            {"type": "pbkdf2", "hash": "sha256", "iterations": (1 << 31) - 1, "salt": "AAAA"},
            "are left of 4",
        ),
    ],
)
def test_what_costs_too_much_is_not_attempted(kdf: dict[str, Any], why: str) -> None:
    with pytest.raises(KdfTooCostly, match=why) as caught:
        luks.unlock(changed(lambda made: made["keyslots"]["0"].update(kdf=kdf)), PASS)
    assert caught.value.problem.code is Code.BUDGET


def test_the_digest_is_counted_too() -> None:
    for image in (
        source(luks1(mkDigestIterations=(1 << 32) - 1)),
        changed(lambda made: made["digests"]["0"].update(iterations=1 << 31)),
    ):
        for key in (PASS, MASTER):
            with pytest.raises(KdfTooCostly):
                luks.unlock(image, key)


def test_the_limits_are_the_caller_s() -> None:
    for image in (source(luks1()), source(luks2())):
        with pytest.raises(KdfTooCostly):
            luks.unlock(image, PASS, meter=Meter(Budget(derivation=1000)))
    volume = changed(lambda made: made["keyslots"]["0"].update(kdf=ARGON))
    with pytest.raises(KdfTooCostly, match="bytes of memory; 32767 are allowed"):
        luks.unlock(volume, PASS, meter=Meter(Budget(derivation_memory=32767)))
    with pytest.raises(WrongKey):
        luks.unlock(volume, PASS, meter=Meter(Budget(derivation_memory=32768)))


def test_other_keyslots_are_tried_where_one_costs_too_much() -> None:
    made = document()
    made["keyslots"]["1"] = {**made["keyslots"]["0"], "kdf": {**ARGON, "time": 1 << 30}, "priority": 2}
    made["digests"]["0"]["keyslots"] = ["0", "1"]
    assert luks.unlock(source(luks2(made)), PASS).details["keyslot"] == 0
    with pytest.raises(KdfTooCostly, match=r"keyslot 1: .* opens none of the 1 others"):
        luks.unlock(source(luks2(made)), WRONG)


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.pop("segments"),
        lambda made: made.update(segments=[]),
        lambda made: made["segments"]["0"].pop("offset"),
        lambda made: made["segments"]["0"].update(offset="-1"),
        lambda made: made["segments"]["0"].update(offset=True),
        lambda made: made["segments"]["0"].update(offset="9" * 21),
        lambda made: made["segments"]["0"].update(size=1.5),
        lambda made: made["segments"]["0"].update(sector_size=513),
        lambda made: made["segments"]["0"].update(encryption=7),
        lambda made: made["digests"]["0"].update(digest=""),
        lambda made: made["digests"]["0"].update(salt="?"),
        lambda made: made["digests"]["0"].update(iterations=0),
        lambda made: made["keyslots"]["0"].pop("area"),
        lambda made: made["keyslots"]["0"].update(key_size=0),
        lambda made: made["keyslots"]["0"].update(key_size=1 << 20),
        lambda made: made["keyslots"]["0"]["af"].update(stripes=0),
        lambda made: made["keyslots"]["0"]["af"].update(stripes=1 << 30),
        lambda made: made["keyslots"]["0"]["area"].update(offset=str(1 << 60)),
        lambda made: made["keyslots"]["0"].update(kdf={**ARGON, "memory": 7}),
        lambda made: made["keyslots"]["0"].update(kdf={**ARGON, "cpus": 65, "memory": 1 << 12}),
        lambda made: made["keyslots"]["0"].update(kdf={**ARGON, "salt": "AAAA"}),
    ],
)  # fmt: skip
def test_a_header_that_contradicts_itself_is_damaged(change: Change) -> None:
    with pytest.raises(DamagedHeader) as caught:
        luks.unlock(changed(change), PASS)
    assert caught.value.problem.code is Code.DAMAGED


@pytest.mark.parametrize(
    "changes",
    [
        {"keyBytes": 0},
        {"keyBytes": 1 << 31},
        {"mkDigestIterations": 0},
        {"slot_stripes": 0},
        {"slot_stripes": (1 << 32) - 1},
        {"slot_iterations": 0},
        {"slot_keyMaterialOffset": (1 << 32) - 1},
    ],
)
def test_a_luks1_header_that_contradicts_itself_is_damaged(changes: dict[str, Any]) -> None:
    with pytest.raises(DamagedHeader):
        luks.unlock(source(luks1(**changes)), PASS)


def test_what_is_no_luks_volume_is_refused() -> None:
    for image in (b"", bytes(1 << 16), luks1()[:300], luks2()[:500]):
        with pytest.raises(DamagedHeader, match="no LUKS header"):
            luks.unlock(source(image), PASS)
    with pytest.raises(DamagedHeader, match="JSON"):
        luks.unlock(source(luks2()[:4096]), PASS)


CHEAP = Budget(derivation_memory=1 << 20, derivation=300_000)
SAMPLES = (luks1(), luks2())


@given(edits(4096))
@settings(deadline=None, max_examples=80)
def test_any_damage_opens_or_is_refused(damage: list[Edit]) -> None:
    for image in SAMPLES:
        for key in (PASS, MASTER):
            with suppress(UnlockError):
                opened = luks.unlock(source(edited(image, damage)), key, meter=Meter(CHEAP))
                assert len(whole(opened.source)) == opened.source.size


def places(value: Any, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The ways to every value in a JSON document."""
    if not isinstance(value, dict):
        return [above]
    return [above, *(way for key, inner in value.items() for way in places(inner, (*above, key)))]


@given(
    st.sampled_from(places(document())[1:]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.sampled_from(
        [[], {}, ["0", 0, None], {"0": []}, "0", "-1", str(1 << 64), 1 << 31, 1 << 62, "\ud800"]
    ),
)
@settings(deadline=None, max_examples=70)
def test_any_json_opens_or_is_refused(way: tuple[str, ...], value: Any) -> None:
    made = document()
    holder = made
    for key in way[:-1]:
        holder = holder[key]
    holder[way[-1]] = value
    for key in (PASS, MASTER):
        with suppress(UnlockError):
            opened = luks.unlock(source(luks2(made)), key, meter=Meter(CHEAP))
            assert len(whole(opened.source)) == opened.source.size


# What cryptsetup itself writes.

CIPHERS = {
    "default": (),
    "argon2id": ("--pbkdf", "argon2id"),
    "argon2i": ("--pbkdf", "argon2i"),
    "xts-4096": ("--sector-size", "4096"),
    "essiv": ("--cipher", "aes-cbc-essiv:sha256", "--key-size", "256", "--sector-size", "1024"),
    "plain64be": ("--cipher", "aes-cbc-plain64be", "--key-size", "128"),
    "sha512": ("--hash", "sha512"),
}


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("name", CIPHERS)
def test_what_cryptsetup_encrypted(name: str, tmp_path: Path) -> None:
    needs("cryptsetup")
    argon = ("--pbkdf-memory", "32", "--pbkdf-parallel", "1", "--pbkdf-force-iterations", "4")
    options = (*CIPHERS[name], *argon) if name.startswith("argon") else (*CIPHERS[name], *KDF)
    content = random.Random(name).randbytes(2 * MIB)  # noqa: S311
    work = Workshop(tmp_path)
    data, header = encrypted(work, content, *options)
    opened = luks.unlock(source(data.read_bytes()), PASS, header=source(header.read_bytes()))
    assert data.read_bytes() != content
    assert whole(opened.source) == content
    work.run(
        "cryptsetup", "luksDump", "--dump-volume-key", "-q", "--volume-key-file", "key", "--key-file", "-",
        header,
        stdin=PASSPHRASE,
    )  # fmt: skip
    master = Key.parse(f"m:{tmp_path / 'key'}")
    opened = luks.unlock(source(data.read_bytes()), master, header=source(header.read_bytes()))
    assert whole(opened.source) == content


def test_a_volume_that_cryptsetup_has_begun_to_encrypt_is_not_read(tmp_path: Path) -> None:
    needs("cryptsetup")
    data, header = encrypted(Workshop(tmp_path), bytes(MIB), "--init-only", *KDF)
    with pytest.raises(Unsupported, match="no segment of the volume is encrypted"):
        luks.unlock(source(data.read_bytes()), PASS, header=source(header.read_bytes()))


def test_keyslots_that_cryptsetup_added(tmp_path: Path) -> None:
    needs("cryptsetup")
    work = Workshop(tmp_path)
    content = random.Random(8).randbytes(MIB)  # noqa: S311
    data, header = encrypted(work, content, *KDF)
    for name, options in (("second", ()), ("unbound", ("--unbound", "--key-size", "512"))):
        (tmp_path / name).write_bytes(name.encode())
        work.run(
            "cryptsetup",
            "luksAddKey",
            *KDF,
            "-q",
            *options,
            "--key-file",
            "-",
            header,
            name,
            stdin=PASSPHRASE,
        )
    where = source(header.read_bytes())
    opened = luks.unlock(source(data.read_bytes()), Key.parse(f"f:{tmp_path / 'second'}"), header=where)
    assert opened.details["keyslot"] == 1
    assert whole(opened.source) == content
    with pytest.raises(WrongKey) as caught:
        luks.unlock(source(data.read_bytes()), Key("p", b"unbound"), header=where)
    assert caught.value.tried == 2


def test_luks1_that_cryptsetup_made(tmp_path: Path) -> None:
    """Its key material and digest; the content is random, for cryptsetup writes none without the kernel."""
    needs("cryptsetup")
    work = Workshop(tmp_path)
    image = work.blank(3 * MIB)
    for hash_by, cipher, size in (
        ("sha1", "aes-xts-plain64", 512),
        ("sha512", "aes-cbc-essiv:sha256", 256),
        ("ripemd160", "aes-cbc-plain", 128),
    ):
        work.run(
            "cryptsetup", "luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000",
            "--hash", hash_by, "--cipher", cipher, "--key-size", str(size),
            "--key-slot", "5", image, "-", stdin=PASSPHRASE,
        )  # fmt: skip
        opened = luks.unlock(source(image.read_bytes()), PASS)
        assert opened.details == {
            "opened_with": "passphrase",
            "keyslot": 5,
            "encryption": cipher,
            "key_size": size,
        }
        work.run("cryptsetup", "luksErase", "-q", image)
        with pytest.raises(WrongKey, match="only its master key"):
            luks.unlock(source(image.read_bytes()), PASS)


def test_what_a_key_costs_is_the_same_on_every_machine() -> None:
    """Set down, not measured: a busy machine made any key too costly."""
    kdf = Pbkdf2(hash="sha256", iterations=1000, salt=bytes(8))
    assert [kdf.work(length) for length in (32, 33, 64)] == [1000, 2000, 2000]
    assert Pbkdf2(hash="sha512", iterations=1000, salt=bytes(8)).work(64) == 3000
    assert Argon2(variant="argon2id", passes=4, kib=1 << 20, lanes=4, salt=bytes(8)).work(64) == 12 << 20


def test_keys_of_one_image_share_an_allowance() -> None:
    meter = Meter()
    with pytest.raises(WrongKey):
        luks.unlock(source(luks2()), Key("p", b"wrong"), meter=meter)
    once = meter.derived
    assert once > 0
    meter = Meter(Budget(derivation=3 * once))
    for _ in range(3):
        with pytest.raises(WrongKey):
            luks.unlock(source(luks2()), Key("p", b"wrong"), meter=meter)
    with pytest.raises(KdfTooCostly, match="--max-derivation"):
        luks.unlock(source(luks2()), PASS, meter=meter)
    assert luks.unlock(source(luks2()), PASS, meter=Meter()).details["keyslot"] == 0


@pytest.mark.parametrize("lacks", ["known beforehand", "found out"])
def test_memory_that_this_machine_lacks_is_no_wrong_key(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacks == "known beforehand":
        monkeypatch.setattr(kdf_module, "available_memory", lambda: 1 << 30)
    else:
        monkeypatch.setattr(kdf_module, "available_memory", lambda: None)

        class Lacking:
            def __init__(self, **_: object) -> None:
                pass

            def derive(self, _: bytes) -> bytes:
                raise MemoryError

        monkeypatch.setattr("cryptography.hazmat.primitives.kdf.argon2.Argon2id", Lacking)
    made = document()
    made["keyslots"]["1"] = {**made["keyslots"]["0"], "kdf": {**ARGON, "memory": 2 << 20, "time": 1}}
    made["digests"]["0"]["keyslots"] = ["0", "1"]
    with pytest.raises(OutOfMemory, match=r"keyslot 1: .* memory") as caught:
        luks.unlock(source(luks2(made)), Key("p", b"wrong"))
    assert caught.value.problem.code is Code.OUT_OF_MEMORY
    keys = [Key("p", b"wrong"), Key("r", b"wrong")]
    _, problems = unlock("crypto_LUKS", source(luks2(made)), keys, meter=Meter())
    assert [problem.code for problem in problems] == [Code.OUT_OF_MEMORY]
    assert luks.unlock(source(luks2(made)), PASS).details["keyslot"] == 0


@pytest.mark.parametrize("number", ["\u0663", "9" * 5000, "1_0", " 1", "+1", "\u00b2"])
def test_numbers_are_ascii_digits_and_few(number: str) -> None:
    for image in (
        changed(lambda made: made["keyslots"].update({number: made["keyslots"]["0"]})),
        changed(lambda made: made["digests"]["0"].update(keyslots=[number])),
    ):
        with suppress(UnlockError):
            luks.unlock(image, PASS)
    with pytest.raises(DamagedHeader):
        luks.unlock(changed(lambda made: made["segments"]["0"].update(offset=number)), PASS)
