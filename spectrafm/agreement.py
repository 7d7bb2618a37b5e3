"""Checks that the sections of a configuration agree with each other.

Each raises ValueError, whose message begins with the key.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spectrafm.errors import SpectraFMError
from spectrafm.figures import FIGURES
from spectrafm.labels import names_in
from spectrafm.plugs import load
from spectrafm.resources import Resources
from spectrafm.spectra import check_windows
from spectrafm.surveys import SURVEYS
from spectrafm.surveys.apogee.simulated import may_become_a_mock

#: `spectrafm.config.Config`, which imports this module.
Config = Any

#: Entries that ``resources`` may have besides stages: jobs of the workflow and of its surveys.
JOBS = (
    "default",
    "predict",
    "map_attention",
    "build_store",
    *(name.replace("-", "_") for survey in SURVEYS.values() for name in survey.commands),
)


def _known(key: str, what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{key}: no {what} {name!r}; known: {', '.join(known)}")


def _starts(config: Config) -> None:
    """Check that each stage starts from one of its architecture, without circular references."""
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
    for name, stage in config.stages.items():
        key, teacher = f"stages.{name}.pseudo_labels.teacher", stage.pseudo_labels.teacher
        _known(key, "stage", [] if teacher is None else [teacher], config.stages)
        if name in _before(config, teacher):
            raise ValueError(f"{key}: a circle through {teacher!r}")
    for name, evaluation in config.evaluations.items():
        _known(f"evaluations.{name}.stages", "stage", evaluation.stages, config.stages)
    if config.stages:
        _known("attention.stage", "stage", [config.attention.stage], config.stages)


def _before(config: Config, stage: str | None) -> set[str]:
    """A stage and all stages that it needs: starts and teachers, theirs too."""
    found, left = set(), {stage} - {None}
    while left:
        found |= left
        several = [config.stages[name] for name in left if name in config.stages]
        needed = {one.start_from for one in several}
        needed |= {one.pseudo_labels.teacher for one in several}
        left = needed - found - {None}
    return found


def _repeats(config: Config) -> None:
    """Check that stages that are drawn draw stars, and that the evaluations exist."""
    for name, stage in config.stages.items():
        if stage.draws > 1 and stage.stars.count is None:
            raise ValueError(f"stages.{name}.draws: it draws no stars: it has no stars.count")
    for key in ("fewshot", "learning_curve"):
        section = getattr(config, key)
        _known(f"{key}.stages", "stage", section.stages, config.families)
        if section.stages:
            _known(f"{key}.evaluation", "evaluation", [section.evaluation], config.evaluations)
    if config.fewshot.against is not None:
        _known(
            "fewshot.against",
            "stage of fewshot.stages",
            [config.fewshot.against],
            config.fewshot.stages,
        )
    for name in config.learning_curve.stages:
        if config.stages[name].stars.count is None:
            raise ValueError(f"learning_curve.stages: {name} draws no stars: it has no stars.count")


def _labels(config: Config) -> None:
    """Check that stages and evaluations use only labels of the run.

    A condition may also name a column of the store, in lower case, which the store checks.
    """
    for name, stage in config.stages.items():
        _known(f"stages.{name}.labels", "label", stage.labels or [], config.labels)
        used = [name for name in names_in(stage.stars.where) if not name.islower()]
        _known(f"stages.{name}.stars.where", "label", used, config.labels)
    for name, evaluation in config.evaluations.items():
        used = [name for name in names_in(evaluation.where) if not name.islower()]
        _known(f"evaluations.{name}.where", "label", used, config.labels)
        _known(f"evaluations.{name}.labels", "label", evaluation.labels or [], config.labels)


def _windows(config: Config) -> None:
    """Check that each window overlaps the survey's wavelength range."""
    covered = load(SURVEYS[config.survey.name].wavelength_range)
    windows = {f"stages.{name}": stage.windows for name, stage in config.stages.items()}
    windows |= {f"evaluations.{name}": part.windows for name, part in config.evaluations.items()}
    windows["attention"] = config.attention.windows
    for key, wanted in windows.items():
        try:
            check_windows(wanted or [], covered, f"{key}.windows")
        except SpectraFMError as error:
            raise ValueError(str(error)) from None


def _mock(config: Config) -> None:
    """Check that the mock survey is written to a folder of its own."""
    if config.mock is None:
        return
    source = config.survey.source
    if "://" in source:
        raise ValueError(f"survey.source: the mock survey is written to a folder, not to {source}")
    if set(source) & set("{}") or source != source.strip() or source.startswith("-"):
        # Braces would be wildcards of Snakemake, and a dash would begin an option.
        raise ValueError(f"survey.source: {source!r} is no name of a folder for the mock survey")
    if not may_become_a_mock(Path(source)):
        raise ValueError(
            f"survey.source: {source} is no mock survey, and writing one there would replace it; "
            "for a survey that is there, write mock: null"
        )


def _shown(config: Config) -> None:
    """Check that figures and Table 1 show stages and predictions that the run makes."""
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
    # All stages are jobs of one Snakemake rule, so either all name a partition or none does.
    everyone = config.resources.get("default", Resources())
    for job in config.resources.keys() & config.stages.keys():
        for key in ("partition", "account"):
            if getattr(config.resources[job], key) and not getattr(everyone, key):
                raise ValueError(
                    f"resources.{job}.{key}: set resources.default.{key} too, for other stages"
                )


#: Every check, in the order in which they are made.
CHECKS = (_starts, _repeats, _labels, _windows, _mock, _shown, _resources)
