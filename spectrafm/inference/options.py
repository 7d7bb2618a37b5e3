"""Options of predictions and of attention maps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spectrafm.labels import LABELS, LabelName
from spectrafm.options import Section
from spectrafm.spectra import Kind, Split, Window


class Predict(Section):
    """Which spectra are predicted, and how."""

    spectra: Kind = "observed"
    windows: list[Window] = Field([(15152.2, 16943.6)], min_length=1)
    labels: list[LabelName] = Field(list(LABELS), min_length=1)
    split: Split | Literal["all"] = "test"
    combine: Literal["inverse_variance", "mean"] = Field(
        "inverse_variance", description="how the chunks of a long spectrum are combined"
    )


class Attention(Section):
    """The attention maps of Figure 5."""

    spectra: Kind = "synthetic"
    windows: list[Window] = Field([(15152.2, 16943.6)], min_length=1)
    split: Split = "test"
    stars: int = Field(5000, ge=1, description="at most this many stars of the split")
