"""Print the bytes of a file in a volume: without root, without mounting.

Links are followed, within the volume or the tree that the path is in, never out of the image.

Exit status: 0 all bytes were printed; 1 they were not, and the message says why; 2 the arguments are wrong.
"""

import argparse
import sys

from pyimount import cli
from pyimount.cli import options as shared
from pyimount.cli import paths

EXAMPLES = f"""{paths.PATHS}
examples:
  pyimount cat disk.E01 /etc/hostname
  pyimount cat disk.E01 '2:/$MFT' | head -c 1024 | xxd
  pyimount cat disk.E01 2:/vms/a.vmdk::1:/etc/hostname
  pyimount cat --stream Zone.Identifier disk.E01 2:/setup.exe
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    paths.add_image(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file")
    parser.add_argument("--stream", metavar="NAME", help="this stream, fork or extended attribute of it")
    parser.add_argument("--from", dest="start", type=shared.byte_count, default=0, metavar="BYTES",
                        help="begin here in the file")  # fmt: skip
    parser.add_argument("--count", type=shared.byte_count, metavar="BYTES", help="print no more than this")
    paths.add_rest(parser)


def run(options: argparse.Namespace) -> int:
    """Print the files; returns the exit status."""
    try:
        with paths.opened(options) as files:
            asked = paths.Asked(files)
            for text in options.paths:
                _print(asked, text, options)
            return asked.ended()
    except paths.Stopped as stopped:
        return stopped.status


def _print(asked: paths.Asked, text: str, options: argparse.Namespace) -> None:
    found = asked.place(text, follow=True, stream=options.stream)
    if found is None:
        return
    place, stream = found
    length = 1 << 63 if options.count is None else options.count
    try:
        for piece in place.entry.pieces(options.start, length, stream):
            try:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                cli.complain(f"standard output: {error.strerror}")
                raise paths.Stopped(1) from error
    except BrokenPipeError:
        raise
    except paths.FAILURES as error:
        asked.complain(text, error)
