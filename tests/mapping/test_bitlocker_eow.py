"""BitLocker that encrypts on write: what its notes call plain and what not.

Only Windows makes such volumes, and none was at hand: these are built from the structures as dissect.fve has
them, which reads them back as the second opinion.
"""

import io
import zlib
from itertools import pairwise
from typing import Any

import pytest
from dissect.fve.bde import BDE

from pyimount.mapping.bitlocker import unlock
from pyimount.mapping.errors import Unsupported
from pyimount.parsers.encryption.bitlocker import GUID_EOW, RECOGNITION_AT
from pyimount.parsers.encryption.bitlocker_eow import (
    BITMAP,
    EOW_OFFSETS,
    EOW_OFFSETS_AT,
    INFORMATION,
    RECORD,
)
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource
from tests.mapping.bitlocker_volume import AES_128, MOVED, SIZE, build, contents, fvek, ntfs

CHUNK = 0x1000
NOTES = (0x50000, 0x51000)
REGIONS = ((0, 0x28000), (0x28000, SIZE - 0x28000))
BITMAPS, LOGS, LOG_SIZE = (0x52000, 0x54000), (0x56000, 0x57000), 0x1000
RECORDS = (0x200, 0x400)
HEAD = 16 * 512


def summed(raw: bytes, at: int) -> bytes:
    return raw[:at] + zlib.crc32(raw).to_bytes(4, "little") + raw[at + 4 :]


def record(bits: int, chunks: int, number: int, *, whole: bool = True) -> bytes:
    bitmap = bits.to_bytes(-(-chunks // 8), "little")
    head = {
        "HeaderSize": RECORD.size, "Size": RECORD.size + len(bitmap), "BitmapSize": chunks,
        "SequenceNumber": number, "Flags": 0, "Crc32": 0,
    }  # fmt: skip
    raw = summed(RECORD.construct.build(head) + bitmap, RECORD.size - 4)
    return raw if whole else raw[:-1] + bytes((raw[-1] ^ 0xFF,))


def bitmap(number: int, records: tuple[bytes, bytes], **changed: Any) -> bytes:
    offset, size = REGIONS[number]
    head = {
        "HeaderSize": BITMAP.size, "Size": 0x600, "Unknown1": 0, "RegionOffset": offset, "RegionSize": size,
        "ConvLogOffset": LOGS[number], "RecordOffset": RECORDS, "RecordSize": 0x200, "Crc32": 0, **changed,
    }  # fmt: skip
    raw = summed(BITMAP.construct.build(head).ljust(RECORDS[0], b"\0"), BITMAP.size - 4)
    return raw + b"".join(each.ljust(0x200, b"\0") for each in records)


def information(**changed: Any) -> bytes:
    head = {
        "HeaderSize": INFORMATION.size, "Size": INFORMATION.size + 16, "SectorSize": 512, "Unknown1": 0,
        "ChunkSize": CHUNK, "ConvLogSize": LOG_SIZE, "Unknown2": 0, "RegionCount": 2, "Crc32": 0,
        "EowOffset": NOTES, **changed,
    }  # fmt: skip
    raw = INFORMATION.construct.build(head) + b"".join(at.to_bytes(8, "little") for at in BITMAPS)
    return summed(raw, 36)


def volume(bits: int, *, state: int = 4, whole: tuple[bool, bool] = (True, True)) -> tuple[bytes, bytes]:
    """A volume of which the chunks whose bit is set are encrypted; and what it must show."""
    image_, plain_ = build(recognition=GUID_EOW, CurrentState=state)
    image, plain = bytearray(image_), bytearray(plain_)
    clear = contents(ntfs())
    for chunk in range(SIZE // CHUNK):
        at = chunk * CHUNK
        if at >= HEAD and not bits >> chunk & 1 and plain[at : at + CHUNK] == clear[at : at + CHUNK]:
            image[at : at + CHUNK] = plain[at : at + CHUNK]
        if not bits >> chunk & 1 and MOVED <= at < MOVED + HEAD:
            image[at : at + CHUNK] = plain[at - MOVED : at - MOVED + CHUNK]
    at = RECOGNITION_AT + EOW_OFFSETS_AT
    image[at : at + EOW_OFFSETS.size] = EOW_OFFSETS.construct.build({"EowOffset": NOTES})
    pieces = [(place, information()) for place in NOTES]
    for number, (offset, size) in enumerate(REGIONS):
        chunks = size // CHUNK
        here = bits >> offset // CHUNK & (1 << chunks) - 1
        newer = record(here, chunks, 8, whole=whole[1])
        older = record(here if not whole[1] else ~here & (1 << chunks) - 1, chunks, 7, whole=whole[0])
        pieces.append((BITMAPS[number], bitmap(number, (older, newer))))
        plain[LOGS[number] : LOGS[number] + LOG_SIZE] = bytes(LOG_SIZE)
    for place, piece in pieces:
        image[place : place + len(piece)] = piece
        end = place + -(-len(piece) // 512) * 512
        plain[place:end] = bytes(end - place)
    return bytes(image), bytes(plain)


ALL = (1 << SIZE // CHUNK) - 1
SOME = int("110100111" * 11, 2) & ALL | 1 << MOVED // CHUNK


@pytest.mark.parametrize("bits", [0, ALL, SOME, SOME & ~(3 << MOVED // CHUNK), 1 << 40, ALL ^ 1 << 39])
def test_chunks_are_as_their_bits_say(bits: int) -> None:
    image, plain = volume(bits)
    source = unlock(BytesSource(image)).source
    assert source.read_at(0, source.size) == plain


@pytest.mark.parametrize("octets", [0, 0xFFF, 0b010110011001, 0b101001100110])
def test_dissect_reads_the_same(octets: int) -> None:
    # Eight chunks of a kind: dissect.fve 4.6 does not end where a read begins amid an octet of mixed bits.
    bits = sum(0xFF << 8 * number for number in range(12) if octets >> number & 1)
    image, plain = volume(bits)
    source = unlock(BytesSource(image)).source
    second = BDE(io.BytesIO(image)).unlock_with_fvek(fvek(AES_128)).open()
    assert second.read(SIZE) == source.read_at(0, SIZE) == plain


def test_reads_that_begin_and_end_anywhere() -> None:
    image, plain = volume(SOME)
    source = unlock(BytesSource(image)).source
    edges = sorted({at + by for at in range(0, SIZE, 0x7777) for by in (0, 1, 513)} | {SIZE})
    for start, end in pairwise(edges):
        assert source.read_at(start, end - start) == plain[start:end]


def test_of_two_records_the_newest_that_is_whole_counts() -> None:
    image, plain = volume(SOME, whole=(True, False))
    source = unlock(BytesSource(image)).source
    assert source.read_at(0, source.size) == plain
    image, _ = volume(SOME, whole=(False, False))
    with pytest.raises(Unsupported, match="record"):
        unlock(BytesSource(image))


def test_that_encryption_is_in_progress_is_said_with_how_far_it_is() -> None:
    image, _ = volume(SOME, state=5)
    opened = unlock(BytesSource(image))
    assert [problem.code.value for problem in opened.problems] == ["unsupported"]
    assert opened.details["encrypt_on_write"] == {
        "chunk_size": CHUNK,
        "regions": 2,
        "encrypted": SOME.bit_count() * CHUNK,
    }
    assert unlock(BytesSource(volume(ALL)[0])).problems == ()


def test_the_second_copy_of_the_notes_is_read_where_the_first_is_damaged() -> None:
    image_, plain = volume(SOME)
    image = bytearray(image_)
    image[NOTES[0] + 20] ^= 1
    source = unlock(BytesSource(bytes(image))).source
    assert source.read_at(0, source.size) == plain
    image[NOTES[1] + 20] ^= 1
    with pytest.raises(Unsupported, match="checksum"):
        unlock(BytesSource(bytes(image)))


def test_what_no_bitmap_tells_of_is_not_made_up() -> None:
    image_, plain = volume(SOME, state=5)
    image = bytearray(image_)
    offset, size = REGIONS[1]
    chunks = size // CHUNK
    bits = SOME >> offset // CHUNK
    short = bitmap(1, (record(0, 0, 1), record(bits & (1 << chunks) - 1, chunks, 2)), RegionSize=size - CHUNK)
    image[BITMAPS[1] : BITMAPS[1] + len(short)] = short
    source = unlock(BytesSource(bytes(image))).source
    assert source.read_at(0, SIZE - CHUNK) == plain[: SIZE - CHUNK]
    with pytest.raises(ReadError, match="nothing tells"):
        source.read_at(SIZE - CHUNK, 1)
