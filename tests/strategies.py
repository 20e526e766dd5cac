"""What hostile images are made of."""

from hypothesis import strategies as st

EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
    (1 << 64) - 1,
)

Edit = tuple[int, bytes]


def edits(size: int, *, most: int = 8) -> st.SearchStrategy[list[Edit]]:
    """Changes to ``size`` bytes: places, and what is written there; numbers at their extremes often."""
    number = st.builds(
        lambda value, width, order: (value & ((1 << 8 * width) - 1)).to_bytes(width, order),
        st.sampled_from(EXTREMES),
        st.sampled_from((1, 2, 4, 8)),
        st.sampled_from(("little", "big")),
    )
    return st.lists(
        st.tuples(st.integers(0, max(0, size - 1)), number | st.binary(max_size=16)), max_size=most
    )


def edited(data: bytes, changes: list[Edit]) -> bytes:
    """``data`` with the changes made, as long as it was."""
    image = bytearray(data)
    for offset, piece in changes:
        image[offset : offset + len(piece)] = piece[: max(0, len(image) - offset)]
    return bytes(image)
