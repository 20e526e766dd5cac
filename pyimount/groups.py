"""Arrays and volume groups: which members of each one call found."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from pyimount.formats import Membership
from pyimount.layers import Group, VolumeLayer


def with_groups(
    volumes: Iterable[VolumeLayer], memberships: Mapping[int, Membership]
) -> Iterator[VolumeLayer]:
    """The volumes, each member with the facts of its group, counted over all of them."""
    present = Counter((member.type, member.uuid) for member in memberships.values())
    for volume in volumes:
        member = memberships.get(volume.id)
        if member is None:
            yield volume
            continue
        count = present[member.type, member.uuid]
        group = Group(
            type=member.type,
            uuid=member.uuid,
            name=member.name,
            role=member.role,
            members=member.members,
            present=count,
            complete=member.members is not None and count >= member.members,
        )
        yield volume.replaced(group=group)
