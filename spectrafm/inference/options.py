"""Options of predictions and of attention maps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spectrafm.labels import CONDITION, LabelName
from spectrafm.options import Count, Section
from spectrafm.spectra import FluxRange, Kind, Split, Window

Windows = Annotated[
    list[Window] | None,
    Field(
        min_length=1,
        description="wavelength ranges shown to the network, [[shortest, longest], ...] in vacuum "
        "Angstrom; null: those that the model was trained on",
    ),
]
GoodFlux = Annotated[
    FluxRange | None,
    Field(
        description="[lowest, highest] normalised flux that counts as a good pixel; null: the "
        "range that the model was trained with"
    ),
]


class Predict(Section):
    """Which spectra are predicted, and how."""

    spectra: Kind = Field(
        "observed",
        description="observed: the stars' spectra; synthetic: the models that fit them best",
    )
    windows: Windows = None
    labels: Annotated[list[LabelName], Field(min_length=1)] | None = Field(
        None, description="labels to predict; null: those that the model was trained for"
    )
    flux_range: GoodFlux = None
    split: Split | Literal["all"] = Field(
        "test", description="side of the split: train, validation, test, or all stars"
    )
    where: Annotated[str, Field(pattern=CONDITION, max_length=64)] | None = Field(
        None,
        description="condition on labels of the stars, or on columns of the store, such as "
        "'LOGG < 3.5 and FE_H > -1'; null: all stars of the split",
    )
    combine: Literal["inverse_variance", "mean"] = Field(
        "inverse_variance",
        description="how the parts of a spectrum longer than the network's context are combined: "
        "inverse_variance weights each part by its predicted variance; mean is the plain mean "
        "that the authors took",
    )
    twin: bool = Field(
        True,
        description="read observed spectra through the model's synthetic twins, where it has them",
    )


class Attention(Section):
    """Which spectra an attention map averages over."""

    spectra: Kind = Field(
        "synthetic",
        description="observed: the stars' spectra; synthetic: the models that fit them best",
    )
    windows: Windows = None
    flux_range: GoodFlux = None
    split: Split = Field("test", description="side of the split: train, validation or test")
    stars: Count = Field(5000, description="average over at most this many stars of the split")
