# The commands people use. Everything real is in Python; this file only names it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_STAMP := $(VENV)/.installed-demo
CLUSTER ?= embedded
REGISTRY ?=
# Minor version of Kubernetes of a new devcluster, the default one if empty: 1.34 or 1.37.
KUBERNETES ?=
OF_VERSION = $(if $(KUBERNETES),--kubernetes $(KUBERNETES))
# official: take programs of the devcluster from release archives where there are any; or a list, see CONTRIBUTING.md.
ARCHIVES ?=
ifneq ($(ARCHIVES),)
export KUBE_BUILDER_ARCHIVES := $(ARCHIVES)
endif
LOCK_FLAGS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

# Tests on the devcluster kill, mount and unmount. Nothing that root writes may stay in the user's folders.
CACHE = $(or $(KUBE_BUILDER_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kube-builder)
KEPT = "PATH=$(PATH)" "KUBE_BUILDER_CACHE=$(CACHE)" $(if $(KUBE_BUILDER_STATE),"KUBE_BUILDER_STATE=$(KUBE_BUILDER_STATE)") \
	$(if $(DEVCLUSTER),"DEVCLUSTER=$(DEVCLUSTER)") $(if $(FAULT_SEED),"FAULT_SEED=$(FAULT_SEED)") $(if $(CONFORMANCE_SEED),"CONFORMANCE_SEED=$(CONFORMANCE_SEED)")
AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo env $(KEPT) PYTHONDONTWRITEBYTECODE=1)
FIRST = tests/e2e tests/parity $(addprefix tests/integration/,registry session fsutil progress driver_opts transport)
ON_CLUSTER = $(AS_ROOT) $(BIN)/python -m pytest -p no:cacheprovider

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-programs test test-first test-second test-rest test-unit test-versions test-dataclasses test-oldest coverage test-integration test-e2e lint bench soak cluster-up cluster-down bundle protos docs clean lock

help: ## Show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml dev/requirements-dev.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement dev/requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The demo needs no developers' tools: on an empty machine, it gets an environment without them.
$(DEMO_STAMP): dev/requirements-demo.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement dev/requirements-demo.lock
	@touch $@

setup: $(STAMP) ## Install the Python environment and build the devcluster's programs (about 9 minutes cold)
	$(BIN)/python -m devcluster programs $(OF_VERSION)

# The cluster's programs need nothing but Python: they are built while its packages are fetched.
demo-programs:
	$(PYTHON) -m devcluster programs --small $(OF_VERSION)

demo: ## Build and push a multi-arch image (CLUSTER=current REGISTRY=host/path for your own cluster)
	@$(MAKE) --no-print-directory --jobs 2 $(or $(wildcard $(STAMP)),$(DEMO_STAMP)) $(if $(filter embedded,$(CLUSTER)),demo-programs)
	$(BIN)/python -m devcluster.demo --cluster "$(CLUSTER)" --registry "$(REGISTRY)" $(OF_VERSION)

test: lint $(STAMP) ## All tests: lint, unit, integration, end to end, faults, on two embedded devclusters side by side
	$(BIN)/python -m devcluster programs $(OF_VERSION)
	$(MAKE) --no-print-directory --jobs 2 --keep-going test-first test-second

# Each group has a cluster of its own, so faults in one disturb nothing in the other.
test-first: $(STAMP)
	$(BIN)/python -m devcluster up $(OF_VERSION)
	$(ON_CLUSTER) $(FIRST)
	$(BIN)/python -m pytest tests/unit

# Two outputs at once cannot be read: this group's follows when it has ended.
test-second: $(STAMP)
	@mkdir -p build && echo "the second group writes to build/test-second.log"
	@$(MAKE) --no-print-directory test-rest > build/test-second.log 2>&1; code=$$?; cat build/test-second.log; exit $$code

test-rest: export DEVCLUSTER := $(or $(DEVCLUSTER),dev)-second
test-rest:
	$(BIN)/python -m devcluster up $(OF_VERSION)
	$(ON_CLUSTER) --ignore tests/unit $(FIRST:%=--ignore %)
	$(BIN)/python -m devcluster down

test-unit: $(STAMP) ## Unit tests: seconds, no cluster
	$(BIN)/python -m pytest tests/unit

test-dataclasses: $(STAMP) ## Unit tests with the standard library's dataclasses in place of our own (1 to 2 minutes; part of soak)
	$(BIN)/python -m pytest -p tests.standard_dataclasses tests/unit

# Developers' tools are those of the lock; then each dependency of pyproject.toml goes down to the oldest that it allows.
build/oldest/.installed: pyproject.toml dev/requirements-dev.lock $(STAMP)
	$(PYTHON) -m venv --clear build/oldest
	$(BIN)/uv pip install --quiet --python build/oldest/bin/python --require-hashes --requirement dev/requirements-dev.lock
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --python-version 3.11 --output-file build/oldest/oldest.txt pyproject.toml
	$(BIN)/uv pip install --quiet --python build/oldest/bin/python --requirement build/oldest/oldest.txt
	$(BIN)/uv pip install --quiet --python build/oldest/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

test-oldest: build/oldest/.installed ## Unit tests with the oldest allowed version of each dependency (1 to 2 minutes; part of soak)
	build/oldest/bin/python -m pytest -p no:cacheprovider tests/unit

coverage: $(STAMP) ## Unit tests with the share of lines that they reach; fails below 85 % of a package (part of soak)
	$(BIN)/python -m dev.unit_coverage

test-integration: $(STAMP) ## Integration tests on the devcluster
	$(BIN)/python -m devcluster up $(OF_VERSION)
	$(ON_CLUSTER) tests/integration

test-e2e: $(STAMP) ## End-to-end and fault tests on the devcluster
	$(BIN)/python -m devcluster programs $(OF_VERSION)
	$(BIN)/python -m devcluster up $(OF_VERSION)
	$(ON_CLUSTER) tests/e2e tests/faults

# What depends on the server's version: driver, transports, rights, clean-up. Each version has a cluster of its own.
VERSIONS = 1.34 1.37
BY_VERSION = tests/integration/kube tests/integration/transport tests/integration/rights tests/integration/builder tests/faults/test_cleanup.py tests/faults/test_post_step.py
test-versions: $(VERSIONS:%=test-kubernetes-%) ## Driver, transports, rights and clean-up on each Kubernetes version (part of soak)

test-kubernetes-%: export DEVCLUSTER = kubernetes-$(subst .,-,$*)
test-kubernetes-%: $(STAMP)
	$(BIN)/python -m devcluster up --kubernetes $*
	$(ON_CLUSTER) $(BY_VERSION)
	$(BIN)/python -m devcluster down

lint: $(STAMP) ## ruff, mypy --strict, import contract, names and English
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m dev.style

build/docs/.installed: dev/requirements-docs.lock
	$(PYTHON) -m venv build/docs
	build/docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement dev/requirements-docs.lock
	@touch $@

docs: build/docs/.installed ## The site of docs/, in build/site; a broken link or a page that is nowhere fails
	NO_MKDOCS_2_WARNING=1 build/docs/bin/mkdocs build --strict --config-file dev/mkdocs.yml

bench: $(STAMP) ## Us and docker buildx, alternately, on the devcluster
	$(BIN)/python -m devcluster up $(OF_VERSION)
	$(BIN)/python -m bench

soak: test-dataclasses coverage ## The long counts; writes JSON results into bench/results
	$(BIN)/python -m devcluster up $(OF_VERSION)
	$(BIN)/python -m bench.versions --kubernetes $(VERSIONS) --oldest
	KUBE_BUILDER_TEST_SEEDS=40 $(BIN)/python -m pytest tests/unit/cli/test_seeded.py
	$(BIN)/python -m bench.soak
	$(AS_ROOT) $(BIN)/python -m bench.faults
	$(BIN)/python -m bench.pools
	$(AS_ROOT) $(BIN)/python -m bench.week
	$(BIN)/python -m bench.plots
	$(BIN)/python -m bench.burst
	$(AS_ROOT) $(BIN)/python -m bench.losses
	$(AS_ROOT) $(BIN)/python -m bench.elastic
	$(BIN)/python -m bench.trees
	$(BIN)/python -m bench.clones
	$(BIN)/python -m bench.conformance --json bench/results/conformance-$$(date +%F).json
	$(BIN)/python -m devcluster --name suite down

cluster-up: $(STAMP) ## Start the embedded devcluster
	$(BIN)/python -m devcluster up $(OF_VERSION)

cluster-down: $(STAMP) ## Remove every trace of the devcluster from this machine
	$(BIN)/python -m devcluster down

bundle: $(STAMP) ## Write action.yml, the template's inputs and the pages' tables from the table of options
	$(BIN)/python -m bundle

protos: $(STAMP) ## Write the tables of protobuf messages from our .proto files
	$(BIN)/python -m dev.protos

lock: ## Pin the newest allowed versions of all dependencies, with hashes
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv
	build/lock/bin/uv pip compile $(LOCK_FLAGS) --output-file requirements.lock pyproject.toml
	build/lock/bin/uv pip compile $(LOCK_FLAGS) --output-file dev/requirements-dev.lock --group dev pyproject.toml
	build/lock/bin/uv pip compile $(LOCK_FLAGS) --output-file dev/requirements-demo.lock --group demo --constraint dev/requirements-dev.lock pyproject.toml
	build/lock/bin/uv pip compile $(LOCK_FLAGS) --output-file dev/requirements-docs.lock --group pyproject.toml:docs

clean: ## Remove the Python environment and caches of this folder
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
