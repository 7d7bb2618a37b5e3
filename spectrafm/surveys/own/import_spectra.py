"""The command ``import-spectra``: a table of your spectra and labels -> store.zarr."""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectrafm.continuum import normalise
from spectrafm.errors import SpectraFMError
from spectrafm.files import atomic_path, provenance, write_parquet
from spectrafm.integrity import hash_of
from spectrafm.labels import PAPER_LABELS, error_column
from spectrafm.outputs import claims
from spectrafm.progress import track
from spectrafm.readers.labelled import LabelledTable, Labels, read_labelled
from spectrafm.spectra.grid import on_grid
from spectrafm.spectra.spectrum import Spectrum, common_resolution
from spectrafm.store.layout import SHARD_STARS, STORE, Column, Stars, write_store
from spectrafm.surveys.own.options import LabelColumns, Spectra
from spectrafm.surveys.split import Split, split_of

#: Columns of each star besides spectra and labels.
COLUMNS = (
    Column("snr", np.float32, "median signal-to-noise ratio per pixel", "1"),
    Column("radial_velocity", np.float32, "radial velocity that was removed; 0: none", "km s-1"),
    Column("source", str, "file of the spectrum"),
)

#: Problems that are logged one by one.
MOST_LOGGED = 20

logger = logging.getLogger(__name__)


@claims(store=STORE)
def import_spectra(
    table: Path,
    *,
    store: Path,
    selected: Path | None = None,
    funnel: Path | None = None,
    spectra: Spectra,
    labels: LabelColumns,
    split: Split,
) -> None:
    """Write a table of your spectra and labels as a store, on which every other command works.

    The table has a row for each star, whose columns ``wavelength``, ``flux`` and ``flux_error``
    are arrays; or a row for each pixel, with a column ``name``; or a column ``file`` with the path
    of each star's spectrum in any format that is read. Besides, it has a column for each label and,
    if known, its error (``TEFF``, ``TEFF_ERR``), and a column ``radial_velocity`` (km/s) if
    wavelengths are not at rest. Units are those of the columns.

    A hash of each star's name splits the stars, the same in every run.

    Parameters
    ----------
    table : pathlib.Path
        CSV, ECSV, Parquet, VOTable or FITS table.
    store : pathlib.Path
        Zarr store to write.
    selected : pathlib.Path, optional
        Parquet file to write: one row a star, without its spectrum.
    funnel : pathlib.Path, optional
        CSV to write: ``cut,rows,stars``, the stars left after each check.
    spectra : Spectra
        How spectra are to be understood and stored.
    labels : LabelColumns
        Columns of the table that hold labels.
    split : Split
        Shares of the split, which a hash of seed and name makes the same in every run.

    Raises
    ------
    SpectraFMError
        When the table cannot be read, no star is left, or a side of the split has no star.

    Examples
    --------
    $ spectrafm import-spectra mine.ecsv --store=mine.zarr
    """
    stars = read_labelled(table, **spectra.model_dump(exclude={"normaliser", "grid"}))
    usual = {label.name: label for label in PAPER_LABELS}
    known = stars.labels(labels.columns or stars.named(list(usual)), usual, labels.units)
    made = _Import(stars, known, spectra, split)
    names = [label.name for label in known.table]
    record = {"table_sha256": hash_of(table), "selection": split.model_dump(mode="json")}
    # `write_store` reads the attributes after all stars, when it is known whether one is simulated.
    attributes: dict[str, Any] = {
        "title": f"Spectra and labels of {table.name}",
        "survey": "own",
        "release": "none",
        "source": str(table),
        "mock": False,
        "normalisation": "none",
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "provenance": provenance(**record, options=spectra.model_dump(mode="json")),
    }
    blocks = made.blocks()
    first = next(blocks)
    write_store(
        store,
        _chained(first, blocks, made, attributes),
        attributes,
        wavelength=made.grid,
        labels=known.table,
        columns=COLUMNS,
        synthetic=False,
        made_with=(table,),
    )
    kept = pd.concat(made.tables, ignore_index=True)
    if selected is not None:
        write_parquet(selected, kept, provenance(**record, release="none", mock=False))
    if funnel is not None:
        lines = [("rows of the table", len(stars.names), len(stars.names)), *made.lines(kept)]
        lines += [(f"with {name}", *2 * (int(kept[name].notna().sum()),)) for name in names]
        with atomic_path(funnel) as temporary:
            pd.DataFrame(lines, columns=["cut", "rows", "stars"]).to_csv(temporary, index=False)
    made.report(store, kept)


def _chained(
    first: Stars, blocks: Iterator[Stars], made: _Import, attributes: dict[str, Any]
) -> Iterator[Stars]:
    """All blocks; then the last checks, before the store is put at its path."""
    yield first
    yield from blocks
    made.check_split()
    attributes["normalisation"] = made.normalisation
    attributes["mock"] = made.mock
    attributes["resolution"] = common_resolution(made.resolutions)


class _Import:
    """The stars of a table on their way into a store, and what was done to them."""

    def __init__(self, stars: LabelledTable, labels: Labels, spectra: Spectra, split: Split):
        self._stars, self._labels, self._options, self._split = stars, labels, spectra, split
        # Even in the logarithm.
        self.grid = None if spectra.grid is None else np.geomspace(*spectra.grid)
        self.normalisation = "none"
        self.mock = False
        self.tables: list[pd.DataFrame] = []
        self.resolutions: list[float | None] = []
        self.lost: list[str] = []
        self.done: Counter[str] = Counter()

    def blocks(self) -> Iterator[Stars]:
        """Blocks of stars; the first spectrum determines grid and normalisation of all.

        Raises
        ------
        SpectraFMError
            When no star is left, or spectra were normalised in different ways.
        """
        waiting: list[tuple[dict[str, Any], tuple[np.ndarray, ...]]] = []
        each = track(self._stars.each(), "importing", len(self._stars.names), unit="star")
        for row, one in enumerate(each):
            star = self._star(row, one)
            if star is not None:
                waiting.append(star)
            if len(waiting) == SHARD_STARS:
                yield self._block(waiting)
                waiting = []
        if waiting:
            yield self._block(waiting)
        if not self.tables:
            why = f": {self.lost[0]}" if self.lost else ""
            raise SpectraFMError(f"{self._stars.source}: no star is left{why}")

    def _star(
        self, row: int, one: Spectrum | SpectraFMError
    ) -> tuple[dict[str, Any], tuple[np.ndarray, ...]] | None:
        """Row and arrays of one star; None, with the reason kept, if it cannot be used."""
        name = self._stars.names[row]
        if isinstance(one, SpectraFMError):
            self.lost.append(f"{name}: {one}")
            return None
        if not np.isfinite(self._labels.value[row]).any():
            self.lost.append(f"{name}: no label")
            return None
        one, velocity = self._stars.at_rest(row, one)
        self.done["not known to be at rest, and without a radial velocity"] += velocity is None
        if one.normalisation in (None, self._options.normaliser):
            one = normalise(one, self._options.normaliser)
        if one.mask.all():
            self.lost.append(f"{name}: no good pixel")
            return None
        self._agree(one, name)
        self.resolutions.append(one.resolution)
        self.mock |= bool(one.provenance.get("mock"))
        for said in one.assumed:
            self.done[said.partition("(")[0].lstrip("0123456789 ").strip()] += 1
        shown = on_grid(one, self.grid)
        if shown.mask.all():
            self.lost.append(f"{name}: no good pixel on the grid")
            return None
        self.done["interpolated to the grid"] += shown.flux is not one.flux
        flux = np.where(shown.mask, np.float32(np.nan), shown.flux)
        error = np.full_like(flux, np.nan)
        if shown.flux_error is not None:
            error = np.where(shown.mask, np.float32(np.nan), shown.flux_error)
        facts = {
            "apogee_id": name,
            "split": split_of(name, self._split.split),
            "snr": one.signal_to_noise,
            "radial_velocity": velocity or 0.0,
            "source": one.source,
        }
        return facts | self._labels_of(row), (flux, error, shown.mask)

    def _agree(self, one: Spectrum, name: str) -> None:
        """Take grid and normalisation of the first star; refuse another normalisation."""
        if not self.tables and self.grid is None:
            self.grid = one.wavelength
        how = one.normalisation or "none"
        if self.done["normalisation"] and how != self.normalisation:
            raise SpectraFMError(
                f"{self._stars.source}: star {name} is normalised by {how!r}, others by "
                f"{self.normalisation!r}"
            )
        self.done["normalisation"] = 1
        self.normalisation = how

    def _labels_of(self, row: int) -> dict[str, float]:
        names = [label.name for label in self._labels.table]
        values, errors = self._labels.value[row], self._labels.error[row]
        found = dict(zip(names, values, strict=True))
        return found | {error_column(n): e for n, e in zip(names, errors, strict=True)}

    def _block(self, stars: list[tuple[dict[str, Any], tuple[np.ndarray, ...]]]) -> Stars:
        table = pd.DataFrame([facts for facts, _ in stars])
        self.tables.append(table)
        arrays = (np.stack(some) for some in zip(*(arrays for _, arrays in stars), strict=True))
        return Stars(table, dict(zip(("observed", "observed_error", "mask"), arrays, strict=True)))

    def check_split(self) -> None:
        """Refuse a store that no network could be trained, chosen and evaluated on."""
        sides = Counter(side for table in self.tables for side in table["split"])
        for side in ("train", "validation", "test"):
            if not sides[side]:
                raise SpectraFMError(
                    f"{self._stars.source}: no star of {sides.total()} is on the side {side!r} of "
                    "the split: give more stars, another --split.seed or other shares"
                )

    def lines(self, kept: pd.DataFrame) -> list[tuple[str, int, int]]:
        """The line of the funnel with the stars that were stored."""
        return [("with a spectrum, a label and a good pixel", len(kept), len(kept))]

    def report(self, store: Path, kept: pd.DataFrame) -> None:
        """Log what was stored, assumed and left out."""
        for problem in self.lost[:MOST_LOGGED]:
            logger.warning("left out: %s", problem)
        if len(self.lost) > MOST_LOGGED:
            logger.warning("left out: %d more stars", len(self.lost) - MOST_LOGGED)
        for said, count in self.done.items():
            if said != "normalisation" and count:
                logger.warning("%d of %d spectra: %s", count, len(kept), said)
        sides = kept["split"].value_counts()
        logger.info(
            "%s: %d stars (%d train, %d validation, %d test), %d pixels from %.1f to %.1f "
            "Angstrom, normalisation %s, labels %s",
            store, len(kept),
            *(sides.get(side, 0) for side in ("train", "validation", "test")),
            len(self.grid), self.grid[0], self.grid[-1], self.normalisation,
            " ".join(label.name for label in self._labels.table),
        )  # fmt: skip
