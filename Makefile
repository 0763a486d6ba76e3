# make install | demo | test | test-quick | test-all | faults | lint | docs | compare | gpu |
# release. See README.md and CONTRIBUTING.md.
PYTHON ?= python3
STACK ?= openmmlab
SEGMENT := segment$(if $(filter onedl,$(STACK)),-onedl)
EXTRAS ?= $(SEGMENT),demo,test
# Pins for pip; with nothing, `make CONSTRAINTS= ...`, pip takes the newest versions.
CONSTRAINTS ?= constraints.txt
# Tests that run side by side, each with one thread of PyTorch.
JOBS ?= 2
VENV ?= $(if $(filter openmmlab,$(STACK)),.venv,.venv-$(STACK))
WORK_DIR ?= work_dirs/demo
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt
STAMP := $(VENV)/.installed-$(STACK)
OTHER := $(filter-out $(STAMP),$(wildcard $(VENV)/.installed-*))
GIVEN_PYTHONPATH := $(PYTHONPATH)
export PYTHONPATH :=

.PHONY: install demo test test-quick test-all faults lint docs compare gpu release clean

install: $(STAMP)

$(STAMP): pyproject.toml setup.py $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; (3, 10) <= sys.version_info < (3, 14) or sys.exit( \
		"Python %d.%d found; 3.10 to 3.13 are supported: make PYTHON=python3.11 ..." \
		% sys.version_info[:2])'
	@case "$(STACK)" in openmmlab|onedl) ;; *) \
		echo "STACK is '$(STACK)'; allowed: openmmlab, onedl"; exit 1;; esac
	@test -z "$(OTHER)" || { echo "$(VENV) holds the other stack, whose import names are the same: \
	name another folder with VENV=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment: install the venv module \
	(Debian: apt install python3-venv), or name another interpreter with PYTHON=..."; exit 1; }
	@# A torch that is already in the environment is kept, for example one for CPU or ROCm.
	@$(BIN)/python -c 'import torch' 2>/dev/null && drop='/^torch/d'; \
		cat /dev/null $(CONSTRAINTS) | sed "$$drop" > $(VENV)/constraints.txt
	$(INSTALL) -e '.[$(STACK),$(EXTRAS)]'
	@# opencv-python needs libGL, which servers lack; the headless build of the same version fills
	@# the same package.
	@$(BIN)/python -c 'import cv2' 2>/dev/null || $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --no-deps --force-reinstall opencv-python-headless==$$( \
		$(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))')
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m lomar demo --work-dir $(WORK_DIR) $(if $(IMAGES),--images '$(IMAGES)')

compare: $(STAMP)
	$(BIN)/python benchmarks/comparison/run.py $(or $(STUDY),nuclei)

# Idle workers take over tests of busy ones.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
QUICK := $(patsubst %,tests/models/test_%.py,windows parity model) tests/engine/test_configs.py \
	$(patsubst %,tests/checkpoints/test_%.py,checkpoints transfer convert)

test: $(STAMP)
	$(PYTEST) -m 'not long'

test-quick: $(STAMP)
	$(PYTEST) -m 'not slow and not long' $(QUICK)

test-all: $(STAMP)
	$(PYTEST)

# Real trainings that are killed, stopped, starved and fed with damaged files; docs/faults.md.
faults: $(STAMP)
	FAULT_RESULTS=tests/faults/results.json $(PYTEST) tests/faults
	$(BIN)/python -m tests.faults_page

# `make gpu` installs nothing. It uses the interpreter of PYTHON=..., else the virtual environment,
# else python3. Packages may also come from PYTHONPATH.
GPU_PYTHON := $(if $(filter file,$(origin PYTHON)),$(firstword $(wildcard $(BIN)/python) $(PYTHON)),$(PYTHON))
gpu: export PYTHONPATH := $(GIVEN_PYTHONPATH)
gpu:
	$(GPU_PYTHON) -m benchmarks.gpu --minutes $(or $(MINUTES),9)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/hadolint docker/Dockerfile

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(STAMP)
	$(INSTALL) mkdocs-material 'mkdocstrings[python]'
	$(BIN)/mkdocs build --strict

release: $(STAMP)
	$(INSTALL) build check-wheel-contents pip-licenses twine
	$(BIN)/python .ci/release.py

clean:
	rm -rf .venv .venv-onedl build dist site *.egg-info
