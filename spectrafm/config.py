"""The whole configuration of a run: the rooms' sections put together, and what must agree.

``config.yaml`` at the top of the repository is the paper's run, each key explained. A key of a
section is a flag of the command that the section belongs to (``stages.pretrain.epochs: 325`` is
``spectrafm train --epochs=325``), so names, types and defaults have one source of truth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from spectrafm.figures.options import Figures
from spectrafm.inference.options import Attention, Predict
from spectrafm.networks.options import Model
from spectrafm.options import Name, Section, validated
from spectrafm.surveys.apogee.options import Selection, Survey
from spectrafm.surveys.mock.options import Mock
from spectrafm.training.options import Stage


def _memory(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?(MB|GB|TB)", value):
        raise ValueError(f"{value!r} is no amount such as 500MB, 32GB or 1.5TB")
    return value


def _runtime(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?[mhd]", value):
        raise ValueError(f"{value!r} is no time such as 90m, 12h or 1.5d")
    return value


Memory = Annotated[str, AfterValidator(_memory)]
Runtime = Annotated[str, AfterValidator(_runtime)]


class Evaluation(Predict):
    """Which spectra a set of stages is judged on."""

    stages: list[Name] = Field(min_length=1)


class AttentionMap(Attention):
    """The attention map of Figure 5."""

    stage: Name = Field("pretrain", description="stage whose network is looked into")


class Resources(Section):
    """What a training or prediction asks of the machine; no command line holds any of it."""

    gpus: int = Field(1, ge=0, description="GPUs, on one node; 0: none")
    gpu_model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")] | None = Field(
        None, description="which GPU, as the cluster names it; null: any"
    )
    threads: int = Field(8, ge=1, description="CPU cores")
    memory: Memory = Field("32GB", description="of the first try; a retry asks for more")
    runtime: Runtime = Field("12h", description="of the first try; a retry asks for more")
    partition: str | None = Field(None, description="null: what the profile says")
    account: str | None = Field(None, description="null: what the profile says")

    @property
    def memory_mb(self) -> int:
        """The memory in MB, as Snakemake counts it."""
        number, unit = float(self.memory[:-2]), self.memory[-2:]
        return math.ceil(number * {"MB": 1, "GB": 1000, "TB": 1_000_000}[unit])

    @property
    def minutes(self) -> int:
        """The runtime in minutes, as Snakemake counts it."""
        number, unit = float(self.runtime[:-1]), self.runtime[-1]
        return math.ceil(number * {"m": 1, "h": 60, "d": 24 * 60}[unit])


#: Entries of ``resources`` that are no stages.
JOBS = ("default", "mock_survey", "predict", "map_attention")


class Config(Section):
    """The whole configuration of a run."""

    run: Name = Field("dr17", description="name of the run, and of its folder in results/")
    survey: Survey = Survey()
    mock: Mock | None = Field(None, description="the mock survey; null: the survey is real")
    selection: Selection = Selection()
    model: Model = Model()
    stages: dict[Name, Stage] = Field({})
    evaluations: dict[Name, Evaluation] = Field({})
    attention: AttentionMap = AttentionMap()
    figures: Figures = Figures()
    resources: dict[Name, Resources] = Field(
        {},
        description="by stage or job; default: what the others do not say",
    )

    @model_validator(mode="after")
    def _names(self):
        for name, stage in self.stages.items():
            seen = {name}
            before = stage.start_from
            while before is not None:
                if before not in self.stages:
                    raise ValueError(
                        f"stages.{name}.start_from: no stage {before!r}; "
                        f"known: {', '.join(self.stages)}"
                    )
                if before in seen:
                    raise ValueError(f"stages.{name}.start_from: a circle through {before!r}")
                seen.add(before)
                before = self.stages[before].start_from
        for name, evaluation in self.evaluations.items():
            for stage in evaluation.stages:
                if stage not in self.stages:
                    raise ValueError(
                        f"evaluations.{name}.stages: no stage {stage!r}; "
                        f"known: {', '.join(self.stages)}"
                    )
        if self.stages and self.attention.stage not in self.stages:
            raise ValueError(
                f"attention.stage: no stage {self.attention.stage!r}; "
                f"known: {', '.join(self.stages)}"
            )
        for job in self.resources:
            if job not in (*JOBS, *self.stages):
                raise ValueError(
                    f"resources: no stage or job {job!r}; known: {', '.join((*JOBS, *self.stages))}"
                )
        everyone = self.resources.get("default", Resources())
        for job, entry in self.resources.items():
            for key in ("partition", "account"):
                if getattr(entry, key) and not getattr(everyone, key):
                    raise ValueError(
                        f"resources.{job}.{key}: give resources.default.{key} too, for the others"
                    )
        made = set(self.predictions)
        wanted = {"table1": self.figures.table1, "figure3": [self.figures.figure3]}
        wanted["figure4"] = self.figures.figure4
        if self.stages:
            for stage in self.figures.figure2:
                if stage not in self.stages:
                    raise ValueError(f"figures.figure2: no stage {stage!r}")
            for figure, names in wanted.items():
                for name in names:
                    if name not in made:
                        raise ValueError(
                            f"figures.{figure}: no evaluation makes {name!r}; "
                            f"made: {', '.join(sorted(made))}"
                        )
        return self

    def resources_of(self, job: str) -> Resources:
        """What a job asks for: its own entry, then the default one, then what is built in.

        Parameters
        ----------
        job : str
            A stage, ``mock_survey``, ``predict`` or ``map_attention``.
        """
        given: dict[str, Any] = {}
        for entry in ("default", job):
            if entry in self.resources:
                given |= self.resources[entry].model_dump(exclude_unset=True)
        resources = Resources(**given)
        # A prediction is one process.
        gpus = resources.gpus if job in self.stages else min(resources.gpus, 1)
        model = resources.gpu_model if gpus else None
        return resources.model_copy(update={"gpus": gpus, "gpu_model": model})

    @property
    def predictions(self) -> list[str]:
        """``<stage>--<evaluation>`` of every prediction the configuration asks for."""
        return [
            f"{stage}--{name}"
            for name, evaluation in self.evaluations.items()
            for stage in evaluation.stages
        ]


def read_config(content: Mapping[str, Any]) -> Config:
    """Validate the content of a ``config.yaml``.

    Raises
    ------
    SpectraFMError
        One line that names the first wrong key, what it holds and what is allowed.
    """
    return validated(Config, content, "config")


def schema() -> dict:
    """JSON schema of ``config.yaml``, made from the typed configuration."""
    return Config.model_json_schema()
