# The validated configuration, and what several rule files ask of it.

import os
import shlex
import shutil
import sys

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

BIN = os.path.dirname(sys.executable)
OWN_ENVIRONMENT = (
    DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
)

# Parsing needs the package, and the jobs its command: in a clone the package can be imported without
# having been installed.
NOT_INSTALLED = (
    "SpectraFM is not installed where snakemake runs ({}): run `pip install -e .[workflow]` in its"
    " repository, or `make .venv/ready` and then .venv/bin/snakemake"
)
try:
    import spectrafm.config
except ModuleNotFoundError as error:
    raise WorkflowError(NOT_INSTALLED.format(error)) from None
if not OWN_ENVIRONMENT and shutil.which("spectrafm", path=BIN) is None:
    raise WorkflowError(NOT_INSTALLED.format(f"no command spectrafm in {BIN}"))

from spectrafm.config import read_config
from spectrafm.errors import SpectraFMError
from spectrafm.options import options

# Rules call the `spectrafm` of the environment that runs Snakemake, also where that environment is
# not activated; with `--software-deployment-method conda`, that of envs/spectrafm.yaml.
PATH = "" if OWN_ENVIRONMENT else f"export PATH={shlex.quote(BIN)}:$PATH; "
shell.prefix(f"set -euo pipefail; {PATH}")

try:
    RUN = read_config(config)
except SpectraFMError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{RUN.run}"
STAR = [f"--star={RUN.figures.star}"] if RUN.figures.star else []
SHARDS = [f"{number:03d}" for number in range(RUN.survey.shards)]

# The scheduler's names for what only some clusters want to know.
SITE = {"slurm_partition": "partition", "slurm_account": "account"}


wildcard_constraints:
    shard=r"\d+",
    stage="|".join(RUN.stages),
    evaluation="|".join(RUN.evaluations),


def model_of_start(wildcards):
    """The model that a stage starts from: one folder, or none."""
    start = RUN.stages[wildcards.stage].start_from
    return [] if start is None else f"{RESULTS}/models/{start}"


def start_flag(wildcards, input):
    """How `spectrafm train` is told about it."""
    return f"--start={input.start}" if input.start else ""


def stage_options(wildcards):
    """A stage's flags; the network's sizes matter only where one is made from scratch."""
    stage = RUN.stages[wildcards.stage]
    fresh = stage.start_from is None and stage.architecture == "spectrafm"
    learned = tuple(key for key in type(stage).model_fields if key != "resume")
    return options(stage, only=learned) + (
        options(RUN.model, prefix="model.") if fresh else []
    )


def resume_option(wildcards, resources):
    """What to do with a checkpoint; like `launcher`, it is no reason to train again."""
    return options(RUN.stages[wildcards.stage], only=("resume",))


def evaluation_options(wildcards):
    """An evaluation's flags, without the list of stages it is made for."""
    evaluation = RUN.evaluations[wildcards.evaluation]
    return options(
        evaluation,
        only=("spectra", "windows", "labels", "flux_range", "split", "combine"),
    )


def models_of(predictions):
    """The models behind `<stage>--<evaluation>` names."""
    return [f"{RESULTS}/models/{name.split('--')[0]}" for name in predictions]


def prediction_files(predictions):
    """The files of `<stage>--<evaluation>` names."""
    return [f"{RESULTS}/predictions/{name}.parquet" for name in predictions]


def growing(amount):
    """A resource that asks for as much again at each further try."""

    def for_try(wildcards, attempt):
        return attempt * amount

    return for_try


def asked(key, job=None):
    """A resource as the config has it for a job, or for each stage; memory and runtime grow."""

    def for_job(wildcards, attempt):
        resources = RUN.resources_of(job or wildcards.stage)
        growth = attempt if key in ("memory_mb", "minutes") else 1
        value = getattr(resources, key)
        return value if value is None else growth * value

    return for_job


def asked_of_site(job=None):
    """Partition and account, where the config names any; otherwise the profile's remain."""
    return {
        resource: asked(key, job)
        for resource, key in SITE.items()
        if getattr(RUN.resources_of("default"), key)
    }


def launcher(wildcards, resources):
    """What starts a training; torchrun, where it has several GPUs.

    Depending on `resources`, it is no reason for Snakemake to train again.
    """
    gpus = RUN.resources_of(wildcards.stage).gpus
    if gpus > 1:
        return f"torchrun --standalone --nproc-per-node={gpus} -m spectrafm"
    return "spectrafm"
