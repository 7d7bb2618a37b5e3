"""Options of your own survey: what the table of spectra and labels does not say itself."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from spectrafm.continuum import NORMALISERS
from spectrafm.labels import LabelName, LabelUnit
from spectrafm.options import Section

#: Range of wavelengths that windows of a configuration may have, Angstrom: that of any instrument.
RANGE = (2000.0, 300_000.0)

#: First and last wavelength, Angstrom, and number of pixels.
Grid = tuple[float, float, int]


class Spectra(Section):
    """How spectra are to be understood and stored."""

    wavelength_unit: LabelUnit | None = Field(
        None, description="unit of wavelengths that have none, such as nm; null: Angstrom or error"
    )
    flux_unit: LabelUnit | None = Field(
        None, description="unit of a flux that has none, such as Jy; null: a plain number"
    )
    medium: Literal["air", "vacuum"] | None = Field(
        None, description="where wavelengths hold; null: as the file says, else vacuum"
    )
    frame: Literal["rest", "barycentric"] | None = Field(
        None, description="frame of the wavelengths; null: as the file says, else at rest"
    )
    resolution: float | None = Field(
        None, gt=1, description="resolving power; null: as the file says, else unknown"
    )
    normalisation: str | None = Field(
        None,
        min_length=1,
        description="normaliser that was applied to the flux; null: as the file says, else none",
    )
    normaliser: str = Field(
        "running",
        description=f"normaliser of flux that is not normalised: {', '.join(NORMALISERS)}",
    )
    grid: Grid | None = Field(
        None,
        description="first and last wavelength in Angstrom and number of pixels, even in the "
        "logarithm; null: the wavelengths of the first spectrum",
    )

    @model_validator(mode="after")
    def _sane_grid(self) -> Any:
        if self.normaliser not in NORMALISERS:
            raise ValueError(f"normaliser: known are {', '.join(NORMALISERS)}")
        if self.grid is not None:
            first, last, pixels = self.grid
            if not (100 < first < last < 1e7 and 2 <= pixels <= 1_000_000):
                raise ValueError("grid: expected [shortest, longest, pixels], in Angstrom")
        return self


class LabelColumns(Section):
    """Columns of the table that hold labels."""

    columns: list[LabelName] | None = Field(
        None, min_length=1, description="label columns; null: the paper's labels that are there"
    )
    units: dict[LabelName, LabelUnit] = Field(
        {}, description="unit of each label whose column has none, such as {AGE: Gyr}"
    )


class Survey(Spectra, LabelColumns):
    """The section ``survey`` of the configuration, for your own table."""

    name: Literal["own"] = Field("own", description="name of the survey, as in spectrafm/surveys/")
    table: str = Field(
        "mine.ecsv",
        # Braces would be wildcards of Snakemake, and a dash would begin an option.
        pattern=r"^[^-{}][^{}]*$",
        description="path of the table of your spectra and labels, without braces",
    )
