# `make demo` and `make test` need Python 3.11 or newer and nothing else.

# PIP_OPTIONS is passed to pip, for instance to choose an index. TORCH=torch==... installs exactly that
# version, overriding the choice of envs/install.sh between builds with and without CUDA.
PYTHON ?= python3
PIP_OPTIONS ?=
BIN := .venv/bin
READY := .venv/ready

demo: $(READY)
	$(BIN)/snakemake --profile demo all

# The paper's pre-training at its full size, on mock stars; needs a GPU.
paper-size: $(READY)
	$(BIN)/snakemake --cores all --configfile configs/paper_size.yaml -- pretrain

# Real stars: Gaia XP spectra with the labels of APOGEE DR17, a download of 104 MB.
xp: $(READY)
	$(BIN)/snakemake --profile demo --configfile configs/gaia_xp.yaml -- all

# The model gaia-xp that the package ships: the stage xp_all of that run.
xp-model: $(READY)
	$(BIN)/snakemake --profile demo --configfile configs/gaia_xp.yaml -- xp_all
	rm -rf spectrafm/models/gaia-xp
	cp -r results/gaia_xp/models/xp_all spectrafm/models/gaia-xp
	rm -f spectrafm/models/gaia-xp/.snakemake_timestamp

# The model apogee-mock that the package ships: the stage finetune_observed of the demo.
demo-model: $(READY)
	$(BIN)/snakemake --profile demo -- finetune_observed
	rm -rf spectrafm/models/apogee-mock
	cp -r results/demo/models/finetune_observed spectrafm/models/apogee-mock
	rm -f spectrafm/models/apogee-mock/.snakemake_timestamp

# Go on with a run that was killed, by kill -9 or a power cut. For another than the demo's:
# make resume RUN='--profile slurm all'
RUN ?= --profile demo all
resume: $(READY)
	$(BIN)/python workflow/resume.py $(RUN)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not slurm"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# Put each fault that the tests must notice (tests/mutants/) into a copy of this checkout, one at a
# time. MUTANTS selects some by the beginning of their names: `make mutants MUTANTS=training`.
mutants: $(READY)
	$(BIN)/python tests/making/mutations.py $(MUTANTS)

# The tests with the oldest and with the newest versions that pyproject.toml allows, each in an
# environment of its own; needs uv. UV_OPTIONS is passed to it: by default torch without CUDA.
UV_OPTIONS ?= --torch-backend cpu
oldest newest:
	uv venv --quiet --clear --seed --python $(PYTHON) build/$@
	uv pip install --quiet --python build/$@ $(UV_OPTIONS) \
		--resolution $(if $(filter oldest,$@),lowest-direct,highest) --editable '.[workflow,dev]'
	uv pip list --python build/$@ > build/$@.txt
	PATH="$(CURDIR)/build/$@/bin:$$PATH" build/$@/bin/python -m pytest -n 2 --dist loadfile \
		-m "not slow and not slurm"

# Needs root: installs Debian's SLURM if it is missing, starts it for the tests and stops it.
test-slurm: $(READY)
	$(BIN)/python -m pytest -m slurm

# The site of docs/, in build/docs/html. Sphinx and what it needs have an environment of their own, which
# sees the packages of .venv, so that the versions there stay as the lock says.
DOCS := build/docs-env
docs: $(DOCS)/ready
	$(DOCS)/bin/python -m sphinx --fail-on-warning --keep-going -q docs build/docs/html

$(DOCS)/ready: $(READY) envs/docs.txt
	$(PYTHON) -m venv --clear $(DOCS)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(DOCS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/spectrafm-core.pth"
	$(DOCS)/bin/python -m pip install --quiet --require-hashes --no-deps --requirement envs/docs.txt $(PIP_OPTIONS)
	touch $@

# The environment: the pinned dependencies, and this checkout as the installed package.
$(READY): envs/lock.txt envs/torch.txt envs/install.sh pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "SpectraFM needs Python 3.11 or newer"'
	$(PYTHON) -m venv .venv
	TORCH='$(TORCH)' envs/install.sh .venv/bin/python $(PIP_OPTIONS)
	touch $(READY)

# Update the lock from the ranges in pyproject.toml; needs uv. Versions change only if they must:
# `make lock LOCK_OPTIONS=--upgrade` takes the newest ones.
lock:
	printf '%s\n' $(CUDA) | uv pip compile pyproject.toml --extra workflow --extra dev --quiet \
		--constraint envs/torch.txt --no-emit-package torch --excludes /dev/stdin \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--output-file envs/lock.txt $(LOCK_OPTIONS) \
		--custom-compile-command "make lock (torch's pin, and why it is not here: envs/torch.txt)"
	printf '%s\n' $(CUDA) | uv pip compile pyproject.toml --extra docs --quiet \
		--constraint envs/torch.txt --constraint envs/lock.txt --no-emit-package torch \
		$$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' envs/lock.txt) --excludes /dev/stdin \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--output-file envs/docs.txt $(LOCK_OPTIONS) \
		--custom-compile-command "make lock (what docs/ needs beyond envs/lock.txt)"

# Packages that only torch built with CUDA depends on; the lock leaves them out.
CUDA := cuda-bindings cuda-toolkit nvidia-cudnn-cu13 nvidia-cusparselt-cu13 nvidia-nccl-cu13 \
	nvidia-nvshmem-cu13 triton

# The JSON schema of config.yaml, for editors that check YAML as it is typed.
schema: $(READY)
	$(BIN)/python -c 'import json; from spectrafm.config import schema; print(json.dumps(schema(), indent=2))' \
		> workflow/schemas/config.schema.json

clean:
	rm -rf .venv results .snakemake

.PHONY: demo demo-model xp xp-model paper-size resume docs test test-slow mutants oldest newest test-slurm lock schema clean
