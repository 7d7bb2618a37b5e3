# Tests of: spectrafm/seal.py, files.py, inference/predictions.py
"""Parquet files: no flipped bit is silent, footer included; only rows that `predict` writes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from making import fabricated
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.collect_metrics import collect_metrics
from spectrafm.evaluation.table1 import table1
from spectrafm.figures.figure3 import figure3
from spectrafm.files import read_parquet, write_parquet, write_parquet_parts
from spectrafm.inference.predictions import read_predictions
from spectrafm.labels import LABELS, PAPER_LABELS
from spectrafm.surveys.apogee.selected import read_selected

FLIPS = 1000


def selected(folder: Path) -> Path:
    """A table of 200 selected stars with text, numbers, flags and metadata."""
    path = folder / "selected.parquet"
    rng = np.random.default_rng(0)
    names = fabricated.names_of(200)
    table = pd.DataFrame({"apogee_id": names, "path": [f"dr17/{name}.fits" for name in names]})
    table["shard"], table["split"], table["SNR"] = 0, "test", rng.random(200)
    table[list(LABELS)] = fabricated.labels_of(200)
    labels = {label.name: {"unit": label.unit, "symbol": label.symbol} for label in PAPER_LABELS}
    facts = {"release": "dr17", "aspcap": "synspec_rev1", "labels": labels}
    write_parquet(path, table, facts)
    return path


def prediction(folder: Path) -> Path:
    table = fabricated.prediction_table(fabricated.labels_of(100), list(LABELS))
    return fabricated.write_prediction(
        folder, "finetune_observed", "first_half", fabricated.FIRST_HALF, table
    )


def missing(folder: Path) -> Path:
    path = folder / "missing.parquet"
    table = pd.DataFrame(
        {"apogee_id": ["2M1"], "path": ["x"], "reason": ["y"], "replaced": [False]}
    )
    counts = {"asked": 1, "verified": 0, "unverified": 0, "missing": 1}
    write_parquet(path, table, {"counts": counts})
    return path


#: Files, and the readers that commands use.
FILES = {
    selected: (read_parquet, lambda path: read_selected(path)[0]),
    prediction: (read_parquet, read_predictions),
    missing: (read_parquet,),
}


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """One bit flipped: half of the time in the footer, which is what pages' checksums leave out."""
    footer = int.from_bytes(content[-8:-4], "little") + 8
    start = len(content) - footer if rng.random() < 0.5 else 0
    damaged = bytearray(content)
    damaged[rng.integers(start, len(content))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def flip(make, folder: Path, count: int) -> Counter:
    path = make(folder)
    content = path.read_bytes()
    rng = np.random.default_rng(5)
    ends: Counter = Counter()
    genuine = [read(path) for read in FILES[make]]
    for _ in range(count):
        path.write_bytes(flipped(content, rng))
        for read, whole in zip(FILES[make], genuine, strict=True):
            try:
                found = read(path)
            except SpectraFMError as error:
                ends["refused" if path.name in str(error) else "unnamed"] += 1
            else:
                same = found.equals(whole) and found.attrs == whole.attrs
                ends["same" if same else "silent"] += 1
    path.write_bytes(content)
    assert ends.total() == count * len(FILES[make])
    return ends


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_no_flip_is_silent(tmp_path, make):
    ends = flip(make, tmp_path, FLIPS)
    assert ends["silent"] == 0
    assert ends["refused"] == FLIPS * len(FILES[make])


def test_without_the_seal_flips_are_silent(tmp_path, monkeypatch):
    """What the seal is for: the same damages, read without it."""
    monkeypatch.setattr("spectrafm.files.is_whole", lambda _: True)
    assert flip(missing, tmp_path, 500)["silent"] > 0


def test_a_seal_survives_blocks_and_a_copy_of_itself_in_a_column(tmp_path):
    path = tmp_path / "a.parquet"
    text = "SHA-256 of this file with zeros instead: " + "0" * 64
    tables = [pd.DataFrame({"x": [text] * 50, "y": range(50)}) for _ in range(3)]
    write_parquet_parts(path, tables, {"note": text})
    assert len(read_parquet(path)) == 150
    assert read_parquet(path).attrs == {"note": text}
    # Other readers find an ordinary Parquet file.
    assert pd.read_parquet(path)["y"].sum() == 3 * sum(range(50))


def test_tables_of_others_stay_readable_and_a_lost_seal_is_noticed(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"x": [1.0]}).to_parquet(path)
    assert read_parquet(path)["x"].tolist() == [1.0]
    write_parquet(path, pd.DataFrame({"x": [1.0]}))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"SHA-256 of this file", b"SHA-257 of this file"))
    with pytest.raises(SpectraFMError, match="its seal is not readable"):
        read_parquet(path)
    arrow = pyarrow.parquet.read_table(path)
    bad = arrow.replace_schema_metadata({b"spectrafm": b"[1]"})
    pyarrow.parquet.write_table(bad, path)
    with pytest.raises(SpectraFMError, match="metadata are not those of SpectraFM"):
        read_parquet(path)


def test_a_folder_is_no_parquet_file(tmp_path):
    (tmp_path / "x.parquet").mkdir()
    with pytest.raises(SpectraFMError, match=r"x\.parquet: is a folder"):
        read_parquet(tmp_path / "x.parquet")


def twice(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table[3:4]])


def of_training(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(split=np.where(np.arange(len(table)) == 5, "train", "test"))


def negative(table: pd.DataFrame) -> pd.DataFrame:
    changed = table.copy()
    changed.loc[7, "TEFF_uncertainty"] = -1
    return changed


def text(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(FE_H_predicted="x")


def lacking(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="LOGG_uncertainty")


def without_split(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="split")


#: Rows that `predict` never writes, and what refuses them.
ROWS = {
    twice: "star 2M00000003 is in it twice",
    of_training: "star 2M00000005 is of the split train, but the file is of test",
    negative: "TEFF_uncertainty of star 2M00000007 is negative",
    text: "column 'FE_H_predicted' does not hold numbers",
    lacking: "no column 'LOGG_uncertainty'",
    without_split: "no column 'split'",
}

#: Metadata that `predict` never writes.
FACTS = {
    "no stage": ({"stage": None}, "stage"),
    "no models": ({"trained": {}}, r"trained\.architecture"),
    "mock as text": ({"mock": "yes"}, "mock"),
    "windows as text": ({"windows": "all"}, "windows"),
    "one end": ({"windows": [[1.0]]}, "windows"),
    "an end beyond every float": ({"windows": [[1.0, 10**400]]}, "windows"),
    "labels as a list": ({"labels": ["FE_H"]}, "labels"),
    "a label without a unit": ({"labels": {"FE_H": {"symbol": "x"}}}, r"labels\.FE_H\.unit"),
}


@pytest.mark.parametrize("change", ROWS, ids=lambda change: change.__name__)
def test_rows_that_predict_never_writes(tmp_path, change):
    path = prediction(tmp_path)
    table = read_parquet(path)
    write_parquet(path, change(table), table.attrs | {"split": "test"})
    refused = 0
    for read in (
        read_predictions,
        lambda path: collect_metrics([path], output=tmp_path / "metrics.json"),
        lambda path: figure3([path], output=tmp_path / "figure3.png"),
        lambda path: table1([path], astronn=path, output=tmp_path / "table1.csv"),
    ):
        with pytest.raises(SpectraFMError, match=rf"first_half\.parquet.*{ROWS[change]}"):
            read(path)
        refused += 1
    assert refused == 4
    assert not list(tmp_path.glob("*.*"))


@pytest.mark.parametrize("name", FACTS)
def test_metadata_that_predict_never_writes(tmp_path, name):
    change, said = FACTS[name]
    path = prediction(tmp_path)
    table = read_parquet(path)
    write_parquet(path, table, table.attrs | change)
    with pytest.raises(SpectraFMError, match=rf"not a prediction file: its metadata.*{said}"):
        read_predictions(path)


def test_a_prediction_that_contradicts_its_model(tmp_path):
    path = prediction(tmp_path)
    table = read_parquet(path)
    trained = table.attrs["trained"] | {"mock": True}
    write_parquet(path, table, table.attrs | {"trained": trained, "mock": False})
    with pytest.raises(SpectraFMError, match="not mock, but its model learned from mock stars"):
        read_predictions(path)
