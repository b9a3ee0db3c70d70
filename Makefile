# Two commands do everything: make demo, make test.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS ?= .venv-peers

.PHONY: install demo test test-slow lint bench clean

install: $(INSTALLED)

$(INSTALLED): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,tune,ann,export,serve]"
	touch $(INSTALLED)

demo: install
	$(BIN)/rec-rl demo

test: install
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-slow: install
	$(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install $(PEERS)/.installed
	$(BIN)/python -m benchmarks --peers $(PEERS)/bin/python

$(PEERS)/.installed: benchmarks/peers-constraints.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c $< torch==2.13.0
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c $< fuxictr d3rlpy stable-baselines3
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
