"""Joining shards of spectra to one store."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from spectrafm.archive.options import Completeness
from spectrafm.errors import SpectraFMError
from spectrafm.files import atomic_path, read_parquet, write_parquet
from spectrafm.labels import error_column
from spectrafm.outputs import claims
from spectrafm.reading import read_csv
from spectrafm.store.accounts import account
from spectrafm.store.layout import SHARD, SHARD_STARS, SPECTRA, STORE, Column, Stars, write_store
from spectrafm.store.read import blocks, columns_of, labels_of, open_store, read

#: How many stars may be missing by default.
_COMPLETENESS = Completeness()

logger = logging.getLogger(__name__)


@claims(store=STORE)
def build_store(
    *,
    selected: Path,
    cuts: Path,
    shards: Sequence[Path],
    shard_missing: Sequence[Path],
    store: Path,
    missing: Path,
    funnel: Path,
    completeness: Completeness = _COMPLETENESS,
) -> None:
    """Join the shards of spectra, in their order, to one store.

    Parameters
    ----------
    selected : pathlib.Path
        Table of the selected stars, written by `select_stars`.
    cuts : pathlib.Path
        CSV with the stars left after each cut, written by `select_stars`.
    shards : sequence of pathlib.Path
        Zarr groups that `fetch_spectra` wrote, in the order of the shards.
    shard_missing : sequence of pathlib.Path
        Tables of missing files that `fetch_spectra` wrote, in the same order.
    store : pathlib.Path
        Zarr group to write.
    missing : pathlib.Path
        Parquet file to write: every star whose best file was not stored, with the reason. Its
        metadata hold the numbers of stars asked, verified, unverified and missing.
    funnel : pathlib.Path
        CSV to write: the cuts and three further lines, which count the stars with a stored
        spectrum, those of them with a label, and those whose file has the published SHA-1.
    completeness : Completeness
        Largest share of the selected stars that may be missing.

    Raises
    ------
    SpectraFMError
        When a shard is missing or damaged, the shards differ in survey, release or labels, the
        stored and missing stars together are not the selected stars, or too many are missing.

    Examples
    --------
    $ spectrafm build-store --selected=selected.parquet --cuts=cuts.csv --shards 000.zarr 001.zarr
      --shard-missing 000.missing.parquet 001.missing.parquet --store=store.zarr
      --missing=missing.parquet --funnel=funnel.csv
    """
    groups = [open_store(path) for path in shards]
    attributes = _common_attributes(groups, shards)
    absent = pd.concat([read_parquet(path) for path in shard_missing], ignore_index=True)
    stored = [star for group in groups for star in read(group, "apogee_id")]
    asked = read_parquet(selected)["apogee_id"]
    _check_complete(asked, stored, absent, store)

    verified = np.concatenate([read(group, "verified") for group in groups])
    counts = account(len(asked), verified, absent)
    _check_share(counts, absent, completeness.most_missing, shard_missing)
    write_parquet(missing, absent, attributes["provenance"] | {"counts": counts})
    labelled = sum(map(_labelled, groups))
    with atomic_path(funnel) as temporary:
        lines = read_csv(cuts, ["cut", "rows", "stars"])
        for text, count in (
            ("spectrum stored (not missing, broken or zero)", len(stored)),
            ("at least one label", labelled),
            ("spectrum stored with the published SHA-1", counts["verified"]),
        ):
            lines.loc[len(lines)] = [text, count, count]
        lines.to_csv(temporary, index=False)
    first = groups[0]
    columns = columns_of(first)
    write_store(
        store,
        _stars_of(groups, columns),
        attributes,
        wavelength=read(first, "wavelength"),
        labels=labels_of(first),
        columns=columns,
        synthetic="synthetic" in first,
        made_with=(selected, cuts, *shards, *shard_missing, missing, funnel),
    )
    logger.info(
        "%s: %d stars of %d shards, %d with a label; %d selected, %d stored with the published "
        "SHA-1, %d stored without one, %d missing",
        store,
        len(stored),
        len(groups),
        labelled,
        *counts.values(),
    )


def _common_attributes(groups: Sequence[zarr.Group], shards: Sequence[Path]) -> dict[str, Any]:
    """Attributes of the first shard, after checking that all shards agree with it."""
    first = dict(groups[0].attrs)
    for group, path in zip(groups, shards, strict=True):
        for key in ("release", "source", "mock", "label_units"):
            if group.attrs.get(key) != first.get(key):
                raise SpectraFMError(
                    f"{path}: {key} is {group.attrs.get(key)!r}, but {first.get(key)!r} "
                    f"in {shards[0]}"
                )
    first.pop(SHARD, None)
    return first


def _labelled(group: zarr.Group) -> int:
    """Number of stars with a label; stars without one are stored but not trained on."""
    return int(np.isfinite(read(group, "label")).any(axis=1).sum())


def _check_complete(
    selected: pd.Series, stored: Sequence[str], missing: pd.DataFrame, store: Path
) -> None:
    """Check that each selected star is either stored once or missing, and no other star is."""
    lost = missing.loc[~missing["replaced"], "apogee_id"]
    accounted = sorted([*stored, *lost])
    if accounted != sorted(selected):
        raise SpectraFMError(
            f"{store}: {len(stored)} stars delivered and {len(lost)} missing do not make up the "
            f"{len(selected)} selected; are the shards of another selection?"
        )


def _check_share(
    counts: dict[str, int], missing: pd.DataFrame, most: float, tables: Sequence[Path]
) -> None:
    """Refuse to build a store that lacks more than a share of the selected stars."""
    if counts["missing"] <= most * counts["asked"]:
        return
    lost = missing.loc[~missing["replaced"], "reason"]
    # A reason may end with what differs from file to file, in brackets that hold more than a code.
    alike = lost.str.replace(r" \((?!\d+\)).*", "", regex=True).value_counts()
    raise SpectraFMError(
        f"{counts['missing']} of {counts['asked']} selected stars are missing, more than the share "
        f"{most:g} of survey.most_missing; {alike.iloc[0]} of them: {alike.index[0]}. If the "
        f"source has their files, delete {tables[0].parent} and run again; if not, raise that share"
    )


def _stars_of(groups: Sequence[zarr.Group], columns: Sequence[Column]) -> Iterator[Stars]:
    """Yield the stars of all shards in blocks of up to ``SHARD_STARS``."""
    for group in groups:
        for rows in blocks(group, SHARD_STARS):
            spectra = {name: read(group, name, rows) for name in SPECTRA if name in group}
            yield Stars(_table_of(group, columns, rows), spectra)


def _table_of(group: zarr.Group, columns: Sequence[Column], rows: slice) -> pd.DataFrame:
    table = {name: read(group, name, rows) for name in ("apogee_id", "split")}
    for column in columns:
        values = read(group, column.name, rows)
        if column.dimension:
            table |= dict(zip(column.columns, values.T, strict=True))
        else:
            table[column.name] = values
    labels = [label.name for label in labels_of(group)]
    table |= dict(zip(labels, read(group, "label", rows).T, strict=True))
    errors = map(error_column, labels)
    table |= dict(zip(errors, read(group, "label_error", rows).T, strict=True))
    return pd.DataFrame(table)
