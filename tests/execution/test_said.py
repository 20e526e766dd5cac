"""What programs and drivers advise is not passed on: nothing is to be written to evidence."""

import pytest

from pyimount.execution.said import in_one_line, without_advice

NTFS_3G = """\
$MFTMirr does not match $MFT (record 0).
Failed to mount '/dev/loop0': Input/output error
NTFS is either inconsistent, or there is a hardware fault, or it's a
SoftRAID/FakeRAID hardware. In the first case run chkdsk /f on Windows
then reboot into Windows twice. The usage of the /f parameter is very
important! If the device is a SoftRAID/FakeRAID then first activate
it and mount a different device under the /dev/mapper/ directory, (e.g.
/dev/mapper/nvidia_eahaabcc1). Please see the 'dmraid' documentation
for more details.
"""

NTFS_3G_TOLD = (
    "$MFTMirr does not match $MFT (record 0); Failed to mount '/dev/loop0': Input/output error; "
    "NTFS is either inconsistent, or there is a hardware fault, or it's a SoftRAID/FakeRAID hardware"
)

HIBERNATED = """\
Windows is hibernated, refused to mount.
Failed to mount '/dev/loop0': Operation not permitted
The NTFS partition is in an unsafe state. Please resume and shutdown
Windows fully (no hibernation or fast restarting), or mount the volume
read-only with the 'ro' mount option.
"""

HIBERNATED_TOLD = (
    "Windows is hibernated, refused to mount; Failed to mount '/dev/loop0': Operation not permitted; "
    "The NTFS partition is in an unsafe state"
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (NTFS_3G, NTFS_3G_TOLD),
        (HIBERNATED, HIBERNATED_TOLD),
        (
            "FAT-fs (loop0): Volume was not properly unmounted. Some data may be corrupt. Please run fsck.",
            "FAT-fs (loop0): Volume was not properly unmounted; Some data may be corrupt",
        ),
        (
            "XFS (loop0): Corruption detected. Unmount and run xfs_repair",
            "XFS (loop0): Corruption detected",
        ),
        (
            "EXT4-fs (loop0): warning: mounting fs with errors, running e2fsck is recommended",
            "EXT4-fs (loop0): warning: mounting fs with errors",
        ),
        ('ntfs3: loop0: volume is dirty and "force" flag is not set!', "ntfs3: loop0: volume is dirty"),
        ("One\nOne\nTwo.", "One; Two"),
        ("Run chkdsk /f.", ""),
        ("", ""),
    ],
)
def test_advice(text: str, told: str) -> None:
    assert in_one_line(without_advice(text)) == told
