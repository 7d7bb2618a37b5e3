# `make demo` and `make test` need Python 3.11 or newer and nothing else.

# PIP_OPTIONS reaches pip, for instance to choose an index with another build of torch.
PYTHON ?= python3
PIP_OPTIONS ?=
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS)
BIN := .venv/bin
READY := .venv/ready

demo: $(READY)
	$(BIN)/snakemake --profile demo all

# The paper's pre-training at its full size, on mock stars: wants a GPU.
paper-size: $(READY)
	$(BIN)/snakemake --cores all --configfile demo/paper_size.yaml -- pretrain

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -m "not slow and not slurm"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# Needs root: installs Debian's SLURM where it is missing, starts it for the tests and stops it.
test-slurm: $(READY)
	$(BIN)/python -m pytest -m slurm

# The environment: the pinned requirements, and this checkout as the package.
$(READY): envs/requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "SpectraFM needs Python 3.11 or newer"'
	$(PYTHON) -m venv .venv
	$(PIP) -r envs/requirements.txt
	$(PIP) --no-deps --editable .
	touch $(READY)

# The JSON schema of config.yaml, for editors that check YAML as it is typed.
schema: $(READY)
	$(BIN)/python -c 'import json; from spectrafm.config import schema; print(json.dumps(schema(), indent=2))' \
		> workflow/schemas/config.schema.json

clean:
	rm -rf .venv results .snakemake

.PHONY: demo paper-size test test-slow test-slurm schema clean
