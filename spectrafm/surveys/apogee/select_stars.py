"""Which stars stay: the cuts on allStar, one row per star, the split, the shards."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.files import atomic_path, provenance, write_parquet
from spectrafm.labels import LABELS, UNITS, error_column
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.allstar import read_allstar
from spectrafm.surveys.apogee.cuts import apply_cuts, cuts_of
from spectrafm.surveys.apogee.options import Release, Selection, Shards, SplitShares, Survey, joined

#: Units of the columns of ``selected.parquet``.
COLUMN_UNITS = {
    "snr": "1",
    "vscatter": "km s-1",
    "ra": "degree",
    "dec": "degree",
    **UNITS,
    **{error_column(label): unit for label, unit in UNITS.items()},
}


def select_stars(
    allstar: Path,
    *,
    selected: Path,
    alternates: Path,
    cuts: Path,
    flags: Path | None = None,
    selection: Selection,
    release: Release,
    shards: Shards,
) -> None:
    """Cut the catalogue, keep each star's row of highest S/N, divide the stars.

    The paper leaves out all-zero spectra before it takes each star's best row, but whether a
    spectrum is zero is known only once its file is opened. Hence ``alternates``: the other rows
    of the selected stars, which take the place of a best row whose file turns out missing,
    broken or zero. Stars without any label stay for the same reason: the authors left them out
    last, after the zero spectra, and `build_store` counts them in that order.

    Parameters
    ----------
    allstar : pathlib.Path
    selected, alternates : pathlib.Path
        Parquet files to write, with the same columns: one row a star, sorted by telescope, field
        and APOGEE_ID; and the selected stars' other rows, S/N descending.
    cuts : pathlib.Path
        CSV to write: ``cut,rows,stars``, what is left after each cut.
    flags : pathlib.Path, optional
        CSV to write: ``cut,flag,rows_with_flag,rows_removed_only_by_it``, of the rows that came
        to the cut. A row may have several flags, so neither column adds up to what the cut took.

    Raises
    ------
    SpectraFMError
        When the catalogue cannot be read or no star is left.
    """
    survey = joined(release, shards)
    funnel = apply_cuts(cuts_of(selection), read_allstar(allstar))
    by_snr = ["APOGEE_ID", "SNR", "row"]
    best_first = funnel.rows.sort_values(by_snr, ascending=[True, False, True])
    repeated = best_first.duplicated("APOGEE_ID")
    chosen, others = best_first[~repeated], best_first[repeated]
    lines = [*funnel.lines, ("highest SNR of each star", len(chosen), len(chosen))]
    if chosen.empty:
        told = "; ".join(f"{cut}: {left}" for cut, left, _ in lines)
        raise SpectraFMError(f"{allstar}: no star is left after the cuts ({told})")

    chosen = chosen.sort_values(["TELESCOPE", "FIELD", "APOGEE_ID"], ignore_index=True)
    chosen["shard"] = np.arange(len(chosen)) * survey.shards // len(chosen)
    chosen["split"] = [split_of(star, selection.split) for star in chosen["APOGEE_ID"]]
    others = others.merge(chosen[["APOGEE_ID", "shard", "split"]], on="APOGEE_ID")

    metadata = provenance(
        allstar_sha1=_sha1_of(allstar),
        release=survey.release,
        aspcap=survey.aspcap,
        selection=selection.model_dump(mode="json"),
        units=COLUMN_UNITS,
    )
    write_parquet(selected, _stars_table(chosen, survey), metadata)
    write_parquet(alternates, _stars_table(others, survey), metadata)
    _write_csv(cuts, lines, ["cut", "rows", "stars"])
    if flags is not None:
        columns = ["cut", "flag", "rows_with_flag", "rows_removed_only_by_it"]
        _write_csv(flags, funnel.flags, columns)


def _write_csv(path: Path, lines: list[tuple], columns: list[str]) -> None:
    with atomic_path(path) as temporary:
        pd.DataFrame(lines, columns=columns).to_csv(temporary, index=False)


def split_of(apogee_id: str, shares: SplitShares) -> str:
    """Side of the split a star is on: the same in every run with the same seed and shares."""
    digest = hashlib.sha256(f"{shares.seed}:{apogee_id}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < shares.train:
        return "train"
    return "validation" if position < shares.train + shares.validation else "test"


def _stars_table(rows: pd.DataFrame, survey: Survey) -> pd.DataFrame:
    """The columns of ``selected.parquet``."""
    names = rows[["TELESCOPE", "FIELD", "APOGEE_ID"]]
    files = [
        paths.aspcapstar_path(survey.release, survey.aspcap, *name)
        for name in names.itertuples(index=False)
    ]
    described = {
        "apogee_id": rows["APOGEE_ID"],
        "telescope": rows["TELESCOPE"],
        "field": rows["FIELD"],
        "path": pd.Series(files, index=rows.index, dtype=str),
        "row": rows["row"],
        "shard": rows["shard"],
        "split": rows["split"],
        "snr": rows["SNR"],
        "starflag": rows["STARFLAG"],
        "aspcapflag": rows["ASPCAPFLAG"],
        "vscatter": rows["VSCATTER"],
        "ra": rows["RA"],
        "dec": rows["DEC"],
    }
    labels = rows[[*LABELS, *map(error_column, LABELS)]]
    return pd.concat([pd.DataFrame(described), labels], axis=1)


def _sha1_of(path: Path) -> str:
    """SHA-1, as SAS publishes it."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha1").hexdigest()
