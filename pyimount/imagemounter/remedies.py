"""What to do about a refusal, for who calls this from a program: arguments, where a person has options."""

import re
from collections.abc import Callable, Mapping

_OPTION = re.compile(r"--([a-z][a-z-]*)(?:[ =]([^\s,;]+))?")
_KEYS = re.compile(r"--keys ([^\s=]+)=p:…, --key-file or --ask")

_POLICY = "policy=pyimount.planning.policy.FORENSIC.replaced({})"


def _pair(value: str) -> str:
    index, _, of = value.partition("=")
    return f"{{{index!r}: {of!r}}}"


_ARGUMENTS: Mapping[str, Callable[[str], str]] = {
    "allow-fs": lambda value: _POLICY.format(f"allow_fs=frozenset({{{value!r}}})"),
    "backend": lambda value: _POLICY.format(f"backend={value!r}"),
    "bitlocker": lambda value: _POLICY.format(f"bitlocker={value!r}"),
    "disk-mounter": lambda value: f"disk_mounter={value!r}",
    "fstypes": lambda value: f"fstypes={_pair(value)}",
    "keys": lambda value: f"keys={_pair(value)}" if value else "keys={index: key}",
    "lvm": lambda value: _POLICY.format(f"lvm={value!r}"),
    "only-mount": lambda value: f"only_mount=[{value!r}]",
    "read-write": lambda _: "read_write=True",
    "vshadow-mounter": lambda value: _POLICY.format(f"vshadow_mounter={value!r}"),
}


def for_programs(remedy: str | None) -> str | None:
    """The same, with the arguments that stand for the command line's options."""
    if remedy is None:
        return None
    told = _KEYS.sub(lambda found: f"keys={{{found[1]!r}: 'p:…'}}", remedy)
    return _OPTION.sub(_argument, told)


def _argument(found: re.Match[str]) -> str:
    make = _ARGUMENTS.get(found[1])
    value = found[2] or ""
    if make is None:
        return found[0]
    # A colon ends what is named; what follows explains it.
    name, colon, _ = value.partition(":")
    kept = name if colon and not name.partition("=")[2] else value
    return make(kept) + value[len(kept) :]
