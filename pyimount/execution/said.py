"""What drivers and programs say when they fail, made fit for a person who keeps evidence.

They advise to write: to run chkdsk or fsck, to boot Windows, to mount it otherwise. None of that is passed
on.
"""

import re
from collections.abc import Iterable
from itertools import takewhile

_ADVICE = re.compile(
    r"""(?ix)
    \b please \b | \b chkdsk \b | fsck \b | \b fsck\. | xfs_repair | xfs_db | btrfs[ ]check | \b repair \b
    | \b ntfsfix \b | \b (?:re)?boot \b | remove_hiberfile | \b force \b | [ ]/f \b | [ ]-o[ ]
    | \b norecover\w* | \b shut[ ]?down \b | \b activate \b | \b rescan \b | \b re-?run \b
    | \b you[ ](?:can|may|must|should|need|want|will) \b | \b u(?:n)?mount \b | \b remount \b
    | \b consider \b | \b recommended \b | \b try \b | \b choose \b | dmesg
    | \b see[ ](?:syslog|the|http) | \b usage[ ]of \b
    """
)
_ENDS = re.compile(r"(?<=[.!?;])\s+(?=[A-Z$\"'])")
_CLAUSES = re.compile(r',\s+|\s+and\s+(?=")')
_WRAPPED = 60
"""A line of so many characters, without an end, was broken to fit."""


def sentences(text: str) -> list[str]:
    """The sentences of what was printed, those that go on over a line's end in one."""
    lines: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        last = lines[-1] if lines else "."
        is_whole = last.endswith((".", "!", "?", ":", ";"))
        if lines and (line[0] in "/(" or (not is_whole and (line[0].islower() or len(last) >= _WRAPPED))):
            lines[-1] = f"{last} {line}"
        else:
            lines.append(line)
    return [each for line in lines for each in _ENDS.split(line)]


def without_advice(text: str) -> list[str]:
    """What a text tells is wrong, a sentence each; not what it tells to do about it."""
    found = []
    for sentence in sentences(text):
        wrong = list(takewhile(lambda clause: not _ADVICE.search(clause), _CLAUSES.split(sentence)))
        if wrong:
            found.append(", ".join(wrong))
    return found


def in_one_line(said: Iterable[str]) -> str:
    """Sentences in one line, each once."""
    return "; ".join(dict.fromkeys(each.rstrip(".;") for each in said))
