"""Build the wheel and the source archive of the last commit: ``python -m releasing.dist FOLDER``.

The same commit gives the same bytes, wherever and whenever it is built: the files are git's, their time is
the commit's (or SOURCE_DATE_EPOCH, https://reproducible-builds.org/specs/source-date-epoch/), and CI's build
tools are those that ``.ci/locked.txt`` names. setuptools writes the time and the owner into a source archive;
so that is packed anew.
"""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def git(*arguments: str) -> bytes:
    """What git prints of this checkout."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, cwd=TOP).stdout  # noqa: S603, S607


def build(folder: Path) -> list[Path]:
    """Build both into a folder; returns them. Raises CalledProcessError."""
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory(prefix="pyimount-dist-") as work:
        tree = Path(work, "pyimount")
        archive = git("-c", "tar.umask=0022", "archive", "--format=tar", "HEAD")
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(tree, filter="tar")
        surroundings = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
        subprocess.run(  # noqa: S603
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", Path(work, "made"), tree],
            check=True,
            env=surroundings,
            umask=0o022,
            stdout=subprocess.DEVNULL,
        )
        folder.mkdir(parents=True, exist_ok=True)
        made = []
        for path in sorted(Path(work, "made").iterdir()):
            content = path.read_bytes() if path.suffix == ".whl" else repacked(path, epoch)
            made.append(folder / path.name)
            made[-1].write_bytes(content)
        return made


def repacked(path: Path, epoch: int) -> bytes:
    """A source archive in order, of one time, and nobody's."""
    inner = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=inner, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.linkname, plain.size = member.type, member.linkname, member.size
            plain.mtime = epoch
            plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(plain, old.extractfile(member) if member.isfile() else None)
    return gzip.compress(inner.getvalue(), compresslevel=9, mtime=epoch)


def main() -> None:
    """Build into the folder that is named, and print the SHA-256 of each file."""
    from hashlib import sha256

    if git("status", "--porcelain", "--untracked-files=no"):
        print("what is not committed is not in it", file=sys.stderr)
    for path in build(Path(sys.argv[1])):
        print(f"{sha256(path.read_bytes()).hexdigest()}  {path}")


if __name__ == "__main__":
    main()
