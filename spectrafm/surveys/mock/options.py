"""Options of the mock survey."""

from __future__ import annotations

from pydantic import Field

from spectrafm.options import Section, Seed


class Mock(Section):
    """The mock survey, which is written as a SAS tree to ``survey.source``."""

    rows: int = Field(
        2600, ge=50, le=10_000_000, description="number of rows of the mock allStar catalogue"
    )
    seed: Seed = Field(17, description="seed of all random numbers of the mock survey")
    gap: float = Field(
        1.0, ge=0, le=3, description="strength of the synthetic gap; 0: observed = noisy model"
    )
    halo_share: float = Field(
        0.14, ge=0, le=1, description="share of halo stars (APOGEE: about 0.03)"
    )
