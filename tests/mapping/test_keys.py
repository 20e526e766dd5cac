"""Keys: how they are written, which volume each is for, and that they never show."""

import copy
import pickle
from pathlib import Path

import pytest

from pyimount.keys import KEY_FILE_CAP, BadKey, Key, Keyring

HIDDEN = "hunter2"


def secrets(keys: tuple[Key, ...]) -> list[bytes]:
    return [key.secret for key in keys]


@pytest.mark.parametrize(
    ("text", "kind", "secret"),
    [
        ("p:hunter2", "p", b"hunter2"),
        ("p:", "p", b""),
        ("p:with: colons = and more ", "p", b"with: colons = and more "),
        ("p:\N{GREEK SMALL LETTER PI}", "p", b"\xcf\x80"),
        ("p:\udcff", "p", b"\xff"),
        ("r:042647-302313", "r", b"042647-302313"),
        ("k:00ff:11ee", "k", b"00ff:11ee"),
    ],
)
def test_a_key_is_written_as_kind_and_value(text: str, kind: str, secret: bytes) -> None:
    key = Key.parse(text)
    assert (key.kind, key.secret) == (kind, secret)
    assert key.text == text.partition(":")[2]


@pytest.mark.parametrize("kind", ["f", "m", "s"])
def test_a_key_in_a_file_is_its_bytes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "with=equals: and colon"
    path.write_bytes(b"\0\xff\n")
    assert Key.parse(f"{kind}:{path}").secret == b"\0\xff\n"


@pytest.mark.parametrize("text", ["", HIDDEN, f"q:{HIDDEN}", f"P:{HIDDEN}", "r:", "f:", ":", f"{HIDDEN}:p"])
def test_what_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(BadKey) as caught:
        Key.parse(text)
    assert HIDDEN not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_key_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(BadKey, match=r"cannot read the key file .*missing: No such file"):
        Key.parse(f"f:{tmp_path / 'missing'}")
    with pytest.raises(BadKey, match="Is a directory"):
        Key.parse(f"m:{tmp_path}")
    with pytest.raises(BadKey, match="no such name"):
        Key.parse("f:a\0b")


def test_a_key_file_is_read_no_further_than_cryptsetup_does(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch()
    with path.open("r+b") as file:
        file.truncate(KEY_FILE_CAP)
    assert len(Key.parse(f"f:{path}").secret) == KEY_FILE_CAP
    with path.open("r+b") as file:
        file.truncate(KEY_FILE_CAP + 1)
    with pytest.raises(BadKey, match="larger than"):
        Key.parse(f"f:{path}")


def test_a_key_never_shows() -> None:
    key = Key.parse(f"p:{HIDDEN}")
    ring = Keyring({"1": f"p:{HIDDEN}"})
    for shown in (repr(key), str(key), f"{key}", repr([key]), repr(ring), str(ring)):
        assert HIDDEN not in shown
    for held in (key, ring):
        for store in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="not to be stored"):
                store(held)
    assert not hasattr(key, "__dict__")


def test_a_key_is_for_every_volume_or_for_one() -> None:
    ring = Keyring({1: "p:of one", "*": "p:of all"})
    ring.add_text("1.2=p:of an index")
    ring.add_text("C1F2A5BE-0B0E-4A55-9D3C-6F1F4D4CFB01=p:of a UUID")
    ring.add_text("p:1=p:also of all")
    assert len(ring) == 5
    assert secrets(ring.for_volume("1")) == [b"of one", b"of all", b"1=p:also of all"]
    assert secrets(ring.for_volume("1.2"))[0] == b"of an index"
    found = ring.for_volume("9", "c1f2a5be-0b0e-4a55-9d3c-6f1f4d4cfb01")
    assert secrets(found) == [b"of a UUID", b"of all", b"1=p:also of all"]
    assert secrets(Keyring().for_volume("1")) == []
    assert sorted(ring.volumes) == ["1", "1.2", "c1f2a5be-0b0e-4a55-9d3c-6f1f4d4cfb01"]


def test_the_environment_may_have_a_key() -> None:
    ring = Keyring()
    ring.add_environment({"PYIMOUNT_KEY": "1=p:of one", "KEY": "p:of another"})
    ring.add_environment({})
    ring.add_environment({"PYIMOUNT_KEY": ""})
    assert secrets(ring.for_volume("1")) == [b"of one"]
    with pytest.raises(BadKey, match="PYIMOUNT_KEY: a key is written") as caught:
        ring.add_environment({"PYIMOUNT_KEY": HIDDEN})
    assert HIDDEN not in str(caught.value)


def test_no_key_is_tried_twice() -> None:
    ring = Keyring()
    for text in ("p:same", "1=p:same", "p:same", "r:same"):
        ring.add_text(text)
    assert [(key.kind, key.secret) for key in ring.for_volume("1")] == [("p", b"same"), ("r", b"same")]


def test_a_file_of_keys_has_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(
        b"# for the case\n\np:of all \n  1234-ABCD p:of a label\r\n"
        b"2=p:of an index\np:\xff bytes\nABCD-1234\tr:1-2"
    )
    ring = Keyring()
    ring.add_file(path)
    assert secrets(ring.for_volume("0")) == [b"of all ", b"\xff bytes"]
    assert secrets(ring.for_volume("0", "1234-abcd"))[0] == b"of a label"
    assert secrets(ring.for_volume("2"))[0] == b"of an index"
    assert ring.for_volume("0", "ABCD-1234")[0].kind == "r"


def test_a_wrong_line_is_told_by_its_number_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"p:good\n{HIDDEN}\n")
    with pytest.raises(BadKey, match="line 2: a key is written") as caught:
        Keyring().add_file(path)
    assert HIDDEN not in str(caught.value)
