"""Fetching the spectra of one shard of stars into one Zarr store."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectrafm.archive.checksums import sha1s_in
from spectrafm.archive.http import Failure
from spectrafm.archive.options import Archive, FileLimits
from spectrafm.archive.source import fetch, fetch_one
from spectrafm.errors import SpectraFMError
from spectrafm.files import provenance, write_parquet
from spectrafm.progress import Meter
from spectrafm.store.accounts import account
from spectrafm.store.layout import SHARD, SHARD_STARS, SPECTRA, Stars, write_store
from spectrafm.store.read import open_store, read
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.aspcapstar import AspcapStar, usable_spectra
from spectrafm.surveys.apogee.columns import store_columns
from spectrafm.surveys.apogee.grid import N_PIXELS, WAVELENGTH
from spectrafm.surveys.apogee.options import Release
from spectrafm.surveys.apogee.selected import read_selected

ACKNOWLEDGEMENT = (
    "Funding for the Sloan Digital Sky Survey IV has been provided by the Alfred P. Sloan "
    "Foundation, the U.S. Department of Energy Office of Science, and the Participating "
    "Institutions. The spectra and labels are of APOGEE (Majewski et al. 2017): see "
    "https://www.sdss.org/collaboration/citing-sdss/."
)
MOCK_ACKNOWLEDGEMENT = (
    "Simulated stars of SpectraFM's mock survey: nothing here was observed. The layout is that of "
    "APOGEE (SDSS)."
)

logger = logging.getLogger(__name__)


def fetch_spectra(
    *,
    selected: Path,
    alternates: Path,
    shard: int,
    output: Path,
    missing: Path,
    archive: Archive,
    limits: FileLimits,
) -> None:
    """Fetch and check the spectra of one shard of the selected stars.

    If a star's file is absent, damaged, of another star or without a good pixel, the star's next
    best row replaces it. Labels, flags and S/N are always those of the row whose file is stored.

    Parameters
    ----------
    selected : pathlib.Path
        Table of the selected stars, written by `select_stars`; its metadata hold the release and
        the labels.
    alternates : pathlib.Path
        Table of the other rows of the same stars.
    shard : int
        Number of the shard, counted from 0.
    output : pathlib.Path
        Zarr group to write, in the layout of `spectrafm.store.layout`.
    missing : pathlib.Path
        Parquet file to write, with the stars whose best file was not stored: apogee_id, path,
        reason, replaced (whether another row replaced it; otherwise the star is missing). Its
        metadata hold the counts of `spectrafm.store.accounts.account`.
    archive : Archive
        Source of the files.
    limits : FileLimits
        Deadline and largest size of a file.

    Raises
    ------
    SpectraFMError
        When a table cannot be read, or the source fails to answer for a checksum list.

    Examples
    --------
    $ spectrafm fetch-spectra --selected=selected.parquet --alternates=alternates.parquet
      --shard=0 --output=000.zarr --missing=000.missing.parquet
    """
    best, release, labels = read_selected(selected)
    asked = _rows_of(best, shard, selected)
    others = _rows_of(read_selected(alternates)[0], shard, alternates)
    lost: list[dict] = []
    attributes = {SHARD: shard, **_attributes(archive, limits, release, best.attrs)}
    files = _Files(archive, limits, release)
    write_store(
        output,
        _delivered(asked, others, files, lost),
        attributes,
        wavelength=WAVELENGTH,
        labels=labels,
        columns=store_columns(labels),
        made_with=(selected, alternates),
    )
    table = pd.DataFrame(lost, columns=["apogee_id", "path", "reason", "replaced"])
    table = table.astype({"apogee_id": str, "path": str, "reason": str, "replaced": bool})
    counts = account(len(asked), read(open_store(output), "verified"), table)
    write_parquet(missing, table, attributes["provenance"] | {"counts": counts})
    logger.info(
        "shard %d: %d stars selected, %d stored with the published SHA-1, %d stored without one, "
        "%d missing; %d stored from another row than the best",
        shard,
        *counts.values(),
        int(table["replaced"].sum()),
    )


def _rows_of(table: pd.DataFrame, shard: int, path: Path) -> pd.DataFrame:
    """The rows of one shard."""
    if "shard" not in table:
        raise SpectraFMError(f"{path}: no column shard")
    return table[table["shard"] == shard].reset_index(drop=True)


def _attributes(
    archive: Archive, limits: FileLimits, release: Release, metadata: dict[str, Any]
) -> dict[str, Any]:
    """Attributes of the store that describe its origin."""
    mock = _is_mock(archive, limits)
    title = f"APOGEE {release.release.upper()} spectra and labels ({release.aspcap})"
    inputs = {key: metadata.get(key) for key in ("allstar_sha1", "selection")}
    return {
        "title": f"MOCK SURVEY in the layout of {title}" if mock else title,
        "survey": "apogee",
        "release": release.release,
        "source": archive.source,
        "mock": mock,
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "acknowledgement": MOCK_ACKNOWLEDGEMENT if mock else ACKNOWLEDGEMENT,
        "provenance": provenance(aspcap=release.aspcap, **inputs),
    }


def _is_mock(archive: Archive, limits: FileLimits) -> bool:
    marker = fetch_one(paths.MOCK_MARKER, archive, limits)
    if isinstance(marker, Failure) and not marker.absent:
        raise SpectraFMError(f"{archive.source}/{paths.MOCK_MARKER}: {marker.reason}")
    return isinstance(marker, bytes)


def _delivered(
    asked: pd.DataFrame, others: pd.DataFrame, files: _Files, lost: list[dict]
) -> Iterator[Stars]:
    """Fetch the shard's stars in their order, block by block.

    A record of each star whose best file was not stored is appended to ``lost``.
    """
    for start in range(0, len(asked), SHARD_STARS):
        block = asked.iloc[start : start + SHARD_STARS]
        rows = pd.concat([block, others[others["apogee_id"].isin(block["apogee_id"])]])
        # Rank 0 is the selected row; the alternates follow, highest S/N first.
        rows["rank"] = rows.groupby("apogee_id").cumcount()
        yield _fetch_block(rows, files, lost)


def _fetch_block(rows: pd.DataFrame, files: _Files, lost: list[dict]) -> Stars:
    """Fetch one file per star: that of its best row, or of the next one if that fails."""
    asked = rows[rows["rank"] == 0]
    place = {star: index for index, star in enumerate(asked["apogee_id"])}
    spectra = {
        name: np.zeros((len(asked), N_PIXELS), spectrum.dtype) for name, spectrum in SPECTRA.items()
    }
    delivered: dict[str, dict] = {}
    reasons: dict[str, list[str]] = {}
    for _, candidates in rows.groupby("rank"):
        waiting = candidates[~candidates["apogee_id"].isin(delivered)]
        for row, star in files.read(waiting):
            name = row["apogee_id"]
            if isinstance(star, Failure):
                reasons.setdefault(name, []).append(f"{row['path']}: {star.reason}")
                continue
            delivered[name] = row
            for kind, flux in spectra.items():
                flux[place[name]] = getattr(star, kind)

    for row in asked[asked["apogee_id"].isin(reasons)].to_dict("records"):
        name = row["apogee_id"]
        reason = "; then ".join(reasons[name]).removeprefix(f"{row['path']}: ")
        replaced = name in delivered
        lost.append(
            {"apogee_id": name, "path": row["path"], "reason": reason, "replaced": replaced}
        )
    kept = [star for star in place if star in delivered]
    table = pd.DataFrame([delivered[star] for star in kept], columns=[*rows, "sha1", "verified"])
    keep = [place[star] for star in kept]
    return Stars(table, {kind: flux[keep] for kind, flux in spectra.items()})


class _Files:
    """Fetches and reads the spectra of an archive, and the published lists of their SHA-1."""

    def __init__(self, archive: Archive, limits: FileLimits, release: Release):
        self.archive, self.limits, self.release = archive, limits, release

    def read(self, rows: pd.DataFrame) -> Iterator[tuple[dict, AspcapStar | Failure]]:
        """Fetch the file of each row; yield the row with its spectra or with the failure.

        Files are yielded in the order of arrival. A row that is yielded with spectra has two more
        keys: ``sha1`` of the file, and ``verified``, whether that is the published SHA-1.
        """
        sha1s = self.published_sha1s(rows)
        by_path = {row["path"]: row for row in rows.to_dict("records")}
        with Meter("fetching spectra", len(by_path), "file") as meter:
            for path, content, sha1 in fetch(list(by_path), sha1s, self.archive, self.limits):
                row = by_path[path]
                star = _star_of(content, path, row["apogee_id"])
                failed = isinstance(star, Failure)
                meter.add(len(content) if isinstance(content, bytes) else 0, failed)
                yield row if failed else row | {"sha1": sha1, "verified": path in sha1s}, star

    def published_sha1s(self, rows: pd.DataFrame) -> dict[str, str]:
        """Fetch the checksum lists of the rows' fields: published SHA-1 by path of the file.

        A file that is not in its list, or whose field has no list, stays unverified.

        Raises
        ------
        SpectraFMError
            When the source fails to answer, so that no outage turns into unverified files.
        """
        release = (self.release.release, self.release.aspcap)
        folders = {
            paths.sha1sum_path(*release, telescope, field): paths.field_folder(
                *release, telescope, field
            )
            for telescope, field in set(zip(rows["telescope"], rows["field"], strict=True))
        }
        sha1s = {}
        for path, content, _ in fetch(sorted(folders), {}, self.archive, self.limits):
            if isinstance(content, bytes):
                listed = sha1s_in(content).items()
                sha1s |= {f"{folders[path]}/{name}": sha1 for name, sha1 in listed}
            elif not content.absent:
                raise SpectraFMError(f"{self.archive.source}/{path}: {content.reason}")
        return sha1s


def _star_of(content: bytes | Failure, path: str, apogee_id: str) -> AspcapStar | Failure:
    if isinstance(content, Failure):
        return content
    try:
        return usable_spectra(content, path, apogee_id)
    except SpectraFMError as error:
        return Failure(str(error).removeprefix(f"{path}: "))
