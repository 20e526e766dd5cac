"""LVM's text format, well-formed and hostile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyimount.formats import NotThisFormat
from pyimount.parsers.volumes import lvm2_text
from pyimount.parsers.volumes.lvm2_text import DEPTH, TooLong, parse_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("1.5", 1.5),
        ('"a b"', "a b"),
        (r'"say \"no\""', 'say "no"'),
        (r'"C:\\dir\\"', "C:\\dir\\"),
        (r'"\\\""', '\\"'),
        ('"# no comment"', "# no comment"),
        ("word", "word"),
        ("[]", []),
        ('["a", 1, 2.0]', ["a", 1, 2.0]),
        ("[\n# first\n1, # then\n2\n]", [1, 2]),
        ('"ü"', "ü"),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse_text(f"key = {text}\n".encode()) == {"key": value}


def test_sections_lie_in_one_another_and_may_be_named_by_digits() -> None:
    text = b"a { b{ c=1 } 0 { d = 2 } }\n# end\ne=3\0behind = {"
    assert parse_text(text) == {"a": {"b": {"c": 1}, "0": {"d": 2}}, "e": 3}


def test_sections_of_one_name_are_one_and_the_last_value_counts() -> None:
    assert parse_text(b"a { b = 1 }\na { b = 2 c = 3 }") == {"a": {"b": 2, "c": 3}}


@pytest.mark.parametrize(
    "text",
    [
        "a {", "}", "a", "a =", "a = [1", "a = [ [ 1 ] ]", "a = }", "a b = 1", "= 1", "{ }", '"a" = 1',
        'a = "open', "a = 1 2", "a = { }", "a = 1 a { }", "a == 1", "[1]", "a ; b", "a = 'x'",
    ],
)  # fmt: skip
def test_what_breaks_the_grammar(text: str) -> None:
    with pytest.raises(NotThisFormat):
        parse_text(text.encode())


def test_depth_has_an_end() -> None:
    deepest = DEPTH - 1
    parse_text(b"a{" * deepest + b"}" * deepest)
    with pytest.raises(NotThisFormat):
        parse_text(b"a{" * (deepest + 1) + b"}" * (deepest + 1))


@pytest.mark.parametrize("piece", [b"a=1\n", b"#\n\n", b"a{}"])
def test_length_has_an_end(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvm2_text, "TOKENS", 1000)
    with pytest.raises(TooLong):
        parse_text(piece * 501)


@pytest.mark.parametrize("text", [b'a="' + b"\\x" * (1 << 18), b" " * (1 << 19) + b"\x01", b"a" * (1 << 19)])
def test_long_tokens_come_to_an_end(text: bytes) -> None:
    # A pattern that tries all ways to take them apart would be at it for hours.
    with pytest.raises(NotThisFormat):
        parse_text(text)


@given(st.text(alphabet='ab{}[]="\\#\n ,0', max_size=60))
def test_any_text_gives_an_answer(text: str) -> None:
    try:
        parse_text(text.encode())
    except NotThisFormat:
        return
