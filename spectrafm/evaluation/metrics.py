"""Reading ``metrics.json``, which `collect_metrics` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spectrafm.errors import SpectraFMError
from spectrafm.files import read_json
from spectrafm.reading import problem_in


class _Part(BaseModel):
    # Versions before and after this one have other keys besides.
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


Count = Annotated[int, Field(ge=0)]


class _Scores(_Part):
    """Scores of a label for one group of stars; None: undefined."""

    n: Count
    rmse: float | None
    mad_std: float | None
    bias: float | None
    coverage_1sigma: float | None


class _Label(_Part):
    unit: str
    symbol: str | None = None
    all: _Scores
    rich: _Scores
    poor: _Scores


class _Prediction(_Part):
    spectra: str
    asked: Count
    flagged: Count = 0
    labels: dict[str, _Label]


class _Metrics(_Part):
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
