# A thin front door. `make` alone lists the targets.
PYTHON  ?= python3
DATA    ?=
PROFILE ?= quick
MODELS  ?=
CLUSTER ?=
VENV    := .venv
BIN     := $(VENV)/bin
ROOT    := $(or $(SPINESEG_ROOT),.)
PHANTOM := $(ROOT)/data/phantom/phantom.json
READY   := $(VENV)/ready
GRAPH    = $(BIN)/snakemake $(if $(CLUSTER),--profile cluster/$(CLUSTER),--cores all) --quiet rules --rerun-incomplete --config data="$(DATA)" profile="$(PROFILE)" models="$(MODELS)"
NOTEBOOKS := $(sort $(wildcard notebooks/[0-9]*.ipynb))
# Packages are compiled when first imported, not at installation; that needs leave to write.
unexport PYTHONDONTWRITEBYTECODE
export JUPYTER_PLATFORM_DIRS := 1

.PHONY: help setup nnunet cluster reproduce verify test test-quick test-faults test-slurm fuzz bench full predict phantom-only lab graph references parallel-curves notebooks lint lock

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## build .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --no-compile --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

nnunet: $(READY) ## install nnU-Net beside the rest (optional: its row in the tables)
	$(BIN)/pip install --quiet --no-compile --constraint requirements.lock nnunetv2==2.8.1

cluster: $(READY) ## install what submits jobs to SLURM (docs/cluster.md)
	$(BIN)/pip install --quiet --no-compile --constraint requirements.lock snakemake-executor-plugin-slurm==2.8.0

reproduce: $(READY) $(if $(CLUSTER),cluster) ## everything from scans to figures  [DATA=folder] [PROFILE=smoke|quick|full] [MODELS="unet aspp_unet"] [CLUSTER=slurm]
	@start=$$(date +%s); $(GRAPH) && \
	seconds=$$(($$(date +%s) - start)) && \
	printf 'everything took %d min %02d s\n' $$((seconds / 60)) $$((seconds % 60))

test: $(READY) $(PHANTOM) ## the library's tests, then nbval on the notebooks
	$(BIN)/pytest
	TQDM_DISABLE=1 $(BIN)/pytest --nbval --nbval-current-env $(NOTEBOOKS)

$(PHANTOM): | $(READY)
	$(BIN)/spineseg data phantom $(ROOT)/data/phantom

test-quick: $(READY) ## regenerate the quick profile elsewhere and compare it with results/ (long)
	$(BIN)/pytest tests/test_results.py --study quick

test-faults: $(READY) ## kill, fill up and damage everything, at every moment (long; docs/reliability.md)
	$(BIN)/pytest tests/test_faults.py --faults

test-slurm: cluster ## the graph through a SLURM of its own on this machine (wants slurm-wlm and munge)
	BIN=$(BIN) tools/test_slurm.sh

fuzz: $(READY) ## thousands of damaged scans and profiles through the readers (long)
	$(BIN)/python tools/fuzz.py

bench: nnunet $(PHANTOM) ## time everything, beside plain versions and other packages, into results/benchmark/ (long)
	$(BIN)/spineseg bench

full: ## the paper's own scale on a GPU, in pieces  [MINUTES=8] [EPOCHS=3] [RECIPE=full|full-adamw] [FOLDS="0 1"] [CASES=172]
	PYTHONPATH=lib $(or $(wildcard $(BIN)/python),$(PYTHON)) -m spineseg.cli full $(if $(RECIPE),--profile $(RECIPE)) \
	  $(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(CASES),--cases $(CASES)) $(if $(FOLDS),--folds $(FOLDS))

predict: $(READY) ## label one scan with the newest run  SCAN=in.nii.gz MASK=out.nii.gz
	@test -n "$(SCAN)" -a -n "$(MASK)" || { echo "say which: make predict SCAN=in.nii.gz MASK=out.nii.gz"; exit 2; }
	@$(BIN)/spineseg predict "$(SCAN)" "$(MASK)"

phantom-only: $(READY) $(PHANTOM) ## train on phantoms alone, score on real scans  DATA=folder
	@test -n "$(DATA)" || { echo "say which scans: make phantom-only DATA=folder"; exit 2; }
	$(BIN)/spineseg data phantom $(ROOT)/data/phantom-bodies --bodies-only
	said=$$($(BIN)/spineseg train --data $(ROOT)/data/phantom-bodies --profile "$(PROFILE)" --fold all) && \
	$(BIN)/spineseg evaluate "$$(echo "$$said" | tail -n 1)" --data "$(DATA)"

lab: $(READY) ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir notebooks

verify: $(READY) ## recompute tables from stored scores  [TABLE=table3] [DATA=folder] [PROFILE=...]
	@$(BIN)/spineseg verify $(TABLE) --data "$(DATA)" --profile "$(PROFILE)"

graph: $(READY) ## draw the steps, and what each depends on, in docs/graph.md
	@$(GRAPH) --rulegraph mermaid-js | $(BIN)/python tools/draw_graph.py

references: $(READY) ## regenerate the numbers that `make test` compares with
	rm -rf $(addsuffix /phantom-mini-smoke,runs results) data/phantom-mini cache/phantom-mini-smoke-*
	$(BIN)/spineseg data phantom data/phantom-mini --cases 10 --scale 0.0625
	$(MAKE) reproduce DATA=data/phantom-mini PROFILE=smoke MODELS="$$($(BIN)/python -c 'from spineseg.models import MODELS; print(*MODELS)')"

parallel-curves: $(READY) ## record the loss curves of one and two processes (docs/scaling.md)
	$(BIN)/python tools/parallel_curves.py

notebooks: ## run the quick profile on the phantom afresh and keep the outputs in notebooks/
	rm -rf runs/phantom-quick results/phantom-quick figures/phantom-quick
	$(MAKE) reproduce DATA= PROFILE=quick
	$(BIN)/python tools/adopt_notebook.py runs/phantom-quick/notebooks $(NOTEBOOKS)
	$(BIN)/python tools/update_readme.py

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lock: $(READY) ## rewrite requirements.lock from pyproject.toml
	$(BIN)/pip install --quiet uv
	PATH="$(CURDIR)/$(BIN):$$PATH" tools/lock.sh
