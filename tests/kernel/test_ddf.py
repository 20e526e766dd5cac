"""DDF arrays that mdadm made and the kernel filled, read as the kernel reads them, whole and degraded."""

import re
from collections.abc import Mapping
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest

from pyimount.mapping import ddf
from pyimount.mapping.assembly import Member
from pyimount.parsers.volumes.ddf import FORMAT
from pyimount.sources.errors import ReadError
from pyimount.sources.file import FileSource
from pyimount.sources.source import Source
from pyimount.sources.view import View
from tests.kernel.uml import kernel_in
from tests.mapping.volume_members import opened
from tests.needing import needs


class Kind(NamedTuple):
    """How many disks, how many it can do without at worst, and what mdadm is told."""

    disks: int
    spare: int
    said: str


KINDS = {
    "raid0": Kind(3, 0, "-l 0 -c 32"),
    "raid1": Kind(2, 1, "-l 1"),
    "raid1-three": Kind(3, 2, "-l 1"),
    "raid4": Kind(3, 1, "-l 4 -c 32"),
    "raid5-left-asymmetric": Kind(3, 1, "-l 5 -c 32 -p la"),
    "raid5-right-asymmetric": Kind(3, 1, "-l 5 -c 32 -p ra"),
    "raid5-left-symmetric": Kind(4, 1, "-l 5 -c 32 -p ls"),
    "raid6-N-restart": Kind(4, 2, "-l 6 -c 32 -p ddf-N-restart"),
    "raid6-N-continue": Kind(5, 2, "-l 6 -c 32 -p ddf-N-continue"),
    "raid6-zero-restart": Kind(5, 2, "-l 6 -c 32 -p ddf-zero-restart"),
    "raid10": Kind(4, 1, "-l 10 -c 32"),
    "raid1e-near": Kind(3, 1, "-l 10 -c 32 -p n2"),
    "raid1e-far": Kind(3, 1, "-l 10 -c 32 -p f2"),
}

SCRIPT = """
modprobe -a md-mod raid0 raid1 raid10 raid456
mkdir -p /run/mdadm
make() {
    name=$1 count=$2; shift 2
    devices=""
    for number in $(seq $count); do
        truncate -s 34M $name.$number; devices="$devices $(losetup -f --show $name.$number)"
    done
    mdadm -q -CR /dev/md/c-$name -e ddf -l container -n $count $devices
    mdadm -q -CR /dev/md/$name -n $count "$@" -z 512 /dev/md/c-$name
    array=$(readlink -f /dev/md/$name)
    monitored $(basename $(readlink -f /dev/md/c-$name)) &
    monitor=$!
    writable $array
    dd if=content of=$array bs=64k count=$(($(blockdev --getsize64 $array) / 65536)) conv=fsync status=none
    echo "made $name $(sha256sum <$array)"
    # Before mdmon has written that the array is clean, it cannot be stopped.
    stopped $array
    kill $monitor
    stopped /dev/md/c-$name
}
monitored() {
    # On a busy machine mdmon may end before the array is active, which without it never is.
    while sleep 0.5; do mdmon $1 2>/dev/null || true; done
}
writable() {
    # Not by mdadm --wait: it waits for good for the resync of an array that stays read-only.
    here=/sys/block/$(basename $1)/md
    for turn in $(seq 300); do
        case $(cat $here/array_state) in
            clean|active*|write-pending)
                if [ ! -e $here/sync_action ] || [ "$(cat $here/sync_action)" = idle ]; then return; fi ;;
            *) mdadm -q -w $1 || true ;;
        esac
        sleep 0.1
    done
    return 1
}
stopped() {
    for turn in $(seq 200); do
        mdadm -q -S $1 && return
        sleep 0.1
    done
    return 1
}
"""


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    """The folder with all arrays' disks, and the SHA-256 of what the kernel reads from each."""
    needs("mdadm")
    kernel = kernel_in(tmp_path_factory.mktemp("ddf"))
    (kernel.share / "content").write_bytes(
        b"".join(sha256(number.to_bytes(4, "big")).digest() for number in range(1 << 16))
    )
    lines = [f"make {name} {kind.disks} {kind.said}" for name, kind in KINDS.items()]
    said = kernel.shell("\n".join([SCRIPT, *lines]), timeout=900)
    return kernel.share, dict(re.findall(r"made (\S+) (\w+)", said))


def read(disks: list[Path]) -> str | None:
    """The SHA-256 of the array's bytes; None where some cannot be read."""
    members = []
    for number, path in enumerate(disks):
        source: Source = FileSource(path)
        identity = FORMAT.parse(View(source))
        assert identity.group is not None
        assert identity.checked
        members.append(
            Member(
                id=number, index=f"{number}", membership=identity.group, details=identity.details,
                source=source,
            )
        )  # fmt: skip
    try:
        (volume,) = ddf.assemble(members).volumes
        source = opened(ddf, volume, members)
        return sha256(source.read_at(0, source.size)).hexdigest()
    except ReadError:
        return None
    finally:
        for member in members:
            member.source.close()


@pytest.mark.parametrize("name", KINDS)
def test_as_the_kernel_reads_it(name: str, arrays: tuple[Path, Mapping[str, str]]) -> None:
    folder, digests = arrays
    kind = KINDS[name]
    disks = [folder / f"{name}.{number + 1}" for number in range(kind.disks)]
    assert read(disks) == digests[name]
    for count in range(1, kind.spare + 1):
        for lost in combinations(range(kind.disks), count):
            left = [disk for number, disk in enumerate(disks) if number not in lost]
            assert read(left) == digests[name], lost
    if kind.spare + 1 < kind.disks and name != "raid10":
        assert read(disks[kind.spare + 1 :]) is None
