# Every target stands alone: what it needs is set up first. `make` or `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev,docs,plot,demo,examples,lora,onnx
JOBS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# One thread per test process: with as many processes as cores, more would only fight each other.
TEST_ENV := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

# What meets the libraries most: the model, processors, registration, training, files.
CORE_TESTS := $(addsuffix .py,$(addprefix tests/,$(addprefix test_,versions configuration_sam_hq \
	image_processing_sam_hq processing_sam_hq modeling_sam_hq registration builtin_peer) model/test_prompt_validation \
	model/test_losses sam_hq_numpy/test_overlays sam_hq_numpy/test_mask_rle generation/test_pipeline hub/test_code_export \
	hub/test_conversion plotting/test_figures training/test_lora training/test_augmentation \
	sam_hq_onnx/test_runner_arguments))

UPSTREAM_TESTS = $(TEST_ENV) $(BIN)/python -m pytest -o addopts= -q -W ignore -n $(JOBS) \
	tests/upstream/check_models.py tests/upstream/check_processors.py

AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

.DEFAULT_GOAL := help
.PHONY: help setup run demo browser test slow check format bench compat floor upstream fuzz cards pictures docs links build clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

setup: $(READY) ## make .venv with the tested versions (constraints.txt)

# torch goes in first, so that no other requirement can draw in a different build of it.
$(READY): setup.py pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

run: $(READY) ## segment an image and write the overlay
	$(BIN)/python conversion_scripts/first_run.py

demo: $(READY) ## a page to click on, with the photos of docs/photos
	$(BIN)/sam-hq demo docs/photos/*.jpg docs/photos/*.png

# Chromium and npm are programs, not Python packages: the tests of the demo's pages use the system's.
browser: $(READY) ## install what the tests of the demo's pages need: Chromium (Debian, Ubuntu), onnxruntime-web, axe-core
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	|| { $(AS_ROOT) apt-get -qq update && $(AS_ROOT) apt-get -qq install --yes --no-install-recommends chromium >/dev/null; }
	@command -v npm >/dev/null \
	|| { $(AS_ROOT) apt-get -qq update && $(AS_ROOT) apt-get -qq install --yes --no-install-recommends npm >/dev/null; }
	@$(BIN)/python -m sam_hq.demo.browser_runtime
	@$(BIN)/python tests/support/axe_core.py

test: $(READY) build/upstream/.ready ## the tests (under ten minutes on two cores; only setting up needs the network)
	$(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
	$(UPSTREAM_TESTS) -k 'not eager_matches_sdpa and not bc_torch_dtype'

# Label Studio's pins exclude ours, so its server runs in an environment of its own. pip takes long to solve them.
.venv-label-studio/.ready:
	$(PYTHON) -m venv .venv-label-studio
	.venv-label-studio/bin/python -m pip install --quiet uv
	.venv-label-studio/bin/uv pip install --quiet --system-certs --python .venv-label-studio/bin/python label-studio==1.23.2
	@touch $@

slow: $(READY) .venv-label-studio/.ready ## the long tests: ViT-L and ViT-H at full size, a Label Studio server
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[cluster]'
	SAM_HQ_LABEL_STUDIO=$(CURDIR)/.venv-label-studio/bin/label-studio HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow

check: $(READY) ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## rewrite files to the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## time the encoder, the decoder and mask generation here
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/bench.py
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/growth.py
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/deployment.py

# The pins, with the oldest supported version in place of each that has one. onnxscript 0.5 fails with today's onnx-ir.
build/constraints-oldest.txt: constraints-floor.txt constraints.txt
	@mkdir -p build
	@{ awk -F== 'NR == FNR { print; oldest[$$1]; next } !($$1 in oldest) && $$1 != "onnx-ir"' $^; echo onnx-ir==0.1.9; } > $@

compat: build/constraints-oldest.txt ## the whole suite with the oldest supported versions (.venv-compat, several GB)
	$(PYTHON) -m venv .venv-compat
	.venv-compat/bin/python -m pip install --quiet -c $< torch
	.venv-compat/bin/python -m pip install --quiet -c $< -e '.[$(EXTRAS)]'
	$(TEST_ENV) .venv-compat/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# Old builds of torch are gigabytes: here it is the pinned one, with the onnxscript that its exporter needs.
build/constraints-quick.txt: build/constraints-oldest.txt
	@{ grep -vE '^(torch|onnxscript|onnx-ir)==' $<; grep -E '^(torch|onnxscript|onnx-ir)==' constraints.txt; } > $@

floor: build/constraints-quick.txt ## the core tests with the oldest supported versions of all but torch (.venv-floor)
	$(PYTHON) -m venv .venv-floor
	.venv-floor/bin/python -m pip install --quiet -c $< torch
	.venv-floor/bin/python -m pip install --quiet -c $< -e '.[dev,plot,demo,lora,onnx]'
	$(TEST_ENV) .venv-floor/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(CORE_TESTS)

# Its common tests are in the sdist alone. They are unpacked and imported, never copied.
build/upstream/.ready: constraints.txt | $(READY)
	@mkdir -p build/upstream
	$(BIN)/python -m pip download --quiet --no-deps --no-build-isolation --no-binary :all: --dest build/upstream \
	$$(grep '^transformers==' constraints.txt)
	for sdist in build/upstream/*.tar.gz; do tar -xzf $$sdist -C build/upstream; done
	@touch $@

upstream: $(READY) build/upstream/.ready ## transformers' own common tests over our models and processors (needs the network)
	$(UPSTREAM_TESTS)

fuzz: $(READY) ## the tests of tests/fuzz with thirty times their attempts
	$(TEST_ENV) SAM_HQ_FUZZ_ROUNDS=30 $(BIN)/python -m pytest -n $(JOBS) tests/fuzz

cards: $(READY) ## write model_cards/*.md anew from the template and the facts
	$(BIN)/python model_cards/generate.py

pictures: $(READY) ## make the README's picture anew with the embedded checkpoint
	$(BIN)/python docs/examples/readme_picture.py

docs: $(READY) ## build the documentation site in build/docs; warnings and broken links are errors
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/docs
	$(BIN)/python tests/documentation/site_links.py build/docs

links: $(READY) ## check the site's links to other sites (needs the network)
	$(BIN)/python -m sphinx --quiet --builder linkcheck docs build/links

build: $(READY) ## sdist and wheel, in dist/
	$(BIN)/python -m build --no-isolation --outdir dist .

clean: ## remove everything that can be made again
	rm -rf .venv .venv-compat .venv-floor build dist run src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
