"""Resolving a layered configuration: null entries, ``like`` between stages, draws of stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectrafm.errors import SpectraFMError
from spectrafm.training.options import Stage, Stars, draw_of

#: Default seeds of the draws.
SEEDS = (77, 78, 79)


def without_nulls(content: Mapping[str, Any]) -> dict[str, Any]:
    """Drop labels, stages, evaluations and resources that are null, and resources of such stages.

    An overlay file deletes an entry of the file below it by setting the entry to null.
    """
    kept = dict(content)
    for key in ("labels", "stages", "evaluations", "resources"):
        if isinstance(content.get(key), Mapping):
            kept[key] = {name: value for name, value in content[key].items() if value is not None}
    stages = content.get("stages")
    if isinstance(stages, Mapping) and isinstance(kept.get("resources"), Mapping):
        gone = {name for name, stage in stages.items() if stage is None}
        kept["resources"] = {job: v for job, v in kept["resources"].items() if job not in gone}
    return kept


def with_likes(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve ``like``: a stage inherits each key that it does not set from the named stage.

    Raises
    ------
    SpectraFMError
        When ``like`` names an unknown stage, or the references are circular.
    """

    def resolved(name: str, below: tuple[str, ...]) -> Any:
        stage = stages[name]
        if not isinstance(stage, Mapping) or stage.get("like") is None:
            return stage
        other = stage["like"]
        key = f"config: stages.{name}.like"
        if other not in stages:
            raise SpectraFMError(f"{key}: no stage {other!r}; known: {', '.join(stages)}")
        if other in (*below, name):
            raise SpectraFMError(f"{key}: a circle through {other!r}")
        own = {k: v for k, v in stage.items() if k != "like"}
        return merged(resolved(other, (*below, name)), own)

    return {name: resolved(name, ()) for name in stages}


def with_draws(stages: Mapping[str, Any], draws: Any) -> dict[str, Any]:
    """Add a copy of each stage in ``draws.stages`` for every seed in ``draws.seeds``.

    A malformed ``draws`` adds nothing here; the validation of its section reports the error.
    """
    given = draws if isinstance(draws, Mapping) else {}
    drawn, seeds = given.get("stages"), given.get("seeds", SEEDS)
    if not (isinstance(drawn, list) and isinstance(seeds, (list, tuple))):
        return dict(stages)
    more = {}
    for stage in drawn:
        options = stages.get(stage) if isinstance(stage, str) else None
        if isinstance(options, Mapping):
            stars = options.get("stars")
            own = stars.get("seed", Stars().seed) if isinstance(stars, Mapping) else Stars().seed
            for seed in (seed for seed in seeds if isinstance(seed, int)):
                changed = merged(options, {"stars": {"seed": seed}})
                more[draw_of(stage, own, seed)] = changed
    return {**stages, **more}


def merged(below: Any, above: Any) -> Any:
    """Merge two values: mappings key by key; otherwise ``above`` replaces ``below``."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    both = {key: merged(below[key], above[key]) for key in below.keys() & above.keys()}
    return {**below, **above, **both}


def require_keys(stages: Mapping[str, Any]) -> None:
    """Check that each stage sets the keys that have no default.

    Raises
    ------
    SpectraFMError
        Names the stage and the missing key.
    """
    for name, stage in stages.items():
        for key, field in Stage.model_fields.items():
            if field.is_required() and isinstance(stage, Mapping) and key not in stage:
                raise SpectraFMError(
                    f"config: stages.{name}.{key}: required; "
                    "set it, or inherit it from another stage with `like: STAGE`"
                )
