"""``detect --system``: what is installed, where and when, from the files that say so."""

import json
import plistlib
import struct
import subprocess
from pathlib import Path

import pytest

from pyimount.cli import main
from tests.planning.test_hives import SOFTWARE, Builder, Tree

pytestmark = pytest.mark.needs("mke2fs")


def found(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> dict[str, str]:
    image = tmp_path / "disk.img"
    tree = str(tmp_path / "tree")
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, str(image), "16M"]
    subprocess.run(argv, check=True, capture_output=True)
    assert main(["detect", "--system", "--json", str(image)]) == 0
    (volume,) = json.loads(capfd.readouterr().out)["disks"][0]["volumes"]
    system: dict[str, str] = volume["details"].get("system", {})
    assert main(["detect", "--system", str(image)]) == 0
    drawn = capfd.readouterr().out
    assert all(value in drawn for key, value in system.items() if key != "version")
    return system


def record(kind: int, name: bytes, seconds: int) -> bytes:
    """A record of wtmp: utmp(5)."""
    return struct.pack(
        "<hxxi32s4s32s256shhiii16x20x", kind, 0, b"~", b"~~", name, b"6.1", 0, 0, 0, seconds, 0
    )


def test_linux(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = tmp_path / "tree"
    for folder in ("etc", "var/log", "usr/lib", "bin", "home"):
        (tree / folder).mkdir(parents=True)
    (tree / "etc" / "hostname").write_text("webserver\n")
    (tree / "usr" / "lib" / "os-release").write_text('PRETTY_NAME="Debian GNU/Linux 12"\nVERSION_ID="12"\n')
    (tree / "etc" / "os-release").symlink_to("../usr/lib/os-release")
    (tree / "etc" / "localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    (tree / "var" / "log" / "wtmp").write_bytes(
        record(2, b"reboot", 1_600_000_000)
        + record(7, b"user", 1_600_000_500)
        + record(1, b"shutdown", 1_600_001_000)
        + record(2, b"reboot", 1_700_000_000)
    )
    assert (tree / "var" / "log" / "wtmp").stat().st_size == 4 * 384
    assert found(tmp_path, capfd) == {
        "name": "Debian GNU/Linux 12", "version": "12", "hostname": "webserver",
        "time_zone": "Europe/Berlin", "last_start": "2023-11-14T22:13:20Z",
        "last_shutdown": "2020-09-13T12:43:20Z",
    }  # fmt: skip


def test_macos(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = tmp_path / "tree"
    core = tree / "System" / "Library" / "CoreServices"
    settings = tree / "Library" / "Preferences" / "SystemConfiguration"
    core.mkdir(parents=True)
    settings.mkdir(parents=True)
    said = {"ProductName": "macOS", "ProductVersion": "14.2"}
    (core / "SystemVersion.plist").write_bytes(plistlib.dumps(said))
    named = {"System": {"System": {"ComputerName": "Mac of Eve"}}}
    (settings / "preferences.plist").write_bytes(plistlib.dumps(named, fmt=plistlib.FMT_BINARY))
    assert found(tmp_path, capfd) == {"name": "macOS 14.2", "version": "14.2", "hostname": "Mac of Eve"}


def test_windows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "tree" / "Windows" / "System32" / "config"
    config.mkdir(parents=True)
    (config / "SOFTWARE").write_bytes(Builder(b"lh").hive(SOFTWARE))
    # 2020-09-13T12:26:40Z, counted from 1601 in units of 100 ns.
    shutdown = ((1_600_000_000 + 11_644_473_600) * 10**7).to_bytes(8, "little")
    control: Tree = {
        "ComputerName": {"ComputerName": {"ComputerName": "BOX"}},
        "TimeZoneInformation": {"TimeZoneKeyName": "W. Europe Standard Time"},
        "Windows": {"ShutdownTime": shutdown},
    }
    system: Tree = {"ControlSet001": {"Control": control}, "Select": {"Current": 1}}
    (config / "SYSTEM").write_bytes(Builder(b"lh").hive(system))
    assert found(tmp_path, capfd) == {
        "name": "Windows 10 Pro 22H2", "version": "10.0.19045", "hostname": "BOX",
        "time_zone": "W. Europe Standard Time", "last_shutdown": "2020-09-13T12:26:40Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    "shutdown",
    ["never", "0 1 2 3 4 5 6 7", "\u0663" * 16, b"", b"\xff" * 7, b"\xff" * 8, b"\0" * 8, 5],
    ids=repr,
)
def test_a_shutdown_at_no_time(
    shutdown: str | bytes | int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tree" / "Windows" / "System32" / "config"
    config.mkdir(parents=True)
    system: Tree = {
        "ControlSet001": {"Control": {"Windows": {"ShutdownTime": shutdown}}}, "Select": {"Current": 1}
    }  # fmt: skip
    (config / "SYSTEM").write_bytes(Builder(b"lh").hive(system))
    assert "last_shutdown" not in found(tmp_path, capfd)


PLIST = '<?xml version="1.0"?><plist version="1.0">{}</plist>'
BINARY = plistlib.dumps({"a": 1.0}, fmt=plistlib.FMT_BINARY)


@pytest.mark.parametrize(
    "data",
    [
        PLIST.format("<dict><key>a</key><date>soon</date></dict>").encode(),
        PLIST.format("<dict><key>a</key><integer>" + "9" * 5000 + "</integer></dict>").encode(),
        PLIST.format("<dict><key>a</key><integer>\u0663x</integer></dict>").encode(),
        PLIST.format("<dict><key>a</key><data>\u00e9</data></dict>").encode(),
        PLIST.format("<dict><string>a</string></dict>").encode(),
        PLIST.format("<string>" + "<array>" * 5000).encode(),
        PLIST.format("</dict>").encode(),
        PLIST.format("<key>a</key>").encode(),
        PLIST.format("<dict><key>ProductName</key><array/></dict>").encode(),
        # A time beyond the calendar, an object of no kind, a list of itself.
        BINARY.replace(bytes.fromhex("233ff0000000000000"), bytes.fromhex("337fefffffffffffff")),
        BINARY.replace(bytes.fromhex("23"), bytes.fromhex("ff")),
        BINARY.replace(b"\xd1\x01\x02", b"\xd1\x00\x00"),
    ],
    ids=map(str, range(12)),
)
def test_a_property_list_that_is_none(data: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    core = tmp_path / "tree" / "System" / "Library" / "CoreServices"
    core.mkdir(parents=True)
    (core / "SystemVersion.plist").write_bytes(data)
    assert found(tmp_path, capfd) == {}


def test_what_is_no_system_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tree" / "photos").mkdir(parents=True)
    (tmp_path / "tree" / "System" / "Library" / "CoreServices").mkdir(parents=True)
    (tmp_path / "tree" / "System" / "Library" / "CoreServices" / "SystemVersion.plist").write_bytes(
        b"<" * 5000
    )
    assert found(tmp_path, capfd) == {}
