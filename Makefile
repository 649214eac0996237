# `make up` and `make test` each work as the first command on a machine with Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
TOPOLOGY ?= shop

.PHONY: env up down test lint format bench docs lock images sbom clean

env: .venv/.ready

# pip installs only what the lock names, with the hashes it names; the build of our own editable
# install runs in the same environment, so nothing unpinned is ever fetched.
.venv/.ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 env" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

up: env
	@$(BIN)/mesh up $(TOPOLOGY)

down: env
	@$(BIN)/mesh down

# First everything that only computes or uses its own sockets, in parallel; then the tests that start
# whole meshes and measure them, and those that start containers, one at a time: they would disturb each other.
test: env
	$(BIN)/python -m pytest -n 2 -m "not e2e and not docker"
	$(BIN)/python -m pytest -m e2e
	$(BIN)/python -m pytest -m docker

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: env
	$(BIN)/python -m tests.benchmarks

# What becomes of each field of Istio's documents, from the models that read them.
docs: env
	$(BIN)/python -m mesh.istio_page docs/istio.md

# Needs uv; run it after an edit of the dependencies in pyproject.toml.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock

# Asks the registries anew for the digests of other projects' images; needs a Docker engine and the internet.
images: env
	$(BIN)/python -m mesh.export.renew
	$(BIN)/mesh export compose --output compose.yaml

# What the image holds of other projects, as CycloneDX.
sbom: env
	$(BIN)/python .ci/sbom.py > sbom.cdx.json

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
