"""``python -m pyimount``."""

from pyimount.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
