# Every job of this project. Each makes the virtual environment first, if it is not there or pyproject.toml has changed.
#   ARGS      what to add to the command, as in `make serve ARGS="--port 9000"`
#   TORCH     which torch the training check installs; this one is tested
#   PYTHON    which Python makes the virtual environment, as in `make test PYTHON=python3.12`

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-slow train-check lint format clean

help:  ## Print this
	@echo 'streamasr: speech goes in over a WebSocket, words come back while it is still being spoken.'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed  ## See it work: a recording, captioned live in this terminal (a minute)
	@$(BIN)/streamasr demo $(ARGS)

serve: $(VENV)/installed  ## Run the server until Ctrl-C and print its URLs
	@$(BIN)/streamasr serve $(ARGS)

test: lint  ## Check everything: lint, types, layers, tests (what CI runs)
	$(BIN)/pytest $(ARGS)

test-slow: $(VENV)/installed-dev  ## Run the tests with the full counts that `make test` samples (long)
	$(BIN)/pytest -m slow $(ARGS)

train-check: $(VENV)-training/installed  ## Prove that every step of training works (two minutes, with torch)
	TRAINING_REQUIRED=1 $(VENV)-training/bin/pytest tests/training $(ARGS)
	$(VENV)-training/bin/mypy --package training

lint: $(VENV)/installed-dev  ## Check style and types only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/installed-dev  ## Put the code into the project's form
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## Remove the virtual environment and everything generated
	rm -rf $(VENV) $(VENV)-training dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: pyproject.toml | $(BIN)/pip
	@echo 'Installing streamasr and what it needs into $(VENV) …'
	@$(PIP) install --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/pip
	@echo 'Installing streamasr and its development tools into $(VENV) …'
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/installed

# torch alone is larger than everything else, and only training needs it.
$(VENV)-training/installed: pyproject.toml
	$(if $(obstacle),$(error $(obstacle)))
	@echo 'Installing streamasr, its development tools and torch into $(VENV)-training …'
	@$(PYTHON) -m venv $(VENV)-training
	@$(VENV)-training/bin/python -m pip --disable-pip-version-check install '$(TORCH)' --editable '.[dev,training]'
	@touch $@

# Debian's Python comes without what makes virtual environments, so what is missing is said in one sentence.
$(BIN)/pip:
	$(if $(obstacle),$(error $(obstacle)))
	@$(PYTHON) -m venv $(VENV)

obstacle = $(shell \
  command -v $(PYTHON) >/dev/null || { \
    echo 'There is no $(PYTHON) on this machine: install Python 3.11 or later (on Debian the packages python3 and python3-venv)'; exit; }; \
  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
    echo "$(PYTHON) is $$($(PYTHON) --version), but streamasr needs 3.11 or later: install one and name it, as in make PYTHON=python3.12 $(MAKECMDGOALS)"; exit; }; \
  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
    echo '$(PYTHON) cannot make a virtual environment: install its venv module (on Debian the package python3-venv)')
