"""``mount --user FOLDER``: the files of an image as a folder of an ordinary user's, through FUSE."""

import argparse
import os
import secrets
import sys

import pyimount
from pyimount import cli
from pyimount.cli import options as shared
from pyimount.cli import paths
from pyimount.execution.user_mounts import KIND
from pyimount.files.system import CannotRead
from pyimount.fuse.server import load_library
from pyimount.fuse.tree import FileTree, serve
from pyimount.inside.images import Level
from pyimount.inside.showing import ShownPlace, ShownVolumes
from pyimount.keys import Keyring
from pyimount.layers import Scan
from pyimount.sources.errors import OpenError, SourceError
from pyimount.wording import printable

EXIT_NOTHING = 4


def run(options: argparse.Namespace) -> int:
    """Scan, mount and leave it standing; returns the exit status."""
    at = os.path.abspath(options.user)
    try:
        load_library()
        os.makedirs(at, mode=0o700, exist_ok=True)
        if os.listdir(at):
            cli.complain(f"{printable(options.user)}: something is there already")
            return cli.EXIT_USAGE
        keyring = shared.keyring(options) or Keyring()
        images = [os.path.abspath(image) for image in options.images]
        scan = pyimount.detect(images, keys=keyring, **shared.told(options))
        shared.log_scan(options, scan)
    except (ValueError, OpenError) as error:
        cli.complain(printable(str(error)))
        return cli.EXIT_USAGE
    except ImportError:
        cli.complain("mount --user needs mfusepy: pip install 'pyimount[mount]'")
        return 1
    except OSError as error:
        cli.complain(f"{printable(options.user)}: {error.strerror}")
        return cli.EXIT_USAGE
    if not _can_be_shown(scan, keyring, options):
        return EXIT_NOTHING
    ready, answer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        _serve(scan, keyring, options, at, answer)
    os.close(answer)
    with os.fdopen(ready, "rb") as said:
        message = said.read().decode("utf-8", "replace")
    os.waitpid(child, 0)
    if message != "ready":
        cli.complain(
            printable(message or "the folder could not be mounted; 'pyimount check' tells what is missing")
        )
        return EXIT_NOTHING
    print(at)
    return 0


def _can_be_shown(scan: Scan, keyring: Keyring, options: argparse.Namespace) -> bool:
    """Whether there is anything to be shown; what is not is said."""
    shown = False
    with _top(scan, keyring, options) as top:
        try:
            files = _meant(top, options)
        except paths.FAILURES as error:
            cli.complain(f"{printable(options.within)}: {printable(paths.reason(error))}")
            return False
        for volume in files.volumes():
            try:
                files.opened(volume)
                shown = True
            except (CannotRead, SourceError) as error:
                cli.complain(printable(str(error)))
        for volume in files.unread():
            cli.complain(f"volume {volume.index}: no library reads the files of {volume.type}")
        if options.reconstruct and shown and files.tree().root is None:
            cli.complain("the volumes make up no tree; without --reconstruct each has a folder")
            return False
    if not shown:
        cli.complain("there is no volume whose files can be shown")
    return shown


def _top(scan: Scan, keyring: Keyring, options: argparse.Namespace) -> Level:
    return Level(scan, keyring, shared.told(options)["budget"])


def _meant(top: Level, options: argparse.Namespace) -> Level:
    """The image whose files are to be shown: the one that was named, or one within; raises FAILURES."""
    return top if options.within is None else paths.image_at(top, f"{options.within}{paths.WITHIN}")


def _serve(scan: Scan, keyring: Keyring, options: argparse.Namespace, at: str, answer: int) -> None:
    """The server: in a session of its own, until it is unmounted. Does not return."""
    status = 1
    try:
        os.setsid()
        if os.fork():
            status = 0
            return
        with _top(scan, keyring, options) as top:
            files = _meant(top, options)
            if options.reconstruct:
                root: ShownPlace | ShownVolumes = ShownPlace(files, files.get(None, "/"), options.links)
            else:
                root = ShownVolumes(files, options.links)

            def when_ready() -> None:
                os.write(answer, b"ready")
                os.close(answer)
                nothing = os.open(os.devnull, os.O_RDWR)
                for stream in range(3):
                    os.dup2(nothing, stream)
                os.chdir("/")

            source = f"{secrets.token_hex(4)}:{os.path.abspath(options.images[0])}"
            serve(FileTree(root, when_ready), at, source, KIND)
            status = 0
    except (RuntimeError, *paths.FAILURES) as error:
        try:
            os.write(answer, f"{at}: {error}".encode())
        except OSError:
            status = 1  # it was mounted, and whoever mounted it has gone
    finally:
        sys.stdout.flush()
        os._exit(status)
