"""Fabricating small inputs of the evaluation and the figures, in the formats of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import xarray
import zarr

from spectrafm.evaluation.collect_metrics import collect_metrics
from spectrafm.evaluation.table1 import table1
from spectrafm.files import write_parquet, write_text
from spectrafm.inference.attention_maps import dataset_of
from spectrafm.integrity import write_checksums
from spectrafm.labels import LABELS, PAPER_LABELS, SYMBOLS
from spectrafm.spectra import pixels_in
from spectrafm.store.arrays import CODECS, consolidate
from spectrafm.surveys.apogee.grid import WAVELENGTH
from spectrafm.training.repeats import family_of

FULL = [[15152.2, 16943.6]]
FIRST_HALF = [[15152.2, 16028.0]]
IRON_WINDOW = [[16105.8, 16220.0]]

UNITS = {label.name: label.unit for label in PAPER_LABELS}

STAGES = {
    "cannon_scratch": {
        "architecture": "cannon",
        "start_from": None,
        "spectra": "observed",
        "windows": IRON_WINDOW,
        "labels": list(LABELS),
        "stars": {"where": "FE_H > -1", "count": 100},
        "selection": "validation",
    },
    "pretrain": {
        "architecture": "spectrafm",
        "start_from": None,
        "spectra": "synthetic",
        "windows": FULL,
        "labels": list(LABELS),
        "stars": {"where": None, "count": None},
        "selection": "validation",
    },
    "finetune_observed": {
        "architecture": "spectrafm",
        "start_from": "pretrain",
        "spectra": "observed",
        "windows": FIRST_HALF,
        "labels": list(LABELS),
        "stars": {"where": None, "count": None},
        "selection": "validation",
    },
    "finetune_iron": {
        "architecture": "spectrafm",
        "start_from": "finetune_observed",
        "spectra": "observed",
        "windows": IRON_WINDOW,
        "labels": ["FE_H"],
        "stars": {"where": "FE_H > -1", "count": 100},
        "freeze": ["encoder.1", "decoder", "head"],
        "selection": "validation",
    },
    "fcnn": {
        "architecture": "fcnn",
        "start_from": None,
        "spectra": "observed",
        "windows": IRON_WINDOW,
        "labels": ["FE_H"],
        "stars": {"where": "FE_H > -1", "count": 100},
        "selection": "validation",
    },
}

#: Typical residual of each label.
SCATTER = {"TEFF": 40.0, "LOGG": 0.1, "O_FE": 0.04, "MG_FE": 0.03, "FE_H": 0.05}


def labels_of(stars: int, seed: int = 1) -> np.ndarray:
    """Catalogue labels of giants and dwarfs, shape (stars, labels); one in six is iron-poor."""
    rng = np.random.default_rng(seed)
    giant = rng.random(stars) < 0.7
    iron = np.where(
        rng.random(stars) < 1 / 6, rng.uniform(-2.3, -1.05, stars), rng.normal(-0.2, 0.25, stars)
    )
    columns = {
        "TEFF": np.where(giant, rng.normal(4700, 300, stars), rng.normal(5600, 400, stars)),
        "LOGG": np.where(giant, rng.uniform(0.5, 3.4, stars), rng.normal(4.4, 0.15, stars)),
        "O_FE": rng.normal(0.1, 0.12, stars),
        "MG_FE": rng.normal(0.1, 0.12, stars),
        "FE_H": iron,
    }
    return np.stack([columns[label] for label in LABELS], axis=1).astype(np.float32)


def names_of(stars: int) -> list[str]:
    return [f"2M{number:08d}" for number in range(stars)]


def prediction_table(actual: np.ndarray, labels: list[str], seed: int = 2) -> pd.DataFrame:
    """A prediction with Gaussian residuals; the first star has no prediction, the second no label.

    Parameters
    ----------
    actual : numpy.ndarray
        Catalogue labels, shape (stars, 5).
    labels : list of str
        Labels to predict.
    """
    rng = np.random.default_rng(seed)
    columns = {"apogee_id": names_of(len(actual)), "split": "test"}
    for label in labels:
        truth = actual[:, LABELS.index(label)].copy()
        truth[1] = np.nan
        predicted = truth + rng.normal(0, SCATTER[label], truth.size)
        predicted[1] = 0.5
        sigma = SCATTER[label] * rng.uniform(0.5, 3, truth.size)
        predicted[0] = sigma[0] = np.nan
        columns[f"{label}_actual"] = truth
        columns[f"{label}_error"] = np.full(truth.size, 0.01)
        columns[f"{label}_predicted"] = predicted
        columns[f"{label}_uncertainty"] = sigma
    table = pd.DataFrame(columns)
    numbers = table.columns[2:]
    table[numbers] = table[numbers].astype(np.float32)
    table["flags"] = ""
    return table


def write_prediction(
    folder: Path,
    stage: str,
    evaluation: str,
    windows: list,
    table: pd.DataFrame,
    mock: bool = True,
    **trained,
) -> Path:
    """Write a table as ``predictions/<stage>--<evaluation>.parquet``."""
    path = folder / "predictions" / f"{stage}--{evaluation}.parquet"
    labels = [label for label in LABELS if f"{label}_predicted" in table]
    units = {f"{label}_predicted": UNITS[label] for label in labels}
    described = {label: {"unit": UNITS[label], "symbol": SYMBOLS[label]} for label in labels}
    kept = {key: value for key, value in STAGES[family_of(stage)].items() if key != "start_from"}
    metadata = {
        "stage": stage,
        "evaluation": evaluation,
        "units": units,
        "labels": described,
        "spectra": "observed",
        "windows": windows,
        "trained": {**kept, **trained},
        "training_stars": STAGES[family_of(stage)]["stars"]["count"] or 1000,
        "mock": mock,
        "spectrafm": "0",
    }
    write_parquet(path, table, metadata)
    return path


def write_model(folder: Path, stage: str, training: pd.DataFrame | None = None) -> Path:
    """Write ``models/<stage>`` without a network; ``training`` is its table of training stars."""
    path = folder / "models" / stage
    path.mkdir(parents=True)
    config = {
        "architecture": STAGES[family_of(stage)]["architecture"],
        "pixels": 500,
        "model": {},
        "stage_name": stage,
        "stage": STAGES[family_of(stage)],
        "labels": STAGES[family_of(stage)]["labels"],
        "tokens": 512,
        "training_star_count": STAGES[family_of(stage)]["stars"]["count"] or 1000,
        "mock": True,
    }
    (path / "config.json").write_text(json.dumps(config))
    (path / "model.safetensors").write_bytes(b"no weights")
    if training is not None:
        write_parquet(path / "training_stars.parquet", training)
    write_checksums(path)
    return path


def write_run(run: Path) -> Path:
    """Write a run of few files, enough for a page: metrics, funnel, flags, Table 1."""
    actual = labels_of(40)
    prediction = write_prediction(
        run, "pretrain", "first_half", FIRST_HALF, prediction_table(actual, list(LABELS))
    )
    collect_metrics([prediction], output=run / "metrics.json")
    catalogue = run / "catalogue"
    write_text(catalogue / "funnel.csv", "cut,rows,stars\nall,50,40\nSNR > 200,40,38\n")
    heading = "cut,flag,rows_with_flag,rows_removed_only_by_it"
    write_text(catalogue / "flags.csv", f"{heading}\nSTARFLAG,BAD,4,2\n")
    nobody = pd.DataFrame({"apogee_id": pd.Series([], dtype=str)})
    write_parquet(catalogue / "astronn.parquet", nobody, {"release": "dr17"})
    table1(
        [prediction], astronn=catalogue / "astronn.parquet", logg=(0.5, 3.5),
        output=run / "tables/table1.csv",
    )  # fmt: skip
    return run


def spectra_of(stars: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Observed (noisy, with missing pixels) and synthetic spectra, shape (stars, pixels)."""
    rng = np.random.default_rng(seed)
    lines = rng.uniform(WAVELENGTH[0], WAVELENGTH[-1], 400)
    depths = rng.exponential(0.09, 400).clip(0, 0.5)
    absorbed = np.zeros(WAVELENGTH.size)
    for line, depth in zip(lines, depths, strict=True):
        near = np.abs(WAVELENGTH - line) < 4
        absorbed[near] += depth * np.exp(-0.5 * ((WAVELENGTH[near] - line) / 0.4) ** 2)
    strength = rng.uniform(0.6, 1.1, (stars, 1))
    synthetic = 1.03 * np.exp(-strength * absorbed)
    observed = synthetic + rng.normal(0, 0.008, synthetic.shape)
    for star in range(stars):
        for start in rng.integers(0, WAVELENGTH.size - 20, 12):
            observed[star, start : start + rng.integers(1, 8)] = np.nan
    return observed.astype(np.float32), synthetic.astype(np.float32)


def write_store(folder: Path, actual: np.ndarray, mock: bool = True) -> Path:
    """Write ``store.zarr``; the first half of its stars train, the others are test stars."""
    stars = len(actual)
    observed, synthetic = spectra_of(stars)
    data = xarray.Dataset(
        {
            "observed": (("star", "wavelength"), observed),
            "label_error": (("star", "label_name"), np.full_like(actual, 0.01)),
            "synthetic": (("star", "wavelength"), synthetic),
            "label": (("star", "label_name"), actual),
        },
        coords={
            "wavelength": WAVELENGTH,
            "label_name": np.array(LABELS, dtype=object),
            "apogee_id": ("star", np.array(names_of(stars), dtype=object)),
            "split": (
                "star",
                np.where(np.arange(stars) < stars // 2, "train", "test").astype(object),
            ),
        },
        attrs={"mock": mock},
    )
    path = folder / "store.zarr"
    return write_zarr(path, data)


def write_zarr(path: Path, data: xarray.Dataset) -> Path:
    """Write a dataset as a Zarr folder with its checksums."""
    encoding = {
        str(name): {"chunks": variable.shape, "compressors": CODECS}
        for name, variable in data.variables.items()
    }
    data.to_zarr(path, encoding=encoding, zarr_format=3, consolidated=False)
    consolidate(zarr.open_group(path))
    write_checksums(path)
    return path


def attention_maps(windows: list = FULL, mock: bool = True) -> xarray.Dataset:
    """Attention maps with a peak per label, at the wavelengths in `PEAKS`; gradients beside it."""
    seen = np.unique(np.concatenate(pixels_in(WAVELENGTH, windows)))
    wavelength = WAVELENGTH[seen]
    rng = np.random.default_rng(4)
    maps = rng.uniform(0.2, 1.2, (2, len(LABELS), wavelength.size))
    for number, peak in enumerate(PEAKS):
        maps[:, number] += 20 * np.exp(-0.5 * ((wavelength - peak) / 3) ** 2)
    gradient = np.roll(maps, 20, axis=-1)
    own = np.stack([abs(wavelength - peak) < 4 for peak in PEAKS])
    _, synthetic = spectra_of(2)
    return dataset_of(
        maps,
        gradient,
        own,
        np.full((2, wavelength.size), 80),
        synthetic[:, seen],
        {"dwarfs": 80, "giants": 240},
        PAPER_LABELS,
        wavelength,
        {"mock": mock, "stage": "pretrain"},
    )


PEAKS = (16910.0, 16811.0, 15893.0, 16386.0, 15770.0)
