"""Comparing the selected stars with the paper's stars, whose labels the authors published."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.labels import LABELS, error_column
from spectrafm.reading import reading

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """Counts of our stars with a label and of the published stars.

    Attributes
    ----------
    ours, published, both : int
        Number of our stars, of published stars, and of stars in both sets.
    only_ours : list of str
        APOGEE_ID of each of our stars that is not published.
    repeated : int
        Number of our stars that share all labels and errors with another. If it is not 0, stars
        cannot be identified by their labels and the comparison is unreliable.
    """

    ours: int
    published: int
    both: int
    only_ours: list[str]
    repeated: int

    def __str__(self) -> str:
        some = " ".join(self.only_ours[:5]) + (" ..." if len(self.only_ours) > 5 else "")
        lines = [
            ("ours, with a label", self.ours),
            ("published", self.published),
            ("in both", self.both),
            ("published only", self.published - self.both),
            ("ours only", f"{len(self.only_ours)}  {some}".rstrip()),
        ]
        return "\n".join(f"{text:20}{count}" for text, count in lines)


def check_selection(stars: Path, *, labels: Sequence[Path], errors: Sequence[Path]) -> None:
    """Compare the selected stars with the paper's stars and print the counts.

    The authors published labels but no identifiers. ASPCAP's labels and errors are ten float32
    numbers per star, and no two published stars share all of them, so equal numbers identify the
    same row of the catalogue.

    Parameters
    ----------
    stars : pathlib.Path
        ``catalogue/selected.parquet`` for all selected stars, or ``store.zarr`` for those whose
        spectra are stored.
    labels : sequence of pathlib.Path
        The authors' labels: ``.npy`` arrays of shape (stars, labels).
    errors : sequence of pathlib.Path
        The errors of the authors' labels, in the same order.

    Raises
    ------
    SpectraFMError
        When a file cannot be read or is not such an array, or a published star is not among the
        selected ones.

    Examples
    --------
    $ spectrafm check-selection selected.parquet --labels labels_train.npy labels_test.npy
      --errors label_errs_train.npy label_errs_test.npy
    """
    found = compare(stars, labels, errors)
    print(found)
    logger.info("compared %d stars with %d published ones", found.ours, found.published)
    if found.both < found.published:
        raise SpectraFMError(
            f"{stars}: {found.published - found.both} of the {found.published} published stars of "
            f"{', '.join(map(str, labels))} are not in it"
        )


def compare(stars: Path, labels: Sequence[Path], errors: Sequence[Path]) -> Comparison:
    """Count the stars that our selection shares with the authors'; see `check_selection`."""
    names, ours = _from_store(stars) if stars.suffix == ".zarr" else _from_table(stars)
    known = np.isfinite(ours[:, : len(LABELS)]).any(axis=1)
    names, keys = names[known], _keys(ours[known])
    values, of_values = _arrays(labels), _arrays(errors)
    if len(values) != len(of_values):
        raise SpectraFMError(
            f"{errors[0]}: {len(of_values)} errors of {len(values)} stars in {labels[0]}"
        )
    published = _keys(np.hstack([values, of_values]))
    shared = np.isin(keys, published)
    return Comparison(
        ours=len(keys),
        published=len(published),
        both=int(np.isin(published, keys).sum()),
        only_ours=names[~shared].tolist(),
        repeated=len(keys) - len(np.unique(keys)),
    )


def _from_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    columns = [*LABELS, *map(error_column, LABELS)]
    table = read_parquet(path)
    if absent := {"apogee_id", *columns} - set(table):
        raise SpectraFMError(f"{path}: no column {', '.join(sorted(absent))}")
    return table["apogee_id"].to_numpy(str), table[columns].to_numpy(np.float32)


def _from_store(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from spectrafm.store.read import labels_of, open_store, read

    group = open_store(path)
    names = [label.name for label in labels_of(group)]
    if absent := set(LABELS) - set(names):
        raise SpectraFMError(f"{path}: no label {', '.join(sorted(absent))}")
    places = [names.index(label) for label in LABELS]
    labels = [read(group, array)[:, places] for array in ("label", "label_error")]
    return read(group, "apogee_id"), np.hstack(labels).astype(np.float32)


def _arrays(paths: Sequence[Path]) -> np.ndarray:
    return np.vstack([_array(path) for path in paths])


def _array(path: Path) -> np.ndarray:
    with reading(path, ".npy array"):
        # Mapped, so that a header cannot ask for more memory than the file has bytes.
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise SpectraFMError(f"{path}: an archive of arrays (.npz), not a .npy array")
        if values.dtype.kind not in "fiu":
            raise SpectraFMError(f"{path}: holds {values.dtype}, not numbers")
    if values.ndim != 2 or values.shape[1] != len(LABELS):
        raise SpectraFMError(f"{path}: shape {values.shape}, not (stars, {len(LABELS)})")
    return values.astype(np.float32)


def _keys(values: np.ndarray) -> np.ndarray:
    """Bytes of each row of numbers as one comparable item; NaN equals NaN."""
    plain = np.ascontiguousarray(np.nan_to_num(values, nan=-9999.0) + np.float32(0))
    return plain.view(f"S{plain.itemsize * plain.shape[1]}").ravel()
