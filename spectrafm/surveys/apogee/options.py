"""Options of the APOGEE survey: which release, which catalogue, which stars stay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from spectrafm.archive.options import Archive, CatalogueLimits, FileLimits
from spectrafm.errors import SpectraFMError
from spectrafm.options import Name, Section, Share
from spectrafm.surveys.apogee import bitmasks

#: As astroNN's downloader has it. allStarLite's is not known.
ALLSTAR_DR17_SHA1 = "7aa2f381de0e8e246f9833cc7da540ef45096702"


class Release(Section):
    """Which data of the survey."""

    release: Name = Field("dr17", description="data release, as in the paths of the SAS")
    aspcap: Name = Field("synspec_rev1", description="ASPCAP reduction, as in the paths of the SAS")


class Catalogue(Section):
    """Which form of the allStar catalogue."""

    catalogue: Literal["allStar", "allStarLite"] = Field(
        "allStar", description="allStarLite: the same rows in half the bytes, without arrays"
    )
    allstar_sha1: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        None, description="published SHA-1 of the catalogue; null: not checked"
    )

    @model_validator(mode="after")
    def _published(self):
        if self.catalogue == "allStarLite" and self.allstar_sha1 == ALLSTAR_DR17_SHA1:
            raise ValueError(
                "allstar_sha1 is that of allStar; of allStarLite none is published: write null"
            )
        return self


class Shards(Section):
    """How many jobs share the fetching."""

    shards: int = Field(
        16, ge=1, le=999, description="fetching jobs, each of which fetches one shard of the stars"
    )


class Survey(Archive, FileLimits, CatalogueLimits, Release, Catalogue, Shards):
    """The section ``survey`` of the configuration for APOGEE, or for its mock."""

    name: Literal["apogee"] = Field("apogee", description="the survey, as in spectrafm/surveys/")


class SplitShares(Section):
    """How stars are divided; by a hash of seed and APOGEE_ID, hence the same in every run."""

    train: Share = Field(0.7, description="share of the stars that networks learn from")
    validation: Share = Field(0.1, description="share of the stars that choose the best epoch")
    test: Share = Field(0.2, description="share of the stars that only evaluations use")
    seed: int = Field(42, ge=0, description="of the hash that divides the stars")

    @model_validator(mode="after")
    def _sum(self):
        if not math.isclose(self.train + self.validation + self.test, 1.0, abs_tol=1e-9):
            raise ValueError("train + validation + test must be 1")
        return self


#: The cuts of each preset; the first are the defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "snr_above": 200.0,
        "starflag": "any",
        "aspcapflag": ["STAR_BAD"],
        "vscatter_below": 1.0,
    },
    # STARFLAG == 0 leaves no flag that could be called bad. Of ASPCAPFLAG, STAR_BAD stands for
    # some of the bad flags only: the grid edges of the other parameters, the fit's chi-squared
    # and a low S/N are not among them.
    "strict": {
        "snr_above": 200.0,
        "starflag": "any",
        "aspcapflag": list(bitmasks.ASPCAPFLAG_BAD),
        "vscatter_below": 1.0,
    },
}


class Selection(Section):
    """Which rows of allStar stay (paper appendix B): a preset, and what is to differ from it."""

    preset: Literal["paper", "strict"] = Field(
        "paper",
        description="cuts where no other key says otherwise. paper: the authors'; strict: the "
        "same, and no flag that DR17 calls bad",
    )
    snr_above: float = Field(
        PRESETS["paper"]["snr_above"], ge=0, description="keep rows with SNR above this"
    )
    starflag: Literal["any"] | list[str] = Field(
        PRESETS["paper"]["starflag"],
        description="STARFLAG names that drop a row; any: every set bit does",
    )
    aspcapflag: Literal["any"] | list[str] = Field(
        PRESETS["paper"]["aspcapflag"],
        description="ASPCAPFLAG names that drop a row; any: every set bit does",
    )
    vscatter_below: float | None = Field(
        PRESETS["paper"]["vscatter_below"],
        gt=0,
        description="keep rows with VSCATTER below this, km/s; null: no cut",
    )
    split: SplitShares = Field(
        SplitShares(), description="shares of the stars in each side of the split, and the seed"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, content: Any) -> Any:
        """Keys that are not given are the preset's: those of a flag line, all given, stay."""
        if isinstance(content, Mapping) and isinstance(content.get("preset"), str):
            # A name that is no preset is refused by its own field.
            return {**PRESETS.get(content["preset"], {}), **content}
        return content

    @model_validator(mode="after")
    def _flags(self):
        for bitmask, names in (("STARFLAG", self.starflag), ("ASPCAPFLAG", self.aspcapflag)):
            if names != "any":
                try:
                    bitmasks.mask_of(bitmask, names)
                except SpectraFMError as error:
                    raise ValueError(str(error)) from None
        return self
