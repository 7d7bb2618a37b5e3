"""Which stars stay: the cuts on allStar, one row per star, the split, the shards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.apogee import bitmasks, sas
from spectrafm.apogee.allstar import read_allstar
from spectrafm.config import Selection, SplitShares, Survey
from spectrafm.files import SpectraFMError, atomic_path, provenance, write_parquet
from spectrafm.labels import LABELS, UNITS, error_column

#: Units of the columns of ``selected.parquet``.
COLUMN_UNITS = {
    "snr": "1",
    "vscatter": "km s-1",
    "ra": "degree",
    "dec": "degree",
    **UNITS,
    **{error_column(label): unit for label, unit in UNITS.items()},
}

Cut = tuple[str, Callable[[pd.DataFrame], pd.Series]]


def select_stars(
    allstar: Path,
    selected: Path,
    alternates: Path,
    cuts: Path,
    selection: Selection,
    survey: Survey,
) -> None:
    """Cut the catalogue, keep each star's row of highest S/N, divide the stars.

    The paper leaves out all-zero spectra before it takes each star's best row, but whether a
    spectrum is zero is known only once its file is opened. Hence ``alternates``: the other rows
    of the selected stars, which take the place of a best row whose file turns out missing,
    broken or zero.

    Parameters
    ----------
    allstar : pathlib.Path
    selected, alternates : pathlib.Path
        Parquet files to write, with the same columns: one row a star, sorted by telescope, field
        and APOGEE_ID; and the selected stars' other rows, S/N descending.
    cuts : pathlib.Path
        CSV to write: ``cut,rows,stars``, what is left after each cut.
    selection : Selection
    survey : Survey
        Its release and reduction make the paths, its ``shards`` the blocks of stars.

    Raises
    ------
    SpectraFMError
        When the catalogue cannot be read or no star is left.
    """
    rows, funnel = _apply(cuts_of(selection), read_allstar(allstar))
    best_first = rows.sort_values(["APOGEE_ID", "SNR", "row"], ascending=[True, False, True])
    repeated = best_first.duplicated("APOGEE_ID")
    chosen, others = best_first[~repeated], best_first[repeated]
    funnel.append(("highest SNR of each star", len(chosen), len(chosen)))
    if chosen.empty:
        told = "; ".join(f"{cut}: {left}" for cut, left, _ in funnel)
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
    with atomic_path(cuts) as temporary:
        pd.DataFrame(funnel, columns=["cut", "rows", "stars"]).to_csv(temporary, index=False)


def cuts_of(selection: Selection) -> list[Cut]:
    """The cuts before the choice of each star's best row: text and rows that stay (a mask).

    A comparison with NaN is false, so a row with an unknown SNR or VSCATTER is dropped.
    """
    cuts: list[Cut] = [
        ("all rows", lambda rows: pd.Series(True, index=rows.index)),
        (f"SNR > {selection.snr_above:g}", lambda rows: rows["SNR"] > selection.snr_above),
    ]
    for bitmask, names in (("STARFLAG", selection.starflag), ("ASPCAPFLAG", selection.aspcapflag)):
        if names:
            cuts.append(_flag_cut(bitmask, names))
    if selection.vscatter_below is not None:
        text = f"VSCATTER < {selection.vscatter_below:g} km/s"
        cuts.append((text, lambda rows: rows["VSCATTER"] < selection.vscatter_below))
    cuts.append(("at least one label", lambda rows: rows[list(LABELS)].notna().any(axis=1)))
    cuts.append(("no unsafe name (TELESCOPE FIELD APOGEE_ID)", _safe_names))
    return cuts


def _flag_cut(bitmask: str, names: str | list[str]) -> Cut:
    if names == "any":
        return f"{bitmask} == 0", lambda rows: rows[bitmask] == 0
    mask = bitmasks.mask_of(bitmask, names)
    return f"{bitmask} without {' '.join(names)}", lambda rows: (rows[bitmask] & mask) == 0


def _safe_names(rows: pd.DataFrame) -> pd.Series:
    """Whether a row's names can be components of its file's path."""
    kept = pd.Series(True, index=rows.index)
    for column in ("TELESCOPE", "FIELD", "APOGEE_ID"):
        safe = [value for value in rows[column].unique() if _is_safe(value, column)]
        kept &= rows[column].isin(safe)
    return kept


def _is_safe(value: str, column: str) -> bool:
    try:
        return bool(sas.safe_component(value, column))
    except SpectraFMError:
        return False


def _apply(cuts: list[Cut], rows: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[str, int, int]]]:
    """Rows left after all cuts; text, rows and distinct stars left after each."""
    funnel = []
    for text, stays in cuts:
        rows = rows[stays(rows)]
        funnel.append((text, len(rows), rows["APOGEE_ID"].nunique()))
    return rows, funnel


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
    paths = [
        sas.aspcapstar_path(survey.release, survey.aspcap, *name)
        for name in names.itertuples(index=False)
    ]
    described = {
        "apogee_id": rows["APOGEE_ID"],
        "telescope": rows["TELESCOPE"],
        "field": rows["FIELD"],
        "path": pd.Series(paths, index=rows.index, dtype=str),
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
