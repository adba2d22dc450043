# make chat   install into .venv, fetch the starter model once, open the chat
# make test   install into .venv with the test extras; lint, types, tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?= starter
ARGS ?=

.PHONY: chat test soak bench screenshots snapshots clean

chat: $(VENV)/.installed
	$(BIN)/mistral-tui pull starter
	$(BIN)/mistral-tui $(MODEL) $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile

soak: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m soak --timeout 3600

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/ui_overhead.py
	$(BIN)/python benchmarks/rendering.py
	$(BIN)/python benchmarks/editor.py
	$(BIN)/python benchmarks/completion.py
	$(BIN)/python benchmarks/masks.py

# The stamps make a second run install nothing, as long as what is required is the same.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check "pip>=24.1"
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[code,tools]"
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

# Pictures for README and docs, of the real app with the real starter model.
screenshots: $(VENV)/.installed-test
	$(BIN)/python tests/pictures.py

# What every screen looks like, as the tests compare it, and the same to be looked at.
snapshots: $(VENV)/.installed-test
	SNAPSHOTS=write $(BIN)/python -m pytest -n 2 tests/app/test_snapshots.py
	$(BIN)/python tests/pictures.py --all build/snapshots

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
