# Every way to set up, run, test and check this project; `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Absolute, so that subprocesses with another working directory find it too.
VENV ?= .venv
override VENV := $(abspath $(VENV))
PORT ?= 8000
# How many tests run at once; empty: two a core, for most of them wait for processes that they have started.
JOBS ?=
# Which database each test runs on where it shall run once; empty: on both.
ON ?=
# Which interpreter makes the virtual environment; empty: the newest suitable one on this machine.
PYTHON ?=
# What resolves dependencies for `make lock`; nothing else needs it.
UV ?= uv
# 1: note which lines and branches of crons the tests run.
COVERAGE ?=
export VENV PORT JOBS ON PYTHON COVERAGE

python := $(VENV)/bin/python
# What builds a release and the docs site is no dependency of the tests: an environment of its own.
release_venv := $(if $(filter $(abspath .venv),$(VENV)),$(abspath .venv-release),$(VENV))

.PHONY: help setup run demo-break demo-mend run-celery demo-big test test-slow test-contrib test-django61 check fix bench lock release docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile
	@echo
	@printf '  %s\n' \
		'PORT=8123 make run    another port' \
		'PAST=0 make run       without the week that is played at the first start' \
		'PYTHON=python3.12     the interpreter that makes the virtual environment' \
		'VENV=path             another virtual environment than .venv' \
		'DATABASE_URL=...      the PostgreSQL that make test uses instead of its own' \
		'JOBS=4 make test      tests at once (two a core)' \
		'ON=sqlite make test   each test once, on SQLite or on postgres, unless only the other has it'

setup: ## make .venv and install the pinned dependencies
	@scripts/setup.sh

run: setup ## run the demo on SQLite: web server and scheduler, until Ctrl-C
	@exec $(python) deploy/run_demo.py

demo-break: setup ## break something in the running demo; docs/tour.md goes along
	@$(python) deploy/demo/breaking.py break

demo-mend: setup ## mend what demo-break broke
	@$(python) deploy/demo/breaking.py mend

run-celery: setup ## run the distributed set: PostgreSQL, Redis, two of each part, until Ctrl-C
	@exec $(python) deploy/run_celery.py

demo-big: setup ## write a shop of a million customers to var/big.sqlite3, or to DATABASE_URL; minutes, goes on when killed
	@export CRM_DEBUG=$${CRM_DEBUG:-1} DATABASE_URL=$${DATABASE_URL:-sqlite:///var/big.sqlite3}; \
		mkdir -p var; $(python) manage.py migrate --no-input --verbosity=0; $(python) manage.py demo_big

test: setup ## run the tests on SQLite and on PostgreSQL; the slowest are listed
	@scripts/test.sh 'not slow'

test-slow: setup ## run the slow tests, minutes each, on both databases
	@scripts/test.sh 'slow'

test-contrib: setup ## show that all folders of crons/contrib can be deleted, and each alone; on SQLite
	@scripts/test_contrib.sh

test-django61: ## run what needs no django-celery-beat on Django 6.1, in .venv-django61 (Python 3.12 or newer)
	@VENV=$(if $(filter $(abspath .venv),$(VENV)),$(abspath .venv-django61),$(VENV)) scripts/test_django61.sh

check: setup ## lint, types, layers, migrations, deployment settings, lock
	@scripts/check.sh

fix: setup ## format, and repair what the linter can
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: setup ## measure against the targets (minutes)
	@if [[ ! -e benchmarks/__main__.py ]]; then echo 'No benchmarks in this tree yet.' >&2; exit 1; fi
	@$(python) -m benchmarks

lock: ## resolve requirements.lock anew; needs uv (UV=path)
	@scripts/lock.sh '$(UV)'

release: ## build sdist and wheel into dist/, try them on each supported Django, in .venv-release
	@VENV=$(release_venv) LOCK=requirements-release.lock scripts/setup.sh
	@VENV=$(release_venv) scripts/release.sh

docs: ## build the documentation site into site/; a warning is an error
	@VENV=$(release_venv) LOCK=requirements-release.lock scripts/setup.sh
	@VENV=$(release_venv) scripts/docs.sh

clean: ## delete what was built; the data in var/ stays
	@rm -rf -- '$(VENV)' .venv-release build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
