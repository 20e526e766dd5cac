"""A web service that uses only the interface: no mount is left, and no error lost."""

import json
import pickle
import random
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.imagemounter.disks import TREES, left_of, sessions
from tests.imagemounter.groups import luks
from tests.imagemounter.service import Service, database
from tests.mounting.images import FILES, digest
from tests.needing import needs_root

TOP = Path(__file__).parent.parent.parent
KEY = "p:open sesame"


class Client:
    """Somebody who uses a service."""

    def __init__(self, port: int, path: Path) -> None:
        self.top = f"http://127.0.0.1:{port}"
        self.path = path

    def ask(self, where: str, **said: Any) -> tuple[int, Any]:
        data = json.dumps({name: str(value) for name, value in said.items()}).encode() if said else None
        try:
            with urllib.request.urlopen(f"{self.top}{where}", data, timeout=300) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def mount(self, image: Path, **said: Any) -> dict[str, Any]:
        status, body = self.ask("/mount", image=image, **said)
        return {"status": status} | json.loads(body)

    def unmount(self, image: Path) -> int | None:
        status, body = self.ask("/unmount", image=image)
        return json.loads(body)["users"] if status == 200 else None

    def file(self, image: Path, volume: str, path: str) -> tuple[int, bytes]:
        query = urllib.parse.urlencode({"image": image, "volume": volume, "path": path})
        return self.ask(f"/file?{query}")

    def mounts(self) -> dict[str, int]:
        found = json.loads(self.ask("/mounts")[1])
        assert isinstance(found, dict)
        return found

    def reap(self, command: str = "reap") -> tuple[int, str]:
        """Have another process unmount; how many images, and what it complained of."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.imagemounter.service", command, self.path],
            cwd=TOP, capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
        return int(done.stdout), done.stderr

    def sessions(self) -> list[str]:
        """What the ledger calls all that was ever mounted and is in the database."""
        with database(self.path) as rows:
            parsers = [pickle.loads(row[0]) for row in rows.execute("SELECT parser FROM mounts")]  # noqa: S301
        return [name for parser in parsers for name in sessions(parser)]


@pytest.fixture
def images(tmp_path: Path, tree_e01: Path, one_ext4: Path) -> Iterator[dict[str, Path]]:
    """An E01 with three volumes, a plain image, a locked one; none of them may change."""
    needs_root()
    locked = luks(tmp_path, one_ext4.read_bytes())
    made = {"tree": tree_e01, "plain": one_ext4, "locked": locked}
    before = {name: digest(path) for name, path in made.items()}
    yield made
    assert {name: digest(path) for name, path in made.items()} == before


@pytest.fixture
def client(tmp_path: Path, images: dict[str, Path]) -> Iterator[Client]:
    """Of a service in threads of this process."""
    with Service(tmp_path / "mounts.db") as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        made = Client(service.server_address[1], service.path)
        made.service = service  # type: ignore[attr-defined]
        try:
            yield made
        finally:
            service.shutdown()
            thread.join()
            names = made.sessions()
            made.reap("reap-all")
    assert left_of(names) == []


def test_mount_read_and_unmount(client: Client, images: dict[str, Path]) -> None:
    told = client.mount(images["tree"])
    assert told["status"] == 200
    assert [each["type"] for each in told["volumes"].values()] == ["ext"] * 3
    assert client.file(images["tree"], "1", "etc/hostname") == (200, b"root: etc/hostname\n")
    assert client.file(images["tree"], "2", "alice/letter.txt") == (200, b"home: alice/letter.txt\n")
    assert client.file(images["tree"], "1", "../../../../etc/passwd")[0] == 404
    names = client.sessions()
    assert left_of(names) != []
    assert client.unmount(images["tree"]) == 0
    assert client.reap() == (1, "")
    assert left_of(names) == []
    assert client.unmount(images["tree"]) is None
    assert client.file(images["tree"], "1", "etc/hostname")[0] == 404
    assert client.reap() == (0, "")


def test_an_image_is_mounted_once_for_all_its_users(client: Client, images: dict[str, Path]) -> None:
    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(lambda _: client.mount(images["plain"]), range(6)))
    assert all(each == told[0] for each in told)
    assert client.service.mounted == 1  # type: ignore[attr-defined]
    assert client.mounts() == {str(images["plain"]): 6}
    names = client.sessions()
    for users in (5, 4, 3, 2, 1):
        assert client.unmount(images["plain"]) == users
    assert client.reap() == (0, "")
    assert client.file(images["plain"], "0", "readme.txt") == (200, FILES["readme.txt"])
    assert client.unmount(images["plain"]) == 0
    # Wanted again before it was taken down: that is a mount of its own, and the old one still goes.
    assert client.mount(images["plain"])["status"] == 200
    assert client.service.mounted == 2  # type: ignore[attr-defined]
    assert client.reap() == (1, "")
    assert left_of(names) == []
    assert client.file(images["plain"], "0", "readme.txt") == (200, FILES["readme.txt"])


def test_a_wrong_key_is_told_and_the_right_one_opens(client: Client, images: dict[str, Path]) -> None:
    image = images["locked"]
    for key, reason in (({"key": "p:wrong"}, "key"), ({}, "locked")):
        (volume,) = client.mount(image, **key)["volumes"].values()
        assert volume["error"] == "KeyInvalidError"
        assert reason in volume["message"]
        assert volume["mountpoint"] is None
        assert client.file(image, "0", "readme.txt")[0] == 409
        assert client.unmount(image) == 0
        assert client.reap() == (1, "")
    (volume,) = client.mount(image, key="no key at all")["volumes"].values()
    assert volume["error"] == "ArgumentError"
    assert client.unmount(image) == 0
    told = client.mount(image, key=KEY)
    assert "error" not in told["volumes"]["0.0"]
    assert client.file(image, "0.0", "readme.txt") == (200, FILES["readme.txt"])
    assert b"sesame" not in client.path.read_bytes()


def test_what_cannot_be_read_is_told_and_leaves_nothing(
    client: Client, images: dict[str, Path], tmp_path: Path
) -> None:
    missing, cut = tmp_path / "no.E01", tmp_path / "cut.E01"
    cut.write_bytes(images["tree"].read_bytes()[:3000])
    told = client.mount(missing)
    assert told["status"] == 422, told
    assert told["error"]
    assert client.unmount(missing) is None
    assert client.mounts() == {}
    # What has a size, but can be read in parts or not at all, has volumes, and these have the reasons.
    (volume,) = client.mount(cut)["volumes"].values()
    assert volume["error"] == "MountError"
    assert "chunk 0 of the image" in volume["message"]
    damaged = tmp_path / "damaged.img"
    data = bytearray(images["plain"].read_bytes())
    data[2048:3072] = bytes(1024)
    damaged.write_bytes(data)
    (volume,) = client.mount(damaged)["volumes"].values()
    assert volume["error"] == "SubsystemError"
    assert volume["message"]
    assert client.mount(images["tree"])["status"] == 200


def test_many_users_at_once(client: Client, images: dict[str, Path]) -> None:
    """Each mounts, reads and unmounts in its own order, while another process takes down what it can."""
    content = {
        "tree": ("3", "log/syslog", b"var: log/syslog\n"),
        "plain": ("0", "readme.txt", FILES["readme.txt"]),
        "locked": ("0.0", "readme.txt", FILES["readme.txt"]),
    }
    assert "log/syslog" in TREES["/var"]
    problems: list[object] = []

    def user(number: int) -> None:
        chosen = random.Random(number)  # noqa: S311
        for name in chosen.sample(sorted(content), len(content)):
            volume, path, data = content[name]
            told = client.mount(images[name], key=KEY)
            if any("error" in each for each in told["volumes"].values()):
                problems.append(told)
            if (found := client.file(images[name], volume, path)) != (200, data):
                problems.append((name, found))
            if client.unmount(images[name]) is None:
                problems.append((name, "not mounted"))

    with ThreadPoolExecutor(5) as pool:
        users = [pool.submit(user, number) for number in range(5)]
        reaped = [client.reap() for _ in range(3)]
        for each in users:
            each.result()
    assert problems == []
    assert client.mounts() == {}
    assert [complaint for _, complaint in reaped if complaint] == []
    client.reap()
    assert client.sessions() == []


def test_what_is_in_use_is_kept_for_the_next_time(client: Client, images: dict[str, Path]) -> None:
    told = client.mount(images["plain"])
    mountpoint = Path(told["volumes"]["0"]["mountpoint"])
    names = client.sessions()
    client.unmount(images["plain"])
    with (mountpoint / "readme.txt").open("rb") as file:
        gone, complaint = client.reap()
        assert gone == 0
        assert json.loads(complaint.splitlines()[-1])["error"] in ("SubsystemError", "CleanupError")
        assert str(mountpoint) in complaint
        assert file.read() == FILES["readme.txt"]
    assert client.reap() == (1, "")
    assert left_of(names) == []


def test_after_the_service_was_killed_another_process_takes_all_down(
    images: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "mounts.db"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.imagemounter.service", "serve", path], cwd=TOP, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        client = Client(int(process.stdout.readline()), path)
        try:
            for image in images.values():
                assert client.mount(image, key=KEY)["status"] == 200
            names = client.sessions()
            assert len(names) == len(images)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    try:
        assert left_of(names) != []
    finally:
        assert client.reap("reap-all") == (3, "")
    assert left_of(names) == []
    assert client.sessions() == []
