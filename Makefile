# Everything a developer does; each target makes .venv when it is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint bench docs signatures fixtures clean

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(READY)  ## make a small disk image and show what is in it
	@$(BIN)/python -m fixtures demo build/demo
	$(BIN)/pyimount detect build/demo/disk.img

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test: lint  ## everything that must hold
	$(BIN)/pytest -n auto --dist loadfile

bench: $(READY)  ## how fast, beside the other tools on this machine
	$(BIN)/python -m tests.benchmarks

docs: $(READY)  ## the reference manual and the migration page, as HTML in docs/reference
	$(BIN)/python docs/make.py docs/reference

signatures: $(READY)  ## write pyimount/recognition/signatures.py anew, after a change to a parser's signatures
	$(BIN)/python -m fixtures.signatures

fixtures: $(READY)  ## make the test images anew, as far as this machine has the tools
	$(BIN)/python -m fixtures make

clean:
	rm -rf $(VENV) build dist docs/reference *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
