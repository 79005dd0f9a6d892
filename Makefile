# `make quickstart` and `make test` are all a newcomer needs; both install first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Much of the time of tests that run real processes is waiting: more workers than two cores.
TEST_WORKERS ?= 4

.PHONY: help install quickstart test bench check format stubs clean

help:
	@echo "make quickstart   install, start everything, train on synthetic slices, classify some"
	@echo "make test         install, run every test"
	@echo "make bench        measure under load, beside the bare runtime and MLServer; 20 minutes"
	@echo "make check        format, lint, types, import contracts, stubs"
	@echo "make format       rewrite the code in the project's format"
	@echo "make stubs        regenerate the gRPC stubs"

install: $(STAMP)

# Runs again only when what is to be installed has changed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

quickstart: install
	@$(BIN)/braintumor quickstart

test: install
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal

bench: install
	$(BIN)/python -m benchmarks.load

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=protos $(BIN)/lint-imports --no-cache
	$(BIN)/python protos/generate.py --check
	$(BIN)/python protos/generate.py --descriptor-set $(VENV)/descriptors.binpb
	$(BIN)/buf lint $(VENV)/descriptors.binpb --config protos/buf.yaml

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

stubs: install
	$(BIN)/python protos/generate.py

clean:
	rm -rf $(VENV) .quickstart build *.egg-info .mypy_cache .ruff_cache .pytest_cache
