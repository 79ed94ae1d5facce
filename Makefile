# make demo, make test. What they need is installed into .venv/ by themselves; git, make and Python 3.11+ are enough.

VENV ?= .venv
PYTHON ?=
ARGS ?=

BIN := $(VENV)/bin
RUN := $(BIN)/python -m

# The environment carries the checksum of what it is made from (and where it lies: its scripts hold their own path), so a
# second `make` does nothing and a changed lock, or a moved checkout, makes it anew. File times would not tell: git sets them.
STAMP := $(VENV)/.made-$(shell (pwd; cat requirements.lock pyproject.toml) | cksum | tr ' ' -)

# The first interpreter that really runs and is new enough: a pyenv shim may lie on PATH and refuse to start.
FIND_PYTHON = for name in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python); do \
	"$$name" -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.executable)' 2>/dev/null && exit 0; \
	done; echo 'make: no Python 3.11 or newer found; install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1

COMPILE = --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test pytest lint format types wheel bench soak docs lock ci clean

help: ## Say what there is
	@echo 'usage: make TARGET [ARGS="..."] [PYTHON=python3.12] [VENV=.venv]'; echo
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | while IFS='	' read -r name text; do printf '  %-8s %s\n' "$$name" "$$text"; done

demo: $(STAMP) ## A trading agent's session: recorded, priced, redacted, summarised (ARGS go to the command)
	@$(BIN)/structllm demo $(ARGS)

test: $(STAMP) ## The whole test suite, with line and branch coverage held to its floor
	@$(RUN) coverage erase
	$(RUN) coverage run -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)
	@$(RUN) coverage combine --quiet
	@$(RUN) coverage report

pytest: $(STAMP) ## Tests without coverage, for example: make pytest ARGS="tests/sinks -x"
	$(RUN) pytest $(ARGS)

lint: $(STAMP) ## ruff: rules and formatting, changing nothing
	$(RUN) ruff check .
	$(RUN) ruff format --check .

format: $(STAMP) ## ruff: repair what it can and format
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

types: $(STAMP) ## mypy --strict and pyright on the package and on a user's code
	$(RUN) mypy
	$(RUN) mypy tests/typing/api.py
	$(RUN) pyright --pythonpath $(BIN)/python

wheel: $(STAMP) ## Build wheel and sdist from a clean copy, install the wheel, import and run it
	$(RUN) pytest tests/test_packaging.py $(ARGS)

bench: $(STAMP) ## Benchmarks, with ratios to the floor; see benchmarks/README.md
	$(RUN) pytest benchmarks --benchmark-enable -p no:randomly $(ARGS)

soak: $(STAMP) ## Log through random faults for 30 minutes (ARGS="--minutes 5 --seed 1")
	$(RUN) tests.faults.soak $(ARGS)

docs: $(STAMP) ## Write the generated reference pages anew
	$(RUN) docs.generate $(ARGS)

lock: .uv/bin/uv ## Compile requirements.lock anew (UPGRADE=1 takes the newest versions)
	.uv/bin/uv pip compile $(COMPILE) --all-extras pyproject.toml --output-file requirements.lock >/dev/null
	echo uv | .uv/bin/uv pip compile $(COMPILE) --no-annotate - --output-file requirements-uv.lock >/dev/null

ci: ## Everything that CI runs
	./.ci/run

clean: ## Remove environments, caches and build leftovers
	rm -rf .venv .venv-* .uv build dist *.egg-info .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs in seconds what pip needs a minute for. One that is already here is used; otherwise it comes pinned by hash.
.uv/bin/uv: requirements-uv.lock
	@echo 'make: installing uv into .uv/ (once)'
	@rm -rf .uv
	@python=$$($(FIND_PYTHON)) && "$$python" -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-uv.lock
	@touch $@

$(STAMP):
	@uv --version >/dev/null 2>&1 || $(MAKE) --no-print-directory .uv/bin/uv
	@python=$$($(FIND_PYTHON)); test -n "$$python" || exit 1; \
	uv=.uv/bin/uv; test -x $$uv || uv=uv; \
	echo "make: installing what requirements.lock names into $(VENV)/ ($$("$$python" --version))"; \
	test ! -e '$(VENV)' || test -f '$(VENV)/pyvenv.cfg' || { echo 'make: $(VENV) is there and is no virtual environment' >&2; exit 1; }; \
	rm -rf '$(VENV)' && \
	$$uv --quiet venv --no-python-downloads --python "$$python" '$(VENV)' && \
	$$uv --quiet pip install --python $(BIN)/python --require-hashes --requirement requirements.lock && \
	$$uv --quiet pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
