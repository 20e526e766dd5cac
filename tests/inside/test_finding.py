"""``detect --within``: the images in the files of volumes, and the machines whose disks they are."""

import csv
import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

import pyimount
from pyimount.cli import main
from pyimount.inside import finding
from pyimount.inside.finding import with_images
from pyimount.inside.machines import configured
from pyimount.keys import Keyring
from pyimount.layers import Scan
from pyimount.problems import Code
from pyimount.reports import SCHEMA_FILE
from pyimount.sources.budget import Budget
from tests.inside.test_images import MIB, converted, deepest, ext, holding, nested, whole_volume_as_file

pytestmark = pytest.mark.needs("mke2fs", "qemu-img")

VMX = """.encoding = "UTF-8"
displayName = "web 01"
scsi0.present = "TRUE"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "disk-000002.vmdk"
scsi0:1.present = "FALSE"
scsi0:1.fileName = "unplugged.vmdk"
ide1:0.present = "TRUE"
ide1:0.deviceType = "cdrom-image"
ide1:0.fileName = "install.iso"
sata0:3.fileName = "gone.vmdk"
"""
PROXMOX = """#a comment
boot: order=scsi0
name: mail
parent: second
scsi0: local:100/vm-100-disk-0.qcow2,size=2M
ide2: local:iso/debian.iso,media=cdrom
scsihw: virtio-scsi-pci
unused0: local-lvm:vm-100-disk-7

[first]
name: mail
scsi0: local:100/other.qcow2,size=2M
snaptime: 1700000000

[second]
parent: first
snaptime: 1700000001
"""


def found(image: Path, budget: Budget | None = None) -> Scan:
    return with_images(pyimount.detect(image), Keyring(), budget or Budget())


@pytest.mark.needs("sfdisk", "pvck")
def test_every_image_is_shown_beneath_its_volume(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    disk = str(nested(tmp_path))
    assert main(["detect", "--within", "--json", disk]) == 0
    report = json.loads(capfd.readouterr().out)
    jsonschema.validate(report, json.loads(Path(SCHEMA_FILE).read_text()))
    (volume,) = (each for each in report["disks"][0]["volumes"] if each["type"] == "ext4")
    (image,) = volume["within"]["images"]
    assert (image["path"], image["address"]) == ("/vms/lvm.qcow2", "1:/vms/lvm.qcow2")
    (member,) = image["disks"][0]["volumes"]
    assert (image["disks"][0]["container"]["type"], member["type"]) == ("qcow2", "LVM2_member")
    (middle,) = member["volumes"]
    (inner,) = middle["within"]["images"]
    assert inner["address"] == "1:/vms/lvm.qcow2::0.0:/vms/deep.vmdk"
    assert inner["disks"][0]["volumes"][0]["label"] == "deep"
    assert Scan.from_dict(report).to_dict() == report, "the report survives the way there and back"
    assert main(["detect", "--within", disk]) == 0
    lines = [line.strip(" │├└─") for line in capfd.readouterr().out.splitlines()]
    assert [line.partition("  ")[0] for line in lines] == [
        disk, "1", "1:/vms/lvm.qcow2", "0", "0.0", inner["address"], "0"
    ]  # fmt: skip
    assert main(["detect", "--json", disk]) == 0
    assert '"within"' not in capfd.readouterr().out, "nobody looked"


def test_a_machine_is_read_with_its_chain_of_snapshots(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    deepest(tmp_path)
    folder = tmp_path / "tree" / "web 01"
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "deep.vmdk", folder / "disk.vmdk")
    for name, backing in (("disk-000001.vmdk", "disk.vmdk"), ("disk-000002.vmdk", "disk-000001.vmdk")):
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "vmdk", "-b", backing, "-F", "vmdk", name], cwd=folder,
            check=True, capture_output=True,
        )  # fmt: skip
    (folder / "web 01.vmx").write_text(VMX)
    image = ext(tmp_path / "outer.img", tmp_path / "tree", 16 * MIB)
    within = found(image).within[1]
    (machine,) = within.machines
    assert (machine.name, machine.config, machine.type) == ("web 01", "/web 01/web 01.vmx", "vmx")
    first, second = machine.disks
    assert first.files == tuple(f"/web 01/disk{number}.vmdk" for number in ("-000002", "-000001", ""))
    assert (first.slot, second.slot, second.path) == ("scsi0:0", "sata0:3", None)
    assert [each.path for each in within.images] == [
        f"/web 01/disk{number}.vmdk" for number in ("-000001", "-000002", "")
    ]
    assert {each.scan["0"].label for each in within.images} == {"deep"}
    assert main(["detect", "--within", str(image)]) == 0
    said = capfd.readouterr().out
    assert "machine web 01  /web 01/web 01.vmx" in said
    assert "scsi0:0  /web 01/disk-000002.vmdk, on /web 01/disk-000001.vmdk, on /web 01/disk.vmdk" in said
    assert "sata0:3  gone.vmdk: not there" in said


def test_a_machine_of_proxmox(tmp_path: Path) -> None:
    deepest(tmp_path)
    tree = tmp_path / "tree"
    (tree / "images" / "100").mkdir(parents=True)
    (tree / "backup").mkdir()
    shutil.copy(converted(tmp_path / "deep.raw", "qcow2"), tree / "images" / "100" / "vm-100-disk-0.qcow2")
    (tree / "backup" / "100.conf").write_text(PROXMOX)
    (tree / "backup" / "200.conf").write_text("no machine: at all\n")
    within = found(ext(tmp_path / "outer.img", tree, 16 * MIB)).within[1]
    (machine,) = within.machines
    assert (machine.name, machine.type, machine.snapshots) == ("mail", "proxmox", ("second", "first"))
    (disk,) = machine.disks
    assert (disk.slot, disk.path) == ("scsi0", "/images/100/vm-100-disk-0.qcow2")
    assert disk.files == (disk.path,)


@pytest.mark.parametrize("text", ["", "\0" * 999, 'a="' * 999, "[x]\nparent: x\n[x]\n" * 99, VMX[:99]])
def test_a_configuration_that_is_none(text: str) -> None:
    assert configured("a.vmx", text) is None
    assert configured("100.conf", text) is None


def test_snapshots_that_lead_in_a_circle() -> None:
    said = configured("1.conf", "parent: a\nscsi0: x:1/a.raw\n[a]\nparent: b\n[b]\nparent: a\n")
    assert said is not None
    assert said.snapshots == ("a", "b")


def test_what_is_shown_of_many_files(tmp_path: Path) -> None:
    """Archives with an image, sets in their order, what is called an image; not any archive, any numbers."""
    vmdk = deepest(tmp_path)
    tree = holding(tmp_path / "tree", vmdk)
    data = (tmp_path / "deep.raw").read_bytes()
    (tree / "noise.img").write_bytes(b"nothing at all " * 999)
    for number in range(3):
        (tree / f"log.00{number + 1}").write_text(f"{number}" * 2048)
        (tree / f"set.00{number + 1}").write_bytes(data[number * 999_936 : (number + 1) * 999_936])
    with zipfile.ZipFile(tree / "texts.zip", "w") as archive:
        archive.writestr("a.txt", "text")
    subprocess.run(["tar", "-cf", tree / "texts.tar", "-C", "/etc", "hostname"], check=True)
    subprocess.run(["tar", "-cf", tree / "backup.tar", "-C", vmdk.parent, "deep.vmdk"], check=True)
    within = found(ext(tmp_path / "outer.img", tree, 24 * MIB)).within[1]
    assert sorted(image.path for image in within.images) == [
        "/backup.tar", "/noise.img", "/set.001", "/vms/deep.vmdk"
    ]  # fmt: skip
    by_path = {image.path: image for image in within.images}
    assert [len(disk.paths) for disk in by_path["/set.001"].scan.disks] == [3]
    (inner,) = next(iter(by_path["/backup.tar"].scan.within.values())).images
    assert inner.address == "0:/backup.tar::0:/deep.vmdk"
    assert inner.scan["0"].label == "deep"
    assert by_path["/noise.img"].scan["0"].type is None
    assert within.problems == ()


@pytest.mark.needs("debugfs")
def test_an_image_that_holds_itself_ends_in_a_problem(tmp_path: Path) -> None:
    within = found(whole_volume_as_file(tmp_path)).within[1]
    (image,) = within.images
    (inner,) = image.scan.within.values()
    assert (inner.images, [each.code for each in inner.problems]) == ((), [Code.LOOP])


def test_the_number_of_images_and_the_budget_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vmdk = deepest(tmp_path)
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(6):
        shutil.copy(vmdk, tree / f"{number}.vmdk")
    image = ext(tmp_path / "outer.img", tree, 16 * MIB)
    monkeypatch.setattr(finding, "IMAGES_CAP", 4)
    within = found(image).within[1]
    assert len(within.images) == 4
    assert [each.code for each in within.problems] == [Code.BUDGET]
    monkeypatch.undo()
    read = pyimount.detect(image).disks[0].bytes_read
    scan = found(image, Budget(bytes_read=read + 400_000))
    within = scan.within[1]
    assert len(within.images) < 6
    assert [each.code for each in within.problems] == [Code.BUDGET]
    assert (scan.exit_status(), scan.exit_status(strict=True)) == (0, 3)


@pytest.mark.needs("mkudffs")
def test_a_volume_whose_files_nobody_reads_is_told(tmp_path: Path) -> None:
    image = tmp_path / "udf.img"
    image.write_bytes(bytes(8 * MIB))
    subprocess.run(["mkudffs", "-b", "512", image], check=True, capture_output=True)
    (within,) = found(image).within.values()
    assert [each.code for each in within.problems] == [Code.UNSUPPORTED]


def test_images_each_by_itself_are_not_looked_through(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", "--within", "--jsonl", "none.img"]) == 2
    assert "--within and --system go with images that are looked at together" in capfd.readouterr().err


@pytest.mark.needs("sfdisk", "pvck")
def test_reports_of_every_form_have_what_is_in_images(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = str(nested(tmp_path))
    first, second = "1:/vms/lvm.qcow2", "1:/vms/lvm.qcow2::0.0:/vms/deep.vmdk"
    assert main(["detect", "--within", "--csv", disk]) == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert {row["path"] for row in rows} == {disk}
    named = [(row["within"], row["index"], row["type"]) for row in rows if row["type"]]
    assert named == [
        ("", "1", "ext4"), (first, "0", "LVM2_member"), (first, "0.0", "ext4"), (second, "0", "ext4")
    ]  # fmt: skip
    assert main(["detect", "--within", "--export", disk]) == 0
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines())
        for block in capfd.readouterr().out.split("\n\n")
    ]
    inner = [block for block in blocks if block.get("WITHIN") == disk and block.get("TYPE")]
    assert [(block["DEVNAME"], block["TYPE"]) for block in inner] == [
        (first, "LVM2_member"), (first, "ext4"), (second, "ext4")
    ]  # fmt: skip
    page, drawn = tmp_path / "case.html", tmp_path / "case.svg"
    assert main(["report", "--within", disk, "-o", str(page)]) == 0
    text = page.read_text()
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    for number, address in enumerate((first, second), 1):
        assert f'<h2 id="w{number}"><bdi>Within: {address}</bdi></h2>' in text
    assert "2 disk images in their files" in text
    assert "--within" in text
    assert main(["report", "--within", "--svg", disk, "-o", str(drawn)]) == 0
    root = ElementTree.parse(drawn).getroot()  # noqa: S314  (our own)
    boxes = [each.get("aria-label") or "" for each in root.iter() if each.get("class") == "box"]
    assert sum(label.startswith("deep.vmdk ") for label in boxes) == 1
    assert sum(label.startswith("lvm.qcow2 ") for label in boxes) == 1
