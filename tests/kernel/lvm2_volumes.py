"""Volume groups that LVM makes and the kernel reads, and the scripts that make them."""

import random

from tests.kernel.uml import Kernel

PVS = 5

PREPARE = """\
export LVM_SUPPRESS_FD_WARNINGS=1
mkdir -p /run/lvm /etc/lvm
cat >/etc/lvm/lvm.conf <<X
devices { use_devicesfile=0 scan="/dev" filter=["a|/dev/loop.*|","r|.*|"] }
global { use_lvmpolld=0 use_lvmlockd=0 }
activation { udev_sync=0 udev_rules=0 monitoring=0 verify_udev_operations=1 raid_region_size=64 }
backup { backup=0 archive=0 }
X
modprobe -a raid0 raid1 raid10 raid456 dm-raid dm-mirror dm-snapshot dm-thin-pool dm-cache dm-cache-smq \\
    dm-writecache dm-integrity
make() { lvcreate -y -q "$@" >log 2>&1 || { cat log; exit 1; }; }
change() { "$@" >log 2>&1 || { cat log; exit 1; }; }
# From which byte on, in blocks of 4 KiB, so that no two volumes have the same.
fill() { dd if=content bs=4k skip=$2 of=/dev/vg/$1 conv=notrunc status=none 2>log || grep -q 'No space' log; }
in_step() {
    while lvs --noheadings -o sync_percent vg | grep -v 100.00 | grep -q '[0-9]'; do sleep 0.2; done
}
# fill_part VOLUME FROM TO COUNT
fill_part() { dd if=content bs=4k skip=$2 of=/dev/vg/$1 seek=$3 count=$4 conv=notrunc status=none; }
active() { lvs --noheadings -o lv_name -S 'lv_active=active && segtype!=thin-pool' vg; }
read_all() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
    for lv in $(active); do
        dd if=/dev/vg/$lv of=$1$lv bs=64k status=none 2>log || rm $1$lv
    done
}
attach() { losetup /dev/loop$1 pv$1.img; }
keep() { sync; for n in 0 1 2 3 4; do cp --sparse=always pv$n.img $1$n.img; done; }
again() {
    losetup -D
    for n in 0 1 2 3 4; do cp --sparse=always $1$n.img pv$n.img; test "$n" = "$2" || attach $n; done
}
down() { vgchange -q -an vg >log 2>&1; }
up() { vgchange -q -ay -K "$@" vg >log 2>&1 || true; }
"""

GROUP = """\
for n in 0 1 2 3 4; do truncate -s 40M pv$n.img; attach $n; done
change pvcreate -q --metadatasize 256k /dev/loop[0-4]
change vgcreate -q -s 64k vg /dev/loop[0-4]
"""

SIMPLE = """\
make -n linear -l 10 vg
make -n other -l 5 vg /dev/loop3
change lvextend -q -l +6 vg/linear /dev/loop1
make -n striped -i 3 -I 16k -l 12 vg
change lvextend -q -l +8 -i 2 -I 32k vg/striped /dev/loop3 /dev/loop4
make --type mirror --mirrorlog core -m 1 -n mirror -l 16 vg
make --type mirror --mirrorlog disk -m 2 -n mirror3 -l 16 vg
make --type zero -n zeros -l 16 vg
make --type error -n errors -l 16 vg
"""

RAID = """\
make --type raid5 -i 2 -I 16k -n reshaped -l 32 vg
in_step
change lvconvert -y -q --stripesize 32k vg/reshaped
make --type raid0 -i 3 -I 16k -n raid0 -l 12 vg
make --type raid0_meta -i 3 -I 16k -n raid0m -l 12 vg
make --type raid1 -m 2 -n raid1 -l 16 vg
make --type raid4 -i 3 -I 16k -n raid4 -l 12 vg
for t in ls la rs ra n; do make --type raid5_$t -i 3 -I 16k -n raid5$t -l 12 vg; done
for t in zr nr nc ls_6 la_6 rs_6 ra_6 n_6; do make --type raid6_$t -i 3 -I 16k -n raid6$t -l 12 vg; done
make --type raid10 -i 2 -m 1 -I 16k -n raid10 -l 12 vg
"""

FILL = """\
n=0
for lv in $(lvs --noheadings -o lv_name vg); do
    test $lv = errors || fill $lv $n
    n=$((n + 17))
done
in_step
"""

THIN = """\
make --type thin-pool -c 64k -n pool -L 6M --poolmetadatasize 2M vg
make -V 8M -T vg/pool -n thin
make -V 3M -T vg/pool -n thin2
fill_part thin 3 5 300
fill_part thin 400 1800 100
make -s vg/thin -n thinsnap
change lvchange -q -ay -K vg/thinsnap
fill_part thin 700 100 37
fill_part thin2 900 0 50
fill_part thinsnap 1000 2 3
make -n outside -l 24 vg
fill outside 1100
change lvchange -q -an vg/outside
change lvchange -q -pr vg/outside
make -s vg/outside --thinpool vg/pool -n thinext
fill_part thinext 1500 20 40
"""

SNAPSHOTS = """\
make -n origin -l 32 vg
fill origin 0
make -s -n snap -c 4k -l 40 vg/origin
make -s -n snapbig -c 64k -l 60 vg/origin
fill_part origin 600 7 30
sync
fill_part origin 650 100 13
fill_part snap 700 200 40
fill_part snap 760 3 9
fill_part snapbig 800 250 61
make --type raid1 -m 1 -n merged -l 32 vg
fill merged 100
make -s -n undo -c 8k -l 40 vg/merged
fill_part merged 900 50 100
sync
exec 7</dev/vg/merged
change lvconvert -y --merge vg/undo
exec 7<&-
make --type snapshot -n virtual -L 2M --virtualsize 4M vg
fill_part virtual 950 11 77
make -n tiny -l 32 vg
fill tiny 200
make -s -n full -c 4k -l 2 vg/tiny
fill_part tiny 1000 0 200 || true
sync
"""

CACHES = """\
for lv in cached cachedvol; do make -n $lv -l 64 vg; fill $lv 30; done
make --type cache-pool -n fast -c 64k -l 32 --poolmetadatasize 8M vg /dev/loop1
change lvconvert -y -q --type cache --cachemode writeback --cachepool vg/fast vg/cached
make -n fastvol -L 12M vg /dev/loop2
change lvconvert -y -q --type cache --cachemode writeback --cachevol vg/fastvol vg/cachedvol
make -n through -l 64 vg
fill through 60
make --type cache-pool -n fast2 -c 64k -l 32 --poolmetadatasize 8M vg /dev/loop1
change lvconvert -y -q --type cache --cachemode writethrough --cachemetadataformat 1 \\
    --cachepool vg/fast2 vg/through
make -n wcached -l 64 vg
fill wcached 90
make -n wfast -l 80 vg /dev/loop2
change lvchange -an vg/wfast
change lvconvert -y -q --type writecache --cachevol vg/wfast vg/wcached
for lv in cached cachedvol through; do
    for n in 1 2 3 4 5 6 7 8; do
        dd if=content bs=64k skip=$((60 + n)) of=/dev/vg/$lv seek=5 count=10 conv=notrunc oflag=direct \\
            status=none
        dd if=/dev/vg/$lv bs=64k skip=30 count=6 of=/dev/null iflag=direct status=none
    done
    # From now on the origin is left behind; a flush makes the cache commit its metadata.
    dmsetup message vg-$lv 0 migration_threshold 0
    dd if=content bs=64k skip=90 of=/dev/vg/$lv seek=5 count=10 conv=notrunc,fsync oflag=direct status=none
done
dd if=content bs=4k skip=1500 of=/dev/vg/wcached seek=77 count=200 conv=notrunc oflag=direct status=none
dd if=content bs=4k skip=1300 of=/dev/vg/wcached seek=100 count=20 conv=notrunc,fsync oflag=direct status=none
sync
"""

STALE = """\
make --type raid1 -m 1 -n one -l 16 vg /dev/loop0 /dev/loop1
make --type raid5 -i 2 -I 16k -n five -l 16 vg /dev/loop0 /dev/loop1 /dev/loop2
make --type raid10 -i 2 -m 1 -I 16k -n ten -l 16 vg /dev/loop0 /dev/loop1 /dev/loop2 /dev/loop3
make -n plain -l 16 vg /dev/loop0
for lv in one five ten plain; do fill $lv 10; done
in_step
down
keep before
again before 0
up --activationmode degraded
for lv in one five ten; do fill $lv 500; done
read_all kernel-
down
keep after
# The group as it is now, but for the physical volume that was away.
cp --sparse=always before0.img after0.img
"""

LEFT = """\
make -n stays -l 16 vg /dev/loop1
make -n moves -l 16 vg /dev/loop0
fill stays 40
fill moves 80
down
keep before
up
change pvmove -q /dev/loop0 /dev/loop2
change vgreduce -q vg /dev/loop0
make -n new -l 16 vg /dev/loop3
fill new 120
read_all kernel-
down
keep after
cp --sparse=always before0.img after0.img
"""

AFTERWARDS = """\
keep live
down
keep kept
up
read_all kernel-
down
again live
up
read_all crash-
"""
"""What was kept after the group was put down, and what before; and what the kernel reads from either."""

WITHOUT = """\
read_all kernel-
down
keep kept
for gone in 0 1 2 3 4; do
    again kept $gone
    up --activationmode partial
    for lv in $(active); do
        dd if=/dev/vg/$lv bs=64k status=none 2>log | cmp -s - kernel-$lv && echo $gone $lv >>whole
    done
    down
done
"""
"""What the kernel reads, and which volumes it reads as well without each physical volume in turn."""


def make(uml: Kernel, *scripts: str) -> None:
    """Make a group in the kernel's share by these scripts, over random content."""
    content = random.Random(5).randbytes(8 << 20)  # noqa: S311
    (uml.share / "content").write_bytes(content)
    uml.shell("".join((PREPARE, GROUP, *scripts)), timeout=400)
