# The only commands anyone needs. Each makes what it depends on: a virtual environment, the
# extension built in release mode, the servers that tests start (by apt, where it can). Needed on the
# machine: python3 (3.10 or newer), cargo, make.

PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
DEMO := .venv-demo
WHEEL := .venv-wheel
DOCS := .venv-docs
BIN := $(VENV)/bin
RUST := Cargo.toml Cargo.lock $(shell find rust -name '*.rs')
PYTHON_SOURCES := $(shell find python -name '*.py' -o -name '*.pyi')
# Tests of crashes, faults and load, which have nothing to do with LangChain's version.
LOAD := $(wildcard tests/soak/test_soak_*.py) tests/soak/test_faults.py tests/soak/test_heartbeat.py \
  tests/stores/sqlite/test_locked.py tests/store_io/test_fail_open.py
# Those that mostly wait, for processes.
WAITING := $(wildcard tests/soak/test_soak_*.py) tests/stores/sqlite/test_locked.py \
  tests/store_io/test_process_end.py tests/store_io/test_leases_processes.py \
  tests/single_flight/test_flight_processes.py tests/concurrency/test_gevent.py \
  tests/cache/test_pickling.py $(wildcard tests/stores/redis/test_redis_*.py)
SWEEPS := $(wildcard tests/keys/test_sweep_*.py)
# All but those whose names follow. (Pytest would compare each file with each name it is to ignore.)
TESTS := $(sort $(shell find tests -name 'test_*.py'))
without = $(filter-out $(addsuffix %,$(1)),$(TESTS))
# The property tests, those of keys and of values.
PROPERTIES := $(wildcard tests/keys/test_key*.py tests/codec/test_values*.py) \
  tests/langchain/test_accelerate.py tests/soak/test_model.py
# What plugs llmemo into LangChain, LangGraph and pytest.
INTEGRATIONS := tests/integrations tests/testing tests/examples
# Of similar questions what depends on LangChain's embeddings, models and callbacks. The rest needs a
# real embedder, or none of LangChain.
SEMANTIC := tests/semantic
SEMANTIC_ON_OLDEST := tests/semantic/test_embedder.py tests/semantic/test_judges.py \
  tests/semantic/test_semantic_settings.py tests/semantic/test_behaviour_options.py
# And those of the store, of leases, of what Rust does by itself and of what is decided by clocks and
# settings alone: on the newest version only.
NEWEST := $(LOAD) $(WAITING) tests/stores tests/memory tests/docs/test_layers.py \
  tests/cli tests/inspection tests/docs/test_command_page.py \
  tests/keys/test_sweep_fields.py $(wildcard tests/store_io/test_leasing*.py) \
  $(wildcard tests/concurrency/test_interrupts*.py) tests/soak/test_flight_schedules.py \
  tests/soak/test_stream_schedules.py $(wildcard tests/single_flight/test_shared_*.py) \
  tests/single_flight/test_flight_executors.py tests/single_flight/test_flight_holders.py \
  tests/soak/test_model.py tests/soak/test_concurrency.py tests/cache/test_removal_sweep.py \
  tests/telemetry $(wildcard tests/integrations/test_prometheus*.py) tests/integrations/test_otel.py \
  tests/cache/test_large.py tests/concurrency/test_small_stacks.py tests/keys/test_keys.py \
  tests/keys/test_keys_collisions.py tests/keys/test_key_vectors.py \
  tests/codec/test_values_limits.py tests/codec/test_values_damage.py \
  tests/codec/test_values_compressed.py tests/cache/test_freshness.py tests/cache/test_removal.py \
  tests/cache/test_namespaces.py tests/cache/test_configuration.py tests/store_io/test_trouble.py \
  tests/importing/test_import_trouble.py tests/importing/test_import_lines.py tests/exporting \
  tests/cli/test_export_import.py tests/testing tests/examples \
  $(wildcard tests/integrations/test_embeddings_*.py) $(wildcard tests/integrations/test_streams_*.py) \
  $(filter-out $(SEMANTIC_ON_OLDEST),$(wildcard tests/semantic/*.py))
# Contracts that also hold on the oldest client of Redis.
REDIS_ON_OLDEST := tests/stores/test_store_contract.py tests/stores/test_store_leases.py
# What runs at the same time shows its output when it is done.
SYNC := $(filter --output-sync,$(.FEATURES:output-sync=--output-sync))
# How long each of the two fuzzers runs.
FUZZ_SECONDS ?= 1800
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, each process that tests start would compile all of llmemo that it imports, and
# pytest would rewrite the assertions of every test each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo demo-fleet docs test quick lint bench soak fuzz wheel clean need-python need-cargo servers

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 19

need-python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: $(PYTHON) not found. Install Python 3.10 or newer (Debian: apt-get install python3-venv), or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "make: $(PYTHON) is older than 3.10. Name a newer one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv module. Debian: apt-get install python3-venv" >&2; exit 1; }

need-cargo:
	@command -v cargo >/dev/null || { \
	  echo "make: cargo not found. Install stable Rust with rustup (see https://rustup.rs), or Debian: apt-get install cargo" >&2; exit 1; }

# Where a server is still missing afterwards, the tests that need it say so.
servers:
	@.ci/servers

$(VENV)/.ready: pyproject.toml | need-python
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -U 'pip>=25.1'
	$(BIN)/python -m pip install -q --group all
	@touch $@

$(VENV)/.built: $(RUST) pyproject.toml $(VENV)/.ready | need-cargo
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked -q >/dev/null
	@touch $@

$(OLDEST)/.built: $(RUST) pyproject.toml | need-python need-cargo
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install -q -U 'pip>=25.1'
	$(OLDEST)/bin/python -m pip install -q --group oldest
	VIRTUAL_ENV=$(abspath $(OLDEST)) $(OLDEST)/bin/maturin develop --release --locked -q >/dev/null
	@$(OLDEST)/bin/python -c 'from importlib.metadata import version; assert version("langchain-core") == "1.0.0", version("langchain-core")'
	@touch $@

# The site reads the sources, and needs neither llmemo nor Rust.
$(DOCS)/.ready: pyproject.toml | need-python
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install -q -U 'pip>=25.1'
	$(DOCS)/bin/python -m pip install -q --group docs
	@touch $@

# Not the environment of the tests: a demo needs a sixth of it.
$(DEMO)/.built: $(RUST) $(PYTHON_SOURCES) pyproject.toml .ci/demo.py | need-python need-cargo
	@$(PYTHON) .ci/demo.py $(DEMO)
	@touch $@

demo: $(DEMO)/.built ## a real client, a stream and an agent: cold, hit, restart
	@$(DEMO)/bin/python examples/demo.py

demo-fleet: $(VENV)/.built servers ## four processes that share a Redis server: one call of the model for all of them
	$(BIN)/python examples/demo_fleet.py

test: $(VENV)/.built $(OLDEST)/.built servers ## everything that must hold, on the newest and the oldest langchain-core
	cargo test --locked -q
	@echo "The tests in five groups, two at a time; each shows its output when it is done."
	@$(MAKE) -k -j2 $(SYNC) --no-print-directory \
	  test-rest test-integrations test-oldest test-properties test-processes

# The groups of `make test`: few, since each imports all it needs; the longest begin, so that both
# cores end at about the same time. They take a slice of the random examples, and of what
# `tests/support/slices.py` says: `make fuzz` and `make soak` take all.
.PHONY: test-rest test-integrations test-oldest test-properties test-processes
test-rest: $(VENV)/.built
	LLMEMO_EXAMPLES=0.3 $(BIN)/python -m pytest -q \
	  $(call without,$(WAITING) $(SWEEPS) $(PROPERTIES) $(INTEGRATIONS) $(SEMANTIC))

test-integrations: $(VENV)/.built
	LLMEMO_EXAMPLES=0.3 $(BIN)/python -m pytest -q $(INTEGRATIONS)

# A tenth of the random examples, and a quarter of the parameters, another one each day: those that
# all ran on the newest.
test-oldest: $(OLDEST)/.built
	LLMEMO_EXAMPLES=0.1 LLMEMO_SLICE=4 $(OLDEST)/bin/python -m pytest -q -m "not clients" \
	  $(call without,$(NEWEST))
	$(OLDEST)/bin/python -m pytest -q -m "not slow" -k redis $(REDIS_ON_OLDEST)

test-properties: $(VENV)/.built
	LLMEMO_EXAMPLES=0.3 $(BIN)/python -m pytest -q $(PROPERTIES) $(SEMANTIC) $(SWEEPS)

test-processes: $(VENV)/.built
	$(BIN)/python -m pytest -q $(WAITING)

quick: $(VENV)/.built ## the loop while developing: all that takes no second and starts no process
	@$(MAKE) -k -j2 $(SYNC) --no-print-directory quick-rest quick-half

# About half of it.
HALF := $(PROPERTIES) $(SEMANTIC) tests/importing tests/explain $(wildcard tests/cache/test_options*.py \
  tests/cache/test_re*.py tests/keys/test_seen*.py tests/keys/test_schemas*.py tests/codec/test_fresh*.py)
QUICK := LLMEMO_QUICK=1 LLMEMO_EXAMPLES=0.1 $(BIN)/python -m pytest -q \
  -m "not slow and not process and not clients"
.PHONY: quick-rest quick-half
quick-rest: $(VENV)/.built
	$(QUICK) $(call without,$(HALF) $(SWEEPS))

quick-half: $(VENV)/.built
	$(QUICK) $(HALF)

lint: $(VENV)/.built ## format, clippy pedantic, ruff, mypy --strict, the stub against the binary
	cargo fmt --check
	cargo clippy --locked --all-targets -q -- -D warnings
	cargo clippy --locked --all-targets --features python -q -- -D warnings
	cd fuzz && cargo fmt --check
	cd fuzz && cargo clippy --locked --no-default-features --features python -q -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest llmemo._core

soak: $(VENV)/.built servers ## the tests of crashes, faults and processes, a hundred times as long
	LLMEMO_VERSIONS=1 $(BIN)/python -m pytest -q tests/keys/test_sweep_versions.py
	LLMEMO_ROUNDS=100 $(BIN)/python -m pytest -q tests/store_io/test_process_end.py \
	  tests/soak/test_concurrency.py tests/soak/test_flight_schedules.py \
	  tests/soak/test_stream_schedules.py tests/cache/test_namespaces.py \
	  tests/cache/test_removal_sweep.py tests/concurrency tests/keys/test_sweep_fields.py \
	  tests/cli/test_under_writes.py tests/integrations/test_prometheus_gunicorn.py $(LOAD)
	LLMEMO_ROUNDS=100 LLMEMO_REDIS_SERVER=$$(command -v valkey-server || echo redis-server) \
	  $(BIN)/python -m pytest -q -k "redis or valkey" tests/stores

fuzz: $(VENV)/.built ## the property tests, a hundred times as long, and libFuzzer (needs g++ too)
	LLMEMO_EXAMPLES=100 $(BIN)/python -m pytest -q $(PROPERTIES)
	$(BIN)/python fuzz/run.py $(FUZZ_SECONDS)

# (With -q, --strict would see no warning.)
docs: $(DOCS)/.ready ## build the site into site/; a broken link or a missing page fails
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict
	@echo "site/index.html. Its search needs a server: python3 -m http.server -d site"

bench: $(VENV)/.built ## compare with InMemoryCache, SQLiteCache and GPTCache; write the tables of the documents
	$(BIN)/python benches/run.py

$(WHEEL)/.ready: pyproject.toml | need-python
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python -m pip install -q -U 'pip>=25.1'
	$(WHEEL)/bin/python -m pip install -q --group wheel
	@touch $@

wheel: $(WHEEL)/.ready | need-cargo ## build the abi3 wheel, prove its tag, try it where there is no compiler
	$(WHEEL)/bin/python .ci/wheel.py

clean: ## remove everything that the other commands made
	rm -rf $(VENV) $(OLDEST) $(DEMO) $(WHEEL) $(DOCS) site target dist fuzz/target fuzz/corpus fuzz/artifacts .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks \
	  $(shell find python tests examples benches -name __pycache__)
