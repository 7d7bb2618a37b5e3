"""Options of the APOGEE survey: data release, catalogue, selection of stars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from spectrafm.archive.options import (
    Archive,
    CatalogueLimits,
    Completeness,
    FileLimits,
    Judgement,
)
from spectrafm.errors import SpectraFMError
from spectrafm.options import Name, Section
from spectrafm.surveys.apogee import bitmasks
from spectrafm.surveys.split import SplitShares

#: SHA-1 of DR17's allStar, from astroNN's downloader. That of allStarLite is not published.
ALLSTAR_DR17_SHA1 = "7aa2f381de0e8e246f9833cc7da540ef45096702"


#: Name of ASPCAP's reduction, after that of the spectra's where it is not the release's.
_ASPCAP = r"^([A-Za-z0-9_]+/)?[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$"


#: Releases whose paths on the SAS are not those of DR16 and DR17: by LOCATION_ID up to DR15, and of
#: another pipeline since DR18.
_OTHER_LAYOUT = ("dr10", "dr11", "dr12", "dr13", "dr14", "dr15", "dr18", "dr19", "dr20")
_SAS = "data.sdss.org"


class Release(Section):
    """Data release and ASPCAP reduction."""

    release: Name = Field("dr17", description="data release, as in the paths of the SAS")
    aspcap: Annotated[str, Field(pattern=_ASPCAP, max_length=64)] = Field(
        "synspec_rev1",
        description="ASPCAP reduction, as in the paths of the SAS; if the spectra's reduction has "
        "another name than the release, both, as r12/l33 for DR16",
    )


class Catalogue(Section):
    """Form of the allStar catalogue, and its published SHA-1."""

    catalogue: Literal["allStar", "allStarLite"] = Field(
        "allStar",
        description="form of the catalogue; allStarLite has the same rows without the large "
        "arrays, in half the size",
    )
    allstar_sha1: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        None, description="published SHA-1 of the catalogue; null: not checked"
    )

    @model_validator(mode="after")
    def _published(self):
        if self.catalogue == "allStarLite" and self.allstar_sha1 == ALLSTAR_DR17_SHA1:
            raise ValueError(
                "allstar_sha1 is that of allStar; none is published for allStarLite: write null"
            )
        return self


class Shards(Section):
    """Number of jobs that fetch spectra."""

    shards: int = Field(
        16, ge=1, le=999, description="number of fetching jobs; each fetches one shard of the stars"
    )


class Survey(
    Archive, FileLimits, CatalogueLimits, Judgement, Completeness, Release, Catalogue, Shards
):
    """The section ``survey`` of the configuration, for APOGEE or for its mock survey."""

    name: Literal["apogee"] = Field(
        "apogee", description="name of the survey, as in spectrafm/surveys/"
    )

    @model_validator(mode="after")
    def _supported(self):
        if self.release in _OTHER_LAYOUT and urlsplit(self.source).hostname == _SAS:
            raise ValueError(
                f"release: the spectra of {self.release} lie in other folders on the SAS than "
                "those of DR16 and DR17, and are not supported; supported: dr17 with synspec_rev1 "
                "or synspec, dr16 with aspcap r12/l33"
            )
        return self


#: The cuts of each preset; those of the first are the defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "snr_above": 200.0,
        "starflag": "any",
        "aspcapflag": ["STAR_BAD"],
        "vscatter_below": 1.0,
    },
    # STARFLAG == 0 already excludes every bad flag of STARFLAG. STAR_BAD summarises only some of
    # the bad flags of ASPCAPFLAG: it omits the grid edges of the other parameters, the fit's
    # chi-squared and a low S/N.
    "strict": {
        "snr_above": 200.0,
        "starflag": "any",
        "aspcapflag": list(bitmasks.ASPCAPFLAG_BAD),
        "vscatter_below": 1.0,
    },
}


class Selection(Section):
    """Cuts on the rows of allStar (paper appendix B): a preset, and changes to it."""

    preset: Literal["paper", "strict"] = Field(
        "paper",
        description="cuts that hold unless another key overrides them. paper: the authors' cuts; "
        "strict: the same, and no flag that DR17 calls bad",
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
        SplitShares(), description="shares of the stars on each side of the split, and the seed"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, content: Any) -> Any:
        """Fill keys that are not given from the preset; a command line gives all of them."""
        if isinstance(content, Mapping) and isinstance(content.get("preset"), str):
            # The field `preset` refuses an unknown name.
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
