"""btrfs over several devices: which those are, its seeds among them.

A file system that was made over a seed (a sprout) has the seed's devices as its own, by their UUIDs; their
superblocks go on naming the seed: https://btrfs.readthedocs.io/en/latest/Seeding-device.html
"""

from collections.abc import Mapping, Sequence

from pyimount.mapping.assembly import Member
from pyimount.parsers.filesystems.btrfs import devices
from pyimount.sources.errors import ReadError
from pyimount.sources.view import View


def members_named(members: Sequence[Member]) -> Mapping[str, str]:
    """The UUIDs of all devices of the file system, with their numbers, from the newest that says so."""
    for member in sorted(members, key=lambda each: each.membership.as_of, reverse=True):
        try:
            named = devices(View(member.source))
        except ReadError:
            # Where the tree lies in a bad place, another device may have it too.
            continue
        if named:
            return named
    return {}
