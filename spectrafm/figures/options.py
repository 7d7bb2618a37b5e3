"""Options of tables and figures: which models and predictions each of them shows."""

from __future__ import annotations

from typing import Any

from pydantic import Field, create_model

from spectrafm.figures import FIGURES
from spectrafm.options import Name, Section


class Tables(Section):
    """What Table 1 shows, and which star the spectra are drawn of."""

    star: str | None = Field(
        None,
        description="APOGEE_ID of the star in Figures 1 and 2; null: the first giant (log g < 3) "
        "of the test split",
    )
    table1: list[str] = Field(
        ["pretrain--first_half", "finetune_observed--first_half"],
        min_length=1,
        description="predictions in Table 1, <stage>--<evaluation>, one column each",
    )
    table1_logg: tuple[float, float] = Field(
        (1.0, 3.5), description="lowest and highest log g (dex) of the stars in Table 1"
    )


def _fields() -> dict[str, Any]:
    """A key for each figure of which the configuration names the models or predictions."""
    fields: dict[str, Any] = {}
    for name, plot in FIGURES.items():
        what = f"in {name.replace('figure', 'Figure ')}"
        if plot.shows == "models":
            fields[name] = (
                list[Name],
                Field(list(plot.default), min_length=1, description=f"stages {what}, in order"),
            )
        elif plot.shows == "predictions":
            fields[name] = (
                list[str],
                Field(
                    list(plot.default),
                    min_length=1,
                    description=f"predictions {what}, <stage>--<evaluation>, in order",
                ),
            )
        elif plot.shows == "prediction":
            fields[name] = (
                str,
                Field(plot.default, description=f"prediction {what}, <stage>--<evaluation>"),
            )
    return fields


Figures = create_model("Figures", __base__=Tables, **_fields())
Figures.__doc__ = "Which models and predictions each table and figure shows."
