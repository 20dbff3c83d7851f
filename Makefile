# Two commands do everything, on a fresh machine with make and Python 3.11 or newer:
#   make demo    the whole study on simulated cohorts
#   make test    all tests but those of the whole embedded study, which make test_study has
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CORES ?= 2
# The demo has its own, which only cores that were asked for replace.
ASKED_CORES = $(if $(filter-out file,$(origin CORES)),--cores $(CORES))
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)

# One thread per job: two jobs at a time are faster than one with two threads.
export OMP_NUM_THREADS ?= 1

# make check_env STUDY=mine.yaml
OVERLAY = $(if $(STUDY),--configfile $(STUDY))
# They write nothing that a run under way would miss.
ASKED = --cores 1 --nolock --quiet rules progress host reason $(OVERLAY)

.PHONY: help install browser demo plan check_env verify_data report clean_intermediate test test_study twice \
  test_conda test_audit cluster faults unlock real rulegraph lint conda audit clean

help:
	@grep -E '^[a-z_]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */	/' | expand -t 20

install: $(INSTALLED) ## create .venv from the lock file

$(INSTALLED): envs/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/requirements.lock
	@touch $@

browser: ## install a browser for the report's test, where apt may
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null; } || \
	echo "no browser: the report's browser test will be skipped"

demo: $(INSTALLED) ## the whole study on simulated cohorts
	$(BIN)/snakemake --profile demo $(ASKED_CORES) all
	@echo "Report: $(CURDIR)/results/demo/report/index.html"

plan: $(INSTALLED) ## what a study would run and take; STUDY=demo/study.yaml for an overlay
	@$(BIN)/python -m workflow_scripts.plan $(TARGET) $(OVERLAY) \
	  $(if $(RATE),--rate $(RATE)) $(if $(SHARE),--share $(SHARE))

check_env: $(INSTALLED) ## what this machine offers a study; STUDY=demo/study.yaml for an overlay
	@$(BIN)/snakemake check_env $(ASKED)

verify_data: $(INSTALLED) ## compare downloads and weights with their recorded checksums
	@$(BIN)/snakemake verify_data $(ASKED)

report: $(INSTALLED) ## the report of what a study has so far
	@$(BIN)/snakemake partial_report $(ASKED)

clean_intermediate: $(INSTALLED) ## sizes of what can be computed again; YES=1 removes it
	@$(BIN)/python -m workflow_scripts.commands.clean_intermediate $(OVERLAY) $(if $(YES),--yes)

test: $(INSTALLED) browser ## all tests but those of the whole embedded study
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder

test_study: $(INSTALLED) ## the embedded study from an empty folder, what it must show, and every setting
	$(BIN)/python -m pytest tests/workflow -m study -n $(CORES) --dist loadfile

test_audit: $(INSTALLED) ## vulnerabilities and withdrawn releases among the locked packages, where the network answers
	$(BIN)/python -m pytest tests/unit/envs/test_audit.py -m network -rs

twice: $(INSTALLED) ## the embedded study in two folders, compared byte by byte
	$(BIN)/python -m pytest tests/workflow/test_two_runs.py -m nightly -rP

test_conda: $(INSTALLED) ## the environment of --sdm conda, made anew, and a target in it
	$(BIN)/python -m pytest tests/workflow/test_conda.py -m 'nightly or not nightly' -rP

real: $(INSTALLED) ## the real images beside the checkout, in full
	$(BIN)/python -m pytest tests/real -m 'real' -s

cluster: $(INSTALLED) ## the embedded study through a SLURM of one node, and its faults (root, hours)
	$(BIN)/python -m pytest tests/workflow/test_slurm_study.py tests/faults/test_on_cluster.py \
	  tests/workflow/test_slurm.py -m 'nightly or slow' -rP

faults: $(INSTALLED) ## 200 faults at random moments, one by one; FAULTS=20 SEED=7 ROW=5
	FAULTS_RECORD=benchmarks/faults.csv FAULTS_SEED=$(SEED) $(BIN)/python -m pytest tests/faults -m fault \
	  --ignore tests/faults/test_on_cluster.py
	$(BIN)/python -m tests.faults.chaos --faults $(or $(FAULTS),200) $(if $(SEED),--seed $(SEED)) \
	  $(if $(ROW),--in-a-row $(ROW)) --record benchmarks/faults.csv; status=$$?; \
	  $(BIN)/python -m tests.faults.record; exit $$status

unlock: $(INSTALLED) ## unlock this folder after a run was killed, unless something still writes
	@$(BIN)/python -m workflow_scripts.unlock $(if $(STUDY),--configfile $(STUDY))

rulegraph: $(INSTALLED) ## redraw docs/rulegraph.svg (needs graphviz)
	@command -v dot >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get install -y -qq graphviz >/dev/null; } || \
	{ echo "graphviz is missing: install it and try again"; exit 1; }
	$(BIN)/snakemake all --rulegraph --configfile demo/study.yaml | dot -Tsvg > docs/rulegraph.svg

lint: $(INSTALLED) ## ruff, snakefmt and snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(SNAKEMAKE) --lint

conda: ## rewrite the conda file after the lock file has changed
	@{ sed -n '/^#/p' envs/virtues-study.yaml; printf '%s\n' 'name: virtues-study' 'channels: [conda-forge]' \
	  'dependencies:' '  - python=3.11' '  - pip' '  - pip:'; \
	  sed -n "/==/s/.*/      - '&'/p" envs/requirements.lock; } > envs/.conda.part
	@mv envs/.conda.part envs/virtues-study.yaml

audit: ## known vulnerabilities of the locked packages (asks a database on the network)
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && \
	  $(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit; }
	@$(VENV)/audit/bin/pip-audit --no-deps --disable-pip -r envs/requirements.lock $(or $(OPTIONS),--strict)

clean: ## remove results, but not downloads
	@du -sh results/* 2>/dev/null || true
	rm -rf $(filter-out results/archives,$(wildcard results/*))
