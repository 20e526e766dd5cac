"""Sparse images and sparse bundles, as the recipe's maker writes them."""

import plistlib
import shutil
import struct
from pathlib import Path

import pytest

import pyimount
from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from fixtures.recipes.apple_images import encrypted_v2, sparse_bundle, sparse_image
from pyimount.parsers.containers import sparsebundle, sparseimage
from pyimount.sources.errors import ReadError

BAND = 65536
DISK = mixed_bytes(20 * BAND - 1024, seed=6)


def put(folder: Path, data: bytes) -> Path:
    path = folder / "disk.sparseimage"
    path.write_bytes(data)
    return path


class TestSparseImage:
    def test_bands_in_any_order(self, tmp_path: Path) -> None:
        path = put(tmp_path, sparse_image(DISK, BAND))
        assert codes(open_path(path)) == []
        assert where_different(inside(path), DISK) == []

    def test_more_bands_than_one_list_holds(self, tmp_path: Path) -> None:
        disk = mixed_bytes(3 * 1024 * 2048, seed=9)
        path = put(tmp_path, sparse_image(disk, 1024))
        opened = open_path(path)
        assert codes(opened) == []
        assert int(str(opened.container.details["bands"])) > 1008 + 1010
        assert where_different(inside(path), disk) == []

    def test_an_older_header_has_32_bits_for_the_size(self, tmp_path: Path) -> None:
        data = bytearray(sparse_image(DISK, BAND))
        struct.pack_into(">Q", data, 28, 0)
        assert where_different(inside(put(tmp_path, bytes(data))), DISK) == []

    @pytest.mark.parametrize(
        ("at", "form", "value"), [(8, ">I", 0), (8, ">I", 1 << 31), (28, ">Q", 1 << 60), (16, ">I", 7)]
    )
    def test_figures_that_cannot_be(self, tmp_path: Path, at: int, form: str, value: int) -> None:
        data = bytearray(sparse_image(DISK, BAND))
        struct.pack_into(form, data, at, value)
        assert open_path(put(tmp_path, bytes(data))).container.type == "raw"

    @pytest.mark.parametrize("value", [21, 0xFFFFFFFF])
    def test_a_band_that_cannot_be(self, tmp_path: Path, value: int) -> None:
        data = bytearray(sparse_image(DISK, BAND))
        struct.pack_into(">I", data, 64, value)
        assert codes(open_path(put(tmp_path, bytes(data)))) == ["damaged"]

    def test_a_band_listed_twice(self, tmp_path: Path) -> None:
        data = bytearray(sparse_image(DISK, BAND))
        data[68:72] = data[64:68]
        assert codes(open_path(put(tmp_path, bytes(data)))) == ["damaged"]

    def test_lists_in_a_circle(self, tmp_path: Path) -> None:
        data = bytearray(sparse_image(DISK, BAND))
        node = sparseimage.INDEX_NODE.construct.build(
            {
                "signature": b"sprs",
                "index_node_number": 0,
                "flags": 1,
                "next_node_offset": len(data),
                "padding": bytes(36),
                "band_id": bytes(4040),
            }
        )
        struct.pack_into(">Q", data, 20, len(data))
        assert codes(open_path(put(tmp_path, bytes(data + node)))) == ["damaged"]

    def test_no_list_where_one_should_be(self, tmp_path: Path) -> None:
        data = bytearray(sparse_image(DISK, BAND))
        struct.pack_into(">Q", data, 20, 4096)
        assert codes(open_path(put(tmp_path, bytes(data)))) == ["damaged"]
        struct.pack_into(">Q", data, 20, 1 << 62)
        assert codes(open_path(put(tmp_path, bytes(data)))) == ["truncated"]

    def test_a_truncated_image_gives_what_is_there(self, tmp_path: Path) -> None:
        whole = sparse_image(DISK, BAND)
        opened = open_path(put(tmp_path, whole[: len(whole) // 2]))
        assert codes(opened) == ["truncated"]
        assert opened.source is not None
        # The last band was written first.
        assert opened.source.read_at(len(DISK) - 512, 512) == DISK[-512:]
        first = next(at for at in range(0, len(DISK), BAND) if any(DISK[at : at + BAND]))
        with pytest.raises(ReadError):
            opened.source.read_at(first, BAND)


class TestSparseBundle:
    @pytest.fixture
    def bundle(self, tmp_path: Path) -> Path:
        return sparse_bundle(tmp_path / "disk.sparsebundle", DISK, BAND).parent

    def test_from_its_folder_or_a_file_in_it(self, bundle: Path) -> None:
        for path in (bundle, bundle / "Info.plist", bundle / "Info.bckup"):
            (disk,) = pyimount.detect(path).disks
            assert (disk.size, disk.container["type"], disk.problems) == (len(DISK), "sparsebundle", ())

    def test_the_bytes(self, bundle: Path) -> None:
        assert where_different(inside(bundle / "Info.plist"), DISK) == []

    def test_all_bands_are_among_the_paths(self, bundle: Path) -> None:
        (disk,) = pyimount.detect(bundle).disks
        bands = {str(path) for path in (bundle / "bands").iterdir()}
        assert bands <= set(disk.paths)

    def test_only_one_image_is_found_in_a_folder_of_bundles(self, bundle: Path) -> None:
        assert len(pyimount.detect([bundle, bundle / "Info.plist"]).disks) == 1

    def test_a_band_that_is_a_link_out_of_the_bundle_is_not_followed(self, bundle: Path) -> None:
        secret = bundle.parent / "secret"
        secret.write_bytes(b"s" * BAND)
        band = min((bundle / "bands").iterdir(), key=lambda path: int(path.name, 16))
        band.unlink()
        band.symlink_to(secret)
        opened = open_path(bundle / "Info.plist")
        assert codes(opened) == ["missing-segment"]
        assert opened.source is not None
        with pytest.raises(ReadError):
            opened.source.read_at(int(band.name, 16) * BAND, 512)
        assert opened.source.read_at(len(DISK) - 512, 512) == DISK[-512:]

    def test_a_folder_of_bands_elsewhere_is_not_followed(self, bundle: Path) -> None:
        shutil.move(bundle / "bands", bundle.parent / "elsewhere")
        (bundle / "bands").symlink_to(bundle.parent / "elsewhere")
        opened = open_path(bundle / "Info.plist")
        assert set(codes(opened)) == {"missing-segment"}
        assert opened.source is not None
        with pytest.raises(ReadError):
            opened.source.read_at(0, len(DISK))

    def test_without_its_bands(self, bundle: Path) -> None:
        shutil.rmtree(bundle / "bands")
        assert codes(open_path(bundle / "Info.plist")) == ["missing-segment"]

    def test_a_band_behind_the_end_and_names_that_are_no_bands(self, bundle: Path) -> None:
        for name in ("00", "0x1", "Z", "-1", "ffff", ".DS_Store"):
            (bundle / "bands" / name).write_bytes(b"x")
        opened = open_path(bundle / "Info.plist")
        assert codes(opened) == ["damaged"]
        assert where_different(inside(bundle / "Info.plist"), DISK) == []

    def test_an_encrypted_one_is_locked(self, bundle: Path) -> None:
        (bundle / "token").write_bytes(encrypted_v2(0))
        opened = open_path(bundle / "Info.plist")
        assert (opened.source, codes(opened)) == (None, ["locked"])
        about = opened.container.details["encryption"]
        assert isinstance(about, dict)
        assert about["kdf_iterations"] == 250_000

    @pytest.mark.parametrize(
        "changes", [{"size": 0}, {"band-size": 0}, {"size": 1 << 62}, {"diskimage-bundle-type": "other"}]
    )
    def test_a_property_list_of_something_else(self, bundle: Path, changes: dict[str, object]) -> None:
        path = bundle / "Info.plist"
        path.write_bytes(plistlib.dumps(plistlib.loads(path.read_bytes()) | changes))
        assert open_path(path).container.type == "raw"

    def test_an_application_is_no_bundle_of_bands(self, tmp_path: Path) -> None:
        (tmp_path / "Info.plist").write_bytes(plistlib.dumps({"CFBundleName": "Some"}))
        assert open_path(tmp_path / "Info.plist").container.type == "raw"
        (disk,) = pyimount.detect(tmp_path).disks
        assert "directory" in disk.problems[0].message

    def test_too_many_bands_are_not_opened(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sparsebundle, "_BANDS_CAP", 3)
        opened = open_path(bundle / "Info.plist")
        assert (opened.source, codes(opened)) == (None, ["damaged"])
