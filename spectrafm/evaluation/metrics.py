"""Reading ``metrics.json``, which `collect_metrics` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from spectrafm.errors import SpectraFMError
from spectrafm.files import read_json
from spectrafm.reading import Record, problem_in

Count = Annotated[int, Field(ge=0)]


class _Scores(Record):
    """Scores of a label for one group of stars; None: undefined."""

    n: Count
    rmse: float | None
    mad_std: float | None
    bias: float | None
    coverage_1sigma: float | None


class _Label(Record):
    unit: str
    symbol: str | None = None
    all: _Scores
    rich: _Scores
    poor: _Scores


class _Prediction(Record):
    spectra: str
    asked: Count
    flagged: Count = 0
    labels: dict[str, _Label]


class _Metrics(Record):
    mock: bool
    predictions: dict[str, _Prediction]
    made_with: dict[str, str] | None = None


def read_metrics(path: Path) -> dict[str, Any]:
    """Read ``metrics.json``.

    Raises
    ------
    SpectraFMError
        When the file is missing, is not JSON, or does not hold what `collect_metrics` writes.
    """
    content = read_json(path)
    try:
        _Metrics.model_validate(content)
    except ValidationError as error:
        raise SpectraFMError(
            f"{path}: not what collect-metrics writes ({problem_in(error)})"
        ) from None
    return content
