"""Options of an archive: its source, how files are requested, limits on time and size."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from spectrafm.options import Section


def _source(value: str) -> str:
    if "://" in value and not value.startswith(("https://", "http://", "file:///")):
        raise ValueError(f"{value!r} is not https://..., http://..., file:///... or a folder")
    return value


class Archive(Section):
    """Source of an archive, and how its files are fetched."""

    source: Annotated[str, Field(min_length=1), AfterValidator(_source)] = Field(
        "https://data.sdss.org/sas",
        description="root of the archive: https://..., http://..., file:///... or a folder",
    )
    keep: str | None = Field(
        None,
        min_length=1,
        description="folder that keeps fetched files as a mirror of the archive; files in it "
        "are not fetched again; null: files are not kept",
    )
    connections: int = Field(4, ge=1, le=16, description="simultaneous requests of one job")
    tries: int = Field(5, ge=1, le=20, description="tries per file in one run of a job")
    first_wait: float = Field(
        0.5, ge=0, description="seconds before the second try; each further wait is twice as long"
    )
    stall_seconds: float = Field(
        30.0,
        gt=0,
        description="seconds after which a try is abandoned if it brought less than minimum_rate",
    )
    minimum_rate: float = Field(
        1000.0, gt=0, description="lowest accepted rate, bytes per second over stall_seconds"
    )


class Judgement(Section):
    """How failed and unverified files are judged."""

    stop_after: int = Field(
        20,
        ge=1,
        le=10_000,
        description="failed files in a row after which a job stops, to be run again, unless the "
        "source still answers for a file that it had before",
    )
    runs: int = Field(
        3,
        ge=1,
        le=1000,
        description="runs of a job in which a file must fail before it counts as missing; a file "
        "that the source says it lacks, and that no checksum list names, is missing at once",
    )
    unverified: Literal["allow", "refuse"] = Field(
        "allow",
        description="what to do with a file whose SHA-1 is not published. allow: it is stored and "
        "counted; refuse: it is missing",
    )


class Completeness(Section):
    """How many of the files may be missing."""

    most_missing: float = Field(
        0.05,
        ge=0,
        le=1,
        description="largest share of the selected stars that may be missing; a store that lacks "
        "more of them is not built",
    )


class FileLimits(Section):
    """Limits on a small file: a spectrum or a checksum list."""

    file_seconds: float = Field(
        600.0, gt=0, description="deadline of one file in seconds, all tries together"
    )
    file_megabytes: float = Field(
        64.0, gt=0, description="largest size of a file in MB; a larger one is refused"
    )


class CatalogueLimits(Section):
    """Limits on a catalogue."""

    catalogue_seconds: float = Field(
        13000.0, gt=0, description="deadline of a catalogue in seconds, all tries together"
    )
    catalogue_megabytes: float = Field(
        8000.0, gt=0, description="largest size of a catalogue in MB; a larger one is refused"
    )
