"""The server process: ``python -m pyimount.fuse --mark=NAME [HELD…]``, started by ``execution.servers``.

Its standard input is a socket, through which all that it works with comes: the mounted /dev/fuse, the
folder of the cache, the images (all open), the scan, the keys. It answers with its process id, and then
``ready`` or an error. The mark is there for who looks for the process later; descriptors that are ``HELD``
are closed as soon as looking finds it.
"""

import os
import resource
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from pyimount.confinement.cache_files import CacheFiles
from pyimount.confinement.everything import load_everything
from pyimount.confinement.messages import MessageError, receive, send
from pyimount.confinement.namespaces import leave_namespaces
from pyimount.confinement.prison import shut_in
from pyimount.fuse.cache import CachedSource, open_cache
from pyimount.fuse.server import Files, is_name, load_library, serve
from pyimount.sources.errors import OpenError, SourceError

if TYPE_CHECKING:
    from pyimount.sources.source import Source


def main() -> int:
    """Serve one mount, from its beginning to its end."""
    other = socket.socket(fileno=os.dup(0))
    left = leave_namespaces() if os.geteuid() == 0 else ()
    # Whoever started this waits for the first process only: the second is nobody's child. Its number is known
    # here: there it may be the first of a namespace.
    child = os.fork()
    try:
        if child:
            send(other, {"pid": child})
            return 0
        for held in sys.argv[2:]:
            os.close(int(held))
        return _work(other, left=left)
    except MessageError:
        return 1  # who started this is gone


def _work(other: socket.socket, *, left: tuple[str, ...]) -> int:
    try:
        settings, (device, *folder) = receive(other)
        if settings["locked"]:
            folder.pop(0)  # Open to the end: as long, no other process gets this user.
        caches = open_cache(folder[0], list(settings["files"])) if folder else {}
        for descriptor in folder:
            os.close(descriptor)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        load_library()
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        shut_in(
            settings["user"],
            namespaces=left,
            lasting=True,
            writes=bool(caches),
            load_first=partial(load_everything, much=True),
        )
        with ExitStack() as stack:
            sources, failed = _open(other, settings["files"], caches, stack)

            def when_ready() -> None:
                try:
                    send(other, {"ready": True, "failed": failed})
                except MessageError:
                    os._exit(1)  # nobody knows of us, and nobody ever will
                _leave(other, nothing)

            serve(device, Files(sources, (settings["owner"], settings["owner_group"]), when_ready))
    except (SourceError, OSError, RuntimeError, ImportError) as error:
        send(other, {"error": str(error)})
        return 1
    return 0


def _open(
    other: socket.socket, files: Mapping[str, int], caches: Mapping[str, CacheFiles], stack: ExitStack
) -> "tuple[dict[str, Source], dict[str, str]]":
    """The bytes of the layers by the names of their files, and why others cannot be read."""
    from pyimount.keys import Keyring
    from pyimount.layers import Scan, VolumeLayer
    from pyimount.mapping import Opener
    from pyimount.sources.source import CutSource

    request, _ = receive(other)
    descriptors: dict[str, int] = {}
    while len(descriptors) < request["images"]:
        paths, opened = receive(other)
        descriptors.update(zip(paths, opened, strict=True))
    keys, _ = receive(other)
    try:
        scan = Scan.from_dict(request["scan"])
    except ValueError as error:
        raise OpenError(str(error)) from error
    opener = Opener(scan, Keyring.revealed(keys), stack, descriptors=descriptors)
    sources: dict[str, Source] = {}
    failed: dict[str, str] = {}
    for name, number in files.items():
        if not is_name(name):
            raise OpenError(f"no file is called {name!r}")
        try:
            layer = scan.by_id(number)
            source = opener.source(layer)
            if name in caches:
                sources[name] = CachedSource(source, caches[name])
            elif isinstance(layer, VolumeLayer) and layer.claimed_size > source.size:
                sources[name] = CutSource(source, layer.claimed_size)
            else:
                sources[name] = source
        except KeyError:
            failed[name] = f"the scan has no layer {number}"
        except SourceError as error:
            failed[name] = str(error)
    if not sources:
        raise OpenError("; ".join(dict.fromkeys(failed.values())) or "there is nothing to show")
    return sources, failed


def _leave(other: socket.socket, nothing: int) -> None:
    """Let go of everything that whoever started this has; ``nothing``: /dev/null, open."""
    other.close()
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
