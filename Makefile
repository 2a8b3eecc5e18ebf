# Needs make and Python 3.11 or newer; everything else is fetched into .venv/.
#   make demo       train a VAE on handwritten digits, leave a run folder with a report
#   make test       lint, types, and all tests but the slow ones
#   make help       the other targets
# `make PYTHON=/path/to/python demo` chooses the interpreter that .venv/ is made from.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

# Without a choice of yours, the first of these that is new enough.
ifeq ($(origin PYTHON),file)
PYTHONS := $(PYTHON) python3.14 python3.13 python3.12 python3.11 python
else
PYTHONS := $(PYTHON)
endif

INSTALL := $(BIN)/python -m pip install --no-input --disable-pip-version-check -c constraints/ci.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
SEEDS ?= 0:10000
FORMATTED := src tests $(wildcard benchmarks) $(wildcard docs/conf.py)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow expressions mutants lint format golden bench docs clean

help:
	@echo 'make demo       train a VAE on handwritten digits (about a minute on two cores)'
	@echo 'make test       lint, types, and every test but the slow ones'
	@echo 'make test-slow  the tests marked slow, and make mutants'
	@echo 'make expressions SEEDS=A:B  random expressions against an independent evaluation'
	@echo 'make mutants    plant fifty bugs, one at a time, and see the tests catch them (an hour)'
	@echo 'make lint       ruff check, ruff format --check, mypy'
	@echo 'make format     let ruff put the files in order'
	@echo 'make golden     rewrite the golden files of names and imports; read the diff'
	@echo 'make bench      every benchmarks/*.py'
	@echo 'make docs       the documentation, as HTML, in docs/_build/html'
	@echo 'make clean      remove caches and built documentation (not .venv/, not runs/)'

demo: $(VENV)/.demo
	$(BIN)/ancestral train vae --data digits

test: lint
	$(PYTEST) -m "not slow and not gpu"

# Exit status 5 is pytest's "no test was chosen".
test-slow: $(VENV)/.dev
	$(PYTEST) -m "slow and not gpu" || [ $$? -eq 5 ]
	$(BIN)/python -m tests.mutants

expressions: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.expressions --seeds $(SEEDS)

mutants: $(VENV)/.dev
	$(BIN)/python -m tests.mutants

lint: $(VENV)/.dev
	$(BIN)/ruff check $(FORMATTED)
	$(BIN)/ruff format --check $(FORMATTED)
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix $(FORMATTED)
	$(BIN)/ruff format $(FORMATTED)

golden: $(VENV)/.dev
	$(BIN)/python -m tests.test_public_api --write
	$(BIN)/python -m tests.test_floors --write
	$(BIN)/python -m tests.contracts.test_law_table --write

# A file whose name begins with an underscore is a part of the others.
bench: $(VENV)/.dev
	@set -e; for file in benchmarks/[!_]*.py; do \
	    [ -e "$$file" ] || { echo 'no benchmarks yet'; continue; }; \
	    name=$${file##*/}; echo "== benchmarks.$${name%.py}"; \
	    $(BIN)/python -m "benchmarks.$${name%.py}"; \
	done

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo 'docs/_build/html/index.html'

clean:
	rm -rf .mypy_cache .pytest_cache .ruff_cache build dist docs/_build docs/api
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# One stamp per set of requirements, renewed when the requirements change. hatchling goes first,
# so that the build too uses the versions of the constraints.
$(VENV)/.demo $(VENV)/.dev $(VENV)/.docs: $(VENV)/.%: pyproject.toml constraints/ci.txt | $(BIN)/python
	$(INSTALL) hatchling
	$(INSTALL) --no-build-isolation -e '.[$*]'
	@touch $@

$(BIN)/python:
	@found=; \
	for python in $(PYTHONS); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        found=$$python; break; \
	    fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo 'No Python 3.11 or newer was found (tried: $(PYTHONS)).' >&2; \
	    echo '  Debian, Ubuntu:  sudo apt install python3 python3-venv' >&2; \
	    echo '  Fedora:          sudo dnf install python3' >&2; \
	    echo '  macOS:           brew install python' >&2; \
	    echo '  any system:      https://www.python.org/downloads/' >&2; \
	    echo 'If one is installed elsewhere:  make PYTHON=/path/to/python demo' >&2; \
	    exit 1; \
	fi; \
	version=$$("$$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	echo "making $(VENV)/ with $$found (Python $$version)"; \
	if ! "$$found" -m venv $(VENV) || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    rm -f $(BIN)/python*; \
	    echo >&2; \
	    echo "$$found could not make an environment; most often its venv and ensurepip are missing." >&2; \
	    echo "  Debian, Ubuntu:  sudo apt install python3-venv     (or python$$version-venv)" >&2; \
	    echo '  elsewhere:       install a complete Python from https://www.python.org/downloads/' >&2; \
	    echo 'Then run make again.' >&2; \
	    exit 1; \
	fi
