"""Options that several commands share: keys, what the user knows better than the image, limits."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

import pyimount
from pyimount import cli
from pyimount.sources.urls import is_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pyimount.cli.examiners_log import Log
    from pyimount.keys import Keyring
    from pyimount.layers import DiskLayer, Scan
    from pyimount.verifying.records import Verified

KEY_VARIABLE = "PYIMOUNT_KEY"

_DIGITS_CAP = 18

_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40}


def byte_count(text: str) -> int:
    """Bytes from ``4096``, ``0x1000`` or ``4K`` (K, M, G, T: powers of 1024); raises ArgumentTypeError."""
    shift = _SUFFIXES.get(text[-1:].lower(), 0)
    try:
        value = int(text[:-1], 10) << shift if shift else int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes (4096, 0x1000, 4K, 1M)") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def some_bytes(text: str) -> int:
    """The same, and not none."""
    value = byte_count(text)
    if value == 0:
        raise argparse.ArgumentTypeError("at least one byte is wanted")
    return value


def seconds(text: str) -> float:
    """A time in seconds, above 0; raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")
    return value


def whole_number(text: str) -> int:
    """A whole number, 0 or more; raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_CAP):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def table_type(text: str) -> str:
    """A type of partition table; raises ArgumentTypeError."""
    from pyimount.cli.words import TABLES, meant

    if text not in TABLES:
        raise argparse.ArgumentTypeError(f"{text!r} is no type of partition table{meant(text, TABLES)}")
    return text


def index_and_table(text: str) -> tuple[str, str]:
    """INDEX=TYPE, the type one of partition tables; raises ArgumentTypeError."""
    index, equals, word = text.partition("=")
    if not (index and equals and word):
        raise argparse.ArgumentTypeError(f"{text!r} is not INDEX=TYPE")
    return index, table_type(word)


def index_and_type(text: str) -> tuple[str, str]:
    """INDEX=TYPE, the type one that there is; raises ArgumentTypeError."""
    from pyimount.cli.words import DRIVERS, FSTYPES, VOLUMES, meant

    index, equals, word = text.partition("=")
    if not (index and equals and word):
        raise argparse.ArgumentTypeError(f"{text!r} is not INDEX=TYPE")
    known = VOLUMES | FSTYPES | DRIVERS
    if word not in known:
        raise argparse.ArgumentTypeError(f"{word!r} is no type of volume{meant(word, known)}")
    return index, word


def driver(text: str) -> str:
    """A driver or program that mounts; raises ArgumentTypeError."""
    from pyimount.cli.words import DRIVERS, meant

    if text not in DRIVERS:
        raise argparse.ArgumentTypeError(f"{text!r} is no driver that pyimount knows{meant(text, DRIVERS)}")
    return text


def folder(text: str) -> str:
    """A folder that is there; raises ArgumentTypeError."""
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text}: there is no such folder")
    return text


def image(text: str) -> str:
    """What names an image, and is not something else; raises ArgumentTypeError."""
    if is_url(text):
        from pyimount.sources.urls import shown

        raise argparse.ArgumentTypeError(
            f"{shown(text)}: this is a URL: 'pyimount detect', 'export', 'ls', 'cat' and 'cp' read it, "
            "here it must be a file of this machine: fetch it first"
        )
    return image_or_url(text)


def image_or_url(text: str) -> str:
    """The same where a URL will do as well; raises ArgumentTypeError."""
    if text == "-":
        raise argparse.ArgumentTypeError("an image is read at many places: save standard input to a file")
    if is_url(text):
        return text
    if not os.path.isabs(text) and cli.is_homeless():
        raise argparse.ArgumentTypeError(f"{text}: {cli.HOMELESS}")
    return text


def add_told(parser: argparse.ArgumentParser) -> None:
    """Add the options for what the user knows, and for the limits."""
    told = parser.add_argument_group("what you know better than the image")
    told.add_argument("--offset", type=byte_count, metavar="BYTES", help="look only here, at one volume")
    told.add_argument("--size", type=some_bytes, metavar="BYTES", help="and at no more than this")
    told.add_argument("--sector-size", type=some_bytes, metavar="BYTES", help="bytes in a sector")
    told.add_argument(
        "--vstype",
        type=table_type,
        metavar="TYPE",
        help="type of the partition table (dos, gpt …); none: there is none",
    )
    told.add_argument(
        "--vstypes",
        type=index_and_table,
        action="append",
        default=[],
        metavar="INDEX=TYPE",
        help="the same for the disk or volume of this index alone",
    )
    told.add_argument(
        "--fstypes",
        type=index_and_type,
        action="append",
        default=[],
        metavar="INDEX=TYPE",
        help="read this volume as this type and nothing else; * for every volume",
    )
    told.add_argument(
        "--allow",
        type=folder,
        action="append",
        default=[],
        metavar="FOLDER",
        help="files that the image names, a backing file say, may be opened below this folder too",
    )
    limits = parser.add_argument_group(
        "limits for each image",
        "All but the time count work, so that a report is the same on every machine, busy or idle.",
    )
    limits.add_argument(
        "--max-seconds", type=seconds, metavar="SECONDS", help="time on the clock (default: no such limit)"
    )
    limits.add_argument(
        "--max-read", type=byte_count, metavar="BYTES", help="bytes read from it (default: 512M)"
    )
    limits.add_argument(
        "--max-derivation",
        type=whole_number,
        metavar="NUMBER",
        help="what deriving keys may cost, in iterations of PBKDF2 (default: 400000000); "
        "a KiB of Argon2 in a pass counts as 3",
    )
    limits.add_argument(
        "--max-derivation-memory",
        type=byte_count,
        metavar="BYTES",
        help="memory that deriving one key may take (default: 4G)",
    )


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the options for what is looked for and counted besides."""
    parser.add_argument(
        "--search",
        action="store_true",
        help="look everywhere, for what nothing points to: this reads the whole image "
        "(not found so: what has a signature of two bytes or none)",
    )
    parser.add_argument(
        "--align",
        type=some_bytes,
        metavar="BYTES",
        help="search at every so many bytes, down to 1 (default: at every sector, and at every fourth byte "
        "for what firmware is made of); implies --search",
    )
    parser.add_argument(
        "--free",
        action="store_true",
        help="read all that tells how much is free, also where that is much (a large FAT, many bitmaps)",
    )


def add_log(parser: argparse.ArgumentParser) -> None:
    """Add the option for the examiner's log; ``cli.main`` has it kept around the whole command."""
    parser.add_argument(
        "--log",
        metavar="FILE",
        help="append a line of JSON to this file: arguments without keys, version, times, the images' files, "
        "and the result",
    )


def log_scan(options: argparse.Namespace, scan: "Scan") -> None:
    """Have the log of this command, if it keeps one, note what was scanned."""
    log: Log | None = getattr(options, "kept_log", None)
    if log is not None:
        log.scan(scan)


def log_verified(options: argparse.Namespace, found: "Iterable[Verified]") -> None:
    """The same with what was verified."""
    log: Log | None = getattr(options, "kept_log", None)
    if log is not None:
        log.verified(found)


def log_written(
    options: argparse.Namespace, path: str | None, size: int, hashes: "Mapping[str, str]", unread: int
) -> None:
    """The same with what was written, and where to; None: standard output."""
    log: Log | None = getattr(options, "kept_log", None)
    if log is not None:
        log.written(path, size, hashes, unread)


def told(options: argparse.Namespace) -> dict[str, Any]:
    """What ``add_told`` and ``add_keys`` took, as arguments of ``detect``, save the keys themselves."""
    limits = {
        "seconds": options.max_seconds,
        "bytes_read": options.max_read,
        "derivation": options.max_derivation,
        "derivation_memory": options.max_derivation_memory,
    }
    return {
        "offset": options.offset,
        "size": options.size,
        "sector_size": options.sector_size,
        "vstype": _tables(options),
        "fstypes": dict(options.fstypes),
        "allow": options.allow,
        "header": options.header,
        "try_veracrypt": options.try_veracrypt,
        "budget": pyimount.Budget(**{name: most for name, most in limits.items() if most is not None}),
    }


def misplaced(options: argparse.Namespace, scan: "Scan") -> bool:
    """Whether the place that was named lies behind the end of an image, which is then told."""
    for disk in scan.disks:
        if options.offset and disk.size is not None and options.offset >= disk.size:
            end = f"the end of {disk.paths[0]}, which has {disk.size} bytes"
            cli.complain(f"--offset {options.offset} lies behind {end}")
            return True
    return False


def tell_unread(disks: "Iterable[DiskLayer]") -> bool:
    """Whether some of these images could not be read; what kept them from it is then told."""
    unread = [disk for disk in disks if disk.size is None]
    for disk in unread:
        for problem in disk.problems:
            cli.complain(problem.message)
    return bool(unread)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add where to what a command makes is written."""
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="file to write, not there yet; -: standard output"
    )


def scan_options(options: argparse.Namespace) -> dict[str, Any]:
    """The same with what ``detect`` has besides: a search, and counting all that is free."""
    from pyimount.sources.budget import NO_LIMIT

    wanted = told(options)
    searching = options.search or options.align is not None
    if searching and options.max_read is None:
        # The whole image is read, however large it is; the other limits stand as they were asked for.
        wanted["budget"] = wanted["budget"].replaced(
            bytes_read=NO_LIMIT.bytes_read, unpacked=NO_LIMIT.unpacked
        )
    return {**wanted, "search": searching, "align": options.align, "free": options.free}


def _tables(options: argparse.Namespace) -> str | dict[str, str] | None:
    """The types of partition tables: one for all, or by index."""
    if not options.vstypes:
        return str(options.vstype) if options.vstype else None
    return {**({"*": options.vstype} if options.vstype else {}), **dict(options.vstypes)}


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Add the options for keys."""
    keys = parser.add_argument_group(
        "keys of encrypted volumes",
        "KEY is p:passphrase, f:key file, m:master key file, r:recovery password, s:startup key (.bek) or "
        "k:full volume encryption key. --key and --keys can be seen by others on this machine; --key-file, "
        f"{KEY_VARIABLE} and --ask cannot.",
    )
    keys.add_argument(
        "--key", action="append", default=[], metavar="KEY", help="try it on every locked volume"
    )
    keys.add_argument(
        "--keys",
        action="append",
        default=[],
        metavar="INDEX=KEY",
        help="for the volume of this index or UUID",
    )
    keys.add_argument(
        "--key-file",
        action="append",
        default=[],
        metavar="FILE",
        help="a key a line, after a UUID where wanted",
    )
    keys.add_argument("--ask", action="store_true", help="ask for a passphrase on the terminal")
    keys.add_argument("--header", metavar="FILE", help="a LUKS header that lies apart from its volume")
    keys.add_argument(
        "--try-veracrypt", action="store_true", help="try the keys on what is not recognised, as VeraCrypt"
    )
    keys.add_argument(
        "--veracrypt-key-file",
        action="append",
        default=[],
        metavar="FILE",
        help="a key file that goes with the passphrase of a VeraCrypt volume",
    )
    keys.add_argument(
        "--pim", type=whole_number, default=0, metavar="NUMBER", help="its personal iterations multiplier"
    )


def keyring(options: argparse.Namespace) -> "Keyring | None":
    """The keys that the options give, None without any. Raises BadKey, which is a ValueError."""
    variable = os.environ.get(KEY_VARIABLE)
    if not (options.key or options.keys or options.key_file or options.ask or variable):
        for name in ("header", "try_veracrypt", "veracrypt_key_file", "pim"):
            if getattr(options, name):
                raise ValueError(f"--{name.replace('_', '-')} goes with a key, and none is given")
        return None
    from pyimount.keys import Keyring

    found = Keyring()
    for text in (*options.keys, *options.key):
        found.add_text(text)
    for path in options.key_file:
        found.add_file(path)
    if variable:
        found.add_text(variable)
    if options.ask:
        _ask(found)
    if options.veracrypt_key_file or options.pim:
        found.mix_in(options.veracrypt_key_file, options.pim)
    if (options.key or options.keys) and sys.stderr.isatty():
        cli.complain(
            "a key on the command line can be seen by others on this machine; --key-file keeps it hidden"
        )
    return found


def _ask(found: "Keyring") -> None:
    from getpass import getpass

    from pyimount.keys import Key

    if not sys.stdin.isatty():
        raise ValueError("--ask needs a terminal")
    found.add(Key("p", getpass("Passphrase: ").encode("utf-8", "surrogateescape")))
