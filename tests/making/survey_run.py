"""The survey's part of a run, from catalogue to store, in a folder laid out like a run's."""

from __future__ import annotations

from pathlib import Path

from making.sas_tree import SasTree
from spectrafm.store.build_store import build_store
from spectrafm.surveys.apogee.fetch_spectra import fetch_spectra
from spectrafm.surveys.apogee.options import Selection, Survey
from spectrafm.surveys.apogee.select_stars import select_stars


class Run:
    """The survey rules, one after the other, in one folder."""

    def __init__(self, folder: Path, tree: SasTree, survey: Survey | None = None):
        self.folder, self.tree, self.survey = folder, tree, survey or tree.survey()
        self.selected = folder / "catalogue/selected.parquet"
        self.alternates = folder / "catalogue/alternates.parquet"
        self.cuts = folder / "catalogue/cuts.csv"
        self.missing = folder / "catalogue/missing.parquet"
        self.funnel = folder / "catalogue/funnel.csv"
        self.spectra, self.store = folder / "spectra", folder / "store.zarr"

    def select(self) -> Run:
        outputs = (self.selected, self.alternates, self.cuts)
        select_stars(self.tree.allstar, *outputs, Selection(), self.survey)
        return self

    def shard(self, number: int) -> Path:
        return self.spectra / f"{number:03d}.zarr"

    def shard_missing(self, number: int) -> Path:
        return self.spectra / f"{number:03d}.missing.parquet"

    def fetch(self, number: int) -> None:
        outputs = (self.shard(number), self.shard_missing(number))
        fetch_spectra(self.selected, self.alternates, number, *outputs, self.survey)

    def build(self) -> None:
        numbers = range(self.survey.shards)
        build_store(
            self.selected,
            self.cuts,
            [self.shard(n) for n in numbers],
            [self.shard_missing(n) for n in numbers],
            self.store,
            self.missing,
            self.funnel,
        )

    def all(self) -> Run:
        self.select()
        for number in range(self.survey.shards):
            self.fetch(number)
        self.build()
        return self
