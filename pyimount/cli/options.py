"""Options that several commands share: keys, what the user knows better than the image, limits."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

import pyimount
from pyimount import cli

if TYPE_CHECKING:
    from pyimount.keys import Keyring

KEY_VARIABLE = "PYIMOUNT_KEY"

_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40}


def byte_count(text: str) -> int:
    """Bytes from ``4096``, ``0x1000`` or ``4K`` (K, M, G, T: powers of 1024); raises ValueError."""
    shift = _SUFFIXES.get(text[-1:].lower(), 0)
    value = int(text[:-1], 10) << shift if shift else int(text, 0)
    if value < 0:
        raise ValueError(f"{text} is negative")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(f"{text} is negative")
    return value


def _index_and_type(text: str) -> tuple[str, str]:
    index, equals, word = text.partition("=")
    if not (index and equals and word):
        raise ValueError(f"{text} is not INDEX=TYPE")
    return index, word


def add_told(parser: argparse.ArgumentParser) -> None:
    """Add the options for what the user knows, and for the limits."""
    told = parser.add_argument_group("what you know better than the image")
    told.add_argument("--offset", type=byte_count, metavar="BYTES", help="look only here, at one volume")
    told.add_argument("--size", type=byte_count, metavar="BYTES", help="and at no more than this")
    told.add_argument("--sector-size", type=byte_count, metavar="BYTES", help="bytes in a sector")
    told.add_argument(
        "--vstype", metavar="TYPE", help="type of the partition table (dos, gpt …); none: there is none"
    )
    told.add_argument(
        "--vstypes",
        type=_index_and_type,
        action="append",
        default=[],
        metavar="INDEX=TYPE",
        help="the same for the disk or volume of this index alone",
    )
    told.add_argument(
        "--fstypes",
        type=_index_and_type,
        action="append",
        default=[],
        metavar="INDEX=TYPE",
        help="read this volume as this type and nothing else; * for every volume",
    )
    told.add_argument(
        "--allow",
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
        "--max-seconds", type=float, metavar="SECONDS", help="time on the clock (default: no such limit)"
    )
    limits.add_argument(
        "--max-read", type=byte_count, metavar="BYTES", help="bytes read from it (default: 512M)"
    )
    limits.add_argument(
        "--max-derivation",
        type=_count,
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
        "--pim", type=int, default=0, metavar="NUMBER", help="its personal iterations multiplier"
    )


def keyring(options: argparse.Namespace) -> "Keyring | None":
    """The keys that the options give, None without any. Raises BadKey, which is a ValueError."""
    variable = os.environ.get(KEY_VARIABLE)
    if not (options.key or options.keys or options.key_file or options.ask or variable):
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
