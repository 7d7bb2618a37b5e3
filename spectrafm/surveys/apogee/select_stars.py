"""Selecting stars from allStar: cuts, one row per star, the split and the shards."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.files import atomic_path, provenance, write_parquet
from spectrafm.labels import Labels, error_column
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.allstar import FPARAM, flag_column, fparam_column, read_allstar
from spectrafm.surveys.apogee.columns import FROM_ALLSTAR, store_columns
from spectrafm.surveys.apogee.cuts import apply_cuts, cuts_of
from spectrafm.surveys.apogee.options import Release, Selection, Shards
from spectrafm.surveys.apogee.simulated import is_simulated
from spectrafm.surveys.split import split_of

logger = logging.getLogger(__name__)


def select_stars(
    allstar: Path,
    *,
    selected: Path,
    alternates: Path,
    cuts: Path,
    flags: Path | None = None,
    selection: Selection,
    release: Release,
    labels: Labels,
    shards: Shards,
) -> None:
    """Apply the cuts to the catalogue, keep each star's row of highest S/N, and split the stars.

    The paper leaves out all-zero spectra before it chooses each star's best row, but a zero
    spectrum is recognised only when its file is read. ``alternates`` therefore keeps the other
    rows of the selected stars, which replace a best row whose file is missing, damaged or zero.
    Stars without any label are kept for the same reason: the authors left them out last, after
    the zero spectra, and `build_store` counts them in that order.

    Parameters
    ----------
    allstar : pathlib.Path
        FITS file of the catalogue, written by `fetch_allstar`.
    selected : pathlib.Path
        Parquet file to write: one row per star, sorted by telescope, field and APOGEE_ID.
    alternates : pathlib.Path
        Parquet file to write: the other rows of the selected stars, highest S/N first.
    cuts : pathlib.Path
        CSV to write: ``cut,rows,stars``, the rows and stars left after each cut.
    flags : pathlib.Path, optional
        CSV to write: ``cut,flag,rows_with_flag,rows_removed_only_by_it``, counted over the rows
        before the cut. A row may have several flags, so neither column adds up to the number of
        rows that the cut removed.
    selection : Selection
        The cuts and the split.
    release : Release
        Release and reduction, which determine the paths of the spectra.
    labels : Labels
        Catalogue columns to learn, with their error columns.
    shards : Shards
        Number of shards that the stars are divided into.

    Raises
    ------
    SpectraFMError
        When the catalogue cannot be read or no star is left.

    Examples
    --------
    $ spectrafm select-stars allStar.fits --selected=selected.parquet
      --alternates=alternates.parquet --cuts=cuts.csv --shards=4
    """
    funnel = apply_cuts(cuts_of(selection), read_allstar(allstar, labels))
    by_snr = ["APOGEE_ID", "SNR", "row"]
    best_first = funnel.rows.sort_values(by_snr, ascending=[True, False, True])
    repeated = best_first.duplicated("APOGEE_ID")
    chosen, others = best_first[~repeated], best_first[repeated]
    lines = [*funnel.lines, ("highest SNR of each star", len(chosen), len(chosen))]
    if chosen.empty:
        counts = "; ".join(f"{cut}: {left}" for cut, left, _ in lines)
        raise SpectraFMError(f"{allstar}: no star is left after the cuts ({counts})")

    chosen = chosen.sort_values(["TELESCOPE", "FIELD", "APOGEE_ID"], ignore_index=True)
    chosen["shard"] = np.arange(len(chosen)) * shards.shards // len(chosen)
    chosen["split"] = [split_of(star, selection.split) for star in chosen["APOGEE_ID"]]
    others = others.merge(chosen[["APOGEE_ID", "shard", "split"]], on="APOGEE_ID")

    metadata = provenance(
        allstar_sha1=_sha1_of(allstar),
        mock=is_simulated(allstar),
        release=release.release,
        aspcap=release.aspcap,
        selection=selection.model_dump(mode="json"),
        labels={
            label.name: {"unit": label.unit, "symbol": label.symbol} for label in labels.table()
        },
        units=_units(labels),
    )
    write_parquet(selected, _stars_table(chosen, release, labels), metadata)
    write_parquet(alternates, _stars_table(others, release, labels), metadata)
    _write_csv(cuts, lines, ["cut", "rows", "stars"])
    if flags is not None:
        columns = ["cut", "flag", "rows_with_flag", "rows_removed_only_by_it"]
        _write_csv(flags, funnel.flags, columns)
    sides = chosen["split"].value_counts()
    logger.info(
        "selected %d stars of %d rows of %s (%d train, %d validation, %d test; %d other rows of "
        "the same stars), labels %s",
        len(chosen),
        lines[0][1],
        allstar,
        *(sides.get(side, 0) for side in ("train", "validation", "test")),
        len(others),
        " ".join(labels.labels),
    )


def _units(labels: Labels) -> dict[str, str]:
    """Units of the columns of ``selected.parquet``."""
    units = {column.name: column.units for column in store_columns(()) if column.units}
    for label in labels.table():
        units |= {label.name: label.unit, error_column(label.name): label.unit}
    return units


def _write_csv(path: Path, lines: list[tuple], columns: list[str]) -> None:
    with atomic_path(path) as temporary:
        pd.DataFrame(lines, columns=columns).to_csv(temporary, index=False)


def _stars_table(rows: pd.DataFrame, release: Release, labels: Labels) -> pd.DataFrame:
    """Table of stars with the columns of ``selected.parquet``."""
    names = rows[["TELESCOPE", "FIELD", "APOGEE_ID"]]
    files = [
        paths.aspcapstar_path(release.release, release.aspcap, *name)
        for name in names.itertuples(index=False)
    ]
    described = {
        "apogee_id": rows["APOGEE_ID"],
        "telescope": rows["TELESCOPE"],
        "field": rows["FIELD"],
        "path": pd.Series(files, index=rows.index, dtype=str),
        **{name: rows[name] for name in ("row", "shard", "split")},
        **{name: rows[column] for name, column in FROM_ALLSTAR.items()},
    }
    of_label = (str, error_column, flag_column)
    kept = [column(name) for column in of_label for name in labels.labels]
    kept += map(fparam_column, FPARAM)
    return pd.concat([pd.DataFrame(described), rows[kept]], axis=1)


def _sha1_of(path: Path) -> str:
    """SHA-1 of a file, the checksum that the SAS publishes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha1").hexdigest()
