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

from spectrafm.cli import COMMANDS
from spectrafm.config import Labels, read_config
from spectrafm.errors import SpectraFMError
from spectrafm.figures import FIGURES
from spectrafm.inference.options import Attention, Predict
from spectrafm.networks import NETWORKS
from spectrafm.options import options
from spectrafm.plugs import caption_of, load
from spectrafm.surveys import SURVEYS

# Rules call the `spectrafm` of the environment that runs Snakemake, also where that environment is
# not activated; with `--software-deployment-method conda`, that of envs/spectrafm.yaml.
PATH = "" if OWN_ENVIRONMENT else f"export PATH={shlex.quote(BIN)}:$PATH; "
shell.prefix(f"set -euo pipefail; {PATH}")

if config.get("base") and not os.path.exists(config["base"]):
    # Snakemake skips a missing file in silence where --configfile names another.
    raise WorkflowError(f"config: base: {config['base']}: no such file")
try:
    RUN = read_config(config)
except SpectraFMError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{RUN.run}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"

# Snakemake's resource -> key of the config, set only where the config names one.
SITE = {"slurm_partition": "partition", "slurm_account": "account"}


wildcard_constraints:
    shard=r"\d+",
    stage="|".join(RUN.stages),
    evaluation="|".join(RUN.evaluations),


def resource(key, job=None, own=None):
    """`resources.<job>.<key>` of the config; memory and runtime times the attempt.

    Without `job`, that of the stage in the wildcards. `own`: what the rule says of itself.
    """

    def for_job(wildcards, attempt):
        found = RUN.resources_of(job or wildcards.stage, **(own or {}))
        growth = attempt if key in ("memory_mb", "minutes") else 1
        value = getattr(found, key)
        return value if value is None else growth * value

    return for_job


def threads_of(job=None, **own):
    """CPU cores of a job, or of each stage."""
    return resource("threads", job, own)


def resources_of(job=None, **own):
    """What a job, or each stage, asks for: GPUs, memory, time; partition and account if named."""
    site = RUN.resources_of(job or "default", **own)
    return {
        "nodes": 1,
        "gpu": resource("gpus", job, own),
        "gpu_model": resource("gpu_model", job, own),
        "mem_mb": resource("memory_mb", job, own),
        "runtime": resource("minutes", job, own),
    } | {
        name: resource(key, job, own)
        for name, key in SITE.items()
        if getattr(site, key)
    }


def small(memory, runtime):
    """What a job says of itself that needs one core and no GPU, wherever the others run."""
    alone = {"gpus": 0, "threads": 1, "partition": None, "account": None}
    return {"memory": memory, "runtime": runtime, **alone}


def models_of(predictions):
    """The models behind `<stage>--<evaluation>` names."""
    return [f"{RESULTS}/models/{name.split('--')[0]}" for name in predictions]


def prediction_files(predictions):
    """The files of `<stage>--<evaluation>` names."""
    return [f"{RESULTS}/predictions/{name}.parquet" for name in predictions]


def model_of_start(wildcards):
    """The model that a stage starts from: one folder, or none."""
    start = RUN.stages[wildcards.stage].start_from
    return [] if start is None else f"{RESULTS}/models/{start}"


def start_option(wildcards, input):
    """`--start=<model>` of `spectrafm train`; empty for a stage from scratch."""
    return f"--start={input.start}" if input.start else ""


def stage_options(wildcards):
    """A stage's options; the network's sizes only where one is made from scratch."""
    stage = RUN.stages[wildcards.stage]
    new = stage.start_from is None and NETWORKS[stage.architecture].reads == "tokens"
    return options(stage, without=["resume"]) + (options(RUN.model) if new else [])


def resume_option(wildcards, resources):
    """What to do with a checkpoint; like `launcher`, it is no reason to train again."""
    return options(RUN.stages[wildcards.stage], only=["resume"])


def launcher(wildcards, resources):
    """What starts a training; torchrun, where it has several GPUs.

    Depending on `resources`, it is no reason for Snakemake to train again.
    """
    gpus = RUN.resources_of(wildcards.stage).gpus
    if gpus > 1:
        return f"torchrun --standalone --nproc-per-node={gpus} -m spectrafm"
    return "spectrafm"


def evaluation_options(wildcards):
    """An evaluation's options, without the list of stages it is made for."""
    return options(RUN.evaluations[wildcards.evaluation], only=[Predict])


def shown_in(figure):
    """What a figure reads."""
    names = RUN.shown_in(figure)
    store = {"store": rules.build_store.output.store}
    models = {"models": [f"{RESULTS}/models/{name}" for name in names]}
    predictions = {"predictions": prediction_files(names)}
    return {
        "star": store,
        "models": store | models,
        "prediction": {"prediction": predictions["predictions"]},
        "predictions": predictions | {"models": models_of(names)},
        "attention": {"attention": rules.map_attention.output},
    }[FIGURES[figure].shows]


def caption(where):
    """The caption of a verb's output in Snakemake's report, which reads it from a parameter."""

    # A function, since Snakemake takes braces in a text for wildcards.
    def text(wildcards):
        return caption_of(where)

    return text


def command_of(figure):
    """A figure's command, what it reads, and the star that it draws."""

    def command(wildcards, input):
        shows = FIGURES[figure].shows
        if shows == "predictions":
            return [
                figure,
                "--predictions",
                *input.predictions,
                "--models",
                *input.models,
            ]
        star = RUN.figures.star if shows in ("star", "models") else None
        return [figure, *input, *([f"--star={star}"] if star else [])]

    return command
