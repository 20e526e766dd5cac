"""Images within images: what is in a file of a volume is read through its bytes, as deep as it lies."""

import json
import os
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

import pyimount
from fixtures.recipes.lvm2 import MDA, PV0, VG, area, label
from pyimount.cli import main
from pyimount.files.contents import Contents
from pyimount.inside.images import Level, NoImage
from pyimount.inside.tree import Place
from pyimount.keys import Keyring
from pyimount.problems import Code
from pyimount.sources.budget import Budget
from tests.files.test_ext import change

pytestmark = pytest.mark.needs("mke2fs", "qemu-img")
MIB = 1 << 20
EXTENTS = 3
LV = 12 * MIB


def run(*argv: object) -> None:
    subprocess.run(list(map(str, argv)), check=True, capture_output=True)


def ext(image: Path, tree: Path, size: int, *options: str) -> Path:
    """An ext4 of so many bytes, with what is in a folder."""
    run("mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", tree, image, f"{size // 1024}k")
    return image


def holding(folder: Path, *files: Path, under: str = "vms") -> Path:
    """A folder with these files in a folder of it."""
    (folder / under).mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder / under)
    return folder


def converted(image: Path, kind: str, *options: str) -> Path:
    made = image.with_suffix(f".{kind}")
    run("qemu-img", "convert", "-f", "raw", "-O", kind, *options, image, made)
    return made


def deepest(tmp_path: Path, *options: str) -> Path:
    """A VMDK of an ext4 with ``/end.txt``."""
    tree = tmp_path / "deepest"
    tree.mkdir()
    (tree / "end.txt").write_text("the end\n")
    return converted(ext(tmp_path / "deep.raw", tree, 2 * MIB, "-L", "deep"), "vmdk", *options)


def with_lvm(image: Path, contents: Path, size: int) -> Path:
    """A disk that is a physical volume, with a logical volume that has these contents."""
    text = f'''case {{
id = "{VG}"
seqno = 1
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 8192
max_lv = 0
max_pv = 0
metadata_copies = 0
physical_volumes {{
pv0 {{
id = "{PV0}"
device = "/dev/loop0"
status = ["ALLOCATABLE"]
flags = []
dev_size = {size // 512}
pe_start = 2048
pe_count = {EXTENTS}
}}
}}
logical_volumes {{
root {{
id = "8YpTnt-ondq-Hnms-bqet-3tZ4-zjG8-iM5MN9"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
segment_count = 1
segment1 {{
start_extent = 0
extent_count = {EXTENTS}
type = "striped"
stripe_count = 1
stripes = [
"pv0", 0
]
}}
}}
}}
}}
contents = "Text Format Volume Group"
version = 1
\0'''.encode()
    with image.open("wb") as file:
        file.truncate(size)
        file.seek(512)
        file.write(label(size=size))
        file.seek(MDA)
        file.write(area(text))
        file.seek(MIB)
        file.write(contents.read_bytes())
    return image


def nested(tmp_path: Path) -> Path:
    """A disk with an ext4 that holds a qcow2 with LVM that holds a VMDK with a file."""
    vmdk = deepest(tmp_path)
    middle = ext(tmp_path / "middle.fs", holding(tmp_path / "middle", vmdk), LV, "-L", "middle")
    lvm = converted(with_lvm(tmp_path / "lvm.raw", middle, 14 * MIB), "qcow2", "-c")
    disk = tmp_path / "disk.raw"
    inner = ext(tmp_path / "outer.fs", holding(tmp_path / "outer", lvm), 20 * MIB, "-L", "outer")
    disk.write_bytes(bytes(MIB) + inner.read_bytes() + bytes(MIB))
    subprocess.run(
        ["sfdisk", "-q", disk], input=f"2048,{20 * 2048},83\n", text=True, check=True, capture_output=True
    )
    return disk


@pytest.mark.needs("sfdisk", "pvck")
def test_a_file_three_images_deep_is_read_by_one_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = str(nested(tmp_path))
    said = subprocess.run(
        ["pvck", "--dump", "headers", tmp_path / "lvm.raw"], check=True, capture_output=True, text=True
    ).stdout
    assert "CHECK" not in said, "LVM's own tool finds nothing wrong with what was built"
    vmdk = "1:/vms/lvm.qcow2::0.0:/vms/deep.vmdk"
    assert main(["cat", disk, f"{vmdk}::0:/end.txt"]) == 0
    assert capfd.readouterr() == ("the end\n", "")
    assert main(["ls", disk, "1:/vms/lvm.qcow2::"]) == 0
    assert capfd.readouterr().out == "1:/vms/lvm.qcow2::0.0:/  ext4  12.0 MiB  middle\n"
    assert main(["ls", "-l", disk, "1:/vms/lvm.qcow2::middle:/vms"]) == 0
    assert capfd.readouterr().out.endswith(" deep.vmdk\n")
    assert main(["find", "--json", disk, f"{vmdk}::0:/", "--name", "end*"]) == 0
    line = json.loads(capfd.readouterr().out)
    assert (line["image"], line["volume"], line["path"], line["size"]) == (vmdk, "0", "/end.txt", 8)
    assert main(["cp", "-r", disk, "1:/vms/lvm.qcow2::0.0:/vms", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/vms/deep.vmdk").read_bytes() == (tmp_path / "deep.vmdk").read_bytes()
    capfd.readouterr()
    assert main(["stat", "--json", disk, f"{vmdk}::0:/end.txt"]) == 0
    assert json.loads(capfd.readouterr().out)["library"] == "dissect.extfs"
    for name, wanted in (("disk", "deep.raw"), ("0", "deep.raw")):
        at = tmp_path / f"exported-{name}"
        assert main(["export", disk, f"{vmdk}::{name}", "-o", str(at)]) == 0
        assert at.read_bytes() == (tmp_path / wanted).read_bytes()


@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vdi", "vhdx", "vpc", "qed", "raw"])
def test_any_kind_of_image_is_looked_into(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    deepest(tmp_path)
    made = converted(tmp_path / "deep.raw", kind) if kind != "raw" else tmp_path / "deep.raw"
    outer = ext(tmp_path / "outer.img", holding(tmp_path / "outer", made), 32 * MIB)
    assert main(["cat", str(outer), f"0:/vms/{made.name}::0:/end.txt"]) == 0
    assert capfd.readouterr().out == "the end\n"


def test_a_chain_of_snapshots_is_followed_in_the_volume(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    deepest(tmp_path)
    tree = tmp_path / "tree"
    (tree / "vms" / "base").mkdir(parents=True)
    base = converted(tmp_path / "deep.raw", "qcow2")
    shutil.copy(base, tree / "vms" / "base" / "base.qcow2")
    for name, backing in (("one.qcow2", "base/base.qcow2"), ("two.qcow2", "one.qcow2")):
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", "qcow2", name],
            cwd=tree / "vms", check=True, capture_output=True,
        )  # fmt: skip
    outer = ext(tmp_path / "outer.img", tree, 16 * MIB)
    assert main(["cat", str(outer), "0:/vms/two.qcow2::0:/end.txt"]) == 0
    assert capfd.readouterr().out == "the end\n"
    # The image's word leads nowhere out of the volume, whatever there is on this machine.
    (tree / "vms" / "two.qcow2").unlink()
    run(
        "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", f"../../../../..{base}", "-F", "qcow2",
        tree / "vms" / "two.qcow2", "2M",
    )  # fmt: skip
    outer = ext(tmp_path / "escaping.img", tree, 16 * MIB)
    assert main(["cat", str(outer), "0:/vms/two.qcow2::0:/end.txt"]) == 1
    said = capfd.readouterr().err
    assert "no library reads the files of what is not recognised" in said
    assert "the image names '../../../../.." in said


@pytest.mark.needs("ewfacquirestream")
def test_the_segments_beside_an_image_belong_to_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "end.txt").write_text("the end\n")
    (tree / "noise").write_bytes(os.urandom(3 * MIB))
    inner = ext(tmp_path / "inner.raw", tree, 6 * MIB)
    case = tmp_path / "outer" / "case"
    case.mkdir(parents=True)
    with inner.open("rb") as data:
        subprocess.run(
            ["ewfacquirestream", "-q", "-S", "1048576", "-t", case / "x"], stdin=data, check=True,
            capture_output=True,
        )  # fmt: skip
    assert (case / "x.E03").exists()
    split = tmp_path / "outer" / "split"
    split.mkdir()
    whole = inner.read_bytes()
    for number in range(3):
        (split / f"y.00{number + 1}").write_bytes(whole[number * 2 * MIB : (number + 1) * 2 * MIB])
    outer = str(ext(tmp_path / "outer.img", tmp_path / "outer", 24 * MIB))
    for first in ("case/x.E01", "case/x.E02", "split/y.001"):
        assert main(["cat", outer, f"0:/{first}::0:/noise"]) == 0
        captured = capfd.readouterr()
        assert captured.err == ""
    assert main(["export", outer, "0:/case/x.E01::disk", "-o", str(tmp_path / "x.raw")]) == 0
    assert (tmp_path / "x.raw").read_bytes() == whole


def test_a_disk_image_in_an_archive_in_a_volume(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    vmdk = deepest(tmp_path)
    tree = tmp_path / "tree"
    tree.mkdir()
    with tarfile.open(tree / "backup.tar", "w") as archive:
        archive.add(vmdk, "vms/deep.vmdk")
    outer = ext(tmp_path / "outer.img", tree, 8 * MIB)
    assert main(["cat", str(outer), "0:/backup.tar::0:/vms/deep.vmdk::0:/end.txt"]) == 0
    assert capfd.readouterr().out == "the end\n"


def test_the_exact_name_goes_before_an_image(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    vmdk = deepest(tmp_path)
    tree = holding(tmp_path / "tree", vmdk)
    (tree / "vms" / "deep.vmdk::0:").mkdir()
    (tree / "vms" / "deep.vmdk::0:" / "end.txt").write_text("by this name\n")
    (tree / "a::b").mkdir()
    shutil.copy(vmdk, tree / "a::b")
    outer = str(ext(tmp_path / "outer.img", tree, 8 * MIB, "-L", "x::y"))
    assert main(["cat", outer, "0:/vms/deep.vmdk::0:/end.txt"]) == 0
    assert capfd.readouterr().out == "by this name\n"
    assert main(["cat", outer, "0:/vms/deep.vmdk::deep:/end.txt"]) == 0
    assert capfd.readouterr().out == "the end\n"
    assert main(["cat", outer, "x::y:/a::b/deep.vmdk::0:/end.txt"]) == 0
    assert capfd.readouterr().out == "the end\n"


def test_what_is_wrong_with_an_address_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = holding(tmp_path / "tree", deepest(tmp_path))
    (tree / "text").write_text("no image at all\n" * 99)
    outer = str(ext(tmp_path / "outer.img", tree, 8 * MIB))
    for address, message in (
        ("0:/vms/none.vmdk::0:/x", "no such file or directory"),
        ("0:/vms::0:/x", "no such file or directory"),
        ("0:/vms/deep.vmdk::7:/x", "there is no volume 7"),
        ("0:/vms/deep.vmdk::0:/none", "no such file or directory"),
        ("0:/vms/deep.vmdk::", "this is an image; what is meant in it?"),
        ("0:/text::0:/x", "no library reads the files of what is not recognised"),
    ):
        assert main(["cat", outer, address]) == 1
        captured = capfd.readouterr()
        assert captured.out == ""
        assert message in captured.err, address
        assert captured.err.startswith(f"pyimount: {address}: ")
    assert main(["ls", outer, "0:/vms/none::"]) == 1
    assert main(["export", outer, "0:/vms/deep.vmdk::3"]) == 1
    assert "3: no such volume" in capfd.readouterr().err
    assert main(["export", outer, "0:/vms/none::3"]) == 1
    assert main(["mount", "--within", "0:/vms/deep.vmdk", outer]) == 2
    assert "--within goes with --user" in capfd.readouterr().err


def top(image: Path, budget: Budget | None = None) -> Level:
    return Level(pyimount.detect(image), Keyring(), budget or Budget(), in_process=True)


def whole_volume_as_file(tmp_path: Path) -> Path:
    """An ext2 with a file whose blocks are those of the volume itself, from the first on."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "self.img").write_bytes(b"")
    image = tmp_path / "self.img"
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum", "-d", tree, image, "4096k")
    size = image.stat().st_size
    # An extent tree in the inode itself (kernel.org, ext4, "Extent Tree"): one run from block 0 on.
    root = struct.pack("<HHHHI", 0xF30A, 1, 4, 0, 0) + struct.pack("<IHHI", 0, size // 1024, 0, 0)
    change(
        image, *(f"sif /self.img block[{at // 4}] {int.from_bytes(root[at : at + 4], 'little')}"
                 for at in range(0, len(root), 4)),
        f"sif /self.img size {size}",
    )  # fmt: skip
    return image


@pytest.mark.needs("debugfs")
def test_an_image_that_holds_itself_is_entered_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = whole_volume_as_file(tmp_path)
    with top(image) as files:
        first = files.into(files.get("0", "/self.img"))
        place = first.get("0", "/self.img")
        assert place.entry.read() == image.read_bytes(), "the trick works: it is the volume itself"
        with pytest.raises(NoImage) as raised:
            first.into(place)
    assert raised.value.problem.code is Code.LOOP
    assert main(["cat", str(image), "0:" + "/self.img::0:" * 1000 + "/self.img"]) == 1
    assert capfd.readouterr().err.endswith("the image holds itself, and is not entered again\n")


def test_the_depth_is_bounded_for_all_images_together(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inner = tmp_path / "level.raw"
    inner.write_bytes(b"innermost\n")
    levels = 20
    for number in range(levels):
        with tarfile.open(tmp_path / "next.tar", "w") as archive:
            archive.add(inner, f"{number}.tar")
        (tmp_path / "next.tar").rename(inner)
    address = "".join(f"/{number}.tar::0:" for number in range(levels - 1, 0, -1))
    depth = Budget().depth
    shallow = "".join(f"/{number}.tar::0:" for number in range(levels - 1, levels - depth, -1))
    assert main(["cat", str(inner), f"0:{shallow}/{levels - depth}.tar"]) == 0
    capfd.readouterr()
    assert main(["cat", str(inner), f"0:{address}/0.tar"]) == 1
    assert "layers lie within one another too deep" in capfd.readouterr().err


def test_all_images_within_share_one_budget(tmp_path: Path) -> None:
    vmdk = deepest(tmp_path)
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(6):
        shutil.copy(vmdk, tree / f"{number}.vmdk")
    image = ext(tmp_path / "outer.img", tree, 16 * MIB)
    scan = pyimount.detect(image)
    budget = Budget(bytes_read=scan.disks[0].bytes_read + 400_000)
    read, stopped = 0, []
    with Level(scan, Keyring(), budget, in_process=True) as files:
        for number in range(6):
            found = files.into(files.get("0", f"/{number}.vmdk")).scan
            read += found.disks[0].bytes_read
            stopped += [problem.code for disk in found.disks for problem in disk.problems]
    assert Code.BUDGET in stopped
    assert 0 < read <= 400_000, "one image alone would have had as much"


@pytest.mark.needs("debugfs")
def test_a_size_that_cannot_be_is_not_believed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    vmdk = deepest(tmp_path)
    image = ext(tmp_path / "outer.img", holding(tmp_path / "tree", vmdk, tmp_path / "deep.raw"), 16 * MIB)
    change(image, f"sif /vms/deep.raw size {1 << 60}", f"sif /vms/deep.vmdk size {1 << 60}")
    with top(image) as files:
        place = files.get("0", "/vms/deep.raw")
        assert Contents(place.entry, "x").size <= 1 << 60
        found = files.into(place).scan
        assert found.disks[0].bytes_read < 1 * MIB
    assert main(["cat", str(image), "0:/vms/deep.raw::0:/end.txt"]) == 0
    assert capfd.readouterr().out == "the end\n"


@pytest.mark.needs("debugfs")
def test_a_name_with_a_slash_is_no_way_out(tmp_path: Path) -> None:
    """A hostile folder's names are names, whatever is in them; nothing of this machine is opened for one."""
    tree = holding(tmp_path / "tree", deepest(tmp_path))
    image = ext(tmp_path / "outer.img", tree, 16 * MIB)
    data = image.read_bytes()
    image.write_bytes(data.replace(b"deep.vmdk", b"/tc/passw"))
    with top(image) as files:
        (entry,) = (each for each in files.get("0", "/vms").entry.entries() if "passw" in each.name)
        place = Place(entry, entry.names, "0", files)
        assert files.into(place).scan["0"].label == "deep"


@pytest.mark.needs("fusermount3", "cryptsetup")
def test_keys_go_along(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = tmp_path / "deepest"
    tree.mkdir()
    (tree / "end.txt").write_text("the end\n")
    plain = ext(tmp_path / "plain.raw", tree, 2 * MIB)
    locked = tmp_path / "locked.img"
    locked.write_bytes(bytes(4 * MIB))
    words = ["cryptsetup", "luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000"]
    subprocess.run([*words, locked, "-"], input=b"pass", check=True, capture_output=True)
    outer = ext(tmp_path / "outer.img", holding(tmp_path / "tree", locked, plain), 16 * MIB)
    assert main(["ls", "--key", "p:pass", "--keys", "0=p:other", str(outer), "0:/vms/locked.img::"]) in (0, 1)
    said = capfd.readouterr().err
    assert "was given" not in said
    with Level(pyimount.detect(outer), Keyring({"*": "p:pass", "7": "p:no"}), Budget()) as files:
        found = files.into(files.get("0", "/vms/locked.img")).scan
        assert found["0"].locked is False
        assert found.problems == ()
        found = files.into(files.get("0", "/vms/plain.raw")).scan
        assert found.problems == ()
