"""In the guest: images that mean harm, mounted by ``pyimount mount``, and the host untouched by them.

``test_mount_command`` made them: labels, names of groups and partitions, last mount points and links that
lead out, a directory that makes ext4 panic where the image may say so.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kernel.commands import TEMPORARY, Check, Said, command, mounted, same, state, tool

KERNEL = ("--backend", "kernel")
KEY = ("--key", "p:secret")
LABELS = ("ext4-label.img", "btrfs-label.img", "gpt-names.img", "luks-label.img")


@contextmanager
def _host_untouched() -> Iterator[None]:
    """What is mounted outside our sessions' folders, and what is in the host's /etc, stays."""
    before, names = _others(), sorted(Path("/etc").iterdir())
    passwords = Path("/etc/passwd").read_bytes()
    try:
        yield
        assert _others() == before
        assert sorted(Path("/etc").iterdir()) == names
        assert Path("/etc/passwd").read_bytes() == passwords
        assert not os.path.ismount("/etc")
    finally:
        assert not list(Path("/").glob("*pwned*"))
        assert not list(Path.cwd().glob("*pwned*"))


def _others() -> list[str]:
    """The mounts that are not in a folder of our sessions."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if not line.split()[4].startswith("/run/pyimount/")]


def _plain(said: Said) -> None:
    """What was written acts on no terminal."""
    for text in (said.out, said.err):
        assert all(char.isprintable() or char == "\n" for char in text), ascii(text)


def places_that_lead_out() -> None:
    """Last mount points and entries of fstab above the root, links of the root volume to the host's /etc."""
    with _host_untouched():
        said = command("mount", "--keep", "--reconstruct", "tree.img")
        _plain(said)
        (session,) = (word for word in re.findall(r"/run/pyimount/([0-9a-f]{8})/", said.out)[:1])
        root = Path(f"/run/pyimount/{session}/mnt")
        with _host_untouched():
            listed = json.loads(command("list", "--json").out)["sessions"][0]["mounts"]
            for each in listed:
                # Wherever it was put, it is within the session, no link on the way.
                assert each["mountpoint"].startswith(f"{root}/")
                assert os.path.realpath(each["mountpoint"]) == each["mountpoint"]
            bound = {each["mountpoint"] for each in listed if each["type"] == "bind"}
        # The root's own /etc may be covered by the volume whose place is a link to it: not the host's.
        assert bound
        command("unmount", session)


def a_panic_on_errors() -> None:
    """A damaged directory is an error of that directory, whatever the superblock wants done then."""
    with mounted("panic.img") as made:
        at = made.at("0")
        assert (at / "readme.txt").read_bytes() == b"what went in\n"
        done = subprocess.run(["ls", "-l", at / "deep/er"], capture_output=True, check=False)
        assert done.returncode or b"data.bin" not in done.stdout
        device = Path(made.volumes["0"]["device"]).name
        assert f"EXT4-fs error (device {device})" in tool("dmesg"), "the driver has not met the error"


def names_that_act() -> None:
    """Labels and names with shell characters, line feeds, escape sequences, ways up."""
    for words in ((), ("--pretty", "--casename", "$(touch /pwned)/../../x\n")):
        with _host_untouched():
            said = command("mount", "--keep", *KERNEL, *KEY, *words, *LABELS)
            _plain(said)
            # Every line is one volume's.
            assert len(said.out.splitlines()) == 5, said.out
            (session,) = json.loads(command("list", "--json").out)["sessions"]
            for each in session["mounts"]:
                top, below = each["mountpoint"].split(f"/run/pyimount/{session['session']}/mnt/")
                assert top == ""
                parts = below.split("/")
                assert len(parts) == (2 if "--casename" in words else 1), below
                for part in parts:
                    assert re.fullmatch(r"[\w+=@~.-]{1,64}", part), part
                    assert not part.startswith((".", "-"))
                same(Path(each["mountpoint"]))
            _plain(command("list"))
            _plain(command("unmount", "--dry-run", "--all"))
            command("unmount", session["session"])


def the_dry_run_is_no_trap() -> None:
    """What is printed can be run: nothing from an image is more than a word or a comment in it."""
    with _host_untouched():
        said = command("mount", "--dry-run", *KERNEL, *KEY, "--pretty", *LABELS)
        _plain(said)
        assert "mount " in said.out
        for tool_ in ("mount", "losetup", "cryptsetup", "mkdir", "chmod"):
            said = said._replace(out=re.sub(rf"(?<=[(\s])/?[\w/]*\b{tool_} ", ": ", said.out))
        subprocess.run(["sh"], input=said.out.encode(), check=False, capture_output=True, timeout=300)


def a_name_of_four_thousand() -> None:
    """A volume group and a logical volume with 4 kB of names that lead upwards, or that are options."""
    with _host_untouched():
        for image, index in (("long-name.img", "0.0"), ("option-name.img", "0.0")):
            with mounted(*KERNEL, "--pretty", image) as made:
                same(made.at(index))
                assert len(os.fsencode(made.at(index).name)) <= 64
                _plain(command("list"))
            with mounted("--backend", "user", image) as made:
                same(made.at(index))


def a_name_that_no_group_has() -> None:
    """Metadata that LVM would not read is not read."""
    with _host_untouched():
        said = command("mount", "--keep", *KERNEL, "shell-name.img", status=4)
        _plain(said)
        assert "is not mounted" in said.err
    assert not state()["/run/pyimount*/**/*"]


def images_called_so() -> None:
    """An image whose own name is a command, an escape sequence and a line feed."""
    name = "$(touch pwned)\n\x1b]0;x\x07 --help;'\"\\`touch pwned`.img"
    shutil.copy("clean.img", TEMPORARY / name)
    try:
        with _host_untouched():
            said = command("mount", "--keep", "--pretty", TEMPORARY / name)
            _plain(said)
            _plain(command("list"))
            _plain(command("unmount", "--dry-run", TEMPORARY / name))
            _plain(command("mount", "--dry-run", TEMPORARY / name))
            command("unmount", TEMPORARY / name)
            assert json.loads(command("list", "--json").out)["sessions"] == []
    finally:
        (TEMPORARY / name).unlink()


CHECKS: tuple[Check, ...] = (
    places_that_lead_out, a_panic_on_errors, names_that_act, the_dry_run_is_no_trap, a_name_of_four_thousand,
    a_name_that_no_group_has, images_called_so,
)  # fmt: skip
