"""FreeBSD's vinum and gvinum: drives of the volume manager, which keep its whole configuration as text.

Layout: FreeBSD, sys/geom/vinum/geom_vinum_var.h ("struct gv_hdr"); the words of the configuration: gvinum(8),
"CONFIGURATION FILE". https://man.freebsd.org/cgi/man.cgi?query=gvinum&manpath=FreeBSD+13.0-RELEASE
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from construct import Bytes, Int64ub, Struct

from pyimount.formats import (
    Format,
    Identity,
    Json,
    Membership,
    NotThisFormat,
    Precedence,
    Signature,
    Usage,
)
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

HEADER = layout(
    lambda: Struct(
        "magic" / Bytes(8),
        "config_length" / Int64ub,
        "sysname" / Bytes(32),
        "name" / Bytes(32),
        "date_of_birth" / Int64ub,
        "date_of_birth_usec" / Int64ub,
        "last_update" / Int64ub,
        "last_update_usec" / Int64ub,
        "drive_size" / Int64ub,
    )
)

MAGIC = b"VINUM-1\0"
HEADER_AT = 4096
CONFIG_AT, CONFIG_SIZE = 4608, 65536
DATA_START = CONFIG_AT + 2 * CONFIG_SIZE
"""No subdisk lies before this byte of its drive."""
NAME_CAP = 256

CONCAT, STRIPED, RAID5 = "concat", "striped", "raid5"


class Subdisk(Record, kw_only=True):
    """A run of a drive; places and length in bytes."""

    name: str
    drive: str
    length: int
    drive_offset: int
    plex: str
    plex_offset: int
    state: str | None


class Plex(Record, kw_only=True):
    """A copy of a volume; ``stripe`` in bytes, 0 for concatenated ones."""

    name: str
    org: str
    stripe: int
    volume: str
    state: str | None


class Configuration(Record, kw_only=True):
    """What a drive says of all volumes of its system, by name in its order. ``broken``: lines passed over."""

    volumes: dict[str, str | None]
    plexes: dict[str, Plex]
    subdisks: dict[str, Subdisk]
    broken: int

    def subdisks_of(self, plex: Plex) -> list[Subdisk]:
        """In the order in which they stand in the plex."""
        found = [each for each in self.subdisks.values() if each.plex == plex.name]
        return sorted(found, key=lambda each: (each.plex_offset, each.name))

    def plexes_of(self, volume: str) -> list[Plex]:
        """By name, as vinum numbers them."""
        return sorted(
            (each for each in self.plexes.values() if each.volume == volume), key=lambda each: each.name
        )

    def drives_of(self, volume: str) -> list[str]:
        """The drives that a volume lies on."""
        drives = (each.drive for plex in self.plexes_of(volume) for each in self.subdisks_of(plex))
        return list(dict.fromkeys(drives))

    def related(self, drive: str) -> tuple[list[str], list[str]]:
        """Volumes that this drive has a part in or shares drives with, and all drives of these, sorted."""
        on: dict[str, list[str]] = {volume: self.drives_of(volume) for volume in self.volumes}
        volumes: set[str] = set()
        drives, pending = {drive}, [drive]
        while pending:
            one = pending.pop()
            for volume, its in on.items():
                if one in its and volume not in volumes:
                    volumes.add(volume)
                    pending += [each for each in its if each not in drives]
                    drives.update(its)
        return sorted(volumes), sorted(drives)


class Drive(Record, kw_only=True):
    """All that a drive says: header, configuration, and when both were last written."""

    name: str
    host: str | None
    header: Any
    updated: tuple[int, int]
    configuration: Configuration
    problems: tuple[Problem, ...]


def read_drive(view: View) -> Drive:
    """Header and configuration, by its second copy where need be. Raises NotThisFormat and ShortRead."""
    header = read_struct(view, HEADER, HEADER_AT)
    name = text(header.name)
    if header.magic != MAGIC or name is None or not 0 < header.config_length <= CONFIG_SIZE:
        raise NotThisFormat(f"no drive: {header.magic!r}, {header.config_length} bytes of configuration")
    copies: list[bytes] = []
    for number in range(2):
        try:
            raw = view.read(CONFIG_AT + number * CONFIG_SIZE, header.config_length)
        except (ShortRead, ReadError):
            raw = b""
        copies.append(raw.partition(b"\0")[0])
    problems: list[Problem] = []
    first, second = map(parse_configuration, copies)
    chosen = first
    if (not first.volumes and second.volumes) or second.broken < first.broken:
        chosen = second
        message = "the first copy of the configuration is damaged; the second was read"
        problems.append(Problem(Code.BACKUP_USED, message))
    elif copies[0] != copies[1]:
        problems.append(
            Problem(Code.COPIES_DIFFER, "the two copies of the configuration differ; the first was read")
        )
    if chosen.broken:
        message = f"{chosen.broken} lines of the configuration cannot be understood"
        problems.append(Problem(Code.DAMAGED, message))
    return Drive(
        name=name,
        host=text(header.sysname),
        header=header,
        updated=(header.last_update, header.last_update_usec),
        configuration=chosen,
        problems=tuple(problems),
    )


def parse_configuration(raw: bytes) -> Configuration:
    """The volumes, plexes and subdisks that a configuration names."""
    volumes: dict[str, str | None] = {}
    plexes: dict[str, Plex] = {}
    subdisks: dict[str, Subdisk] = {}
    broken = 0
    for line in raw.split(b"\n"):
        words = [word.decode("utf-8", "backslashreplace") for word in line.split()]
        if not words or words[0].startswith("#"):
            continue
        try:
            if words[0] == "volume":
                name, said = _volume(words)
                volumes[name] = said.get("state")
            elif words[0] == "plex":
                plex = _plex(_pairs(words[1:]))
                plexes[plex.name] = plex
            elif words[0] == "sd":
                subdisk = _subdisk(_pairs(words[1:]))
                subdisks[subdisk.name] = subdisk
            elif words[0] != "drive":
                broken += 1
        except (KeyError, ValueError):
            broken += 1
    return Configuration(volumes=volumes, plexes=plexes, subdisks=subdisks, broken=broken)


def _volume(words: Sequence[str]) -> tuple[str, dict[str, str]]:
    rest = words[2:] if words[1:2] == ["name"] else words[1:]
    if not rest:
        raise ValueError("a volume without a name")
    return _name(rest[0]), _pairs(rest[1:])


def _pairs(words: Sequence[str]) -> dict[str, str]:
    """What follows each word; ``org`` may be followed by a size as well. Raises ValueError when one lacks."""
    said: dict[str, str] = {}
    rest: Iterator[str] = iter(words)
    for word in rest:
        value = next(rest, None)
        if value is None:
            raise ValueError(f"{word} without a value")
        said[_LONG.get(word, word)] = value
        if word == "org" and value in (STRIPED, RAID5):
            said["stripe"] = next(rest, "")
    return said


_LONG = {"vol": "volume", "length": "len"}


def _name(word: str) -> str:
    if not 0 < len(word) <= NAME_CAP:
        raise ValueError("a name of no plausible length")
    return word


def _plex(said: dict[str, str]) -> Plex:
    org = said["org"]
    if org not in (CONCAT, STRIPED, RAID5):
        raise ValueError(f"organisation {org}")
    stripe = 0 if org == CONCAT else _size(said["stripe"])
    if org != CONCAT and not 0 < stripe <= 1 << 30:
        raise ValueError(f"stripes of {stripe} bytes")
    return Plex(
        name=_name(said["name"]),
        org=org,
        stripe=stripe,
        volume=_name(said["volume"]),
        state=said.get("state"),
    )


def _subdisk(said: dict[str, str]) -> Subdisk:
    length, drive_offset = _size(said["len"]), _size(said["driveoffset"])
    if length <= 0 or drive_offset < DATA_START:
        raise ValueError(f"{length} bytes at {drive_offset}")
    return Subdisk(
        name=_name(said["name"]), drive=_name(said["drive"]), length=length, drive_offset=drive_offset,
        plex=_name(said["plex"]), plex_offset=_size(said.get("plexoffset", "0")), state=said.get("state"),
    )  # fmt: skip


_SIZE = re.compile(r"(\d{1,18})([sSbBkKmMgG]?)", re.ASCII)
_UNITS = {"": 1, "s": 512, "b": 512, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _size(word: str) -> int:
    """Bytes. ``b`` stands for blocks, of 512 bytes as sectors."""
    found = _SIZE.fullmatch(word)
    if found is None:
        raise ValueError(f"size {word}")
    return int(found[1]) * _UNITS[found[2].lower()]


def parse(view: View) -> Identity:
    """Read header and configuration; a drive belongs with those that it shares volumes with."""
    drive = read_drive(view)
    configuration, header = drive.configuration, drive.header
    volumes, drives = configuration.related(drive.name)
    details: dict[str, Json] = {
        "drive": drive.name,
        "hostname": drive.host,
        "drive_size": header.drive_size or None,
        "data_offset": DATA_START,
        "volumes": [
            {
                "name": volume,
                "state": configuration.volumes[volume],
                "plexes": [
                    {
                        "name": plex.name,
                        "organisation": plex.org,
                        "stripe_size": plex.stripe or None,
                        "state": plex.state,
                        "subdisks": [
                            {
                                "name": each.name, "drive": each.drive, "offset": each.drive_offset,
                                "size": each.length, "plex_offset": each.plex_offset, "state": each.state,
                            }
                            for each in configuration.subdisks_of(plex)
                        ],
                    }
                    for plex in configuration.plexes_of(volume)
                ],
            }
            for volume in volumes
        ],
    }  # fmt: skip
    return Identity(
        type="vinum_member",
        fstype="raid",
        label=drive.name,
        created=unix_time(header.date_of_birth, header.date_of_birth_usec * 1000),
        modified=unix_time(header.last_update, header.last_update_usec * 1000),
        group=Membership(
            type="vinum",
            # There is no identifier but these names.
            uuid=f"{drive.host or ''}:{','.join(volumes) or drive.name}",
            name=", ".join(volumes) or None,
            role=drive.name,
            members=len(drives),
            identity=drive.name,
            as_of=(header.last_update,),
        ),
        offset=HEADER_AT,
        details=details,
        problems=drive.problems,
    )


FORMAT = Format(
    name="vinum",
    title="FreeBSD vinum drive",
    specification="https://man.freebsd.org/cgi/man.cgi?query=gvinum&manpath=FreeBSD+13.0-RELEASE",
    usage=Usage.RAID,
    types=("vinum_member",),
    parse=parse,
    signatures=(Signature(MAGIC, HEADER_AT),),
    precedence=Precedence.VOLUME_GROUP,
)
