#!/bin/bash -eu
# What OSS-Fuzz runs in its container: a program of every target, and the committed images as seeds.
# $OUT is where it wants them, $SRC/pyimount is this checkout; `compile_python_fuzzer` is its own.
cd "$SRC/pyimount"
python3 -m pip install .
export PYTHONPATH=$PWD
python3 -m tests.fuzz seeds "$WORK/seeds"
for target in tests/fuzz/fuzz_*.py; do
    # The registry lists the parsers' files, and imports them by name.
    compile_python_fuzzer "$target" --paths "$PWD" --collect-submodules pyimount \
        --add-data "$PWD/parsers:pyimount/parsers" --add-data "$PWD/pyimount/reports:pyimount/reports"
    name=$(basename "$target" .py)
    zip -q -j "$OUT/${name}_seed_corpus.zip" "$WORK"/seeds/*
    printf '[libfuzzer]\nmax_len = 262144\n' >"$OUT/$name.options"
done
