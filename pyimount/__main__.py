"""``python -m pyimount``, and the command of that name."""

import sys


def main() -> int:
    """Run the command line, and end in one line when it is interrupted, however early."""
    try:
        from pyimount.cli import main as run

        return run()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("pyimount: stopped\n")
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
