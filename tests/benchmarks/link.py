"""Images behind a link of 30 ms and 12.5 MB/s: how long a scan takes, and how much it asks for."""

import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from fixtures.workshop import Workshop, find_tool
from tests.benchmarks.measure import Spent, command
from tests.kept import kept
from tests.sources.web import serving

DELAY, RATE = 0.03, 12_500_000
"""Seconds before each answer, and bytes in a second."""
LIMITS = {"raw": 2.5, "E01": 2.0, "qcow2": 3.0}
"""Seconds that a scan may take, start included."""
REQUESTS = 40

PARTS = (
    "ext2", "ext3", "ext4", "xfs", "btrfs", "ntfs", "fat16", "fat32", "exfat", "f2fs", "jfs", "reiserfs",
    "luks2", "lvm2",
)  # fmt: skip
EACH = 128 << 20
_START = 1 << 20

Row = tuple[str, float, tuple[str, float], str]


def disk(folder: Path) -> Path:
    """A raw disk with a GPT and 14 volumes, 128 MiB each; needs sfdisk."""
    image = folder / "disk.raw"
    with image.open("wb") as file:
        file.truncate(_START + len(PARTS) * EACH + _START)
        for number, name in enumerate(PARTS):
            file.seek(_START + number * EACH)
            data = kept(name, EACH)
            for at in range(0, len(data), 4096):
                page = data[at : at + 4096]
                if page.count(0) == len(page):
                    file.seek(len(page), os.SEEK_CUR)
                else:
                    file.write(page)
    lines = [f"start={(_START + number * EACH) // 512}, size={EACH // 512}" for number in range(len(PARTS))]
    Workshop(folder).run("sfdisk", "-q", image, stdin="\n".join(["label: gpt", *lines]).encode())
    return image


def wrapped(image: Path) -> Iterator[tuple[str, Path]]:
    """The disk as it is, in an E01 and in a qcow2, as far as the tools for these are here."""
    work = Workshop(image.parent)
    yield "raw", image
    if find_tool("ewfacquire"):
        work.run(
            "ewfacquire", "-u", "-q", "-f", "encase6", "-c", "deflate:fast", "-S", "4GiB",
            "-t", image.with_suffix(""), image,
        )  # fmt: skip
        yield "E01", image.with_suffix(".E01")
    if find_tool("qemu-img"):
        work.run("qemu-img", "convert", "-O", "qcow2", image, image.with_suffix(".qcow2"))
        yield "qcow2", image.with_suffix(".qcow2")


def images(folder: Path, program: Path) -> Iterator[Row]:
    """Seconds on the clock, requests and bytes of one scan of each, beside the limits."""
    if find_tool("sfdisk") is None:
        return
    work = folder / "link"
    work.mkdir()
    for name, path in wrapped(disk(work)):
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            serving({path.name: data}, delay=DELAY, rate=RATE) as server,
        ):
            run = command([program, "detect", "--json", server.url(path.name)])
            took = []
            for _ in range(5):
                server.requests = server.sent = 0
                start = time.monotonic()
                run()
                took.append(time.monotonic() - start)
            requests, sent = server.requests, server.sent
        what = f"detect {name} of 14 volumes, 30 ms away"
        yield what, Spent.of(min(took), median(took), max(took)), ("limit", LIMITS[name]), "s"
        yield f"{what}, requests", requests, ("limit", REQUESTS), ""
        yield f"{what}, read", sent / 1024, ("the whole", path.stat().st_size / 1024), "KiB"
