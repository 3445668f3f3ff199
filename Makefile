# Everything from a fresh machine with Python 3.11+ and make: `make demo`, `make test`.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-containers test-slow test-browser unit check format chaos outage upgrade storm answers litellm recipes asyncapi mutants image kustomize deploy-test docs release bench bench-smoke bench-all lock generate clean

demo: .venv/.installed ## the whole job once, on real parts
	@$(BIN)/hybrid demo

test: .venv/.installed ## the whole default test suite; the decision core must be covered whole
	$(BIN)/python tools/run_tests.py

test-containers: .venv/.installed ## what needs a broker and a ClickHouse, on containers of both; needs a container engine, or root and docker.io
	HYBRID_TEST_BACKEND=containers $(BIN)/pytest -rs $$($(BIN)/python -m tests.backend)

test-slow: .venv/.installed ## what is slow by its nature: three brokers, and all faults in one run of real processes
	$(BIN)/pytest tests/slow

test-browser: .venv/.browser ## the console in Debian's chromium: apt-get install chromium; CHROMIUM=path names another
	$(BIN)/pytest tests/browser

unit: .venv/.installed ## the tests without I/O
	$(BIN)/pytest tests/unit

check: .venv/.installed ## format, lint, types, imports, generated files, the last release's contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests bench
	$(BIN)/lint-imports
	$(BIN)/python tools/generate.py --check
	$(BIN)/python tools/contract.py

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: .venv/.installed ## faults on real processes; FAULT=name for one, TIMES=n, SEED=n, INTENTS=n, BROKERS=3, BACKGROUND=found|lost
	$(BIN)/python -m tests.chaos $(if $(FAULT),--fault $(FAULT)) $(if $(SEED),--seed $(SEED)) $(if $(INTENTS),--intents $(INTENTS)) $(if $(BROKERS),--brokers $(BROKERS)) $(if $(TIMES),--times $(TIMES)) $(if $(BACKGROUND),--background $(BACKGROUND))

outage: .venv/.installed ## a scripted outage of the providers, ten minutes in the time of one; HOURS=60: days, by a moved clock
	$(BIN)/python -m tests.chaos.$(if $(HOURS),long --hours $(HOURS),outage)

upgrade: .venv/.installed ## the last release and this version beside each other, up and down; BASE=commit or tag, SEED=n, INTENTS=n
	$(BIN)/python -m tests.upgrade $(if $(BASE),--base $(BASE)) $(if $(SEED),--seed $(SEED)) $(if $(INTENTS),--intents $(INTENTS))

storm: .venv/.installed ## foreign records of all kinds on all source topics; RECORDS=n, SEED=n
	STORM_RECORDS=$(or $(RECORDS),100000) STORM_SEED=$(or $(SEED),1) $(BIN)/pytest tests/slow/test_storm.py

answers: .venv/.installed ## odd answers of a provider through adapter and executor; ANSWERS=n, SEED=n
	ODD_ANSWERS=$(or $(ANSWERS),100000) ODD_SEED=$(or $(SEED),1) $(BIN)/pytest tests/contract/test_odd_answers.py

litellm: .venv/.installed ## against LiteLLM's proxy with its mock answers, installed for the run
	$(BIN)/pytest tests/peers/check_litellm.py

recipes: .venv/.installed ## the recipes of docs/recipes.md; needs a JDK, Go and Node, and their registries
	$(BIN)/pytest tests/peers/check_recipes.py

asyncapi: .venv/.installed ## the AsyncAPI document against the official schema of 3.1; needs Node and its registry
	$(BIN)/pytest tests/peers/check_asyncapi.py

mutants: .venv/.installed ## known bugs put back one at a time: the suite must notice each
	$(BIN)/python tools/mutate.py

image: ## the production image, hybrid-orchestrator:latest; needs a container engine
	docker build -f deploy/Dockerfile -t hybrid-orchestrator:latest \
	  --build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
	  --build-arg REVISION=$$(git rev-parse HEAD) .

kustomize: .venv/.installed ## the bases of deploy/kustomize, rendered from the chart; needs Go
	$(BIN)/python -m tests.deploy.kustomized

deploy-test: .venv/.installed ## chart, rules, units (needs Go); image and docker-compose.yml, in an engine: its own, as root, where none runs
	$(BIN)/pytest tests/deploy -s

docs: .venv-docs/.installed ## the documentation site into site/; a link that leads nowhere fails it
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

release: .venv/.installed ## wheel, sdist, chart, changelog section and sums into dist/, of what is committed; the image where an engine is; IMAGE=no
	$(BIN)/python tools/release.py $(if $(filter no,$(IMAGE)),--no-image)

bench: .venv/.installed ## the product beside its peers, into docs/benchmarks.md; some 40 minutes, needs cc
	$(BIN)/python -m bench.peers --write --quiet-seconds 30

bench-smoke: .venv/.installed ## half a minute: fails when an intent takes clearly more CPU, in floors, than it did
	$(BIN)/python -m bench.peers.smoke

bench-all: .venv/.installed ## the other benchmarks; each prints its own table
	for script in bench/*.py; do $(BIN)/python $$script || exit 1; done

generate: .venv/.installed ## the files that are made from code
	$(BIN)/python tools/generate.py

lock: ## new versions into the lock files; needs uv
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --all-extras pyproject.toml -o requirements/all.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml -o requirements/runtime.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra otel -c requirements/runtime.lock pyproject.toml -o requirements/image.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -c requirements/runtime.lock requirements/client.in -o requirements/client.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements/uv.in -o requirements/uv.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements/build.in -o requirements/build.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements/docs.in -o requirements/docs.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -c requirements/all.lock requirements/browser.in -o requirements/browser.lock
	for peer in bare faststream faust quix; do uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate bench/peers/requirements/$$peer.in -o bench/peers/requirements/$$peer.lock || exit 1; done

clean:
	rm -rf .venv .venv-docs site .coverage build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/.installed: pyproject.toml requirements/all.lock requirements/uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …" >&2; exit 2; }
	@echo "setting up .venv (once; some 250 MB are fetched)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.lock
	@$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/all.lock
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/.browser: .venv/.installed requirements/browser.lock
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --require-hashes -r requirements/browser.lock
	@touch $@

.venv-docs/.installed: requirements/docs.lock
	@test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --require-hashes -r requirements/docs.lock
	@touch $@
