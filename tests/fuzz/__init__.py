"""Fuzzing: ``make fuzz SECONDS=…``, or ``python -m tests.fuzz --help``.

``fuzz_*.py`` are coverage-guided targets for atheris, as OSS-Fuzz takes them (``build.sh``); ``mutating``
changes the committed images without atheris, and measures what scanning them does. What either finds is
mended, and kept in ``regressions/``.
"""
