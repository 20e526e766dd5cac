"""Partition tables and volumes: what an image is, by all formats whose signatures it has."""

import atheris

with atheris.instrument_imports(include=["pyimount"]):
    from pyimount.recognition.probing import probe
    from pyimount.scanning.space import with_space
    from pyimount.sources.view import View
    from tests.fuzz.guided import Target, load_all
    from tests.fuzz.images import Sparse

    load_all()


def look(image: Sparse) -> None:
    """Recognise it, and count what is free."""
    found = probe(View(image))
    if found.identity is not None:
        with_space(found.identity)


if __name__ == "__main__":
    Target(look).fuzz()
