# The two commands that matter: `make demo` and `make test`. Everything else is listed by `make help`.
# Settings are passed as variables of the environment: APQX_PORT_WEB=18080 make demo

.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh

PY := .venv/bin/python
APQX := .venv/bin/apqx
RUNTIME := .venv/stamps/runtime
DEV := .venv/stamps/dev
LAB := .venv-lab/stamps/lab
SCAN := .venv-scan/stamps/scan
# Notebook plugins import Jupyter at start (3 s); tests that run no notebook go without them.
PLAIN := -p no:nbval -p no:nbmake
NOTEBOOK_TESTS := tests/runbooks tests/notebooks

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(RUNTIME) ## make the environment: locked packages, Traefik, Prometheus; nothing is installed on the host

$(RUNTIME): requirements.lock scripts/setup.lock scripts/setup.sh pyproject.toml
	@scripts/setup.sh runtime

$(DEV): requirements-dev.lock scripts/setup.lock scripts/setup.sh pyproject.toml
	@scripts/setup.sh dev

$(LAB): requirements-lab.lock scripts/setup.lock scripts/setup.sh pyproject.toml
	@scripts/setup.sh lab

$(SCAN): requirements-scan.lock scripts/setup.lock scripts/setup.sh
	@scripts/setup.sh scan

demo: $(RUNTIME) ## set up, bring the platform up, run runbooks 01 to 05, print the results; leaves it running
	@$(APQX) demo

up: $(RUNTIME) ## recreate everything: platform, application, monitoring
	@$(APQX) up

down: $(RUNTIME) ## destroy the cluster; git repository and images stay
	@$(APQX) down

status: $(RUNTIME) ## what runs, how well, and where
	@$(APQX) status

doctor: $(RUNTIME) ## what this machine has and what is missing
	@$(APQX) doctor

lab: $(RUNTIME) $(LAB) ## JupyterLab on the runbooks, on loopback, protected by a token
	@exec env APQX_RUNS_DIR="$(CURDIR)/runs" JUPYTER_CONFIG_PATH="$(CURDIR)/scripts/lab" \
	    PYTHONSTARTUP="$(CURDIR)/scripts/lab/startup.py" .venv-lab/bin/jupyter lab

test: $(DEV) ## the whole test suite, from nothing
	@set -e; PATH="$$PATH:$$($(PY) -m platform_lib.providers.tools --folders)"; export PATH; groups=; for folder in $(NOTEBOOK_TESTS); do [ -d $$folder ] && groups="$$groups $$folder"; done; \
	ignored=$$(for folder in $$groups; do printf ' --ignore=%s' $$folder; done); \
	$(PY) -m pytest $(PLAIN) $$ignored tests; \
	[ -z "$$groups" ] || $(PY) -m pytest $(PLAIN) $$groups

check: $(DEV) ## ruff, mypy, import contracts, house tests
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports
	@$(APQX) slo rules --check
	@$(APQX) dashboard grafana --check
	@$(PY) -m pytest $(PLAIN) -q tests/house

scan: $(SCAN) ## manifests, Dockerfile, workflows, secrets, YAML: every scanner that needs no network
	@.venv-scan/bin/python scripts/scan.py

fmt: $(DEV) ## format the code
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

bench: $(RUNTIME) ## measure; writes benchmarks/results/latest.json and prints a table
	@$(PY) -m benchmarks

image: $(RUNTIME) ## build both container images with the engine that answers; REGISTRY=host/name pushes them too
	@set -e; for target in app workbench; do \
	    name=$$([ $$target = app ] && echo sample-app || echo workbench); \
	    $(APQX) image build --engine $(or $(ENGINE),auto) --target $$target \
	        --build-arg REVISION=$$(git rev-parse HEAD) $(if $(VERSION),--version $(VERSION)) \
	        $(if $(REGISTRY),--repository $(REGISTRY)/$$name --push) $(IMAGE_OPTIONS); \
	done

drill: $(RUNTIME) ## every drill of the catalogue, one after the other, and one page; SCENARIO=pod-loss for one
	@$(APQX) $(if $(SCENARIO),drill run $(SCENARIO),drill all) --confirm $(or $(CONFIRM),apqx)

clean: ## take the platform down and delete the environments; git repository, images and runs stay
	@[ ! -x $(APQX) ] || $(APQX) down
	@rm -rf .venv .venv-lab .venv-scan

.PHONY: help setup demo up down status doctor lab test check scan fmt bench image drill clean
