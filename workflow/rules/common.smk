# The validated configuration, and what several rule files ask of it.

import os
import shlex
import sys

from snakemake.exceptions import WorkflowError

from spectrafm.config import read_config
from spectrafm.files import SpectraFMError
from spectrafm.flags import options

# Rules call the `spectrafm` of the environment that runs Snakemake, also where that environment is
# not activated.
BIN = shlex.quote(os.path.dirname(sys.executable))
shell.prefix(f"set -euo pipefail; export PATH={BIN}:$PATH; ")

try:
    RUN = read_config(config)
except SpectraFMError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{RUN.run}"
STAR = [f"--star={RUN.figures.star}"] if RUN.figures.star else []
SHARDS = [f"{number:03d}" for number in range(RUN.survey.shards)]


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
    return options(stage) + (options(RUN.model, prefix="model.") if fresh else [])


def evaluation_options(wildcards):
    """An evaluation's flags, without the list of stages it is made for."""
    evaluation = RUN.evaluations[wildcards.evaluation]
    return options(
        evaluation, only=("spectra", "windows", "labels", "split", "combine")
    )


def models_of(predictions):
    """The models behind `<stage>--<evaluation>` names."""
    return [f"{RESULTS}/models/{name.split('--')[0]}" for name in predictions]


def prediction_files(predictions):
    """The files of `<stage>--<evaluation>` names."""
    return [f"{RESULTS}/predictions/{name}.parquet" for name in predictions]
