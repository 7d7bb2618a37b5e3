"""Resolving a layered configuration: null entries, ``like`` between stages, repeats of stages."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from spectrafm.errors import SpectraFMError
from spectrafm.reading import printable
from spectrafm.training.options import Schedule, Stage, Stars
from spectrafm.training.repeats import COUNTS, DRAWS, MOST, Repeat, family_of


def require_text_keys(content: Any, place: str = "") -> None:
    """Check that each key in nested values is a text: YAML reads ``null`` or ``12`` as none.

    Raises
    ------
    SpectraFMError
        Names the mapping and the key.
    """
    if isinstance(content, Mapping):
        for key, value in content.items():
            if not isinstance(key, str):
                where = f"{place}: " if place else ""
                raise SpectraFMError(
                    f"config: {where}the key {key!r} is no text; if it is meant, write it in quotes"
                )
            require_text_keys(value, f"{place}.{key}".removeprefix("."))
    elif isinstance(content, (list, tuple)):
        for value in content:
            require_text_keys(value, place)


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
        When ``like`` names no known stage, or the references are circular.
    """

    def resolved(name: str, below: tuple[str, ...]) -> Any:
        stage = stages[name]
        if not isinstance(stage, Mapping) or stage.get("like") is None:
            return stage
        other = stage["like"]
        key = f"config: stages.{name}.like"
        if not isinstance(other, str) or other not in stages:
            raise SpectraFMError(f"{key}: no stage {other!r}; known: {', '.join(stages)}")
        if other in (*below, name):
            raise SpectraFMError(f"{key}: a circle through {other!r}")
        own = {k: v for k, v in stage.items() if k != "like"}
        return merged(resolved(other, (*below, name)), own)

    return {name: resolved(name, ()) for name in stages}


def with_repeats(stages: Mapping[str, Any], fewshot: Any, curve: Any) -> dict[str, Any]:
    """Add the repeats of each stage: other draws, seeds and numbers of stars.

    A stage has as many draws and seeds as its own keys or the section ``fewshot`` want, whichever
    is more. The section ``learning_curve`` adds its numbers of stars to the stages that it names. A
    repeat starts from the repeat of its base with the same place, where the base has as many, and
    learns the labels of such a repeat of its teacher. What
    is malformed adds nothing here; the validation of its section reports the error.

    Raises
    ------
    SpectraFMError
        When the name of a stage ends as that of a repeat does.
    """
    for name in stages:
        if isinstance(name, str) and family_of(name) != name:
            raise SpectraFMError(
                f"config: stages.{printable(name)}: a name must not end as that of a repeat of "
                f"{family_of(name)!r}"
            )
    made = dict(stages)
    for name, options in stages.items():
        if not isinstance(options, Mapping):
            continue
        many = _places(stages, name, fewshot)
        for count in (None, *_counts(curve, name)):
            few = many if count is None else (_many(curve, "draws", 1), 1)
            for place in itertools.product(*map(range, few)):
                repeat = _repeat(options, count, place)
                if repeat.of(name) not in made:
                    made[repeat.of(name)] = _repeated(stages, options, repeat, place, fewshot)
    return made


def _places(stages: Mapping[str, Any], name: str, fewshot: Any) -> tuple[int, int]:
    """Number of draws and of seeds of a stage."""
    options = stages.get(name)
    draws, seeds = (_many(options, key, 1) for key in ("draws", "seeds"))
    if name in _listed(fewshot):
        if _number(_inner(options, "stars"), "count", 0):
            draws = max(draws, _many(fewshot, "draws", DRAWS))
        seeds = max(seeds, _many(fewshot, "seeds", 1))
    return draws, seeds


def _counts(curve: Any, name: str) -> list[int]:
    """Numbers of stars of the learning curve at which a stage is trained."""
    wanted = _inner(curve, "counts", COUNTS) if name in _listed(curve) else ()
    counts = wanted if isinstance(wanted, (list, tuple)) else ()
    return [count for count in counts[:MOST] if type(count) is int and count > 0]


def _repeat(options: Mapping[str, Any], count: int | None, place: tuple[int, int]) -> Repeat:
    """The repeat of a stage at a place among its draws and seeds."""
    draw, seed = place
    stars = _inner(options, "stars")
    return Repeat(
        None if count == _number(stars, "count", 0) else count,
        _number(stars, "seed", Stars().seed) + draw if draw else None,
        _number(options, "seed", Stage.model_fields["seed"].default) + seed if seed else None,
    )


def _repeated(
    stages: Mapping[str, Any],
    options: Mapping[str, Any],
    repeat: Repeat,
    place: tuple[int, int],
    fewshot: Any,
) -> dict[str, Any]:
    """Options of a repeat of a stage."""
    changed: dict[str, Any] = {"draws": 1, "seeds": 1}
    if repeat.draw is not None:
        changed["stars"] = {"seed": repeat.draw}
    if repeat.seed is not None:
        changed["seed"] = repeat.seed
    base, teacher = options.get("start_from"), _inner(options, "pseudo_labels").get("teacher")
    if (found := _beside(stages, base, place, fewshot)) is not None:
        changed["start_from"] = found
    if (found := _beside(stages, teacher, place, fewshot)) is not None:
        changed["pseudo_labels"] = {"teacher": found}
    options = merged(options, changed)
    return options if repeat.count is None else _with_count(options, repeat.count)


def _beside(
    stages: Mapping[str, Any], base: Any, place: tuple[int, int], fewshot: Any
) -> str | None:
    """Repeat of a stage at the place of another's; of what is no stage None."""
    if not isinstance(stages.get(base) if isinstance(base, str) else None, Mapping):
        return None
    places = _places(stages, base, fewshot)
    own = tuple(one if one < many else 0 for one, many in zip(place, places, strict=True))
    return _repeat(stages[base], None, own).of(base)


def _with_count(options: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Options with another number of stars and epochs for the same number of steps."""
    batch = _number(options, "batch", Stage.model_fields["batch"].default)
    before = _number(_inner(options, "stars"), "count", count)
    longer = -(-before // batch) / -(-count // batch)
    changed: dict[str, Any] = {"stars": {"count": count}}
    for key in ("epochs", "validate_every"):
        if _number(options, key, 0):
            changed[key] = max(round(options[key] * longer), 1)
    schedule = {**Schedule().model_dump(), **_inner(options, "schedule")}
    changed["schedule"] = {
        key: schedule[key] * longer
        for key in ("warmup_epochs", "restart_epochs")
        if isinstance(schedule[key], (int, float))
    }
    return merged(options, changed)


def _inner(content: Any, key: str, default: Any = None) -> Any:
    """Value of a key of what may be no mapping; an empty mapping by default."""
    default = {} if default is None else default
    found = content.get(key, default) if isinstance(content, Mapping) else default
    return default if found is None else found


def _number(content: Any, key: str, default: int) -> int:
    found = content.get(key, default) if isinstance(content, Mapping) else default
    return found if type(found) is int else default


def _many(content: Any, key: str, default: int) -> int:
    """A number of draws or seeds; one that the validation refuses counts as 1."""
    found = _number(content, key, default)
    return found if 1 <= found <= MOST else 1


def _listed(section: Any) -> list:
    found = section.get("stages") if isinstance(section, Mapping) else None
    return found if isinstance(found, list) else []


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
