"""The verb ``verify``: every file that a run holds, from the survey's hashes to the report.

Nothing is trained, fetched or mended here: every byte is read once, and what is not as it was
written is named.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.integrity import CHECKSUMS, MANIFEST, faults_beside, faults_in, read_checksums
from spectrafm.report.sums import faults_of_run

logger = logging.getLogger(__name__)


class Check(NamedTuple):
    """What was looked at, what it was found to be, and what is wrong with it."""

    what: str
    found: str
    faults: list[str]


def verify(run_folder: Path) -> None:
    """Check every file of a run and name what is not as it was written.

    Parameters
    ----------
    run_folder : pathlib.Path
        Folder of the run, results/<run>; parts that are not made yet are skipped.

    Raises
    ------
    SpectraFMError
        When anything is wrong; each fault has been printed by its file.

    Examples
    --------
    $ spectrafm verify results/demo
    """
    run = Path(run_folder)
    if not run.is_dir():
        raise SpectraFMError(f"{run}: no such run")
    parts = faults = 0
    for check in checks_of(run):
        print(f"{'WRONG' if check.faults else 'ok':5}  {check.what}: {check.found}")
        for fault in check.faults:
            print(f"       {fault}")
        parts += 1
        faults += len(check.faults)
    logger.info("%s: %d parts checked, %d faults", run, parts, faults)
    if faults:
        raise SpectraFMError(f"{run}: {faults} {'thing is' if faults == 1 else 'things are'} wrong")


def checks_of(run: Path) -> Iterator[Check]:
    """All checks of a run, in the order of the workflow.

    Raises
    ------
    SpectraFMError
        When the folder holds nothing that a run makes.
    """
    looks: list[tuple[Callable[[Path], tuple[str, list[str]]], list[Path]]] = [
        (_allstar, [run / "catalogue/allStar.fits"]),
        (_table, sorted((run / "catalogue").glob("*.parquet"))),
        (_store, sorted((run / "spectra").glob("*.zarr"))),
        (_table, sorted((run / "spectra").glob("*.parquet"))),
        (_store, [run / "store.zarr"]),
        (_accounts, [run / "store.zarr"]),
        (_model, sorted((run / "models").glob("[!.]*"))),
        (_table, sorted((run / "predictions").glob("*.parquet"))),
        (_metrics, [run / "metrics.json"]),
        (_zarr, sorted((run / "attention").glob("*.zarr"))),
        (_figure, sorted((run / "figures").glob("*.png"))),
        (_report, [run / "report.html"]),
        (_sums, [run / CHECKSUMS]),
    ]
    present = [(look, path) for look, paths in looks for path in paths if path.exists()]
    if not present:
        raise SpectraFMError(f"{run}: nothing that a run makes")
    for look, path in present:
        try:
            found, faults = look(path)
        except SpectraFMError as error:
            found, faults = "not as it was written", [str(error)]
        yield Check(str(path.relative_to(run)), found, faults)
    leftovers = [str(path) for path in run.rglob(".*.partial")]
    if leftovers:
        yield Check("left by a killed job (harmless)", ", ".join(leftovers), [])


def _allstar(path: Path) -> tuple[str, list[str]]:
    """The catalogue is the one that the stars were selected from."""
    selected = path.with_name("selected.parquet")
    if not selected.exists():
        return "no stars selected from it yet", []
    recorded = read_parquet(selected).attrs.get("allstar_sha1")
    with open(path, "rb") as handle:
        found = hashlib.file_digest(handle, "sha1").hexdigest()
    if recorded != found:
        return "another catalogue", [
            f"{path}: SHA-1 {found}, but the stars were selected from {recorded}"
        ]
    return f"SHA-1 {found}, as at the selection", []


def _table(path: Path) -> tuple[str, list[str]]:
    """A Parquet file is readable, with the checksums of its pages."""
    return f"{len(read_parquet(path)):,} rows", []


def _zarr(path: Path) -> tuple[str, list[str]]:
    """Every file of a Zarr folder has its SHA-256."""
    return f"{len(read_checksums(path)):,} files", list(faults_in(path))


def _store(path: Path) -> tuple[str, list[str]]:
    """A store, and the files that it was made with."""
    faults = list(faults_in(path))
    if faults:
        return f"{len(read_checksums(path)):,} files", faults
    facts = _facts_of(path)
    stars, verified = facts["stars"], facts["verified"]
    found = (
        f"{len(read_checksums(path)):,} files, {stars:,} stars; the survey's SHA-1 verified for "
        f"{verified:,}, not published for {stars - verified:,}"
    )
    return found, list(faults_beside(path, facts["made_with"]))


def _facts_of(store: Path) -> dict[str, Any]:
    """Counts and hashes of a store: its attributes, or the manifest of an older version."""
    if (store / MANIFEST).is_file() and not (store / CHECKSUMS).is_file():
        return files.read_json(store / MANIFEST)
    return files.read_json(store / "zarr.json")["attributes"]


def _accounts(store: Path) -> tuple[str, list[str]]:
    """Each star asked for is stored or missing, and was stored from a file with a known hash."""
    from spectrafm.store.read import open_store, read

    group = open_store(store)
    stored, sha1 = read(group, "apogee_id"), read(group, "sha1")
    catalogue = store.parent / "catalogue"
    asked = read_parquet(catalogue / "selected.parquet")["apogee_id"]
    missing = read_parquet(catalogue / "missing.parquet")
    lost = missing.loc[~missing["replaced"], "apogee_id"]
    found = f"{len(asked):,} stars asked for, {len(stored):,} stored, {len(lost):,} missing"

    faults = []
    if sorted(asked) != sorted([*stored, *lost]):
        faults.append(f"{store}: stars stored and missing are not those selected ({found})")
    facts = _facts_of(store)
    counts = (len(stored), int(np.count_nonzero(read(group, "verified"))))
    if counts != (facts["stars"], facts["verified"]):
        faults.append(
            f"{store}: holds {counts[0]} stars, {counts[1]} verified: not what it says of itself"
        )
    faults += [f"{store}: star {star} has no SHA-1" for star in stored[np.char.str_len(sha1) != 40]]
    return found, faults


def _model(path: Path) -> tuple[str, list[str]]:
    """A model's files have the SHA-256 that were recorded."""
    from spectrafm.networks.saved import check_checksums

    check_checksums(path)
    return "SHA-256 of every file", []


def _metrics(path: Path) -> tuple[str, list[str]]:
    """The predictions are those that were scored."""
    scored = files.read_json(path).get("made_with", {})
    return f"scores of {len(scored)} predictions", list(faults_beside(path.parent, scored))


def _figure(path: Path) -> tuple[str, list[str]]:
    """A PNG file has the checksums of its parts, as the format has them."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError) as error:
        return "not as it was written", [f"{path}: not a whole PNG file ({error})"]
    return f"{image.width} x {image.height} pixels", []


def _report(path: Path) -> tuple[str, list[str]]:
    """The page belongs to a list of checksums, which holds the page and what it shows."""
    if path.with_name(CHECKSUMS).is_file():
        return f"{path.stat().st_size:,} bytes", []
    if b"<!-- SHA-256 of all above" in path.read_bytes()[-200:]:
        return "of an older version: make it again to have tables and figures checked", []
    return "unchecked", [f"{path}: no {CHECKSUMS} beside it: make the report again"]


def _sums(path: Path) -> tuple[str, list[str]]:
    """The page, tables and figures are those of which the report has written the SHA-256.

    A figure that was drawn again and looks otherwise is named until the report is made again.
    """
    count, faults = faults_of_run(path)
    return f"{count} files", faults
