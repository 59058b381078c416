# Two commands for a newcomer: `make demo` and `make test`. Everything happens in .venv and in throw-away directories.
PYTHON ?= python3
# Another Python's environment stands beside: make VENV=.venv-3.13 PYTHON=python3.13 .venv-3.13/installed
VENV ?= .venv
BIN := $(VENV)/bin
.PHONY: demo test test-pythons crash fuzz lint bench simulate lock audit-dependencies clean
# What a bare Debian or Ubuntu lacks is named before anything fails half-way.
OLD := govbus needs Python 3.11 or newer, and $(PYTHON) is none; set PYTHON=/path/to/python3.11
BARE := $(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv

$(VENV)/installed: requirements.lock setup.cfg setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo '$(OLD)' >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo '$(BARE)' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: $(VENV)/installed  ## the main job, end to end, in a temporary site
	$(BIN)/govbus demo

test: $(VENV)/installed  ## every test
	$(BIN)/python -m pytest

test-pythons:  ## the demo and the pure test folders on the system's Python and on 3.13, where there are others than $(PYTHON)
	.ci/pythons

crash: $(VENV)/installed  ## KILLS kills over every named point, on SQLite and PostgreSQL, and what came of them
	PYTHONPATH=.:tests:tests/crash $(BIN)/python tests/crash/crash_suite.py --kills $(or $(KILLS),500)

fuzz: $(VENV)/installed  ## MINUTES of coverage-guided fuzzing; SEED=n repeats a run, ONLY=wss,xades for some targets
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris==3.0.0
	$(BIN)/python tests/fuzz/fuzz_run.py --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed  ## figures as JSON; ONLY=growth,drain for some of them (python -m bench --help)
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

simulate: $(VENV)/installed  ## the bus in a world drawn from seeds: SEEDS=10000; SEED=123 tells one; PLANT=… plants a bug first
	$(BIN)/python tests/simulation/simulate.py $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),10000)) $(if $(PLANT),--plant $(PLANT))

lock:  ## after a change of setup.cfg: pin and hash every package for all supported Pythons
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra test --output-file requirements.lock setup.cfg

audit-dependencies: $(VENV)/installed  ## pinned versions against known advisories; exit 1 on a vulnerable one
	$(BIN)/python .ci/audit_dependencies.py

clean:
	rm -rf .venv .venv-* build dist *.egg-info
