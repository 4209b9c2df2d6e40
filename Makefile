# Everything a developer does, by name. `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
BENCH_OPTIONS ?=
SCALE_OPTIONS ?=
PYTEST_OPTIONS ?=
FAULTS_OPTIONS ?=
SOAK_OPTIONS ?=
# Three processes, each with a broker of its own unless BROKER_QUEUE_URL names one: much of it is waiting.
PYTEST = $(BIN)/pytest --numprocesses 3 --dist worksteal $(PYTEST_OPTIONS)

.DEFAULT_GOAL := help
.PHONY: help setup demo languages dev test test-quick repeat faults fuzz soak cost bench bench-quick bench-scale check fix clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.development ## virtual environment with all that development needs

demo: $(VENV)/.installed ## find or start a broker, run a real graph of jobs, show its report
	@$(BIN)/python -m examples.standard_library

languages: $(VENV)/.installed ## the same for a graph in up to six languages, of whose workers one is killed
	@$(BIN)/python -m examples.languages

dev: $(VENV)/.installed ## a private broker and a scheduler until Ctrl-C
	@$(BIN)/broker-queue dev

test: $(VENV)/.development ## the whole suite against a real broker, in random order
	$(PYTEST)

test-quick: $(VENV)/.development ## the rules and what else needs no broker (seconds)
	TEST_SCALE=0.05 $(BIN)/pytest tests/rules tests/model tests/protocol tests/client tests/cli tests/examples $(PYTEST_OPTIONS)

repeat: $(VENV)/.development ## the whole suite ten times, each in another order
	@for round in 1 2 3 4 5 6 7 8 9 10; do \
		echo "round $$round"; $(PYTEST) --quiet || exit 1; \
	done

fuzz: $(VENV)/.development ## 100,000 malformed messages into every queue (some minutes; FUZZ_SEED=…)
	FUZZ_MESSAGES=$${FUZZ_MESSAGES:-100000} $(BIN)/pytest tests/fuzzing -p no:logging $(PYTEST_OPTIONS)

faults: $(VENV)/.development ## kill schedulers, workers, clients and broker 1,000 times, then check every promise (half an hour)
	$(BIN)/python -m tests.faults $(FAULTS_OPTIONS)

soak: $(VENV)/.development ## steady work for ten minutes, then look at memory, queues and logs
	$(BIN)/python -m tests.soak $(SOAK_OPTIONS)

cost: $(VENV)/.development ## count anew what every workload costs, into the table that make test checks
	$(BIN)/python -m tests.cost --write

bench: $(BENCH_VENV)/.installed ## ours and the peers side by side, into docs/performance.md (half an hour)
	$(BENCH_VENV)/bin/python -m benchmarks --plots $(BENCH_OPTIONS)
	$(BENCH_VENV)/bin/python -m tests.support.generated

bench-quick: $(BENCH_VENV)/.installed ## the same at small sizes, only shown (two minutes; BENCH_OPTIONS='--only ours')
	$(BENCH_VENV)/bin/python -m benchmarks --quick $(BENCH_OPTIONS)

bench-scale: $(BENCH_VENV)/.installed ## ours with a million jobs, into docs/performance.md (half an hour; SCALE_OPTIONS='--scale 0.01')
	@$(BENCH_VENV)/bin/python -m benchmarks.scale --plots $(SCALE_OPTIONS); code=$$?; \
		$(BENCH_VENV)/bin/python -m tests.support.generated && exit $$code

check: $(VENV)/.development ## format, lint, types, imports, spelling, generated files; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m tests.support.generated --check

fix: $(VENV)/.development ## what the tools can mend by themselves
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m tests.support.generated

clean: ## remove the environment and all caches
	rm -rf $(VENV) $(BENCH_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .broker-queue
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made anew when its Python is gone or older than 3.11.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "broker-queue needs Python 3.11 or newer, and $(PYTHON) is older or missing;" \
		     "name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }
	@echo "making the environment in $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml
	@echo "installing broker-queue and what it needs (half a minute, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.development: $(VENV)/.installed pyproject.toml
	@echo "installing what development needs (half a minute, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(BENCH_VENV)/.installed: $(BIN)/python pyproject.toml benchmarks/requirements.txt
	@echo "installing the peers (a minute, once)"
	@$(BIN)/python -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[uvloop]' \
		--requirement benchmarks/requirements.txt
	@$(BENCH_VENV)/bin/python -m benchmarks.redis
	@touch $@
