"""The command ``verify``: checks of every file of a run, from the survey's hashes to the report.

`verify` reads every byte of a run once, names the files that are damaged, changed or missing, and
changes nothing. It also compares the chain: each part names the SHA-256 of the parts that it was
made with, and an exchanged one is named.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.made_with import check_formats
from spectrafm.evaluation.metrics import read_metrics
from spectrafm.figures.models import facts_of
from spectrafm.files import read_parquet
from spectrafm.inference.predictions import read_predictions
from spectrafm.integrity import CHECKSUMS, faults_in, read_checksums
from spectrafm.models import shipped
from spectrafm.reading import reading
from spectrafm.report.chain import PARTS, chain_of, facts_of_zarr
from spectrafm.report.images import check_figure
from spectrafm.report.sums import faults_of_run

logger = logging.getLogger(__name__)


class Check(NamedTuple):
    """Result of one check: the file or folder, a description of its content, its faults."""

    what: str
    found: str
    faults: list[str]


def verify(run_folder: Path) -> None:
    """Check every file of a run, or of a model, and name those that are damaged or missing.

    Of a model alone, the answer to its stored spectrum is computed again too.

    Parameters
    ----------
    run_folder : pathlib.Path
        Folder of the run, results/<run>; parts that are not made yet are skipped. Or the folder of
        a model, or the name of a shipped one.

    Raises
    ------
    SpectraFMError
        When there is a fault; each fault is printed below its file.

    Examples
    --------
    $ spectrafm verify results/demo
    $ spectrafm verify results/demo/models/pretrain
    """
    run = Path(run_folder)
    if (run / "config.json").is_file() or str(run) in shipped():
        print(f"ok     {_answer_of(run)}")
        return
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
    """Do all checks of a run, in the order of the workflow.

    Raises
    ------
    SpectraFMError
        When the folder holds no file of a run.
    """
    looks: list[tuple[Callable[[Path], tuple[str, list[str]]], list[Path]]] = [
        (_allstar, [run / "catalogue/allStar.fits"]),
        (_table, sorted((run / "catalogue").glob("*.parquet"))),
        (_store, sorted((run / "spectra").glob("*.zarr"))),
        (_table, sorted((run / "spectra").glob("*.parquet"))),
        (_store, [run / "store.zarr"]),
        (_accounts, [run / "store.zarr"]),
        (_model, sorted((run / "models").glob("[!.]*"))),
        (_prediction, sorted((run / "predictions").glob("*.parquet"))),
        (_metrics, [run / "metrics.json"]),
        (_zarr, sorted((run / "attention").glob("*.zarr"))),
        (_written_table, sorted((run / "tables").glob("*.md"))),
        (_figure, sorted((run / "figures").glob("*.png"))),
        (_report, [run / "report.html"]),
        (_sums, [run / CHECKSUMS]),
    ]
    present = [(look, path) for look, paths in looks for path in paths if path.exists()]
    if not present:
        raise SpectraFMError(f"{run}: holds no file of a run")
    for look, path in present:
        try:
            with reading(path, "part of a run"):
                found, faults = look(path)
                if look is not _accounts and any(path.match(part) for part in PARTS):
                    chain = chain_of(run, path)
                    found = f"{found}; {chain.note}"
                    faults = [*faults, *chain.exchanged, *chain.missing]
        except SpectraFMError as error:
            found, faults = "damaged", [str(error)]
        yield Check(str(path.relative_to(run)), found, faults)
    leftovers = [str(path) for path in run.rglob(".*.partial")]
    if leftovers:
        yield Check("left by a killed job (harmless)", ", ".join(leftovers), [])


def _allstar(path: Path) -> tuple[str, list[str]]:
    """Check that the catalogue is the one that the stars were selected from."""
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
    """Check that a Parquet file is readable and the checksums of its pages are right."""
    return f"{len(read_parquet(path)):,} rows", []


def _zarr(path: Path) -> tuple[str, list[str]]:
    """Check the SHA-256 of every file of a Zarr folder."""
    return f"{len(read_checksums(path)):,} files", list(faults_in(path))


def _store(path: Path) -> tuple[str, list[str]]:
    """Check the SHA-256 of every file of a store or shard, and what its small arrays hold."""
    from spectrafm.store.read import open_store, open_whole_store, read

    faults = list(faults_in(path))
    count = f"{len(read_checksums(path)):,} files"
    if faults:
        return count, faults
    group = open_whole_store(path) if path.name == "store.zarr" else open_store(path)
    facts = facts_of_zarr(path)
    stars, verified = len(read(group, "apogee_id")), facts.get("verified")
    if not isinstance(verified, int):
        return f"{count}, {stars:,} stars", faults
    return (
        f"{count}, {stars:,} stars; the survey's SHA-1 verified for {verified:,}, not published "
        f"for {stars - verified:,}"
    ), faults


def _accounts(store: Path) -> tuple[str, list[str]]:
    """Check that each selected star is stored or missing, and that each stored one has a SHA-1."""
    from spectrafm.store.read import open_store, read

    group = open_store(store)
    stored = read(group, "apogee_id")
    catalogue = store.parent / "catalogue"
    selected = read_parquet(catalogue / "selected.parquet")["apogee_id"]
    lost = pd.Series([], dtype=str)
    if (catalogue / "missing.parquet").exists():
        missing = read_parquet(catalogue / "missing.parquet")
        lost = missing.loc[~missing["replaced"], "apogee_id"]
    found = f"{len(selected):,} stars selected, {len(stored):,} stored, {len(lost):,} missing"

    faults = []
    if sorted(selected) != sorted([*stored, *lost]):
        faults.append(f"{store}: stars stored and missing are not those selected ({found})")
    if "sha1" not in group:
        # The survey is one file, whose own SHA-256 was checked.
        return found, faults
    facts, sha1 = facts_of_zarr(store), read(group, "sha1")
    counts = (len(stored), int(np.count_nonzero(read(group, "verified"))))
    if counts != (facts["stars"], facts["verified"]):
        faults.append(
            f"{store}: holds {counts[0]} stars, {counts[1]} verified: its attributes differ"
        )
    faults += [f"{store}: star {star} has no SHA-1" for star in stored[np.char.str_len(sha1) != 40]]
    return found, faults


def _model(path: Path) -> tuple[str, list[str]]:
    """Check the recorded SHA-256 of every file of a model."""
    facts_of(path)
    return "SHA-256 of every file", []


def _answer_of(model: Path) -> str:
    """Check a model alone: its files, and its answer to its stored spectrum."""
    from spectrafm.inference.fingerprint import check_fingerprint
    from spectrafm.inference.model import TrainedModel
    from spectrafm.inference.sources import model_folder

    folder = model_folder(model)
    trained = TrainedModel.load(folder)
    away = check_fingerprint(trained)
    count = len(read_checksums(folder))
    if away is None:
        return f"{folder}: SHA-256 of {count} files; it has no fingerprint"
    return (
        f"{folder}: SHA-256 of {count} files; the answer to the stored spectrum differs by "
        f"{away:.1g} of its uncertainties at most"
    )


def _prediction(path: Path) -> tuple[str, list[str]]:
    """Check that a prediction file is whole and that its rows are what `predict` writes."""
    return f"{len(read_predictions(path)):,} stars", []


def _metrics(path: Path) -> tuple[str, list[str]]:
    """Check the form of ``metrics.json``."""
    return f"scores of {len(read_metrics(path)['predictions'])} predictions", []


def _written_table(path: Path) -> tuple[str, list[str]]:
    """Check that the other formats of a table are those that its Markdown file names."""
    check_formats(path)
    return "all its formats", []


def _figure(path: Path) -> tuple[str, list[str]]:
    """Check the checksums within a PNG file."""
    width, height = check_figure(path)
    return f"{width} x {height} pixels", []


def _report(path: Path) -> tuple[str, list[str]]:
    """Check that the page has a list of checksums beside it, which covers the page."""
    if path.with_name(CHECKSUMS).is_file():
        return f"{path.stat().st_size:,} bytes", []
    if b"<!-- SHA-256 of all above" in path.read_bytes()[-200:]:
        return "of an older version: make it again to have tables and figures checked", []
    return "unchecked", [f"{path}: no {CHECKSUMS} beside it: make the report again"]


def _sums(path: Path) -> tuple[str, list[str]]:
    """Check page, tables and figures against the SHA-256 that the report has written.

    A figure that has been drawn again and differs is a fault until the report is made again.
    """
    count, faults = faults_of_run(path)
    return f"{count} files", faults
