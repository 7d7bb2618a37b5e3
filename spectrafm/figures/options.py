"""Options of the figures: which predictions each of them shows."""

from __future__ import annotations

from pydantic import Field

from spectrafm.options import Name, Section


class Figures(Section):
    """Which predictions each table and figure shows: ``<stage>--<evaluation>``."""

    star: str | None = Field(
        None, description="APOGEE_ID of Figures 1 and 2; null: the first test giant"
    )
    table1: list[str] = Field(
        ["pretrain--first_half", "finetune_observed--first_half"], min_length=1
    )
    table1_logg: tuple[float, float] = (1.0, 3.5)
    figure2: list[Name] = Field(["pretrain", "finetune_observed", "finetune_iron"], min_length=1)
    figure3: str = "finetune_observed--first_half"
    figure4: list[str] = Field(
        [
            "fcnn--iron_window",
            "pretrain--iron_window",
            "finetune_observed--iron_window",
            "finetune_iron--iron_window",
        ],
        min_length=1,
    )
