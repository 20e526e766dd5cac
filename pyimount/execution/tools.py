"""The programs that steps run: where they are looked for, what brings them, and how they are started."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from typing import IO

from pyimount.execution import syscalls
from pyimount.execution.errors import ToolFailed, ToolMissing
from pyimount.execution.said import in_one_line, without_advice
from pyimount.records import Record

SEARCH_PATH = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where programs are looked for: never where the caller's PATH says."""

OUTPUT_CAP = 1 << 20
"""More than this of what a program prints is not read, in bytes."""

_LINES_SHOWN = 6
_DIES_WITHIN = 5.0
_OURS_ALONE = 0o077
"""The umask of what root starts: what it makes is for no other user."""

# Those that mount through FUSE mount by themselves, as root.
_CONFINED = (
    "--no-new-privs", "--clear-groups",
    "--bounding-set=-all,+sys_admin,+dac_read_search,+dac_override,+setuid,+setgid",
)  # fmt: skip


class Tool(Record, kw_only=True):
    """A program. ``package``: Debian's that brings it, None where none does; ``gives``: what it is for."""

    name: str
    package: str | None
    gives: str


TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(name="mount", package="mount", gives="mounting"),
        Tool(name="setpriv", package="util-linux", gives="other programs with few of root's powers"),
        Tool(
            name="cryptsetup", package="cryptsetup-bin", gives="LUKS, BitLocker and VeraCrypt by the kernel"
        ),
        Tool(name="dmsetup", package="dmsetup", gives="logical volumes by the kernel"),
        Tool(name="lvm", package="lvm2", gives="volume groups by LVM itself"),
        Tool(name="mdadm", package="mdadm", gives="Linux software RAID by the kernel"),
        Tool(name="modprobe", package="kmod", gives="flash devices in memory, for JFFS2"),
        Tool(name="udevadm", package="udev", gives="keeping udev from evidence, where it runs"),
        Tool(name="fusermount3", package="fuse3", gives="layers as files without root"),
        Tool(name="qemu-nbd", package="qemu-utils", gives="virtual disks as network block devices"),
        Tool(name="ewfmount", package="ewf-tools", gives="E01 images, as asked for"),
        Tool(name="xmount", package="xmount", gives="E01, AFF and raw images, as asked for"),
        Tool(name="affuse", package="afflib-tools", gives="AFF images, as asked for"),
        Tool(name="vmware-mount", package=None, gives="VMware disks, as asked for"),
        Tool(name="avfsd", package="avfs", gives="archives and compressed images, as asked for"),
        Tool(name="vshadowmount", package="libvshadow-utils", gives="volume shadow copies, as asked for"),
        Tool(name="bdemount", package="libbde-utils", gives="BitLocker, as asked for"),
        Tool(name="dislocker-fuse", package="dislocker", gives="BitLocker, as asked for"),
        Tool(name="ntfs-3g", package="ntfs-3g", gives="NTFS where the kernel has no ntfs3"),
        Tool(name="mount.exfat-fuse", package="exfat-fuse", gives="exFAT where the kernel has none"),
        Tool(name="fuse2fs", package="fuse2fs", gives="ext without the kernel's driver"),
        Tool(name="vmfs-fuse", package="vmfs-tools", gives="VMFS up to version 5"),
        Tool(name="vmfs6-fuse", package="vmfs6-tools", gives="VMFS 6"),
        Tool(name="fsapfsmount", package="libfsapfs-utils", gives="APFS"),
        Tool(name="bindfs", package="bindfs", gives="what is mounted as one user's (--readable)"),
        Tool(name="photorec", package="testdisk", gives="carving"),
    )
}
"""Every program that pyimount can use, by its name."""


def find(name: str) -> str | None:
    """The absolute path of a program of TOOLS that is installed; None when it is not (or is none of them)."""
    if name not in TOOLS:
        return None
    for folder in SEARCH_PATH:
        path = f"{folder}/{name}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def require(name: str) -> str:
    """The absolute path of a program; raises ToolMissing, which names the package."""
    path = find(name)
    if path is None:
        tool = TOOLS.get(name)
        if tool is None:
            raise ToolMissing(f"{name} is no program that pyimount uses")
        raise ToolMissing(
            f"{name} is not installed", None if tool.package is None else f"apt install {tool.package}"
        )
    return path


def environment() -> dict[str, str]:
    """The whole environment of every program that a step starts."""
    made = {"LC_ALL": "C", "TZ": "UTC", "PATH": ":".join(SEARCH_PATH), "HOME": "/"}
    # Else LVM complains of the ledger, whose lock it is to hold.
    made["LVM_SUPPRESS_FD_WARNINGS"] = "1"
    if not os.path.exists("/run/udev/control"):
        # Without udev nobody answers device-mapper's and mdadm's waiting for it.
        made |= {"DM_DISABLE_UDEV": "1", "MDADM_NO_UDEV": "1"}
    return made


def run(
    argv: Sequence[str],
    *,
    data: bytes = b"",
    timeout: float = 60.0,
    pass_fds: Sequence[int] = (),
    user: int | None = None,
) -> bytes:
    """Run a program that acts or answers, and ends; returns what it printed.

    ``argv[0]`` is a name of TOOLS. ``data``: for its standard input. ``user``: the user and group to run as.
    Raises ToolMissing, and ToolFailed with what it said when it ends with an error, or not within ``timeout``
    seconds.
    """
    command = (require(argv[0]), *argv[1:])
    return _run(argv[0], command, data=data, timeout=timeout, pass_fds=pass_fds, user=user, umask=_OURS_ALONE)


def mount(argv: Sequence[str], *, timeout: float, pass_fds: Sequence[int] = ()) -> None:
    """Run the program mount; raises as ``run`` does.

    Drivers of file systems that have no modes take them from its umask: with this one their files are root's.
    """
    command = (require(argv[0]), *argv[1:])
    _run(argv[0], command, timeout=timeout, pass_fds=pass_fds, umask=_OURS_ALONE)


def start_daemon(
    argv: Sequence[str], *, data: bytes = b"", timeout: float = 60.0, pass_fds: Sequence[int] = ()
) -> None:
    """Start a program that stays in the background; returns when it is there. Raises as ``run`` does.

    It reads an image's bytes itself: it keeps of root's powers only those that mount and read.
    """
    command = (require("setpriv"), *_CONFINED, "--", require(argv[0]), *argv[1:])
    _run(argv[0], command, data=data, timeout=timeout, pass_fds=pass_fds, umask=_OURS_ALONE)


def _run(
    name: str,
    command: Sequence[str],
    *,
    data: bytes = b"",
    timeout: float,
    pass_fds: Sequence[int],
    user: int | None = None,
    umask: int,
) -> bytes:
    # Files, not pipes: what a program leaves running in the background would keep a pipe open.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        identity = {} if user is None else {"user": user, "group": user, "extra_groups": ()}
        try:
            process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE if data else subprocess.DEVNULL, stdout=output, stderr=errors,
                env=environment(), cwd="/", pass_fds=tuple(pass_fds), start_new_session=True,
                umask=umask, preexec_fn=partial(_end_with, os.getpid()), **identity,  # noqa: PLW1509
            )  # type: ignore[call-overload]  # fmt: skip
        except OSError as error:
            raise ToolFailed(f"{name} cannot be started: {error.strerror}") from error
        try:
            process.communicate(data or None, timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill(process)  # So that all that it says is there.
            raise ToolFailed(f"{name} did not end within {timeout:g} s{_said(errors)}") from None
        finally:
            if process.returncode is None:
                _kill(process)
        if process.returncode:
            reason = f"{name}{_said(errors) or _said(output) or f' ended with {process.returncode}'}"
            raise ToolFailed(reason, process.returncode)
        output.seek(0)
        return output.read(OUTPUT_CAP)


def _end_with(parent: int) -> None:
    """In the new process: end when ``parent`` is killed, and now, if it has been already.

    Else it would act when somebody has seen already that it did not. What goes into the background is another
    process, and stays.
    """
    syscalls.end_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a program and all that it started. One that hangs in the kernel is left to it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_DIES_WITHIN)


def arguments(pid: int) -> list[str]:
    """The command line of a process; empty when it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [os.fsdecode(one) for one in file.read().split(b"\0")[:-1]]
    except OSError:
        return []


def marked(name: str, argument: str) -> list[int]:
    """The processes of root that run this program of TOOLS, or are about to, with this argument."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        line = arguments(int(entry))
        ours = line[: 1 + line.index("--")] if line[:1] == [find("setpriv")] and "--" in line else []
        command = line[len(ours) :]
        if command and os.path.basename(command[0]) == name and argument in command[1:]:
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}").st_uid == os.geteuid():
                    found.append(int(entry))
    return found


def end(pid: int, argument: str) -> None:
    """End a process that still has this argument; what has its number by now is left alone."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if argument in arguments(pid):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGTERM)
    finally:
        os.close(process)


def _said(file: IO[bytes]) -> str:
    file.seek(0)
    said = printable(file.read(OUTPUT_CAP).decode("utf-8", "backslashreplace"))
    told = without_advice(said)
    return f": {in_one_line(told[:_LINES_SHOWN])}" if told else ""


def printable(text: str) -> str:
    """Text without what a terminal would obey; line feeds stay."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in text
    )
