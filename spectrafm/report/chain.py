"""The chain from store to figure: whether each part of a run was made with the others beside it.

Each part names the SHA-256 of its inputs: a store in its attributes, a model in ``config.json``, a
prediction in its metadata, attention maps in their attributes, a figure in the text of its PNG, a
table in its Markdown file. The SHA-256 of a store, model or attention map is that of its checksum
list.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.made_with import inputs_of_table
from spectrafm.evaluation.metrics import read_metrics
from spectrafm.figures.models import facts_of
from spectrafm.inference.predictions import read_predictions
from spectrafm.integrity import CHECKSUMS, MADE_WITH, MANIFEST, hash_of, hashes_by_path, is_there
from spectrafm.reading import printable
from spectrafm.report.images import inputs_of_figure

#: Parts of a run that name their inputs, in the order in which they are made.
PARTS = (
    "spectra/*.zarr",
    "store.zarr",
    "models/[!.]*",
    "predictions/*.parquet",
    "metrics.json",
    "attention/*.zarr",
    "tables/*.md",
    "figures/*.png",
)


class Chain(NamedTuple):
    """What was found of the inputs of one part of a run."""

    note: str
    exchanged: list[str]  # one line an input that is another one now, or a contradiction
    missing: list[str]  # one line an input that is not there


class _Record(NamedTuple):
    """What a part says of itself."""

    inputs: Mapping[str, str] | None  # SHA-256 by path from `folder`; None: not recorded
    folder: Path
    mock: bool | None = None
    faults: tuple[str, ...] = ()


def chain_of(run: Path, path: Path) -> Chain:
    """Compare the inputs of one part of a run with what stands there now.

    Inputs outside the run's folder are not opened: the part may come from a stranger.

    Parameters
    ----------
    run : pathlib.Path
        Folder of the run.
    path : pathlib.Path
        A part, one of `PARTS`.

    Raises
    ------
    SpectraFMError
        When the part or one of its inputs is damaged.
    """
    made = path.relative_to(run).as_posix()
    record = _record_of(run, path, made)
    if record.inputs is None:
        return Chain("made before provenance was recorded", list(record.faults), [])
    exchanged, missing, outside = list(record.faults), [], 0
    for name, digest in record.inputs.items():
        where = Path(os.path.normpath(record.folder / name))
        if not where.is_relative_to(os.path.normpath(run)):
            outside += 1
            continue
        input_name = where.relative_to(os.path.normpath(run)).as_posix()
        if not is_there(where):
            missing.append(f"{input_name}: missing, though {made} was made with it")
        elif hash_of(where) != digest:
            exchanged.append(f"{input_name} is not {_words(input_name, made)}")
        elif record.mock is False and _is_mock(run, input_name):
            exchanged.append(f"{made} says that it is of real stars, but {input_name} is mock")
    count = len(record.inputs)
    note = f"made with {count} part{'s' * (count != 1)} that it names"
    return Chain(f"{note}, {outside} of them elsewhere" if outside else note, exchanged, missing)


def exchanged_parts(run: Path) -> list[str]:
    """One line for each part of a run that is not the one with which another part was made.

    Raises
    ------
    SpectraFMError
        When a part is damaged.
    """
    paths = [path for pattern in PARTS for path in sorted(run.glob(pattern))]
    return [line for path in paths for line in chain_of(run, path).exchanged]


def _words(name: str, made: str) -> str:
    """Say what an input was to the part that was made with it."""
    model = made.startswith("models/")
    if name.startswith("models/"):
        return f"the model that {made} {'started from' if model else 'was made with'}"
    if name.endswith(".zarr") and not name.startswith("attention/"):
        return f"the store that {made} was {'trained on' if model else 'made with'}"
    return f"the one that {made} was made with"


def _record_of(run: Path, path: Path, made: str) -> _Record:
    """Read what a part says of its inputs."""
    room = made.split("/")[0]
    if room == "models":
        facts = facts_of(path)
        stage, wrong = facts["stage_name"], ()
        if stage != path.name:
            wrong = (f"{made} holds the model of stage {printable(stage)!r}",)
        return _Record(facts.get("made_with"), path, facts.get("mock", False), wrong)
    if room == "predictions":
        facts = read_predictions(path).attrs
        wrong, model = (), run / "models" / facts["stage"]
        named = f"{facts['stage']}--{facts['evaluation']}"
        if named != path.stem:
            wrong = (f"{made} holds the prediction {printable(named)!r}",)
        if "made_with" not in facts and is_there(model):
            mock = facts_of(model).get("mock", False)
            if mock and not facts["mock"]:
                wrong += (f"{made} says that it is of real stars, but its model is mock",)
        return _Record(facts.get("made_with"), path.parent, facts["mock"], wrong)
    if room == "metrics.json":
        facts = read_metrics(path)
        return _Record(facts.get("made_with"), path.parent, facts["mock"])
    if room == "tables":
        return _Record(inputs_of_table(path), path.parent)
    if room == "figures":
        return _Record(inputs_of_figure(path), path.parent)
    facts = facts_of_zarr(path)
    inputs = facts.get(MADE_WITH)
    if inputs is not None:
        inputs = hashes_by_path(inputs, f"{path}: its {MADE_WITH}")
    return _Record(inputs, path, facts.get("mock"))


def facts_of_zarr(path: Path) -> dict[str, Any]:
    """Read attributes of a store or attention map: those in ``zarr.json``, or in a manifest.

    Raises
    ------
    SpectraFMError
        When they are not readable.
    """
    old = (path / MANIFEST).is_file() and not (path / CHECKSUMS).is_file()
    file = path / (MANIFEST if old else "zarr.json")
    content = files.read_json(file)
    facts = content if old else content.get("attributes") if isinstance(content, dict) else None
    if not isinstance(facts, dict):
        raise SpectraFMError(f"{file}: has no attributes")
    return facts


def _is_mock(run: Path, name: str) -> bool:
    """Whether a store or model of the run is of the mock survey."""
    if name.startswith("models/"):
        return bool(facts_of(run / name).get("mock"))
    return name.endswith(".zarr") and bool(facts_of_zarr(run / name).get("mock"))
