"""The system in a volume: its name and version, host name, time zone, last start and shutdown.

From os-release, SystemVersion.plist and the registry's hives; times from wtmp (wtmp(5), utmp(5)) and from
the key Control, Windows of the hive SYSTEM. All of it is the image's word.
"""

import plistlib
import re
import struct
from collections.abc import Mapping
from functools import partial
from xml.parsers.expat import ExpatError

from pyimount.files.records import Kind
from pyimount.files.system import CannotRead, Entry, FileSystem
from pyimount.formats.notation import filetime, unix_time
from pyimount.inside.observing import file_of, hive_of, observe, read_at, text_of
from pyimount.inside.tree import Files
from pyimount.keys import Keyring
from pyimount.layers import Scan, VolumeLayer
from pyimount.planning.facts import TEXT_CAP, Facts
from pyimount.planning.hives import machine_of
from pyimount.sources.errors import FOREIGN_ERRORS, SourceError

_UTMP = struct.Struct("<hxxi32s4s32s256sihhii")
_UTMP_SIZE = 384
_BOOT, _RUN_LEVEL = 2, 1
_WTMP_CAP = 8 << 20
_VERSION = ("System", "Library", "CoreServices", "SystemVersion.plist")
_NETWORK = ("Library", "Preferences", "SystemConfiguration", "preferences.plist")
_ZONES = "zoneinfo/"


def with_systems(scan: Scan, keys: Keyring) -> Scan:
    """The scan, with ``details["system"]`` of each volume in which a system is."""
    found: dict[int, dict[str, str]] = {}
    with Files(scan, keys) as files:
        for volume in files.volumes():
            try:
                said = system_of(files.opened(volume))
            except (CannotRead, SourceError, OSError):
                continue  # ls tells why
            if said:
                found[volume.id] = said
    return scan.replaced(volumes=tuple(_with(volume, found.get(volume.id)) for volume in scan.volumes))


def _with(volume: VolumeLayer, system: Mapping[str, str] | None) -> VolumeLayer:
    if system is None:
        return volume
    return volume.replaced(details={**volume.details, "system": dict(system)})


def system_of(files: FileSystem) -> dict[str, str]:
    """``name``, ``version``, ``hostname``, ``time_zone``, ``last_start``, ``last_shutdown``.

    What is not recorded is left out; empty where there is no system.
    """
    facts = observe(files)
    said = facts.system()
    if "Windows" in facts.names or facts.windows:
        said |= _windows(files, facts)
    elif facts.os_release is not None:
        top = tuple(facts.subvolume.split("/")) if facts.subvolume else ()
        said |= _time_zone(files, top) | _starts(files, top)
    else:
        said |= _macos(files)
    return said


def _time_zone(files: FileSystem, top: tuple[str, ...]) -> dict[str, str]:
    text = text_of(files, (*top, "etc", "timezone"), 256)
    line = (text or "").strip()
    if line and line.isprintable():
        return {"time_zone": line}
    try:
        link = files.by_names((*top, "etc", "localtime"))
        target = link.target() if link.kind is Kind.LINK else ""
    except OSError:
        return {}
    _, found, zone = target.rpartition(_ZONES)
    return {"time_zone": zone} if found and zone.isprintable() else {}


def _starts(files: FileSystem, top: tuple[str, ...]) -> dict[str, str]:
    """The last start and shutdown that wtmp has, from its end."""
    entry = file_of(files, (*top, "var", "log", "wtmp"))
    if entry is None:
        return {}
    size = (entry.stat().size or 0) // _UTMP_SIZE * _UTMP_SIZE
    start = max(0, size - _WTMP_CAP // _UTMP_SIZE * _UTMP_SIZE)
    data = read_at(entry, start, size - start)
    said: dict[str, str] = {}
    for at in range(0, len(data) // _UTMP_SIZE * _UTMP_SIZE, _UTMP_SIZE):
        kind, _, _, _, user, _, _, _, _, seconds, _ = _UTMP.unpack_from(data, at)
        name = user.partition(b"\0")[0]
        if kind == _BOOT and name == b"reboot":
            said["last_start"] = unix_time(seconds) or ""
        elif kind == _RUN_LEVEL and name == b"shutdown":
            said["last_shutdown"] = unix_time(seconds) or ""
    return {name: value for name, value in said.items() if value}


def _windows(files: FileSystem, facts: Facts) -> dict[str, str]:
    hive = hive_of(files, facts.names, "SYSTEM")
    if hive is None:
        return {}
    found = machine_of(partial(read_at, hive))
    said = {"time_zone": found["TimeZoneKeyName"]} if "TimeZoneKeyName" in found else {}
    # Eight bytes; whatever else stands there is no time.
    if re.fullmatch("[0-9a-f]{16}", shutdown := found.get("ShutdownTime", "")):
        ticks = int.from_bytes(bytes.fromhex(shutdown), "little")
        if moment := filetime(ticks // 10**7 * 10**7):
            said["last_shutdown"] = moment
    return said


def _macos(files: FileSystem) -> dict[str, str]:
    version = _plist(file_of(files, _VERSION))
    name, number = version.get("ProductName"), version.get("ProductVersion")
    if not isinstance(name, str) or not isinstance(number, str):
        return {}
    said = {"name": f"{name} {number}", "version": number}
    system = _plist(file_of(files, _NETWORK)).get("System")
    network = system.get("System") if isinstance(system, dict) else None
    host = network.get("ComputerName") or network.get("HostName") if isinstance(network, dict) else None
    if isinstance(host, str) and host.isprintable():
        said["hostname"] = host
    return said | _time_zone(files, ("private",))


def _plist(entry: Entry | None) -> dict[str, object]:
    """A property list, XML or binary; empty for what is none."""
    if entry is None:
        return {}
    try:
        found = plistlib.loads(read_at(entry, 0, TEXT_CAP))
    except (ExpatError, *FOREIGN_ERRORS):
        return {}
    return found if isinstance(found, dict) else {}
