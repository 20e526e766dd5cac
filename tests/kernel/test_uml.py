"""The harness itself: a guest runs, shares, fails and is ended as its docstring says."""

import pytest

from tests.kernel.uml import Kernel, ScriptError


def test_a_script_sees_and_changes_the_share(uml: Kernel) -> None:
    (uml.share / "disk.img").write_bytes(bytes(4 << 20))
    said = uml.shell(
        "disk=$(losetup -f --show disk.img)\nprintf hello | dd of=$disk bs=512 conv=notrunc status=none\n"
        "blockdev --getsize64 $disk; test $$ != 1; uname -r"
    )
    assert said.splitlines()[0] == str(4 << 20)
    assert (uml.share / "disk.img").read_bytes()[:6] == b"hello\0"


def test_a_snippet_has_the_python_of_the_tests(uml: Kernel) -> None:
    assert uml.python("import pyimount, os; print(pyimount.__name__, os.getcwd())") == (
        f"pyimount {uml.share}\n"
    )


def test_nothing_is_left_of_a_guest(uml: Kernel) -> None:
    uml.shell("echo changed >/etc/left-over; echo kept >left-over; test -e /etc/left-over")
    assert (uml.share / "left-over").read_text() == "kept\n"
    uml.shell("test ! -e /etc/left-over")


def test_a_failure_says_what_was_printed(uml: Kernel) -> None:
    with pytest.raises(ScriptError, match=r"(?s)ended with 1.*words"):
        uml.shell("echo words; false; echo never")
    assert uml.shell("echo words; exit 3", check=False) == "words\n"


def test_a_guest_that_hangs_is_ended(uml: Kernel) -> None:
    with pytest.raises(ScriptError, match=r"(?s)longer than 4 s.*started"):
        uml.shell("echo started; sleep 1000", timeout=4)
