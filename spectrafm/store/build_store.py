"""From shards of spectra to one store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import zarr

from spectrafm.errors import SpectraFMError
from spectrafm.files import atomic_path, read_parquet, write_parquet
from spectrafm.labels import LABELS, error_column
from spectrafm.store.layout import SHARD_STARS, SPECTRA, STAR_ARRAYS, Stars, write_store
from spectrafm.store.read import blocks, open_store, read
from spectrafm.surveys.apogee.fetch_spectra import account


def build_store(
    *,
    selected: Path,
    cuts: Path,
    shards: Sequence[Path],
    shard_missing: Sequence[Path],
    store: Path,
    missing: Path,
    funnel: Path,
) -> None:
    """Join the shards, in their order, to one store.

    Parameters
    ----------
    selected, cuts : pathlib.Path
        What `select_stars` wrote.
    shards, shard_missing : sequence of pathlib.Path
        What `fetch_spectra` wrote, in the order of the shards.
    store, missing, funnel : pathlib.Path
        ``store.zarr``; ``missing.parquet``, every star whose best file was not stored, with the
        reason, and in its metadata how many were asked, verified, unverified and missing;
        ``funnel.csv``, the cuts with two more lines: the stars whose spectrum is stored,
        and those of them that have a label.

    Raises
    ------
    SpectraFMError
        When a shard is missing or damaged, the shards are not of one survey, or stars delivered
        and stars missing are not the stars selected.
    """
    groups = [open_store(path) for path in shards]
    attributes = _common_attributes(groups, shards)
    absent = pd.concat([read_parquet(path) for path in shard_missing], ignore_index=True)
    stored = [star for group in groups for star in read(group, "apogee_id")]
    asked = read_parquet(selected)["apogee_id"]
    _check_complete(asked, stored, absent, store)

    verified = np.concatenate([read(group, "verified") for group in groups])
    counts = account(len(asked), verified, absent)
    write_parquet(missing, absent, attributes["provenance"] | {"counts": counts})
    with atomic_path(funnel) as temporary:
        lines = pd.read_csv(cuts)
        for text, count in (
            ("spectrum stored (not missing, broken or zero)", len(stored)),
            ("at least one label", sum(map(_labelled, groups))),
        ):
            lines.loc[len(lines)] = [text, count, count]
        lines.to_csv(temporary, index=False)
    made_with = (selected, cuts, *shards, *shard_missing, missing, funnel)
    write_store(store, _stars_of(groups), attributes, made_with)


def _common_attributes(groups: Sequence[zarr.Group], shards: Sequence[Path]) -> dict:
    """The attributes that all shards share."""
    first = dict(groups[0].attrs)
    for group, path in zip(groups, shards, strict=True):
        for key in ("release", "source", "mock"):
            if group.attrs[key] != first[key]:
                raise SpectraFMError(
                    f"{path}: {key} is {group.attrs[key]!r}, but {first[key]!r} in {shards[0]}"
                )
    return first


def _labelled(group: zarr.Group) -> int:
    """How many stars have a label: the others are stored, but nothing can be learned from them."""
    return int(np.isfinite(read(group, "label")).any(axis=1).sum())


def _check_complete(
    selected: pd.Series, stored: Sequence[str], missing: pd.DataFrame, store: Path
) -> None:
    """Every selected star is stored once or missing, and no other star is."""
    lost = missing.loc[~missing["replaced"], "apogee_id"]
    accounted = sorted([*stored, *lost])
    if accounted != sorted(selected):
        raise SpectraFMError(
            f"{store}: {len(stored)} stars delivered and {len(lost)} missing do not make up the "
            f"{len(selected)} selected; are the shards of another selection?"
        )


def _stars_of(groups: Sequence[zarr.Group]) -> Iterator[Stars]:
    """The stars of all shards, as many at a time as are written at once."""
    for group in groups:
        for rows in blocks(group, SHARD_STARS):
            spectra = {name: read(group, name, rows) for name in SPECTRA}
            yield Stars(_table_of(group, rows), spectra)


def _table_of(group: zarr.Group, rows: slice) -> pd.DataFrame:
    table = pd.DataFrame({name: read(group, name, rows) for name in STAR_ARRAYS})
    table[list(LABELS)] = read(group, "label", rows)
    table[[error_column(label) for label in LABELS]] = read(group, "label_error", rows)
    return table
