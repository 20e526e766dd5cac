"""A small web service over disk images, as its users would write it: of pyimount it knows only the interface.

    GET  /mounts                         what is mounted, and for how many
    POST /mount    {"image", "key"}      mount an image, or count one more user of it
    POST /unmount  {"image"}             count one user less
    GET  /file?image=&volume=&path=      a file in it

Parsers are pickled into SQLite. What has no user any more is unmounted by another process, which may run at
any time, or after the service has died: ``python -m tests.imagemounter.service reap DATABASE``.
"""

import json
import pickle
import sqlite3
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pyimount import ImageParser
from pyimount.exceptions import ImageMounterError

SCHEMA = """
CREATE TABLE IF NOT EXISTS mounts (
    id INTEGER PRIMARY KEY, image TEXT NOT NULL, users INTEGER NOT NULL,
    parser BLOB NOT NULL, told TEXT NOT NULL
)
"""
IN_USE = "image = ? AND users > 0"


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction that no other process or thread is in the middle of."""
    connection = sqlite3.connect(path, timeout=300, isolation_level=None)
    try:
        connection.execute(SCHEMA)
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()


def said(error: ImageMounterError) -> dict[str, Any]:
    """An error for who asked."""
    return {"error": type(error).__name__, "message": str(error), "remedy": error.remedy}


class Service(ThreadingHTTPServer):
    """The server; its address is of this machine alone."""

    daemon_threads = False

    def __init__(self, path: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.path = path
        self.being_mounted: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self.mounted = 0
        """How many times an image was really mounted."""

    def mount(self, image: str, key: str | None) -> tuple[int, dict[str, Any]]:
        # Different images at once; of one, the second waits for the first and then shares it.
        with self.being_mounted[image]:
            with database(self.path) as rows:
                known = rows.execute(
                    f"UPDATE mounts SET users = users + 1 WHERE {IN_USE} RETURNING told",  # noqa: S608
                    (image,),
                ).fetchall()
            if known:
                return 200, json.loads(known[0][0])
            try:
                parser = ImageParser([image], keys={"*": key} if key else None)
            except (ImageMounterError, OSError) as error:
                return 422, said(error) if isinstance(error, ImageMounterError) else {"error": str(error)}
            try:
                volumes = list(parser.init())
            except ImageMounterError as error:
                parser.force_clean()
                return 422, said(error)
            self.mounted += 1
            told = {
                "volumes": {
                    each.index: {"type": each.fstype, "mountpoint": each.mountpoint}
                    | ({} if each.exception is None else said(each.exception))
                    for each in volumes
                    if each.flag == "alloc"
                }
            }
            with database(self.path) as rows:
                rows.execute(
                    "INSERT INTO mounts (image, users, parser, told) VALUES (?, 1, ?, ?)",
                    (image, pickle.dumps(parser), json.dumps(told)),
                )
            return 200, told

    def unmount(self, image: str) -> tuple[int, dict[str, Any]]:
        with database(self.path) as rows:
            left = rows.execute(
                f"UPDATE mounts SET users = users - 1 WHERE {IN_USE} RETURNING users",  # noqa: S608
                (image,),
            ).fetchall()
        return (200, {"users": left[0][0]}) if left else (404, {"error": "it is not mounted"})

    def file(self, image: str, volume: str, path: str) -> tuple[int, Any]:
        with database(self.path) as rows:
            row = rows.execute(f"SELECT parser FROM mounts WHERE {IN_USE}", (image,)).fetchone()  # noqa: S608
        if row is None:
            return 404, {"error": "it is not mounted"}
        parser: ImageParser = pickle.loads(row[0])  # noqa: S301
        mountpoint = parser.get_by_index(volume).mountpoint
        if mountpoint is None:
            return 409, {"error": "this volume is not mounted"}
        top = Path(mountpoint).resolve()
        wanted = (top / path).resolve()
        if not wanted.is_relative_to(top) or not wanted.is_file():
            return 404, {"error": "there is no such file"}
        return 200, wanted.read_bytes()

    def mounts(self) -> tuple[int, dict[str, Any]]:
        with database(self.path) as rows:
            return 200, dict(rows.execute("SELECT image, users FROM mounts WHERE users > 0").fetchall())


class Handler(BaseHTTPRequestHandler):
    """What a request asks for."""

    server: Service

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        values = {name: each[0] for name, each in parse_qs(asked.query).items()}
        self._answer(self.server.mounts() if asked.path == "/mounts" else self.server.file(**values))

    def do_POST(self) -> None:
        values = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(
            self.server.mount(values["image"], values.get("key"))
            if self.path == "/mount"
            else self.server.unmount(values["image"])
        )

    def _answer(self, answer: tuple[int, Any]) -> None:
        status, body = answer
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


def reap(path: Path, most_users: int = 0) -> int:
    """Unmount what has no more than so many users; how many that were. What fails is kept for next time."""
    gone = 0
    with database(path) as rows:
        found = rows.execute("SELECT id, parser FROM mounts WHERE users <= ?", (most_users,)).fetchall()
        for number, data in found:
            parser: ImageParser = pickle.loads(data)  # noqa: S301
            try:
                parser.force_clean(retries=2, sleep_interval=0.1)
            except ImageMounterError as error:
                print(json.dumps(said(error)), file=sys.stderr)
                continue
            rows.execute("DELETE FROM mounts WHERE id = ?", (number,))
            gone += 1
    return gone


def main(command: str, path: str) -> None:
    """``reap``: what nobody uses; ``reap-all``: everything; ``serve``: until this is killed."""
    if command == "serve":
        with Service(Path(path)) as service:
            print(service.server_address[1], flush=True)
            service.serve_forever()
    else:
        print(reap(Path(path), most_users=sys.maxsize if command == "reap-all" else 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
