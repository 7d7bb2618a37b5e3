# Validates the configuration and defines the functions that several rule files share.

import contextlib
import fcntl
import os
import shlex
import shutil
import sys

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake.sourcecache import LocalSourceFile

BIN = os.path.dirname(sys.executable)
OWN_ENVIRONMENT = (
    DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
)

# Parsing the rules imports the package, and the jobs run its command. Both are checked, because in a
# clone the package can be imported without being installed.
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
from spectrafm.strict_yaml import check_file
from spectrafm.surveys import SURVEYS
from spectrafm.training.options import Stage

# Jobs call the `spectrafm` of the environment that Snakemake runs in, even if that environment is not
# activated; with `--software-deployment-method conda` they call that of envs/spectrafm.yaml.
PATH = "" if OWN_ENVIRONMENT else f"export PATH={shlex.quote(BIN)}:$PATH; "
shell.prefix(f"set -euo pipefail; {PATH}")

# The conda environment of every job. Snakemake reads braces in its path as wildcards, so that those of
# the checkout's own folder are doubled.
ENVIRONMENT = workflow.current_basedir.join("../../envs/spectrafm.yaml")
if isinstance(ENVIRONMENT, LocalSourceFile):
    ENVIRONMENT = LocalSourceFile(
        os.path.normpath(ENVIRONMENT.path).replace("{", "{{").replace("}", "}}")
    )

# Each Snakemake of this folder holds this file as long as it lives, by which workflow/resume.py tells
# whether the lock that it finds is a dead one's. Some file systems have no such locks.
os.makedirs(".snakemake", exist_ok=True)
ALIVE = open(".snakemake/alive", "a")
with contextlib.suppress(OSError):
    fcntl.flock(ALIVE, fcntl.LOCK_SH)

for path in workflow.configfiles:
    try:
        check_file(path)
    except SpectraFMError as error:
        raise WorkflowError(f"config: {error}") from None
if config.get("base") and not os.path.exists(config["base"]):
    # Snakemake silently skips a missing configfile if --configfile names another.
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
    """`resources.<job>.<key>` of the config; memory and runtime are multiplied by the attempt.

    Without `job`, the stage in the wildcards is used. `own` holds resources that the rule sets.
    """

    def for_job(wildcards, attempt):
        found = RUN.resources_of(job or wildcards.stage, **(own or {}))
        growth = attempt if key in ("memory_mb", "minutes") else 1
        value = getattr(found, key)
        return value if value is None else growth * value

    return for_job


def threads_of(job=None, **own):
    """Number of CPU cores of a job, or of the stage in the wildcards."""
    return resource("threads", job, own)


def resources_of(job=None, **own):
    """Resources of a job or stage: GPUs, memory, runtime; partition and account if configured."""
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
    """Resources of a job that needs one core and no GPU, in no configured partition or account."""
    alone = {"gpus": 0, "threads": 1, "partition": None, "account": None}
    return {"memory": memory, "runtime": runtime, **alone}


def models_of(predictions):
    """Model folders of the stages in `<stage>--<evaluation>` names."""
    return [f"{RESULTS}/models/{name.split('--')[0]}" for name in predictions]


def prediction_files(predictions):
    """Parquet files of the predictions `<stage>--<evaluation>`."""
    return [f"{RESULTS}/predictions/{name}.parquet" for name in predictions]


def model_of_start(wildcards):
    """Folder of the model that a stage starts from; an empty list for a stage from scratch."""
    start = RUN.stages[wildcards.stage].start_from
    return [] if start is None else f"{RESULTS}/models/{start}"


def start_option(wildcards, input):
    """`--start=<model>` of `spectrafm train`; empty for a stage from scratch."""
    return [f"--start={input.start}"] if input.start else []


def model_of_teacher(wildcards):
    """Folder of the model that labels a stage's stars; an empty list for the catalogue's labels."""
    teacher = RUN.stages[wildcards.stage].pseudo_labels.teacher
    return [] if teacher is None else f"{RESULTS}/models/{teacher}"


def teacher_option(wildcards, input):
    """`--teacher=<model>` of `spectrafm train`; empty for the catalogue's labels."""
    return [f"--teacher={input.teacher}"] if input.teacher else []


def stage_options(wildcards):
    """Options of a stage; the section `model` only for a token network trained from scratch."""
    stage = RUN.stages[wildcards.stage]
    new = stage.start_from is None and NETWORKS[stage.architecture].reads == "tokens"
    own = options(stage, only=[Stage], without=["resume"])
    return own + (options(RUN.model) if new else [])


def resume_option(wildcards, resources):
    """Option `--resume` of a stage; like `launcher`, its change does not retrain the stage."""
    return options(RUN.stages[wildcards.stage], only=["resume"])


def launcher(wildcards, resources):
    """Command that starts a training: torchrun for several GPUs, else spectrafm.

    Snakemake does not rerun a job when a parameter that depends on `resources` changes, so that
    another number of GPUs does not retrain the stage.
    """
    gpus = RUN.resources_of(wildcards.stage).gpus
    if gpus > 1:
        return [
            "torchrun",
            "--standalone",
            f"--nproc-per-node={gpus}",
            "-m",
            "spectrafm",
        ]
    return ["spectrafm"]


def evaluation_options(wildcards):
    """Options of an evaluation, without its list of stages."""
    return options(RUN.evaluations[wildcards.evaluation], only=[Predict])


def shown_in(figure):
    """Input files of a figure, by what the figure shows; predictions with all repeats of a stage."""
    names = RUN.shown_in(figure)
    if FIGURES[figure].shows.startswith("prediction"):
        names = RUN.repeated(names)
    store = {"store": rules.build_store.output.store}
    models = {"models": [f"{RESULTS}/models/{name}" for name in names]}
    predictions = {"predictions": prediction_files(names)}
    return {
        "star": store,
        "models": store | models,
        "prediction": {"prediction": predictions["predictions"]},
        "predictions": predictions | {"models": models_of(names)},
        "calibration": {"table": f"{RESULTS}/tables/calibration.csv"},
        "draws": {"table": f"{RESULTS}/tables/draws.csv"},
        "learning_curve": {"table": f"{RESULTS}/tables/learning_curve.csv"},
        "attention": {"attention": rules.map_attention.output},
    }[FIGURES[figure].shows]


def astronn_option(wildcards, input):
    """`--astronn=<table>` of `spectrafm table1`; empty where the survey has none."""
    return [f"--astronn={input.astronn}"] if input.astronn else []


def literal(value):
    """Parameter that is taken as it is: Snakemake reads braces in a plain string as wildcards."""

    def parameter(wildcards):
        return value

    return parameter


def caption(where):
    """Parameter with the caption of a command's output, for Snakemake's report."""
    return literal(caption_of(where))


def command_of(figure):
    """Parameter with a figure's command and arguments: inputs, and the star to draw."""

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
