# `make` alone lists the targets. Those for users are in make.py, which also works without make.
PYTHON  ?= python3
# Commands read these from the environment, because make and the shell would change some names.
override DATA := $(value DATA)
override PROFILE := $(value PROFILE)
override MODELS := $(value MODELS)
override RUNS := $(value RUNS)
override FOLDS := $(value FOLDS)
override CLUSTER := $(value CLUSTER)
override CORES := $(value CORES)
override MINUTES := $(value MINUTES)
override SCAN := $(value SCAN)
override MASK := $(value MASK)
override TABLE := $(value TABLE)
export DATA PROFILE MODELS RUNS FOLDS CLUSTER CORES MINUTES SCAN MASK TABLE
BIN     := .venv/bin
ROOT    := $(or $(SPINESEG_ROOT),.)
PHANTOM := $(ROOT)/data/phantom/phantom.json
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
# Packages are compiled when they are first imported, not when they are installed.
unexport PYTHONDONTWRITEBYTECODE
export JUPYTER_PLATFORM_DIRS := 1

.PHONY: help setup reproduce figures test lab course predict lint verify nnunet phantom-only weights paper-scale bench \
  test-faults test-graph test-slurm test-site fuzz references notebooks study graph lock site

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nfor developers\n'
	@awk -F ':.*#- ' '/^[a-z-]+:.*#- / {printf "%-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## build .venv from requirements.lock
	@$(PYTHON) make.py setup

reproduce: ## train two networks as the stored study did, compare, and make all tables and figures again  [RUNS=all] [DATA=folder] [PROFILE=smoke|laptop|paper] [MODELS="unet segnet"] [CORES=4] [MINUTES=30] [CLUSTER=slurm]
	@$(strip $(PYTHON) make.py reproduce $(if $(DATA),--data="$$DATA") $(if $(PROFILE),--profile="$$PROFILE") \
	  $(if $(MODELS),--models "$$MODELS") $(if $(RUNS),--runs="$$RUNS") $(if $(MINUTES),--minutes="$$MINUTES") \
	  $(if $(CORES),--cores="$$CORES") $(if $(CLUSTER),--cluster="$$CLUSTER"))

figures: ## make all tables and figures again from the stored scores  [DATA=folder] [PROFILE=...]
	@$(strip $(PYTHON) make.py figures $(if $(DATA),--data="$$DATA") $(if $(PROFILE),--profile="$$PROFILE"))

test: ## the library's tests, then nbval on the notebooks
	@$(PYTHON) make.py test

lab: ## the lessons in JupyterLab
	@$(PYTHON) make.py lab

course: ## write notebooks for students and solutions into course/
	@$(PYTHON) make.py course

site: ## the site with all lessons, in site/_build/html
	@$(PYTHON) make.py site

predict: ## label one scan  SCAN=in.nii.gz MASK=out.nii.gz
	@$(PYTHON) make.py predict -- "$$SCAN" "$$MASK"

lint: #- ruff, mypy and import-linter
	@$(PYTHON) make.py lint

verify: setup #- recompute tables from the stored scores  [TABLE=table3] [DATA=folder] [PROFILE=...]
	@$(BIN)/spineseg verify $(if $(TABLE),"$$TABLE") --data="$$DATA" --profile="$${PROFILE:-laptop}"

nnunet: #- install nnU-Net too, for its row in the tables
	@$(PYTHON) make.py nnunet

phantom-only: setup $(PHANTOM) #- train on phantoms alone and score on real scans  DATA=folder
	@test -n "$$DATA" || { echo "say which scans: make phantom-only DATA=folder"; exit 2; }
	$(BIN)/spineseg data phantom $(ROOT)/data/phantom-bodies --bodies-only
	said=$$($(BIN)/spineseg train --data $(ROOT)/data/phantom-bodies --profile="$${PROFILE:-laptop}" --fold all) && \
	$(BIN)/spineseg evaluate "$$(echo "$$said" | tail -n 1)" --data="$$DATA"

weights: setup #- train the network in weights/ on simulated scans alone (about an hour)
	said=$$($(BIN)/spineseg train --data randomised-1000 --profile bundled --fold all) && \
	$(BIN)/spineseg bundle "$$(echo "$$said" | tail -n 1)"

paper-scale: #- the paper's own scale on a GPU, on simulated patients  [MINUTES=60] [PROFILE=paper-adamw] [MODELS=...] [FOLDS="0 1"]
	PYTHONPATH=lib $(or $(wildcard $(BIN)/python),$(PYTHON)) -m spineseg reproduce --data simulated \
	  --profile="$${PROFILE:-paper}" $(if $(MODELS),--models $$MODELS) \
	  $(if $(MINUTES),--minutes="$$MINUTES") $(if $(FOLDS),--folds $$FOLDS)

bench: nnunet $(PHANTOM) #- measure speed and memory into results/benchmark/ (long)
	$(BIN)/spineseg bench

test-faults: setup #- kill, fill up and damage everything at every moment (long)
	$(BIN)/pytest tests/test_faults.py --faults

test-graph: setup #- make everything from nothing, with every method and lesson, and compare (long)
	$(BIN)/pytest tests/test_results.py --graph

test-slurm: setup #- run the graph through a SLURM on this machine (needs slurm-wlm and munge)
	$(BIN)/python -c 'import sys, make; sys.exit(make.install_cluster())'
	BIN=$(BIN) tools/test_slurm.sh

test-site: setup #- build the site and test it in a headless Chromium (needs one: docs/site.md)
	$(BIN)/python -c 'import sys, make; sys.exit(make.install_site() or make.install_browser())'
	$(BIN)/python -m tools.website --strict
	$(BIN)/pytest tests/test_site_browser.py --site

fuzz: setup #- give thousands of damaged scans and profiles to the readers (long)
	$(BIN)/python tools/fuzz.py

references: setup #- write the numbers again that `make test` compares with
	rm -rf $(addsuffix /phantom-mini-smoke,runs results) data/phantom-mini cache/phantom-mini-smoke-*
	$(BIN)/spineseg data phantom data/phantom-mini --cases 10 --scale 0.0625
	$(MAKE) reproduce DATA=data/phantom-mini PROFILE=smoke \
	  MODELS="$$($(BIN)/python -c 'from spineseg.methods import *; print(*(name for name in dict.fromkeys(NOISE_METHODS + ABLATION_METHODS) if name != NNUNET))')"

notebooks: #- execute the notebooks on the stored scores and keep their outputs in notebooks/ and README
	rm -rf runs/phantom-laptop/notebooks figures/phantom-laptop
	$(MAKE) figures DATA= PROFILE=laptop
	$(BIN)/python tools/adopt_notebook.py runs/phantom-laptop/notebooks $(NOTEBOOKS)
	$(BIN)/python -m tools.readme

study: setup #- train everything behind the stored results (many hours)  [MINUTES=60]
	$(BIN)/spineseg study $(if $(MINUTES),--minutes="$$MINUTES")

graph: setup #- draw the steps, and what each depends on, into docs/graph.md
	@$(BIN)/snakemake --quiet rules --config data="$$DATA" profile="$${PROFILE:-smoke}" models="$$MODELS" \
	  --rulegraph mermaid-js | $(BIN)/python tools/draw_graph.py

lock: setup #- write requirements.lock again from pyproject.toml
	$(BIN)/python -c 'import sys, make; sys.exit(make.install("uv"))'
	PATH="$(CURDIR)/$(BIN):$$PATH" tools/lock.sh

$(PHANTOM): | setup
	$(BIN)/spineseg data phantom $(ROOT)/data/phantom
