"""Fetching the spectra of one shard of stars into one Zarr store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.archive.http import Failure
from spectrafm.archive.options import Archive, FileLimits
from spectrafm.archive.source import fetch, fetch_one
from spectrafm.errors import SpectraFMError
from spectrafm.files import provenance, read_parquet, write_parquet
from spectrafm.progress import track_files
from spectrafm.store.layout import SHARD_STARS, SPECTRA, Stars, write_store
from spectrafm.store.read import open_store, read
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.aspcapstar import AspcapStar, masked_spectra
from spectrafm.surveys.apogee.grid import N_PIXELS
from spectrafm.surveys.apogee.options import Release, Survey, joined

_CHECKSUM_LINE = re.compile(r"([0-9a-fA-F]{40})\s+\*?(\S+)")


#: Normalised flux outside is masked.
FLUX_RANGE = (0.05, 1.2)


def fetch_spectra(
    *,
    selected: Path,
    alternates: Path,
    shard: int,
    output: Path,
    missing: Path,
    archive: Archive,
    limits: FileLimits,
    release: Release,
) -> None:
    """Fetch, check and mask the spectra of one shard of the selected stars.

    A star whose file is absent, broken, of another star or without a good pixel is given by its
    next best row; labels, flags and S/N are always those of the row whose file was delivered.

    Parameters
    ----------
    selected, alternates : pathlib.Path
        What `spectrafm.surveys.apogee.select_stars.select_stars` wrote.
    shard : int
    output : pathlib.Path
        ``spectra/NNN.zarr``, in the layout of `spectrafm.store.layout`.
    missing : pathlib.Path
        Parquet table of the stars whose best file was not stored: apogee_id, path, reason,
        replaced (whether another row took its place; otherwise the star is lost). Its metadata
        holds the counts of `account`.

    Raises
    ------
    SpectraFMError
        When a table cannot be read, or the source does not answer for a list of checksums.
    """
    survey = joined(archive, limits, release)
    asked, metadata = _rows_of(selected, shard)
    others, _ = _rows_of(alternates, shard)
    if metadata.get("release", survey.release) != survey.release:
        raise SpectraFMError(f"{selected}: of release {metadata['release']}, not {survey.release}")
    lost: list[dict] = []
    attributes = _attributes(survey, metadata)
    stars = _delivered(asked, others, survey, lost)
    write_store(output, stars, attributes, made_with=(selected, alternates))
    table = pd.DataFrame(lost, columns=["apogee_id", "path", "reason", "replaced"])
    table = table.astype({"apogee_id": str, "path": str, "reason": str, "replaced": bool})
    counts = account(len(asked), read(open_store(output), "verified"), table)
    write_parquet(missing, table, attributes["provenance"] | {"counts": counts})


def account(asked: int, verified: np.ndarray, missing: pd.DataFrame) -> dict[str, int]:
    """How the stars asked for came out: asked = verified + unverified + missing.

    Parameters
    ----------
    asked : int
    verified : numpy.ndarray of bool
        Of each stored star, whether its file has the published SHA-1.
    missing : pandas.DataFrame
        Of `fetch_spectra`; stars that were replaced are stored.
    """
    counts = {
        "asked": asked,
        "verified": int(np.sum(verified)),
        "unverified": int(np.sum(~verified)),
        "missing": int(np.sum(~missing["replaced"])),
    }
    stored = counts["verified"] + counts["unverified"]
    assert asked == stored + counts["missing"], f"the stars do not add up: {counts}"
    return counts


def _rows_of(path: Path, shard: int) -> tuple[pd.DataFrame, dict]:
    """The rows of one shard, and the metadata of the whole table."""
    table = read_parquet(path)
    if "shard" not in table:
        raise SpectraFMError(f"{path}: no column shard")
    return table[table["shard"] == shard].reset_index(drop=True), dict(table.attrs)


def _attributes(survey: Survey, metadata: dict) -> dict:
    """What the store says of itself."""
    mock = _is_mock(survey)
    title = f"APOGEE {survey.release.upper()} spectra and labels ({survey.aspcap})"
    facts = {key: metadata.get(key) for key in ("allstar_sha1", "selection")}
    return {
        "title": f"MOCK SURVEY in the layout of {title}" if mock else title,
        "release": survey.release,
        "source": survey.source,
        "mock": mock,
        "provenance": provenance(aspcap=survey.aspcap, flux_range=list(FLUX_RANGE), **facts),
    }


def _is_mock(survey: Survey) -> bool:
    marker = fetch_one(paths.MOCK_MARKER, survey)
    if isinstance(marker, Failure) and not marker.absent:
        raise SpectraFMError(f"{survey.source}/{paths.MOCK_MARKER}: {marker.reason}")
    return isinstance(marker, bytes)


def _delivered(
    asked: pd.DataFrame, others: pd.DataFrame, survey: Survey, lost: list[dict]
) -> Iterator[Stars]:
    """The shard's stars in their order, block by block; adds to ``lost`` those not as asked."""
    for start in range(0, len(asked), SHARD_STARS):
        block = asked.iloc[start : start + SHARD_STARS]
        rows = pd.concat([block, others[others["apogee_id"].isin(block["apogee_id"])]])
        # 0 is the selected row; then the alternates, best first.
        rows["rank"] = rows.groupby("apogee_id").cumcount()
        yield _fetch_block(rows, survey, lost)


def _fetch_block(rows: pd.DataFrame, survey: Survey, lost: list[dict]) -> Stars:
    """Fetch one file for each star: the best row's, or else the next one's."""
    asked = rows[rows["rank"] == 0]
    place = {star: index for index, star in enumerate(asked["apogee_id"])}
    spectra = {name: np.full((len(asked), N_PIXELS), np.nan, np.float32) for name in SPECTRA}
    delivered: dict[str, dict] = {}
    reasons: dict[str, list[str]] = {}
    for _, candidates in rows.groupby("rank"):
        waiting = candidates[~candidates["apogee_id"].isin(delivered)]
        for row, star in _read_files(waiting, survey):
            name = row["apogee_id"]
            if isinstance(star, Failure):
                reasons.setdefault(name, []).append(f"{row['path']}: {star.reason}")
                continue
            delivered[name] = row
            for kind in SPECTRA:
                spectra[kind][place[name]] = getattr(star, kind)

    for row in asked[asked["apogee_id"].isin(reasons)].to_dict("records"):
        name = row["apogee_id"]
        reason = "; then ".join(reasons[name]).removeprefix(f"{row['path']}: ")
        replaced = name in delivered
        lost.append(
            {"apogee_id": name, "path": row["path"], "reason": reason, "replaced": replaced}
        )
    kept = [star for star in place if star in delivered]
    assert len(kept) + len(reasons.keys() - delivered.keys()) == len(asked), "a star got lost"
    table = pd.DataFrame([delivered[star] for star in kept], columns=[*rows, "sha1", "verified"])
    keep = [place[star] for star in kept]
    return Stars(table, {kind: flux[keep] for kind, flux in spectra.items()})


def _read_files(rows: pd.DataFrame, survey: Survey) -> Iterator[tuple[dict, AspcapStar | Failure]]:
    """The masked spectra of each row's file, or why there are none, as the files arrive.

    The rows that come back also say the file's SHA-1, and whether it is the published one.
    """
    sha1s = _published_sha1s(rows, survey)
    by_path = {row["path"]: row for row in rows.to_dict("records")}
    files = fetch(list(by_path), sha1s, survey)
    for path, content in track_files(files, "fetching spectra", total=len(by_path)):
        row = by_path[path]
        if isinstance(content, Failure):
            yield row, content
            continue
        try:
            star = masked_spectra(content, path, row["apogee_id"], FLUX_RANGE)
        except SpectraFMError as error:
            yield row, Failure(str(error).removeprefix(f"{path}: "))
            continue
        checked = {"sha1": hashlib.sha1(content).hexdigest(), "verified": path in sha1s}
        yield row | checked, star


def _published_sha1s(rows: pd.DataFrame, survey: Survey) -> dict[str, str]:
    """SHA-1 by path, from the lists that lie beside the files.

    A file may miss in its list, and a mirror may have no lists: such files stay unverified. A
    source that fails to answer is an error, so that no outage turns into unverified files.
    """
    folders = {
        paths.sha1sum_path(survey.release, survey.aspcap, telescope, field): paths.field_folder(
            survey.release, survey.aspcap, telescope, field
        )
        for telescope, field in set(zip(rows["telescope"], rows["field"], strict=True))
    }
    sha1s = {}
    for path, content in fetch(sorted(folders), {}, survey):
        if isinstance(content, Failure):
            if content.absent:
                continue
            raise SpectraFMError(f"{survey.source}/{path}: {content.reason}")
        for line in content.decode("utf-8", errors="replace").splitlines():
            if listed := _CHECKSUM_LINE.fullmatch(line.strip()):
                sha1s[f"{folders[path]}/{Path(listed[2]).name}"] = listed[1].lower()
    return sha1s
