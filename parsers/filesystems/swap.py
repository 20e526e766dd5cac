"""Linux swap areas, and what hibernation leaves in them.

Layout: linux/include/linux/swap.h, ``union swap_header``; kernel/power/swap.c, ``struct swsusp_header``
https://github.com/torvalds/linux/blob/master/include/linux/swap.h
"""

from construct import Bytes, Int32ub, Int32ul, Int64ub, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

HEADER = layout(
    lambda: Struct(
        "version" / Int32ul,
        "last_page" / Int32ul,
        "nr_badpages" / Int32ul,
        "sws_uuid" / Bytes(16),
        "sws_volume" / Bytes(16),
        "padding" / Bytes(117 * 4),
    )
)
HEADER_BE = layout(
    lambda: Struct(
        "version" / Int32ub,
        "last_page" / Int32ub,
        "nr_badpages" / Int32ub,
        "sws_uuid" / Bytes(16),
        "sws_volume" / Bytes(16),
        "padding" / Bytes(117 * 4),
    )
)
_HEADER_AT = 1024
# The end of the first page once the kernel has hibernated into the area; in the machine's byte order.
HIBERNATION = layout(
    lambda: Struct("image" / Int64ul, "flags" / Int32ul, "orig_sig" / Bytes(10), "sig" / Bytes(10))
)
HIBERNATION_BE = layout(
    lambda: Struct("image" / Int64ub, "flags" / Int32ub, "orig_sig" / Bytes(10), "sig" / Bytes(10))
)

PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)
OLD, NEW = b"SWAP-SPACE", b"SWAPSPACE2"
HIBERNATED = {
    b"S1SUSPEND": "s1suspend",
    b"S2SUSPEND": "s2suspend",
    b"ULSUSPEND": "ulsuspend",
    b"LINHIB0001": "linhib0001",
}
TUX_ON_ICE = b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c"
_SIGNATURE_SIZE = 10
MIN_PAGES = 10


def parse(view: View) -> Identity:
    """The identity of a swap area or of a hibernated system's image."""
    if view.size < MIN_PAGES * PAGE_SIZES[0]:
        raise NotThisFormat(f"a swap area has {MIN_PAGES} pages at least")
    page_size, signature = _find(view)
    tux_on_ice = view.read(0, len(TUX_ON_ICE)) == TUX_ON_ICE
    if tux_on_ice:
        return _hibernated(view, "tuxonice", page_size, signature)
    if signature is None or page_size is None:
        raise NotThisFormat("no signature at the end of a page")
    for magic, version in HIBERNATED.items():
        if signature.startswith(magic):
            return _hibernated(view, version, page_size, signature)
    if signature == OLD:
        # The rest of the page is a bitmap: no label, no UUID.
        return Identity(type="swap", fstype="swap", version="0", details={"page_size": page_size})
    return _swap(view, page_size)


def _find(view: View) -> tuple[int, bytes] | tuple[None, None]:
    for page_size in PAGE_SIZES:
        found = view.peek(page_size - _SIGNATURE_SIZE, _SIGNATURE_SIZE)
        if found in (OLD, NEW) or found.startswith(tuple(HIBERNATED)):
            return page_size, found
    return None, None


def _byte_order(view: View) -> str | None:
    """The byte order in which the header at 1024 is a version 1 header."""
    version = view.read(_HEADER_AT, 4)
    return {b"\1\0\0\0": "little", b"\0\0\0\1": "big"}.get(version)


def _swap(view: View, page_size: int) -> Identity:
    order = _byte_order(view)
    if order is None:
        raise NotThisFormat("the version in the header is not 1")
    header = read_struct(view, HEADER if order == "little" else HEADER_BE, _HEADER_AT)
    if header.last_page == 0:
        raise NotThisFormat("a swap area without pages")
    problems = []
    if header.nr_badpages > header.last_page:
        message = f"{header.nr_badpages} bad pages, of {header.last_page}"
        problems.append(Problem(Code.DAMAGED, message))
    label, uuid = _names(header.padding, header.sws_volume, header.sws_uuid)
    return Identity(
        type="swap",
        fstype="swap",
        label=label,
        uuid=uuid,
        version="1",
        # The page that holds the header counts as well.
        fs_size=(header.last_page + 1) * page_size,
        details={
            "page_size": page_size,
            "pages": header.last_page,
            "bad_pages": header.nr_badpages,
            "usable_size": max(0, header.last_page - header.nr_badpages) * page_size,
            "byte_order": order,
        },
        problems=tuple(problems),
    )


def _names(padding: bytes, volume: bytes, uuid: bytes) -> tuple[str | None, str | None]:
    """Label and UUID, unless the page holds something else there: libblkid's test."""
    if any(padding[32 * 4 : 34 * 4]):
        return None, None
    return text(volume), uuid_text(uuid)


def _hibernated(view: View, version: str, page_size: int | None, signature: bytes | None) -> Identity:
    order = _byte_order(view) or "little"
    header = read_struct(view, HEADER if order == "little" else HEADER_BE, _HEADER_AT)
    label, uuid = _names(header.padding, header.sws_volume, header.sws_uuid)
    details: dict[str, Json] = {"page_size": page_size}
    if page_size is not None and signature is not None and version == "s1suspend":
        declared = HIBERNATION if order == "little" else HIBERNATION_BE
        end = read_struct(view, declared, page_size - declared.construct.sizeof())
        details["image_sector"] = end.image
        details["original_signature"] = text(end.orig_sig, "ascii")
    return Identity(
        type="swsuspend",
        fstype="swap",
        label=label,
        uuid=uuid,
        version=version,
        state="hibernated",
        details=details,
    )


FORMAT = Format(
    name="swap",
    title="Linux swap",
    specification="https://github.com/torvalds/linux/blob/master/include/linux/swap.h",
    usage=Usage.OTHER,
    types=("swap", "swsuspend"),
    parse=parse,
    signatures=(
        Signature(TUX_ON_ICE, 0),
        *(
            Signature(magic, page_size - _SIGNATURE_SIZE)
            for page_size in PAGE_SIZES
            for magic in (OLD, NEW, *HIBERNATED)
        ),
    ),
)
