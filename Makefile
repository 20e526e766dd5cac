# Everything a developer does; each target makes .venv when it is needed, with no more in it than it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# LZFSE's library has no wheels: it is there where it can be built.
BUILT := $(shell command -v cc >/dev/null && $(PYTHON) -c \
	'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null && echo ,lzfse)

# With LOCKED=.ci/locked.txt nothing is installed but what stands there, each file by its hash.
LOCKED ?=
ONLY := $(if $(LOCKED),--no-index --no-build-isolation)

# How long `make fuzz` takes, and what it is told besides: the fuzzer's seed (0: another each time), and targets.
SECONDS ?= 60
SEED ?= 0
TARGETS ?=

.PHONY: demo test lint fuzz mutants bench check docs manual dist deb sbom lock signatures fixtures clean

$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(if $(LOCKED),$(PIP) install --require-hashes --requirement $(LOCKED))
	$(PIP) install $(ONLY) --editable .
	touch $@

# A dependency group, and what it is about: everything. Debian 12's pip, 23.0, knows no groups.
$(VENV)/.with-%: $(VENV)/.base
	$(PIP) install $(ONLY) 'pip>=25.1'
	$(PIP) install $(ONLY) --editable '.[mount,fast,zstd,lz4,remote,files$(BUILT)]' --group $*
	touch $@
.PRECIOUS: $(VENV)/.with-%

# What reads the files in volumes.
$(VENV)/.files: $(VENV)/.base
	$(PIP) install $(ONLY) --editable '.[files]'
	touch $@

demo: $(VENV)/.files  ## make a small disk image and show what is in it
	@$(BIN)/python -m fixtures demo build/demo
	$(BIN)/pyimount detect build/demo/disk.img
	$(BIN)/pyimount ls build/demo/disk.img
	$(BIN)/pyimount ls --long build/demo/disk.img 3:/
	$(BIN)/pyimount cat --from 3 --count 8 build/demo/disk.img '3:/$$Boot'
	@echo

lint: $(VENV)/.with-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: $(VENV)/.with-test lint  ## what takes a minute or so, between commits: no test that starts a program
	$(BIN)/pytest -n auto --quick -q $(TESTS)

test: $(VENV)/.with-test lint  ## everything that must hold
	$(BIN)/pytest -n auto --dist loadfile $(TESTS)

fuzz: $(VENV)/.with-fuzz  ## coverage-guided fuzzing of all formats, for SECONDS; what it finds is in build/fuzz
	$(BIN)/python -m tests.fuzz guided --seconds $(SECONDS) --seed $(SEED) $(TARGETS)

mutants: $(VENV)/.with-mutants $(VENV)/.with-test  ## small changes to FILES, one at a time: which does no test notice?
	$(BIN)/python -m tests.mutants $(if $(SEED:0=),--seed $(SEED)) $(FILES)

bench: $(VENV)/.with-bench  ## how fast, beside the other tools on this machine (NAMES=…: these parts)
	$(BIN)/python -m tests.benchmarks $(NAMES)

docs: $(VENV)/.with-docs  ## the site, with the manual and the reference, in build/site
	rm -rf build/site
	$(BIN)/python docs/make.py build/site

manual: $(VENV)/.base  ## write share/man and the tables in docs anew, after a change to what they tell of
	$(BIN)/python -m docs.manpages
	$(BIN)/python -m docs.tables

dist: $(VENV)/.with-release  ## the files for a package index, in dist: of the last commit, always the same bytes
	rm -rf dist
	$(BIN)/python -m releasing.dist dist
	$(BIN)/twine check --strict dist/*

sbom:  ## what comes along with pyimount and its extras, in CycloneDX's words, in build/sbom
	rm -rf build/sbom && mkdir -p build/sbom
	$(PYTHON) -m venv build/sbom/tool
	build/sbom/tool/bin/python -m pip --quiet install --require-hashes --requirement .ci/locked-sbom.txt
	$(PYTHON) -m venv build/sbom/venv
	build/sbom/venv/bin/python -m pip --quiet install '.[mount,fast,zstd,lz4,remote,files]'
	build/sbom/venv/bin/python -m pip --quiet uninstall --yes pip setuptools
	find build/sbom/venv -name direct_url.json -delete  # which names this folder
	build/sbom/tool/bin/cyclonedx-py environment --output-reproducible \
		--output-file build/sbom/pyimount.cdx.json build/sbom/venv/bin/python

deb:  ## a Debian package that installs into /opt, in build; needs python3-venv, and nothing of root
	releasing/deb build

lock: $(VENV)/.with-release  ## write .ci/locked.txt anew, after a change to the dependencies
	$(BIN)/python -m releasing.lock

signatures: $(VENV)/.base  ## write pyimount/recognition/signatures.py anew, after a change to a parser's signatures
	$(BIN)/python -m fixtures.signatures

fixtures: $(VENV)/.base  ## make the test images anew (NAMES=…: these), as far as this machine has the tools
	$(BIN)/python -m fixtures make $(NAMES)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
