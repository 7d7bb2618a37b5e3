"""Running the survey's part of a run, from catalogue to store, in the layout of a run."""

from __future__ import annotations

from pathlib import Path

from making.sas_tree import SasTree
from spectrafm.labels import Labels
from spectrafm.store.build_store import build_store
from spectrafm.surveys.apogee.fetch_allstar import fetch_allstar
from spectrafm.surveys.apogee.fetch_spectra import fetch_spectra
from spectrafm.surveys.apogee.options import Selection, Survey
from spectrafm.surveys.apogee.select_stars import select_stars


def fetch_catalogue(output: Path, survey: Survey) -> None:
    """Call `fetch_allstar` with all options of a survey."""
    fetch_allstar(output=output, archive=survey, limits=survey, release=survey, catalogue=survey)


def select(
    allstar: Path,
    folder: Path,
    survey: Survey | None = None,
    selection: Selection | None = None,
    flags: Path | None = None,
    labels: Labels | None = None,
) -> tuple[Path, Path, Path]:
    """Call `select_stars`; return the paths of selected, alternates and cuts in ``folder``."""
    survey = survey or Survey()
    outputs = {
        name: folder / file
        for name, file in (
            ("selected", "selected.parquet"),
            ("alternates", "alternates.parquet"),
            ("cuts", "cuts.csv"),
        )
    }
    select_stars(
        allstar,
        **outputs,
        flags=flags,
        selection=selection or Selection(),
        release=survey,
        labels=labels or Labels(),
        shards=survey,
    )
    return tuple(outputs.values())


class Run:
    """Calls the commands of the survey rules in order, in one folder."""

    def __init__(
        self,
        folder: Path,
        tree: SasTree,
        survey: Survey | None = None,
        labels: Labels | None = None,
    ):
        self.folder, self.tree, self.survey = folder, tree, survey or tree.survey()
        self.labels = labels or Labels()
        self.selected = folder / "catalogue/selected.parquet"
        self.alternates = folder / "catalogue/alternates.parquet"
        self.cuts = folder / "catalogue/cuts.csv"
        self.missing = folder / "catalogue/missing.parquet"
        self.funnel = folder / "catalogue/funnel.csv"
        self.spectra, self.store = folder / "spectra", folder / "store.zarr"

    def select(self, selection: Selection | None = None) -> Run:
        folder = self.selected.parent
        select(self.tree.allstar, folder, self.survey, selection, labels=self.labels)
        return self

    def shard(self, number: int) -> Path:
        return self.spectra / f"{number:03d}.zarr"

    def shard_missing(self, number: int) -> Path:
        return self.spectra / f"{number:03d}.missing.parquet"

    def fetch(self, number: int, survey: Survey | None = None) -> None:
        fetch_spectra(
            selected=self.selected,
            alternates=self.alternates,
            shard=number,
            output=self.shard(number),
            missing=self.shard_missing(number),
            archive=survey or self.survey,
            limits=survey or self.survey,
            judgement=survey or self.survey,
        )

    def build(self) -> None:
        numbers = range(self.survey.shards)
        build_store(
            selected=self.selected,
            cuts=self.cuts,
            shards=[self.shard(n) for n in numbers],
            shard_missing=[self.shard_missing(n) for n in numbers],
            store=self.store,
            missing=self.missing,
            funnel=self.funnel,
            completeness=self.survey,
        )

    def all(self) -> Run:
        self.select()
        for number in range(self.survey.shards):
            self.fetch(number)
        self.build()
        return self
