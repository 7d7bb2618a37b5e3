"""Options of the figures: the models and predictions in each, made from the registry."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, create_model

from spectrafm.figures import FIGURES, Plot
from spectrafm.options import Name, Section

#: ``<stage>--<evaluation>``: a prediction.
PredictionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+--[A-Za-z0-9_]+$")]


def _range(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError("a range is [lowest, highest]")
    return value


class Tables(Section):
    """Predictions in the tables, and the star of the figures that show one star."""

    star: str | None = Field(
        None, description="APOGEE_ID of the star in Figures 1 and 2; null: the first test giant"
    )
    table1: list[PredictionName] = Field(
        ["pretrain--first_half", "finetune_observed--first_half"],
        min_length=1,
        description="predictions in Table 1, <stage>--<evaluation>, a column each",
    )
    table1_logg: Annotated[tuple[float, float], AfterValidator(_range)] = Field(
        (1.0, 3.5), description="range of log g of the stars in Table 1, dex(cm s-2)"
    )


def _key(name: str, plot: Plot) -> Any:
    """Type and field of a figure's key; None for a figure without a choice of inputs."""
    several = {
        "models": Name,
        "predictions": PredictionName,
        "calibration": PredictionName,
    }
    if plot.shows in several:
        kind = list[several[plot.shows]]
        default = None if plot.default is None else list(plot.default)
        what = f"{'models' if plot.shows == 'models' else 'predictions'} in {name}"
        constraint = {"min_length": 1}
    elif plot.shows == "prediction":
        kind, default, what, constraint = PredictionName, plot.default, f"prediction in {name}", {}
    else:
        return None
    form = "stages" if plot.shows == "models" else "<stage>--<evaluation>"
    field = Field(default, description=f"{what}: {form}; null: not drawn", **constraint)
    return kind | None, field


#: A key for each figure that shows models or predictions.
Figures = create_model(
    "Figures",
    __base__=Tables,
    __doc__="Which models and predictions the tables and figures show.",
    **{name: _key(name, plot) for name, plot in FIGURES.items() if _key(name, plot)},
)
