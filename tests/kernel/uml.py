r"""A real Linux kernel for tests, as an ordinary process: user-mode-linux, with the root of this machine.

In a test, take the fixture ``uml`` (see ``conftest.py``), whose ``share`` is a folder that host and guest
both write to; a script finds it as its working directory, under the same path as here:

    def test_linear(uml: Kernel) -> None:
        (uml.share / "disk.img").write_bytes(bytes(8 << 20))
        uml.shell("disk=$(losetup -f --show disk.img)\n mke2fs -q $disk\n mount $disk /mnt\n df /mnt")
        said = uml.python("print(open('disk.img', 'rb').read(4))")

Both return what the script printed, output and errors in one, and raise ScriptError when it ended with
another status than 0 (``check=False`` returns the output instead; a shell script runs under ``set -e``).
Where one boot serves many tests, make the Kernel in a module-scoped fixture by ``kernel_in(folder)``.

Each call boots anew, about 2 s, so put into one script what belongs together; nothing is left of a guest
but what it wrote into the share: writes to / are discarded, loop devices and mappings are gone. There is
one CPU, no network, no udev, and no fsync beyond ``sync`` at the end. The modules loop, fuse, dm-mod and nbd
are loaded, others load on demand or by ``modprobe``. /mnt is empty; /run and /dev/shm are memory.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from fixtures.workshop import find_tool
from tests.needing import lacking, needs

MODULES = Path("/usr/lib/uml/modules")
MEMORY = "2048M"
"""A ceiling: only what the guest touches is taken."""

INIT = """\
#!/bin/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LC_ALL=C TZ=UTC TERM=dumb DM_DISABLE_UDEV=1
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
$b mount -t tmpfs tmpfs /mnt
$b insmod {modules}/kernel/fs/overlayfs/overlay.ko
$b mkdir -p /mnt/up /mnt/work /mnt/root
$b mount -t overlay -o lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
for each in proc sys dev; do $b mount --move /$each $each; done
for each in run mnt; do $b mount -t tmpfs tmpfs $each; done
# A user's guest has only that user's rights on the machine's files, and LVM keeps what it does there.
for each in etc/lvm/archive etc/lvm/backup; do $b test ! -e $each || $b mount -t tmpfs tmpfs $each; done
$b mkdir -p run/lock dev/shm dev/pts .{control} .{share}
$b mount -t tmpfs tmpfs dev/shm
$b mount -t devpts devpts dev/pts
$b mount -t hostfs -o {control} none .{control}
$b mount -t hostfs -o {share} none .{share}
$b mkdir -p lib/modules
$b mount -t hostfs -o {all_modules} none lib/modules
# As process 1 itself: else modprobe, which the kernel calls, sees the other root.
exec $b chroot . {control}/main
"""

MAIN = """\
#!/bin/busybox sh
exec </dev/null >/dev/tty1 2>&1
stty -F /dev/tty1 -opost
ip link set lo up
modprobe -a loop fuse dm-mod nbd
cd {share}
{command}
echo $? >{control}/status
sync
poweroff -f
"""


class ScriptError(AssertionError):
    """A script ended with another status than 0, or not at all; the message has what it printed."""


class Kernel:
    """A kernel that runs scripts, booted anew for each, over the folder ``share``."""

    def __init__(self, share: Path) -> None:
        share.mkdir(parents=True, exist_ok=True)
        self.share = share.resolve()

    def shell(self, script: str, *, timeout: float = 600, check: bool = True) -> str:
        """Run a script of /bin/sh."""
        return self._run(("/bin/sh", "-e"), script, timeout, check=check)

    def python(self, snippet: str, *, timeout: float = 600, check: bool = True) -> str:
        """Run a snippet with the Python that runs the tests, from the top of this checkout."""
        top = Path(__file__).parents[2]
        runner = ("/usr/bin/env", f"PYTHONPATH={top}", "PYTHONDONTWRITEBYTECODE=1", sys.executable)
        return self._run(runner, snippet, timeout, check=check)

    def _run(self, runner: tuple[str, ...], script: str, timeout: float, *, check: bool) -> str:
        with TemporaryDirectory(prefix="uml-") as name:
            control = Path(name).resolve()
            (control / "script").write_text(script)
            places = {"control": shlex.quote(str(control)), "share": shlex.quote(str(self.share))}
            command = shlex.join((*runner, str(control / "script")))
            modules = max(MODULES.iterdir())
            for file, text in (
                ("init", INIT.format(**places, modules=modules, all_modules=MODULES)),
                ("main", MAIN.format(**places, command=command)),
            ):
                (control / file).write_text(text)
                (control / file).chmod(0o755)
            output, ended = _boot(control, timeout)
            status = control / "status"
            if not ended or not status.exists():
                why = "did not come to its end" if ended else f"took longer than {timeout} s"
                raise ScriptError(f"the script {why}:\n{output}")
            if check and (number := int(status.read_text())):
                raise ScriptError(f"the script ended with {number}:\n{output}")
        return output


def _boot(control: Path, timeout: float) -> tuple[str, bool]:
    """Run the kernel to its power-off; what was printed, and whether it ended by itself."""
    kernel = find_tool("linux.uml")
    assert kernel is not None
    line = (
        kernel, f"mem={MEMORY}", "root=none", "rootfstype=hostfs", "rootflags=/", "ro",
        f"uml_dir={control}", f"init={control}/init", "con=null", "con1=null,fd:3", "quiet", "loglevel=1",
    )  # fmt: skip
    environment = dict(os.environ)
    if library := _large_registers():
        environment["LD_PRELOAD"] = f"{library.name}/registers.so"
    with subprocess.Popen(
        # The guest's first terminal is our pipe; what the kernel itself says is thrown away.
        ("/bin/sh", "-c", 'exec "$@" 3>&1 >/dev/null 2>&1', "sh", *line),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=control,
        start_new_session=True, env=environment,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=timeout)
            ended = True
        except subprocess.TimeoutExpired:
            ended = False
        finally:
            # Its main process alone leaves others behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if not ended:
            output, _ = process.communicate()
    return output.decode(errors="replace"), ended


def _has_large_registers() -> bool:
    try:
        return " amx_tile" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


@cache
def _large_registers() -> TemporaryDirectory[str] | None:
    """A folder with the library that the kernel needs on processors with AMX; None on others."""
    if not _has_large_registers():
        return None
    folder = TemporaryDirectory(prefix="uml-")
    source, library = Path(__file__).with_name("registers.c"), Path(folder.name) / "registers.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return folder


def require_kernel() -> None:
    """Go on only where user-mode-linux is installed: a skip with a reason, with CI set a failure."""
    needs("linux.uml", "busybox", *(("cc",) if _has_large_registers() else ()))
    if not any(MODULES.glob("*/kernel/fs/overlayfs/overlay.ko")):
        lacking(f"the modules of user-mode-linux are not in {MODULES}")


def kernel_in(folder: Path) -> Kernel:
    """A kernel whose share is ``folder``; skips the test where there is none."""
    require_kernel()
    return Kernel(folder)
