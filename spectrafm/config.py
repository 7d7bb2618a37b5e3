"""The whole configuration of a run: the rooms' sections put together, and what must agree.

``config.yaml`` at the top of the repository is the paper's run, each key explained. A key of a
section is an option of the command that the section belongs to (``stages.pretrain.epochs: 325`` is
``spectrafm train --epochs=325``), so names, types and defaults have one source of truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import Field, create_model, model_validator

from spectrafm.errors import SpectraFMError
from spectrafm.figures import FIGURES
from spectrafm.figures.options import Figures
from spectrafm.inference.options import Attention, Predict
from spectrafm.labels import LabelName, Labels
from spectrafm.layers import (
    DRAW,
    SEEDS,
    draw_of,
    require_keys,
    with_draws,
    with_likes,
    without_nulls,
)
from spectrafm.networks.options import Model
from spectrafm.options import Name, Section, validated
from spectrafm.plugs import load
from spectrafm.resources import Resources
from spectrafm.spectra import check_windows
from spectrafm.surveys import SURVEYS
from spectrafm.surveys.apogee.options import Selection, Survey
from spectrafm.surveys.mock.options import Mock
from spectrafm.training.options import Stage


class Evaluation(Predict):
    """Which spectra the labels of a set of stages are predicted from."""

    stages: list[Name] = Field(min_length=1, description="stages whose models predict")


class MappedStage(Attention):
    """The attention maps of Figure 5."""

    stage: Name = Field("pretrain", description="stage whose model is looked into")


class Draws(Section):
    """Repeated trainings on other draws of a stage's few stars; the target `draws` makes them."""

    stages: list[Name] = Field([], description="stages to repeat; each has a stars.count")
    seeds: list[int] = Field(list(SEEDS), min_length=1, description="seeds of the draws")
    evaluation: Name | None = Field(
        None, description="evaluation whose options their predictions have"
    )
    label: LabelName = Field("FE_H", description="label that the table of draws scores")


#: Entries of ``resources`` that are no stages: jobs of the workflow, and those of its surveys.
JOBS = (
    "default",
    "predict",
    "map_attention",
    "build_store",
    *(name.replace("-", "_") for survey in SURVEYS.values() for name in survey.commands),
)


class Config(Labels):
    """The whole configuration of a run."""

    run: Name = Field("dr17", description="name of the run, and of its folder in results/")
    base: str | None = Field(
        None, description="configuration between config.yaml and this one; null: none"
    )
    survey: Survey = Survey()
    mock: Mock | None = Field(None, description="the mock survey; null: the survey is real")
    selection: Selection = Selection()
    model: Model = Model()
    stages: dict[Name, Stage] = Field({}, description="trainings, by name")
    evaluations: dict[Name, Evaluation] = Field({}, description="predictions, by name")
    draws: Draws = Draws()
    attention: MappedStage = MappedStage()
    figures: Figures = Figures()
    resources: dict[Name, Resources] = Field(
        {},
        description="by stage or job; default: what the others do not say",
    )

    @model_validator(mode="after")
    def _agrees(self):
        for check in (_starts, _draws, _labels, _windows, _mock, _shown, _resources):
            check(self)
        return self

    def resources_of(self, job: str, **own: Any) -> Resources:
        """What a job asks for: its own entry, else ``own``, else the default entry.

        Parameters
        ----------
        job : str
            A stage, or one of `JOBS`.
        own
            What the job's rule says of itself.
        """
        given: dict[str, Any] = {}
        for entry in ("default", job.partition(DRAW)[0]):
            if entry in self.resources:
                given |= self.resources[entry].model_dump(exclude_unset=True)
            if entry == "default":
                given |= own
        resources = Resources(**given)
        # What is no training is one process.
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

    @property
    def drawn_predictions(self) -> list[str]:
        """``<stage>--<evaluation>`` of every draw of the stages in ``draws``."""
        return [
            f"{draw_of(stage, self.stages[stage].stars.seed, seed)}--{self.draws.evaluation}"
            for stage in self.draws.stages
            for seed in self.draws.seeds
        ]

    def shown_in(self, figure: str) -> list[str]:
        """Names of the models or predictions in a figure; none where it is not drawn."""
        shown = getattr(self.figures, figure, None) or []
        return [shown] if isinstance(shown, str) else list(shown)

    @property
    def drawn(self) -> list[str]:
        """The figures of the run: all but those of which the configuration says null."""
        choosable = type(self.figures).model_fields
        return [name for name in FIGURES if name not in choosable or self.shown_in(name)]


# What must agree between the sections. Each raises ValueError with the key it is about.


def _known(key: str, what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{key}: no {what} {name!r}; known: {', '.join(known)}")


def _starts(config: Config) -> None:
    """Each stage starts from one of its own architecture, and none from itself."""
    for name, stage in config.stages.items():
        key = f"stages.{name}.start_from"
        seen, at = {name}, stage
        while at.start_from is not None:
            _known(key, "stage", [at.start_from], config.stages)
            if at.start_from in seen:
                raise ValueError(f"{key}: a circle through {at.start_from!r}")
            seen.add(at.start_from)
            at = config.stages[at.start_from]
            if at.architecture != stage.architecture:
                raise ValueError(
                    f"{key}: a network of architecture {stage.architecture} cannot start from one "
                    f"of architecture {at.architecture}"
                )
    for name, evaluation in config.evaluations.items():
        _known(f"evaluations.{name}.stages", "stage", evaluation.stages, config.stages)
    if config.stages:
        _known("attention.stage", "stage", [config.attention.stage], config.stages)


def _draws(config: Config) -> None:
    """Each stage that is repeated draws a number of stars, and its predictions have options."""
    draws = config.draws
    _known("draws.stages", "stage", draws.stages, config.stages)
    for name in draws.stages:
        if config.stages[name].stars.count is None:
            raise ValueError(f"draws.stages: {name} draws no stars: it has no stars.count")
    if draws.stages:
        _known("draws.evaluation", "evaluation", [draws.evaluation], config.evaluations)


def _labels(config: Config) -> None:
    """What is learned, predicted or selected on is a label of the run."""
    for name, stage in config.stages.items():
        _known(f"stages.{name}.labels", "label", stage.labels or [], config.labels)
        condition = re.match(r"[A-Za-z][A-Za-z0-9_]*", stage.stars.where or "")
        if condition:
            _known(f"stages.{name}.stars.where", "label", [condition[0]], config.labels)
    for name, evaluation in config.evaluations.items():
        _known(f"evaluations.{name}.labels", "label", evaluation.labels or [], config.labels)


def _windows(config: Config) -> None:
    """Each window lies where the survey has wavelengths."""
    covered = load(SURVEYS[config.survey.name].wavelength_range)
    windows = {f"stages.{name}": stage.windows for name, stage in config.stages.items()}
    windows |= {f"evaluations.{name}": part.windows for name, part in config.evaluations.items()}
    windows["attention"] = config.attention.windows
    for key, asked in windows.items():
        try:
            check_windows(asked or [], covered, f"{key}.windows")
        except SpectraFMError as error:
            raise ValueError(str(error)) from None


def _mock(config: Config) -> None:
    if config.mock is not None and "://" in config.survey.source:
        raise ValueError(
            f"survey.source: the mock survey is written to a folder, not to {config.survey.source}"
        )


def _shown(config: Config) -> None:
    """Figures and tables show what is made."""
    if not config.stages:
        return
    wanted = {name: config.shown_in(name) for name in config.drawn} | {
        "table1": config.figures.table1
    }
    for name, shown in wanted.items():
        key = f"figures.{name}"
        if name in FIGURES and FIGURES[name].shows == "models":
            _known(key, "stage", shown, config.stages)
            continue
        for prediction in shown:
            if prediction not in config.predictions:
                raise ValueError(
                    f"{key}: no evaluation makes {prediction!r}; "
                    f"made: {', '.join(sorted(config.predictions))}"
                )


def _resources(config: Config) -> None:
    known = (*JOBS, *config.stages)
    for job in config.resources:
        if job not in known:
            raise ValueError(f"resources: no stage or job {job!r}; known: {', '.join(known)}")
    # All stages are jobs of one rule: either all name a partition or none.
    everyone = config.resources.get("default", Resources())
    for job in config.resources.keys() & config.stages.keys():
        for key in ("partition", "account"):
            if getattr(config.resources[job], key) and not getattr(everyone, key):
                raise ValueError(
                    f"resources.{job}.{key}: give resources.default.{key} too, for the others"
                )


# Reading.


def read_config(content: Mapping[str, Any]) -> Config:
    """Validate the content of a ``config.yaml``.

    A label, stage, evaluation or resource that is null is left out: so a file that stands over
    another can take it away. A stage with ``like: OTHER`` has all that it does not say from
    stage OTHER, mappings key by key.

    Raises
    ------
    SpectraFMError
        One line that names the first wrong key, what it holds and what is allowed.
    """
    content = without_nulls(content)
    if isinstance(content.get("stages"), Mapping):
        content["stages"] = with_likes(content["stages"])
        require_keys(content["stages"])
        content["stages"] = with_draws(content["stages"], content.get("draws"))
    return validated(_config_of(content.get("survey")), content, "config")


def _config_of(survey: Any) -> type[Config]:
    """The configuration with the options of the survey that it names."""
    name = survey.get("name", "apogee") if isinstance(survey, Mapping) else "apogee"
    if name not in SURVEYS:
        known = ", ".join(SURVEYS)
        raise SpectraFMError(f"config: survey.name: no survey {name!r}; known: {known}")
    return _with_survey(load(SURVEYS[name].options))


@lru_cache
def _with_survey(options: type[Section]) -> type[Config]:
    if options is Config.model_fields["survey"].annotation:
        return Config
    return create_model("Config", __base__=Config, survey=(options, options()))


def schema() -> dict:
    """JSON schema of ``config.yaml``, made from the typed configuration."""
    made = Config.model_json_schema()
    # It describes the file, in which a stage may have its required keys from another.
    stage = made["$defs"]["Stage"]
    stage.pop("required", None)
    stage["properties"]["like"] = {
        "description": "stage that says what this one does not",
        "type": "string",
    }
    return made
