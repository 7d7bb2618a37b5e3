"""astroNN's labels of the selected stars, to compare with (Table 1).

Source: the astroNN value-added catalogue of DR17 (Leung & Bovy 2019), a neural network trained
on whole APOGEE spectra; its abundances are [X/H].
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from spectrafm.archive.fits import opened_catalogue, read_columns
from spectrafm.archive.options import Archive, CatalogueLimits
from spectrafm.archive.source import download
from spectrafm.errors import SpectraFMError
from spectrafm.files import provenance, read_parquet, remove, write_parquet
from spectrafm.labels import LABELS, UNITS
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.options import Release, joined

_MEASURED = ("TEFF", "TEFF_ERR", "LOGG", "O_H", "MG_H", "FE_H")


def fetch_astronn(
    *, selected: Path, output: Path, archive: Archive, limits: CatalogueLimits, release: Release
) -> None:
    """Bring astroNN's labels of the selected stars to ``output``.

    Of several rows of a star the one with the smallest error of TEFF is taken.

    Parameters
    ----------
    selected : pathlib.Path
        What `spectrafm.surveys.apogee.select_stars.select_stars` wrote.
    output : pathlib.Path
        Parquet table to write: apogee_id and the five labels. It has no rows, and a ``note`` in
        its metadata, where the source does not have the catalogue.

    Raises
    ------
    SpectraFMError
        When the source does not answer, or the catalogue is damaged or lacks a column.
    """
    survey = joined(archive, limits, release)
    stars = read_parquet(selected)["apogee_id"]
    path = paths.astronn_path(survey.release)
    name = f"{survey.source}/{path}"
    # Large, and only a few columns of it are kept: it stays beside the output for a moment.
    catalogue = output.with_name(f".{output.name}.fits")
    catalogue.parent.mkdir(parents=True, exist_ok=True)
    try:
        failure = download(path, catalogue, survey)
        if failure is not None and not failure.absent:
            raise SpectraFMError(f"{name}: {failure.reason}")
        labels = _no_labels() if failure else _labels(catalogue, name)
    finally:
        remove(catalogue)
    facts = provenance(release=survey.release, units=UNITS)
    if failure is not None:
        facts["note"] = f"the source has no {path}"
    write_parquet(output, labels[labels["apogee_id"].isin(stars)], facts)


def _no_labels() -> pd.DataFrame:
    return pd.DataFrame(columns=["apogee_id", *LABELS]).astype(
        {"apogee_id": str, **dict.fromkeys(LABELS, "float32")}
    )


def _labels(catalogue: Path, name: str) -> pd.DataFrame:
    """The five labels of every star of the catalogue, one row a star."""
    with opened_catalogue(catalogue, name) as table:
        rows = pd.DataFrame(read_columns(table, ("APOGEE_ID", *_MEASURED)))
    # NaN sorts last.
    rows = rows.sort_values("TEFF_ERR", kind="stable").drop_duplicates("APOGEE_ID")
    return pd.DataFrame(
        {
            "apogee_id": rows["APOGEE_ID"],
            "TEFF": rows["TEFF"],
            "LOGG": rows["LOGG"],
            "O_FE": rows["O_H"] - rows["FE_H"],
            "MG_FE": rows["MG_H"] - rows["FE_H"],
            "FE_H": rows["FE_H"],
        }
    ).sort_values("apogee_id", ignore_index=True)
