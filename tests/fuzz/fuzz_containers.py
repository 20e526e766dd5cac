"""Containers: every format whose signature an image has is parsed, opened and read at some places."""

import atheris

with atheris.instrument_imports(include=["pyimount"]):
    from pyimount.formats import NotThisFormat, Opened
    from pyimount.formats.image import Image
    from pyimount.recognition.registry import container_signatures
    from pyimount.sources.broker import Broker
    from pyimount.sources.budget import Budget, Meter
    from pyimount.sources.errors import OpenError, SourceError
    from pyimount.sources.view import ShortRead, View
    from tests.fuzz.guided import Target, load_all
    from tests.fuzz.images import Sparse

    load_all()

MIB = 1 << 20
BUDGET = Budget(bytes_read=64 * MIB, unpacked=64 * MIB)
_LENGTH = 4096


def _nothing_beside(name: str, _image: Image) -> Opened:
    raise OpenError(f"{name}: there is no other file")


def look(image: Sparse) -> None:
    """Open it, and read at its start, in its middle, at its end and beyond."""
    for declared in container_signatures().hits(View(image)):
        files = Image(("image",), (image,), Broker(descriptors={}), Meter(BUDGET), _nothing_beside, [])
        try:
            source = declared.open(declared.parse(View(image)), files).source
            if source is not None:
                for place in (0, source.size // 2, max(0, source.size - _LENGTH), source.size):
                    source.read_at(place, _LENGTH)
        except (NotThisFormat, ShortRead, SourceError):
            continue


if __name__ == "__main__":
    Target(look).fuzz()
