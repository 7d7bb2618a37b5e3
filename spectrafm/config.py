"""The configuration of a run: the sections of all packages, and checks that they agree.

``config.yaml`` at the top of the repository describes the paper's run and explains each key. Each
key of a section is also an option of the command that reads the section
(``stages.pretrain.epochs: 325`` is ``spectrafm train --epochs=325``), so that names, types and
defaults are defined once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import Field, create_model, model_validator

from spectrafm.agreement import CHECKS
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.published import FIGURE4, OF_TABLE1
from spectrafm.figures import FIGURES
from spectrafm.figures.options import Figures
from spectrafm.inference.options import Attention, Predict
from spectrafm.labels import Labels
from spectrafm.layers import (
    require_keys,
    require_text_keys,
    with_likes,
    with_repeats,
    without_nulls,
)
from spectrafm.networks import NETWORKS
from spectrafm.networks.options import Model
from spectrafm.options import Name, Section, validated
from spectrafm.plugs import load
from spectrafm.resources import Resources
from spectrafm.strict_yaml import check_size
from spectrafm.surveys import SURVEYS
from spectrafm.surveys.apogee.options import Selection, Survey
from spectrafm.surveys.mock.options import Mock
from spectrafm.training.repeats import FewShot, LearningCurve, Repeat, RepeatedStage, family_of


class Evaluation(Predict):
    """One evaluation: predictions of several stages from the same spectra."""

    stages: list[Name] = Field(min_length=1, description="stages whose models predict labels")


class MappedStage(Attention):
    """The attention maps of Figure 5."""

    stage: Name = Field("pretrain", description="stage whose model is mapped")


class Config(Labels):
    """The whole configuration of a run."""

    run: Name = Field("dr17", description="name of the run, and of its folder in results/")
    base: str | None = Field(
        None, description="configuration file between config.yaml and this one; null: none"
    )
    survey: Survey = Survey()
    mock: Mock | None = Field(
        None, description="options of the mock survey; null: the survey is real"
    )
    selection: Selection = Selection()
    model: Model = Model()
    stages: dict[Name, RepeatedStage] = Field({}, description="trainings, by name")
    evaluations: dict[Name, Evaluation] = Field({}, description="predictions, by name")
    fewshot: FewShot = FewShot()
    learning_curve: LearningCurve = LearningCurve()
    attention: MappedStage = MappedStage()
    figures: Figures = Figures()
    resources: dict[Name, Resources] = Field(
        {},
        description="resources by stage or job; the entry default holds for all jobs",
    )

    @model_validator(mode="after")
    def _agrees(self):
        for check in CHECKS:
            check(self)
        return self

    def resources_of(self, job: str, **own: Any) -> Resources:
        """Resources of a job: from its own entry, else from ``own``, else from the default entry.

        Parameters
        ----------
        job : str
            A stage, or one of `spectrafm.agreement.JOBS`.
        own
            Resources that the job's rule sets.
        """
        given: dict[str, Any] = {}
        for entry in ("default", family_of(job)):
            if entry in self.resources:
                given |= self.resources[entry].model_dump(exclude_unset=True)
            if entry == "default":
                given |= own
        resources = Resources(**given)
        # Only trainings run in several processes, one for each GPU.
        gpus = resources.gpus if job in self.stages else min(resources.gpus, 1)
        model = resources.gpu_model if gpus else None
        return resources.model_copy(update={"gpus": gpus, "gpu_model": model})

    @property
    def families(self) -> list[str]:
        """Names of the stages that are not repeats of others."""
        return [name for name in self.stages if family_of(name) == name]

    def repeats_of(self, stage: str, draws: int, seeds: int, count: int | None = None) -> list[str]:
        """Names of the repeats of a stage: so many draws and seeds, with another number of stars.

        A stage that draws no stars has one draw.
        """
        own = self.stages[stage]
        draws = draws if own.stars.count is not None else 1
        count = None if count == own.stars.count else count
        return [
            Repeat(count, own.stars.seed + i if i else None, own.seed + j if j else None).of(stage)
            for i in range(draws)
            for j in range(seeds)
        ]

    def repeated(self, predictions: Iterable[str]) -> list[str]:
        """The predictions of all repeats of their stages, those of ``draws`` and ``seeds``."""
        found = []
        for name in predictions:
            stage, _, evaluation = name.partition("--")
            own = self.stages[stage]
            repeats = self.repeats_of(stage, own.draws, own.seeds)
            found += [f"{repeat}--{evaluation}" for repeat in repeats]
        return found

    @property
    def predictions(self) -> list[str]:
        """``<stage>--<evaluation>`` of every prediction in ``evaluations``."""
        return self.repeated(
            f"{stage}--{name}"
            for name, evaluation in self.evaluations.items()
            for stage in evaluation.stages
        )

    @property
    def fewshot_predictions(self) -> list[str]:
        """``<stage>--<evaluation>`` of the comparison ``fewshot``, the first to compare with."""
        few = self.fewshot
        against = few.against or (few.stages[0] if few.stages else None)
        ordered = sorted(few.stages, key=lambda stage: stage != against)
        return [
            f"{repeat}--{few.evaluation}"
            for stage in ordered
            for repeat in self.repeats_of(
                stage,
                max(few.draws, self.stages[stage].draws),
                max(few.seeds, self.stages[stage].seeds),
            )
        ]

    @property
    def published(self) -> list[str]:
        """``<stage>--<evaluation>`` of the predictions that the paper has numbers of."""
        wanted = {*FIGURE4, *OF_TABLE1.values()}
        names = [f"{stage}--{e}" for e, part in self.evaluations.items() for stage in part.stages]
        return self.repeated(name for name in names if name in wanted)

    @property
    def curve_predictions(self) -> list[str]:
        """``<stage>--<evaluation>`` of the learning curve; 0 stars: that of a stage's start.

        A number of stars that is too small for the stage's network is left out.
        """
        curve, found = self.learning_curve, []
        for stage in curve.stages:
            own = self.stages[stage]
            fewest = NETWORKS[own.architecture].fewest(len(own.labels or self.labels))
            for count in curve.counts:
                if 0 < count < fewest:
                    continue
                start = own.start_from
                repeats = self.repeats_of(stage, curve.draws, 1, count) if count else [start]
                found += [f"{name}--{curve.evaluation}" for name in repeats if name is not None]
        return list(dict.fromkeys(found))

    def shown_in(self, figure: str) -> list[str]:
        """Names of the models or predictions in a figure; empty if the figure is not drawn."""
        shown = getattr(self.figures, figure, None) or []
        return [shown] if isinstance(shown, str) else list(shown)

    @property
    def drawn(self) -> list[str]:
        """Names of the figures of the run: all except those that the configuration sets to null."""
        choosable = type(self.figures).model_fields
        return [
            name
            for name, plot in FIGURES.items()
            if not plot.alone and (name not in choosable or self.shown_in(name))
        ]

    @property
    def drawn_alone(self) -> list[str]:
        """Names of the figures that the target of their name makes, and `all` does not."""
        return [
            name
            for name, plot in FIGURES.items()
            if plot.alone and getattr(getattr(self, name, None), "stages", None)
        ]


# Reading.


def read_config(content: Mapping[str, Any]) -> Config:
    """Validate the content of a ``config.yaml``.

    A label, stage, evaluation or resource that is null is left out, so that an overlay file can
    remove it. A stage with ``like: OTHER`` inherits each key that it does not set from stage
    OTHER; mappings are merged key by key.

    Raises
    ------
    SpectraFMError
        One line that names the first wrong key, its value and what is allowed.
    """
    check_size(content, "config")
    require_text_keys(content)
    content = without_nulls(content)
    if isinstance(content.get("stages"), Mapping):
        content["stages"] = with_likes(content["stages"])
        require_keys(content["stages"])
        content["stages"] = with_repeats(
            content["stages"], content.get("fewshot"), content.get("learning_curve")
        )
    return validated(_config_of(content.get("survey")), content, "config")


def _config_of(survey: Any) -> type[Config]:
    """The configuration class whose section ``survey`` holds the options of the named survey."""
    name = survey.get("name", "apogee") if isinstance(survey, Mapping) else "apogee"
    if not isinstance(name, str) or name not in SURVEYS:
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
    # The schema describes the file, in which a stage may inherit its required keys by `like`.
    stage = made["$defs"]["RepeatedStage"]
    stage.pop("required", None)
    stage["properties"]["like"] = {
        "description": "stage from which this one inherits each key that it does not set",
        "type": "string",
    }
    return made
