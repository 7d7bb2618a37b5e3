"""Prediction of spectra in files of any format, some at a time, to a table in the user's format."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from astropy.io import fits

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.inference.answers import about, answers, joined, units_of, unread
from spectrafm.inference.flags import NO_ANSWER
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Predict
from spectrafm.inference.pretrained import as_qtable
from spectrafm.progress import Meter
from spectrafm.readers.read import join_stars, read_spectra
from spectrafm.spectra.spectrum import Spectrum

logger = logging.getLogger(__name__)

#: Suffixes of the tables that can be written.
SUFFIXES = (".parquet", ".fits", ".ecsv", ".csv")

#: Spectra that are predicted at once; files are read until there are as many.
AT_ONCE = 256

#: Digits of a number in a text table.
_DIGITS = "%.7g"


def predict_files(
    trained: TrainedModel, paths: Sequence[Path], output: Path | None, options: Predict
) -> str | None:
    """Predict every spectrum of some files.

    Parameters
    ----------
    trained : TrainedModel
    paths : sequence of pathlib.Path
        A file that cannot be read gets a row that says why, and stops nothing.
    output : pathlib.Path, optional
        Table to write; its suffix, one of `SUFFIXES`, is its format.
    options : Predict
        Its labels; the other options are those of stores.

    Returns
    -------
    str or None
        The table as text, where there is no output.

    Raises
    ------
    SpectraFMError
        When no file could be read, or an option that only stores have is given.
    """
    if output is not None:
        files.require_suffix(output, *SUFFIXES)
    for key in sorted(options.model_fields_set - {"labels"}):
        if getattr(options, key) != getattr(Predict(), key):
            raise SpectraFMError(f"--{key}: an option for a store; files have none")
    labels = trained.choose_labels(options.labels)
    trained.warn_of_mock(f"{len(paths)} files")
    began = time.monotonic()
    counts = {"spectra": 0, "failed": 0, "flagged": 0}
    tables = _tables(trained, paths, labels, counts)
    first = next(tables, None)
    if first is None:
        raise SpectraFMError("no file to predict")
    tables = itertools.chain([first], tables)
    if output is None:
        text = _as_text(joined(tables), labels)
    else:
        text = None
        write_table(output, tables, trained, labels)
    seconds = time.monotonic() - began
    logger.info(
        "%s%d spectra in %.1f s, %.1f/s; %d files not read, %d rows flagged",
        "" if output is None else f"{output}: ", counts["spectra"], seconds,
        counts["spectra"] / seconds, counts["failed"], counts["flagged"],
    )  # fmt: skip
    return text


def _tables(
    trained: TrainedModel, paths: Sequence[Path], labels: Sequence[str], counts: dict[str, int]
) -> Iterator[pd.DataFrame]:
    """Rows of the files in their order, some at a time."""
    waiting: list[Spectrum] = []
    with Meter("predicting", len(paths), "file") as meter:
        for path in paths:
            failed = None
            try:
                waiting += read_spectra(path)
            except SpectraFMError as error:
                logger.warning("%s", error)
                failed = unread(trained, labels, Path(path).name, str(error))
                failed.insert(1, "file", [str(path)])
                counts["failed"] += 1
            meter.add(failed=failed is not None)
            if failed is not None or len(waiting) >= AT_ONCE:
                ready, waiting = _whole_stars(waiting)
                yield from _answered(trained, ready, labels, counts)
            if failed is not None:
                yield failed
    yield from _answered(trained, waiting, labels, counts)


def _whole_stars(spectra: Sequence[Spectrum]) -> tuple[list[Spectrum], list[Spectrum]]:
    """Spectra that are complete, and those of the last star, more arms of which may follow."""
    last = spectra[-1].provenance.get("arm_of") if spectra else None
    open_ = [last is not None and one.provenance.get("arm_of") == last for one in spectra]
    pairs = list(zip(spectra, open_, strict=True))
    return [one for one, more in pairs if not more], [one for one, more in pairs if more]


def _answered(
    trained: TrainedModel, spectra: list[Spectrum], labels: Sequence[str], counts: dict[str, int]
) -> Iterator[pd.DataFrame]:
    """Rows of some spectra, the arms of a star joined, at most `AT_ONCE` at a time."""
    stars = list(join_stars(spectra))
    counts["spectra"] += len(stars)
    for at in range(0, len(stars), AT_ONCE):
        some = stars[at : at + AT_ONCE]
        table = answers(trained, some, labels)
        table.insert(1, "file", [one.source for one in some])
        counts["flagged"] += int((table["flags"] != "").sum())
        yield table


def write_table(
    path: Path, tables: Iterable[pd.DataFrame], trained: TrainedModel, labels: Sequence[str]
) -> None:
    """Write a table of `answers` atomically.

    Parquet and CSV are written a part at a time. FITS and ECSV hold units too; Parquet holds them
    in its metadata, CSV nowhere.

    Parameters
    ----------
    path : pathlib.Path
        Its suffix, one of `SUFFIXES`, is the format.
    tables : iterable of pandas.DataFrame
        At least one.
    trained : TrainedModel
    labels : sequence of str
    """
    units = units_of(trained, labels)
    metadata: dict[str, Any] = {**about(trained, labels), "units": units}
    if path.suffix == ".parquet":
        files.write_parquet_parts(path, tables, metadata)
        return
    with files.atomic_path(path) as temporary:
        if path.suffix == ".csv":
            with open(temporary, "w", encoding="utf-8", newline="") as handle:
                for number, table in enumerate(tables):
                    table.to_csv(handle, index=False, header=not number, float_format=_DIGITS)
            return
        table = as_qtable(joined(tables), trained, labels)
        if path.suffix == ".ecsv":
            table.write(temporary, format="ascii.ecsv", overwrite=True)
            return
        hdu = fits.BinTableHDU(table.as_array(), name="LABELS")
        for name, unit in units.items():
            # The standard has no unit of a logarithm: the column's comment names it.
            if "dex" not in unit:
                hdu.columns[name].unit = unit
            place = hdu.columns.names.index(name) + 1
            hdu.header.comments[f"TTYPE{place}"] = f"unit {unit}"
        for key in ("model", "model_sha256", "spectrafm", "mock", "normaliser"):
            hdu.header[f"HIERARCH {key}"] = metadata[key]
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(temporary, overwrite=True)


def _as_text(table: pd.DataFrame, labels: Sequence[str]) -> str:
    """A table for the terminal: each label with its uncertainty, and the flags."""
    shown = {"name": table["name"]}
    for label in labels:
        pairs = zip(table[label], table[f"{label}_uncertainty"], strict=True)
        shown[label] = [f"{value:.4g} ± {sigma:.2g}" for value, sigma in pairs]
    shown["snr"] = [f"{value:.0f}" for value in table["snr"]]
    shown["flags"] = table["flags"]
    text = pd.DataFrame(shown).to_string(index=False)
    why = table.loc[table["flags"].str.contains(NO_ANSWER), ["name", "notes"]]
    return "\n".join([text, *(f"{name}: {notes}" for name, notes in why.itertuples(index=False))])
