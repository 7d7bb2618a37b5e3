"""Fetching astroNN's labels of the selected stars, which Table 1 compares with.

Source: the astroNN value-added catalogue of DR17 (Leung & Bovy 2019), a neural network trained
on whole APOGEE spectra; its abundances are [X/H].
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.archive.fits import opened_catalogue, read_columns
from spectrafm.archive.options import Archive, CatalogueLimits
from spectrafm.archive.outage import require_answer, require_landmark
from spectrafm.archive.source import download
from spectrafm.errors import SpectraFMError
from spectrafm.files import no_folder, provenance, remove, write_parquet
from spectrafm.labels import Label
from spectrafm.outputs import claims
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.selected import read_selected

#: Elements for which the catalogue has a column X_H.
_ELEMENTS = (
    *("C", "CI", "N", "O", "NA", "MG", "AL", "SI", "P", "S", "K", "CA", "TI", "TIII", "V", "CR"),
    *("MN", "FE", "CO", "NI"),
)

logger = logging.getLogger(__name__)


@claims(output=no_folder)
def fetch_astronn(
    *, selected: Path, output: Path, archive: Archive, limits: CatalogueLimits
) -> None:
    """Fetch astroNN's labels of the selected stars.

    If the catalogue has several rows of a star, the one with the smallest error of TEFF is used.

    Parameters
    ----------
    selected : pathlib.Path
        Table of the selected stars, written by `select_stars`; its metadata hold the release and
        the labels.
    output : pathlib.Path
        Parquet file to write: apogee_id and the labels. A label that astroNN does not publish is
        NaN. If the source does not have the catalogue, the table has no rows and a ``note`` in
        its metadata.
    archive : Archive
        Source of the catalogue.
    limits : CatalogueLimits
        Deadline and largest size.

    Raises
    ------
    Unfinished
        When the source does not answer, for this catalogue or for allStar.
    SpectraFMError
        When the catalogue is damaged or lacks a column.

    Examples
    --------
    $ spectrafm fetch-astronn --selected=selected.parquet --output=astronn.parquet
    """
    stars, release, labels = read_selected(selected)
    path = paths.astronn_path(release.release)
    name = f"{archive.source}/{path}"
    # The catalogue is large and only a few columns are needed, so it is deleted after reading.
    catalogue = output.with_name(f".{output.name}.fits")
    catalogue.parent.mkdir(parents=True, exist_ok=True)
    try:
        failure = download(path, catalogue, archive, limits)
        require_answer(failure, name)
        if failure is not None and not failure.absent:
            raise SpectraFMError(f"{name}: {failure.reason}")
        if failure is not None:
            landmarks = paths.landmarks(release.release, release.aspcap)
            require_landmark(landmarks, archive, limits)
        found = _no_labels(labels) if failure else _labels(catalogue, name, labels)
    finally:
        remove(catalogue)
    record = provenance(release=release.release, units={label.name: label.unit for label in labels})
    if failure is not None:
        record["note"] = f"the source has no {path}"
    found = found[found["apogee_id"].isin(stars["apogee_id"])]
    write_parquet(output, found, record)
    note = f" ({record['note']})" if failure else ""
    logger.info("astroNN's labels of %d of %d selected stars%s", len(found), len(stars), note)


def _no_labels(labels: Sequence[Label]) -> pd.DataFrame:
    names = [label.name for label in labels]
    return pd.DataFrame(columns=["apogee_id", *names]).astype(
        {"apogee_id": str, **dict.fromkeys(names, "float32")}
    )


def _labels(catalogue: Path, name: str, labels: Sequence[Label]) -> pd.DataFrame:
    """Read the labels of every star of the catalogue, one row per star."""
    made_of = {label.name: _columns_of(label.name) for label in labels}
    wanted = {column for columns in made_of.values() for column in columns}
    with opened_catalogue(catalogue, name) as table:
        rows = pd.DataFrame(
            read_columns(
                table,
                dict.fromkeys(("APOGEE_ID", "TEFF_ERR", *sorted(wanted))),
                texts=("APOGEE_ID",),
            )
        )
    # NaN sorts last, so a row with a known error comes first.
    rows = rows.sort_values("TEFF_ERR", kind="stable").drop_duplicates("APOGEE_ID")
    found = {"apogee_id": rows["APOGEE_ID"]}
    for label, columns in made_of.items():
        if columns:
            value, *iron = (rows[column] for column in columns)
            found[label] = value - iron[0] if iron else value
        else:
            found[label] = pd.Series(np.float32(np.nan), index=rows.index)
    return pd.DataFrame(found).sort_values("apogee_id", ignore_index=True)


def _columns_of(label: str) -> tuple[str, ...]:
    """The column that holds a label, or two columns whose difference is the label; else empty."""
    element, _, over = label.partition("_")
    if label in ("TEFF", "LOGG") or (over == "H" and element in _ELEMENTS):
        return (label,)
    if over == "FE" and element in _ELEMENTS:
        return (f"{element}_H", "FE_H")
    return ()
