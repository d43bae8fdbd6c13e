# The targets that people and continuous integration call. Everything runs in ./.venv.

PYTHON ?= python3
BIN := .venv/bin
TORTURE := tests/crash tests/durability tests/e2e/test_kill_real_work.py \
	tests/sandbox/test_conformance.py tests/sandbox/test_killed_parent.py \
	tests/trainers/test_checkpoints_resume.py

.PHONY: demo test torture lint format bench clean

demo: .venv/ready  ## teach unseen projects and measure what is remembered
	$(BIN)/rune demo

test: .venv/ready-llama  ## every test but the torture
	$(BIN)/pytest $(TORTURE:%=--ignore=%)

torture: .venv/ready  ## kill -9, power cuts, crowds, and every attack on the sandbox
	$(BIN)/pytest $(TORTURE)

lint: .venv/ready  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/ready  ## the figures in the documentation
	$(BIN)/python -m benchmarks.mcp_startup
	$(BIN)/python -m benchmarks.registry
	$(BIN)/python -m benchmarks.memory

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[torch,dev]"
	touch $@

.venv/ready-llama: .venv/ready  ## llama.cpp is compiled here: minutes, that the demo does not need
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[torch,dev,llama]"
	touch $@

clean:
	rm -rf .venv
