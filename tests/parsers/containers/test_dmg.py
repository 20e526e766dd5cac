"""UDIF images that the recipe's maker writes, by the description of the format."""

import struct
import zlib
from pathlib import Path
from unittest.mock import patch

import pytest

from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from fixtures.recipes.apple_images import encrypted_v2
from fixtures.recipes.dmg import PACKERS, chunks_of, image, pack_lzfse, property_list, simple, table, trailer
from pyimount.parsers.containers import cdsa, dmg_chunks
from pyimount.parsers.containers.adc import unpack_adc
from pyimount.parsers.containers.lzfse import lzfse_unpacker
from pyimount.sources.errors import ReadError
from tests.needing import needs_built

MIB = 1 << 20
DISK = mixed_bytes(MIB)
KINDS = {
    "raw": dmg_chunks.RAW,
    "adc": dmg_chunks.ADC,
    "zlib": dmg_chunks.ZLIB,
    "bzip2": dmg_chunks.BZIP2,
    "lzfse": dmg_chunks.LZFSE,
    "lzma": dmg_chunks.LZMA,
}


def put(folder: Path, data: bytes) -> Path:
    path = folder / "disk.dmg"
    path.write_bytes(data)
    return path


@pytest.fixture
def lzfse() -> None:
    """The library is there, which has to be compiled."""
    needs_built("liblzfse", "pip install 'pyimount[lzfse]'")


@pytest.mark.parametrize("name", KINDS)
def test_chunks_of_every_type(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    if name == "lzfse":
        request.getfixturevalue("lzfse")
    path = put(tmp_path, simple(DISK, KINDS[name]))
    opened = open_path(path)
    assert codes(opened) == []
    assert opened.container.details["compression"] == (None if name == "raw" else name)
    assert where_different(inside(path), DISK) == []


def test_chunks_of_all_types_in_one_image(tmp_path: Path, lzfse: None) -> None:
    path = put(tmp_path, simple(DISK, *KINDS.values()))
    assert where_different(inside(path), DISK) == []


def test_several_tables_in_any_order_and_a_gap_between(tmp_path: Path) -> None:
    first, second = DISK[:65536], DISK[65536:]
    chunks, fork = chunks_of(first, [dmg_chunks.ZLIB])
    more, rest = chunks_of(second, [dmg_chunks.BZIP2])
    for chunk in more:
        chunk["CompressedOffset"] += len(fork)
    disk = first + bytes(5120) + second
    tables = [table(more, second, first=138), table(chunks, first)]
    path = put(tmp_path, image(disk, fork + rest, tables))
    assert codes(open_path(path)) == []
    assert where_different(inside(path), disk) == []


def test_the_data_fork_and_the_table_have_offsets_of_their_own(tmp_path: Path) -> None:
    chunks, fork = chunks_of(DISK, [dmg_chunks.ZLIB])
    listed = bytearray(table(chunks, DISK))
    struct.pack_into(">Q", listed, 24, 300)  # DataOffset
    data = bytes(1000) + bytes(300) + fork
    path = put(tmp_path, image(DISK, data, [bytes(listed)], DataForkOffset=1000))
    assert where_different(inside(path), DISK) == []


def test_an_image_without_tables_is_its_data_fork(tmp_path: Path) -> None:
    path = put(tmp_path, DISK + trailer(DISK, DISK))
    assert where_different(inside(path), DISK) == []


def test_tables_in_a_resource_fork(tmp_path: Path) -> None:
    chunks, fork = chunks_of(DISK, [dmg_chunks.ADC, dmg_chunks.ZLIB])
    listed = table(chunks, DISK)
    resources = struct.pack(">4I", 256, 260 + len(listed), 4 + len(listed), 50).ljust(256, b"\0")
    resources += struct.pack(">I", len(listed)) + listed
    resources += bytes(24) + struct.pack(">HHH", 28, 50, 0)  # the map; one type less one
    resources += b"blkx" + struct.pack(">HH", 0, 10) + struct.pack(">HHI", 1, 0xFFFF, 0) + bytes(4)
    data = fork + resources + trailer(DISK, fork, RsrcForkOffset=len(fork), RsrcForkLength=len(resources))
    assert where_different(inside(put(tmp_path, data)), DISK) == []


def test_checksums_are_told_and_verified(tmp_path: Path) -> None:
    chunks, fork = chunks_of(DISK, [dmg_chunks.ZLIB])
    data = image(DISK, fork, [table(chunks, DISK)])
    details = open_path(put(tmp_path, data)).container.details
    assert details["data_checksum"] == {"type": "crc32", "value": f"{zlib.crc32(fork):08x}"}
    master = zlib.crc32(zlib.crc32(DISK).to_bytes(4, "big"))
    assert details["master_checksum"] == {"type": "crc32", "value": f"{master:08x}"}
    assert codes(open_path(put(tmp_path, data.replace(master.to_bytes(4, "big"), b"oops")))) == [
        "bad-checksum"
    ]


class TestEncrypted:
    def test_version_2(self, tmp_path: Path) -> None:
        opened = open_path(put(tmp_path, encrypted_v2(4096)))
        assert (opened.source, codes(opened)) == (None, ["locked"])
        assert opened.container.details["locked"] is True
        about = opened.container.details["encryption"]
        assert isinstance(about, dict)
        assert (about["key_bits"], about["kdf_iterations"], about["data_size"]) == (256, 250000, 4096)
        assert about["keys"] == ["passphrase"]

    def test_a_key_outside_the_file(self, tmp_path: Path) -> None:
        data = bytearray(encrypted_v2(4096))
        struct.pack_into(">Q", data, cdsa.HEADER_V2.size + 4, 1 << 60)
        opened = open_path(put(tmp_path, bytes(data)))
        assert codes(opened) == ["locked"]
        about = opened.container.details["encryption"]
        assert isinstance(about, dict)
        assert about["truncated"] is True

    def test_many_keys_are_counted_and_some_listed(self, tmp_path: Path) -> None:
        data = bytearray(encrypted_v2(4096))
        struct.pack_into(">I", data, cdsa.HEADER_V2.size - 4, 0xFFFFFFFF)
        about = open_path(put(tmp_path, bytes(data))).container.details["encryption"]
        assert isinstance(about, dict)
        assert about["key_count"] == 0xFFFFFFFF
        assert isinstance(about["keys"], list)
        assert len(about["keys"]) <= 32

    def test_version_1(self, tmp_path: Path) -> None:
        fields = {
            field.name: bytes(field.sizeof()) if field.sizeof() != 4 else 0
            for field in cdsa.HEADER_V1.construct.subcons
        }
        fields |= {"kdf_iterations": 1000, "kdf_salt_size": 20, "signature": b"cdsaencr"}
        path = put(tmp_path, b"\x99" * 8192 + cdsa.HEADER_V1.construct.build(fields))
        opened = open_path(path)
        assert (opened.source, codes(opened)) == (None, ["locked"])
        about = opened.container.details["encryption"]
        assert about == {
            "method": "cdsaencr",
            "version": 1,
            "kdf_iterations": 1000,
            "kdf_salt_size": 20,
        }

    def test_a_magic_alone_is_not_enough(self, tmp_path: Path) -> None:
        for data in (b"encrcdsa" + b"\xff" * 4096, b"\xff" * 4096 + b"cdsaencr"):
            assert open_path(put(tmp_path, data)).container.type == "raw"


NO_BASE64 = (
    b"<plist><dict><key>resource-fork</key><dict><key>blkx</key><array><dict><key>Data</key>"
    b"<data>!!!=</data></dict></array></dict></dict></plist>"
)


class TestHostile:
    def chunk(self, **changes: int) -> bytes:
        """An image whose second chunk is changed."""
        chunks, fork = chunks_of(DISK, [dmg_chunks.ZLIB])
        chunks[1] |= {"EntryType": dmg_chunks.ZLIB, **changes}
        return image(DISK, fork, [table(chunks, DISK)])

    @pytest.mark.parametrize(
        "changes",
        [
            {"SectorNumber": 0},
            {"SectorNumber": 1 << 63},
            {"SectorCount": (1 << 64) - 1},
            {"SectorCount": 1 << 50},
        ],
        ids=str,
    )
    def test_chunks_out_of_order_or_over_one_another(self, tmp_path: Path, changes: dict[str, int]) -> None:
        opened = open_path(put(tmp_path, self.chunk(**changes)))
        assert opened.source is None
        assert codes(opened) == ["damaged"]

    def test_tables_over_one_another(self, tmp_path: Path) -> None:
        chunks, fork = chunks_of(DISK, [dmg_chunks.ZLIB])
        opened = open_path(put(tmp_path, image(DISK, fork, [table(chunks, DISK)] * 2)))
        assert codes(opened) == ["damaged"]

    def test_a_table_that_claims_more_chunks_than_it_has(self, tmp_path: Path) -> None:
        chunks, fork = chunks_of(DISK, [dmg_chunks.ZLIB])
        listed = bytearray(table(chunks, DISK))
        struct.pack_into(">I", listed, dmg_chunks.MISH.size - 4, 0xFFFFFFFF)
        assert codes(open_path(put(tmp_path, image(DISK, fork, [bytes(listed)])))) == ["damaged"]

    @pytest.mark.parametrize("name", [name for name in KINDS if name != "raw"])
    def test_a_bomb_gives_one_chunk_and_no_more(
        self, tmp_path: Path, name: str, request: pytest.FixtureRequest
    ) -> None:
        if name == "lzfse":
            request.getfixturevalue("lzfse")
        small = b"A" * 65536
        chunks, fork = chunks_of(b"\1" + bytes(MIB - 1), [KINDS[name]], sectors=2048)
        chunks[0]["SectorCount"] = len(small) // 512
        opened = open_path(put(tmp_path, image(small, fork, [table(chunks, small)])))
        assert opened.source is not None
        with pytest.raises(ReadError, match="65536"):
            opened.source.read_at(0, 65536)

    def test_a_chunk_too_large_to_unpack(self, tmp_path: Path) -> None:
        disk = bytes(64 * MIB)
        chunk = {**chunks_of(b"A" * 512, [dmg_chunks.ZLIB])[0][0], "SectorCount": len(disk) // 512}
        opened = open_path(put(tmp_path, image(disk, zlib.compress(b"A" * 512), [table([chunk], disk)])))
        assert opened.source is not None
        with pytest.raises(ReadError, match="larger"):
            opened.source.read_at(0, 1)

    @pytest.mark.parametrize("kind", [3, 0x80000009, 0xDEADBEEF])
    def test_chunks_of_an_unknown_type(self, tmp_path: Path, kind: int) -> None:
        path = put(tmp_path, self.chunk(EntryType=kind))
        assert codes(open_path(path)) == ["unsupported"]
        source = inside(path)
        assert source.read_at(0, 65536) == DISK[:65536]
        with pytest.raises(ReadError, match="not read"):
            source.read_at(65536, 1)

    def test_data_beyond_the_file(self, tmp_path: Path) -> None:
        opened = open_path(put(tmp_path, self.chunk(CompressedOffset=1 << 40)))
        assert codes(opened) == ["truncated"]
        assert opened.source is not None
        assert opened.source.read_at(0, 65536) == DISK[:65536]
        with pytest.raises(ReadError):
            opened.source.read_at(65536, 1)

    def test_a_trailer_of_fewer_sectors_than_the_tables(self, tmp_path: Path) -> None:
        chunks, fork = chunks_of(DISK, [dmg_chunks.ZLIB])
        opened = open_path(put(tmp_path, image(DISK, fork, [table(chunks, DISK)], SectorCount=1000)))
        assert codes(opened) == ["damaged"]
        assert opened.container.size == 512000

    @pytest.mark.parametrize(
        "field", ["XMLOffset", "XMLLength", "SectorCount", "DataForkOffset", "HeaderSize"]
    )
    @pytest.mark.parametrize("value", [1, 1 << 31, (1 << 63) - 1])
    def test_a_trailer_with_any_figure(self, tmp_path: Path, field: str, value: int) -> None:
        value &= 0xFFFFFFFF if field == "HeaderSize" else (1 << 64) - 1
        chunks, fork = chunks_of(DISK, [dmg_chunks.ZLIB])
        opened = open_path(put(tmp_path, image(DISK, fork, [table(chunks, DISK)], **{field: value})))
        assert opened.container.type == "raw" or opened.container.problems or opened.container.size

    @pytest.mark.parametrize(
        "listed",
        [
            b'<!DOCTYPE p [<!ENTITY a "aaaaaaaaaa">]><plist><dict><key>&a;</key></dict></plist>',
            b"<plist>" + b"<dict>" * 100000,
            NO_BASE64,
            NO_BASE64.replace(b"!!!=", "AAAé".encode()),
            property_list([])[:-20],
            b"\0" * 4096,
            b"<" + b"a" * 3000000,
        ],
        ids=["entities", "deep", "base64", "not-ascii", "cut", "zeros", "tag"],
    )
    def test_a_property_list_that_is_none(self, tmp_path: Path, listed: bytes) -> None:
        data = listed + trailer(DISK, b"", XMLOffset=0, XMLLength=len(listed))
        opened = open_path(put(tmp_path, data))
        assert opened.source is None
        assert codes(opened) == ["damaged"]

    def test_without_any_table(self, tmp_path: Path) -> None:
        opened = open_path(put(tmp_path, image(DISK, b"", [])))
        assert opened.source is not None
        assert opened.source.read_at(0, 4096) == bytes(4096)


class TestAdc:
    def test_the_codes(self) -> None:
        """Four literals, their last once more three times, four from seven back."""
        packed = bytes.fromhex("83feedface 0000 400006")
        assert unpack_adc(packed, 11).hex() == "feedfacecececefeedface"

    @pytest.mark.parametrize("packed", ["00 00", "40 00 00", "83 41 04 01 ff 7f ff ff", "41", "40 00"])
    def test_damaged(self, packed: str) -> None:
        with pytest.raises(ReadError):
            unpack_adc(bytes.fromhex(packed), 1000)

    def test_no_more_than_asked_for(self) -> None:
        with pytest.raises(ReadError, match="more than"):
            unpack_adc(b"\x80A" + b"\x7f\0\0" * 1000, 100)


class TestLzfse:
    @pytest.mark.parametrize("size", [1, 7, 100, 4095, 5000, 300000, 700001])
    def test_what_the_library_packs(self, size: int, lzfse: None) -> None:
        unpack = lzfse_unpacker()
        assert unpack is not None
        data = (DISK[100000:] * 2)[:size]
        assert unpack(pack_lzfse(data), size) == data

    def test_damaged_anywhere(self, lzfse: None) -> None:
        unpack = lzfse_unpacker()
        assert unpack is not None
        data = (b"bottles hanging on the wall. " * 4000)[:65536]
        packed = pack_lzfse(data)
        for at in range(min(len(packed), 600)):
            for value in (0, 0xFF):
                harmed = packed[:at] + bytes([value]) + packed[at + 1 :]
                try:
                    assert len(unpack(harmed, len(data))) <= len(data)
                except ReadError:
                    continue

    def test_cut_anywhere(self, lzfse: None) -> None:
        unpack = lzfse_unpacker()
        assert unpack is not None
        packed = pack_lzfse(DISK[:5000])
        for length in range(len(packed) - 4):
            with pytest.raises(ReadError):
                unpack(packed[:length], 5000)

    def test_without_the_library(self, tmp_path: Path) -> None:
        with patch.dict(PACKERS, {dmg_chunks.LZFSE: lambda data: data}):  # the chunks are not looked into
            path = put(tmp_path, simple(DISK, dmg_chunks.LZFSE, dmg_chunks.RAW))
        with patch.dict("sys.modules", {"liblzfse": None}):
            opened = open_path(path)
            assert codes(opened) == ["unsupported"]
            (problem,) = opened.container.problems
            assert problem.message.count("pip install 'pyimount[lzfse]'") == 1
            assert opened.source is not None
            with pytest.raises(ReadError, match="lzfse"):
                opened.source.read_at(
                    next(at for at in range(0, MIB, 131072) if any(DISK[at : at + 65536])), 1
                )
