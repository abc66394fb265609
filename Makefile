# make demo: set up and run the main job on embedded data. make test: set up and run every check.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export NUMBA_NUM_THREADS ?= 1

R_TESTS := tests/members/test_seurat_transfer.py tests/members/test_symphony_r.py tests/members/test_against_r.py

.PHONY: demo test test-r lint bench clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("celljury needs Python 3.11 to 3.13, this is " + sys.version.split()[0]) if not (3, 11) <= sys.version_info[:2] <= (3, 13) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $@

# The archives' validators pin older libraries than ours, so they live by themselves.
.validators/.installed: tests/export/validators.txt | $(BIN)/python
	$(PYTHON) -m venv .validators
	.validators/bin/pip install --quiet --requirement $<
	touch $@

# Members whose libraries cannot live beside ours have interpreters of their own; tests use these, not the user's.
.environments/.installed: $(wildcard data/environments/*.txt) | $(VENV)/.installed
	CELLJURY_ENVIRONMENTS=$(abspath .environments) $(BIN)/celljury members install --all
	touch $@

demo: $(VENV)/.installed
	$(BIN)/celljury demo --out demo --overwrite

test: $(VENV)/.installed-dev .validators/.installed .environments/.installed
	PATH="$(abspath $(BIN)):$$PATH" CELLJURY_ENVIRONMENTS=$(abspath .environments) scripts/check.sh

# The tests that need R, and R's packages with them where apt may install them.
test-r: $(VENV)/.installed-dev
	scripts/r-packages.sh
	! command -v R >/dev/null || CELLJURY_ENVIRONMENTS=$(abspath .environments) $(BIN)/celljury members install r
	PATH="$(abspath $(BIN)):$$PATH" CELLJURY_ENVIRONMENTS=$(abspath .environments) python -m pytest $(R_TESTS)

lint: $(VENV)/.installed-dev
	PATH="$(abspath $(BIN)):$$PATH" scripts/check.sh lint

bench: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/bench.py

clean:
	rm -rf demo build .typing .pytest_cache .mypy_cache .ruff_cache
