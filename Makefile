# `make` on its own lists what there is to do.
PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
BENCH_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := tfrobust trainers export
SOURCES := $(PACKAGES) $(wildcard tests benchmarks)

# pytest exits with 5 when nothing was selected, which is not a failure here.
PYTEST := $(BIN)/python -m pytest $(PYTEST_ARGS)
FAST = $(PYTEST) -m "not slow" -n 2 --dist loadfile --doctest-modules tests $(PACKAGES) || test $$? -eq 5
SLOW = $(PYTEST) -m slow -n 2 --dist loadfile || test $$? -eq 5

export TF_CPP_MIN_LOG_LEVEL ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install quickstart test test-fast test-backends bench lint format lock \
	wheel clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' \
		$(MAKEFILE_LIST)
	@echo 'PYTHON=python3.12 and VENV=/some/where choose the interpreter and the place.'

install: $(STAMP)  ## Make the environment in .venv from requirements.lock

# The lock is complete, so pip has nothing to look for: without --no-deps some versions
# of it ask the index for newer releases and refuse the locked ones. The check after it
# would find a lock that misses something.
$(STAMP): requirements.lock setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; \
		sys.exit("Python 3.11, 3.12 or 3.13 is needed, as in make \
	PYTHON=python3.13. Received: " + v \
		if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
	@touch $@

quickstart: install  ## Train, attack and export a small robust classifier
	$(BIN)/tfrobust quickstart

# Slow tests wait a good deal, for graphs to be traced and for other processes.
test: install  ## Run every test, the fast ones first
	$(FAST)
	$(SLOW)

test-fast: install  ## Run the tests that are not marked slow, two at a time
	$(FAST)

test-backends: install  ## Test on JAX and PyTorch, and against PyTorch and Addons
	.ci/backends $(BIN)/python $(VENV)/backends

# One after another: two at a time would slow each other.
bench: install  ## Run the benchmarks that can run here; results in runs/bench
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

lint: install  ## Check style, formatting and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(PACKAGES)

format: install  ## Rewrite the sources in the house style
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

# The four pins below are what the results in this repository were made with. uv is
# told to leave out the index it asked and the reason for each pin.
lock: install  ## Remake requirements.lock from setup.cfg
	printf '%s\n' tensorflow==2.21.0 keras==3.15.1 numpy==2.4.6 \
		tensorflow-datasets==4.9.10 > $(VENV)/constraints.txt
	{ echo '# Python 3.11 to 3.13. Made from setup.cfg by `make lock`; do not edit.'; \
		$(BIN)/uv pip compile setup.cfg --extra train --extra dev --quiet --universal \
			--python-version 3.11 --constraint $(VENV)/constraints.txt \
			--generate-hashes --no-header --no-annotate --no-emit-index-url \
			--no-emit-find-links; } > $(VENV)/requirements.lock
	mv $(VENV)/requirements.lock requirements.lock

wheel: install  ## Build a wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

clean:  ## Remove what was built and cached, not the environment
	rm -rf build dist *.egg-info .coverage htmlcov
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +
