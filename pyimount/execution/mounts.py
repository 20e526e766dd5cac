"""What is mounted where, by whom it is held, and how it is unmounted."""

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from pyimount.execution import folders, syscalls, tools
from pyimount.execution.errors import Held, Refused, StepFailed
from pyimount.execution.tools import printable
from pyimount.planning.steps import ALWAYS
from pyimount.records import Record

_TRIES = 5
_PAUSE = 0.1
"""Who only looks at what is new (an indexer, udev) is gone by then, in seconds."""

_HOLDERS_SHOWN = 5
# Before Linux 5.12; or a sandbox that does not know the call yet.
_NO_SUCH_CALL = (errno.ENOSYS, errno.EPERM)
_RESTRICTED = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
_MESSAGE_CAP = 16 << 10

# What mount(8) itself would act upon, instead of the driver.
_NOT_THE_DRIVERS = re.compile(
    r"(?i)x-|loop|helper|uhelper|user|owner|group|bind|rbind|move|remount|suid|dev$|exec|rw$|offset|sizelimit|"
    r"encryption|verity|context|fscontext|defcontext|rootcontext|shared|private|slave|unbindable|_netdev|auto|fail"
)


class MountPoint(Record, kw_only=True):
    """One line of /proc/self/mountinfo. ``device``: major:minor; ``root``: the folder of it that shows."""

    id: int
    parent: int
    device: str
    root: str
    path: str
    options: str
    shared: bool
    type: str
    source: str
    of_driver: str = ""
    """The driver's own options."""


_ESCAPE = re.compile(rb"\\([0-7]{3})")


def _text(raw: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda found: bytes((int(found[1], 8),)), raw))


def parse(table: bytes) -> list[MountPoint]:
    """The mounts that a mountinfo file lists, in its order: of several at one path the last is on top."""
    made = []
    for line in table.splitlines():
        before, _, after = line.partition(b" - ")
        number, parent, device, root, path, options, *optional = before.split(b" ")
        kind, source, own, *_ = (*after.split(b" "), b"", b"")
        made.append(
            MountPoint(
                id=int(number), parent=int(parent), device=device.decode(),
                root=_text(root), path=_text(path),
                options=options.decode(), shared=any(each.startswith(b"shared:") for each in optional),
                type=_text(kind), source=_text(source), of_driver=own.decode("utf-8", "replace"),
            )
        )  # fmt: skip
    return made


def mounts() -> list[MountPoint]:
    """What this process sees mounted."""
    with open("/proc/self/mountinfo", "rb") as file:
        return parse(file.read())


def mounted_at(path: str) -> list[MountPoint]:
    """What is mounted at a folder, the uppermost last."""
    return [each for each in mounts() if each.path == path]


def mount_of(descriptor: int) -> MountPoint | None:
    """The mount that a descriptor was opened in."""
    with open(f"/proc/self/fdinfo/{descriptor}") as file:
        number = next((int(line.split()[1]) for line in file if line.startswith("mnt_id:")), None)
    return next((each for each in mounts() if each.id == number), None)


def open_mountpoint(path: str) -> int:
    """A descriptor of a folder to mount at. Raises Refused when it is not empty, or a link leads to it."""
    at = folders.open_folder(path)
    if not folders.is_empty(at):
        os.close(at)
        raise Refused(f"{path} is not empty")
    return at


def mount_device(
    device: str,
    at: int,
    kind: str | None,
    options: tuple[str, ...],
    *,
    read_only: bool,
    hold: tuple[int, ...] = (),
    timeout: float = 60.0,
) -> None:
    """Mount a device at the folder of a descriptor.

    ``kind`` None: whatever driver of a device takes it. ``hold``: as Given has it. Raises StepFailed with
    what the kernel said.
    """
    for option in options:
        if not option or _NOT_THE_DRIVERS.match(option) or not set(option).isdisjoint(", \t\n\\\"'\0"):
            raise Refused(f"{printable(option)!r} is no option of a file system's driver")
    every = ",".join(("ro" if read_only else "rw", *ALWAYS, *options))
    heard = _Kernel()
    drivers = [kind] if kind is not None else _drivers()
    for number, driver in enumerate(drivers, 1):
        # Without its helper programs, its table, its reading of links: what is left is the system call, in a
        # process that can be waited for.
        argv = ("mount", "-c", "-i", "-n", "-t", driver, "-o", every, device, folders.through(at))
        try:
            tools.mount(argv, timeout=timeout, pass_fds=(at, *hold))
        except StepFailed as error:
            if number < len(drivers):
                continue
            said = heard.about(device)
            reason = "; ".join(said) if said else str(error).replace(folders.through(at), folders.path_of(at))
            raise StepFailed(f"{driver if kind else 'no driver'}: {reason}") from error
        return


def _drivers() -> list[str]:
    with open("/proc/filesystems") as file:
        return [line.strip() for line in file if not line.startswith("nodev")]


class _Kernel:
    """What the kernel says from now on."""

    def __init__(self) -> None:
        self._since = time.clock_gettime(time.CLOCK_MONOTONIC)

    def about(self, device: str) -> list[str]:
        """Its messages that name a device, the last few."""
        found: list[str] = []
        try:
            # In /dev it may have another name.
            name = block_name(os.stat(device).st_rdev)
            log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return []
        # It ends where there is no more, what was next has been overwritten, or a line is none of the
        # kernel's: what was found until then counts.
        with ExitStack() as stack, suppress(BlockingIOError, BrokenPipeError, ValueError, IndexError):
            stack.callback(os.close, log)
            for _ in range(_MESSAGE_CAP):
                fields, _, message = os.read(log, 8192).decode("utf-8", "replace").partition(";")
                # Its clock is not quite this one.
                if int(fields.split(",")[2]) / 1e6 < self._since - 0.01:
                    continue
                if re.search(rf"\b{re.escape(name)}\b", message):
                    found.append(printable(message.partition("\n")[0]))
        return found[-3:]


def block_name(number: int) -> str:
    """What the kernel calls the block device of this number."""
    return os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))


def make_private(path: str) -> int | None:
    """Keep what is mounted below a folder from spreading to other mount namespaces.

    Where its file system is mounted shared, the folder is bound onto itself and the bind made private; the id
    of that mount then, else None.
    """
    at = folders.open_folder(path)
    try:
        above = mount_of(at)
        if above is None or not above.shared:
            return None
        syscalls.mount(folders.through(at), folders.through(at), syscalls.MS_BIND)
    finally:
        os.close(at)
    at = folders.open_folder(path)
    try:
        syscalls.mount("none", folders.through(at), syscalls.MS_PRIVATE)
        made = mount_of(at)
    finally:
        os.close(at)
    return None if made is None else made.id


def show_folder(source: int, at: str) -> None:
    """Show the folder of a descriptor at an empty one, read-only and private; raises OSError, StepFailed."""
    folder = open_mountpoint(at)
    try:
        try:
            _show_at_once(source, folder)
        except OSError as error:
            if error.errno not in _NO_SUCH_CALL:
                raise
            _show_in_steps(source, folder, at)
    finally:
        os.close(folder)


def _show_at_once(source: int, at: int) -> None:
    """The mount has its options before it has a place."""
    made = syscalls.clone_mount(source)
    try:
        syscalls.restrict_mount(made, _RESTRICTED)
        syscalls.place_mount(made, at)
    finally:
        os.close(made)


def _show_in_steps(source: int, at: int, path: str) -> None:
    """The same where the kernel cannot: for a moment it can be written to, by who may enter our folder."""
    syscalls.mount(folders.through(source), folders.through(at), syscalls.MS_BIND)
    shown = folders.open_folder(path)
    try:
        options = syscalls.MS_BIND | syscalls.MS_REMOUNT | _RESTRICTED
        syscalls.mount("none", folders.through(shown), options)
        syscalls.mount("none", folders.through(shown), syscalls.MS_PRIVATE)
    finally:
        os.close(shown)


def bind(source: int, at: int) -> None:
    """Show what stands at the folder of one descriptor at that of another too. Raises OSError."""
    try:
        made = syscalls.clone_mount(source)
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL:
            raise
        syscalls.mount(folders.through(source), folders.through(at), syscalls.MS_BIND)
        return
    try:
        syscalls.place_mount(made, at)
    finally:
        os.close(made)


def is_bound_on_itself(mount: MountPoint) -> bool:
    """Whether a mount is a folder bound onto itself, as ``make_private`` does."""
    above = next((each for each in mounts() if each.id == mount.parent), None)
    if above is None or above.device != mount.device:
        return False
    below = os.path.relpath(mount.path, above.path)
    return mount.root == os.path.normpath(os.path.join(above.root, below))


def unmount(mount: MountPoint, *, lazy: bool = False) -> None:
    """Unmount what is on top at a path. Raises Held with who holds it, or when another stands on top."""
    above, name = os.path.split(mount.path)
    for attempt in range(_TRIES):
        stack = mounted_at(mount.path)
        if all(each.id != mount.id for each in stack):
            return
        if stack[-1].id != mount.id:
            raise Held(f"{mount.path}: {stack[-1].type} ({stack[-1].source}) is mounted over it")
        at = folders.open_folder(above)
        try:
            flags = syscalls.UMOUNT_NOFOLLOW | (syscalls.MNT_DETACH if lazy else 0)
            syscalls.umount(f"{folders.through(at)}/{name}", flags)
        except OSError as error:
            if error.errno == errno.EINVAL:
                continue
            if error.errno != errno.EBUSY:
                raise Held(f"{mount.path}: {error.strerror}") from error
            if attempt + 1 == _TRIES:
                raise Held(f"{mount.path} is in use{_by(mount.path)}") from error
            time.sleep(_PAUSE)
        finally:
            os.close(at)


def _by(path: str) -> str:
    below = [each.path for each in mounts() if each.path.startswith(f"{path}/")]
    who = [f"{name} ({number})" for number, name in holders(path)]
    who += [f"the mount {each}" for each in below]
    shown = ", ".join(who[:_HOLDERS_SHOWN])
    return f" by {shown}{' and others' if len(who) > _HOLDERS_SHOWN else ''}" if who else ""


def holders(path: str) -> list[tuple[int, str]]:
    """The processes that use what lies at or below a path (a mount's, or a device's): pid and name."""
    return sorted(
        (int(entry), _name(entry)) for entry in os.listdir("/proc")
        if entry.isdigit() and any(_within(each, path) for each in _used_by(entry))
    )  # fmt: skip


def _within(used: str, path: str) -> bool:
    return used == path or used.startswith(f"{path.rstrip('/')}/")


def _name(process: str) -> str:
    try:
        with open(f"/proc/{process}/comm", "rb") as file:
            return printable(os.fsdecode(file.read().rstrip(b"\n")).encode("utf-8", "replace").decode())
    except OSError:
        return "?"


def _used_by(process: str) -> Iterator[str]:
    """The paths that a process uses: no file is touched, so one that hangs does no harm."""
    links = [f"/proc/{process}/{each}" for each in ("cwd", "root", "exe")]
    try:
        links += [f"/proc/{process}/fd/{each}" for each in os.listdir(f"/proc/{process}/fd")]
    except OSError:
        return  # It has ended.
    for link in links:
        try:
            yield os.readlink(link)
        except OSError:
            continue
    try:
        with open(f"/proc/{process}/maps", "rb") as file:
            for line in file:
                _, slash, path = line.rstrip(b"\n").partition(b"/")
                if slash:
                    yield os.fsdecode(slash + path)
    except OSError:
        return
