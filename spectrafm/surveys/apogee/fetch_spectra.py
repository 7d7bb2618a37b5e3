"""Fetching the spectra of one shard of stars into one Zarr store."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectrafm.archive.failures import Failure
from spectrafm.archive.options import Archive, FileLimits, Judgement
from spectrafm.archive.tape import Tape
from spectrafm.errors import SpectraFMError, Unfinished
from spectrafm.files import naming_a_full_disk, provenance, write_parquet
from spectrafm.outputs import claims
from spectrafm.store.accounts import account
from spectrafm.store.layout import SHARD, SHARD_STARS, SPECTRA, STORE, Stars, write_store
from spectrafm.store.read import open_store, read
from spectrafm.surveys.apogee import simulated
from spectrafm.surveys.apogee.columns import store_columns
from spectrafm.surveys.apogee.grid import N_PIXELS, RESOLUTION, WAVELENGTH
from spectrafm.surveys.apogee.options import Release
from spectrafm.surveys.apogee.selected import read_selected
from spectrafm.surveys.apogee.spectra_files import SpectraFiles, records_of

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

#: How files are judged by default.
_JUDGEMENT = Judgement()

logger = logging.getLogger(__name__)


@claims(output=STORE)
def fetch_spectra(
    *,
    selected: Path,
    alternates: Path,
    shard: int,
    output: Path,
    missing: Path,
    archive: Archive,
    limits: FileLimits,
    judgement: Judgement = _JUDGEMENT,
) -> None:
    """Fetch and check the spectra of one shard of the selected stars.

    If a star's file is absent, damaged, of another star or without a good pixel, the star's next
    best row replaces it. Labels, flags and S/N are always those of the row whose file is stored.

    A star is missing only if the survey lacks its file or the file is useless, or if the file
    failed in several runs while the source answered. After any other failure nothing is written
    but a file beside ``output`` that keeps what came; the command ends with code 75, and its next
    run fetches only the rest.

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
    judgement : Judgement
        How failed and unverified files are judged.

    Raises
    ------
    Unfinished
        When files failed that may come in another run.
    SpectraFMError
        When a table cannot be read, or the source has no file of this release.

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
    tape = Tape(
        output.with_name(f".{output.name}.fetched"),
        {"source": archive.source, "release": release.release, "aspcap": release.aspcap},
    )
    files = SpectraFiles(archive, limits, judgement, release, tape, attributes["mock"])
    try:
        with naming_a_full_disk(output, tape.path):
            write_store(
                output,
                _delivered(asked, others, files, lost),
                attributes,
                wavelength=WAVELENGTH,
                labels=labels,
                columns=store_columns(labels),
                made_with=(selected, alternates),
            )
    except Unfinished as stopped:
        raise Unfinished(
            f"{stopped}; {files.watch.arrived} files came and are kept: run it again to go on "
            "(code 75); "
            f"a file that fails in {judgement.runs} runs counts as missing"
        ) from None
    table = pd.DataFrame(lost, columns=["apogee_id", "path", "reason", "replaced"])
    table = table.astype({"apogee_id": str, "path": str, "reason": str, "replaced": bool})
    counts = account(len(asked), read(open_store(output), "verified"), table)
    write_parquet(missing, table, attributes["provenance"] | {"counts": counts})
    tape.remove()
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
    mock = bool(metadata.get("mock")) or simulated.marks_its_tree(archive, limits)
    title = f"APOGEE {release.release.upper()} spectra and labels ({release.aspcap})"
    inputs = {key: metadata.get(key) for key in ("allstar_sha1", "selection")}
    return {
        "title": f"MOCK SURVEY in the layout of {title}" if mock else title,
        "survey": "apogee",
        "release": release.release,
        "source": archive.source,
        "mock": mock,
        "resolution": RESOLUTION,
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "acknowledgement": MOCK_ACKNOWLEDGEMENT if mock else ACKNOWLEDGEMENT,
        "provenance": provenance(aspcap=release.aspcap, **inputs),
    }


def _delivered(
    asked: pd.DataFrame, others: pd.DataFrame, files: SpectraFiles, lost: list[dict]
) -> Iterator[Stars]:
    """Fetch the shard's stars in their order, block by block.

    A record of each star whose best file was not stored is appended to ``lost``.

    Raises
    ------
    Unfinished
        When some files must be asked for again; at the end, so that everything else has come.
    """
    for start in range(0, len(asked), SHARD_STARS):
        block = asked.iloc[start : start + SHARD_STARS]
        rows = pd.concat([block, others[others["apogee_id"].isin(block["apogee_id"])]])
        # Rank 0 is the selected row; the alternates follow, highest S/N first.
        rows["rank"] = rows.groupby("apogee_id").cumcount()
        yield _fetch_block(rows, files, lost)
    files.watch.settle()


def _fetch_block(rows: pd.DataFrame, files: SpectraFiles, lost: list[dict]) -> Stars:
    """Fetch one file per star: that of its best row, or of the next one if that fails."""
    asked = rows[rows["rank"] == 0]
    place = {star: index for index, star in enumerate(asked["apogee_id"])}
    spectra = {
        name: np.zeros((len(asked), N_PIXELS), spectrum.dtype) for name, spectrum in SPECTRA.items()
    }
    delivered: dict[str, dict] = {}
    reasons: dict[str, list[str]] = {}
    for rank, candidates in rows.groupby("rank"):
        # A row replaces the ones before it only if it is settled that these have no usable file.
        settled = [star for star, failed in reasons.items() if len(failed) == rank]
        waiting = candidates if rank == 0 else candidates[candidates["apogee_id"].isin(settled)]
        for row, star in files.read(waiting):
            name = row["apogee_id"]
            if isinstance(star, Failure):
                reasons.setdefault(name, []).append(f"{row['path']}: {star.reason}")
                continue
            delivered[name] = row
            for kind, flux in spectra.items():
                flux[place[name]] = getattr(star, kind)

    for row in records_of(asked[asked["apogee_id"].isin(reasons)]):
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
