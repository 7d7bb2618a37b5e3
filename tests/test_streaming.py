# Tests of: spectrafm/inference/predict.py, inference/predict_files.py, spectrafm/store/read.py
"""Predictions of more stars than memory holds: the same bits, in blocks, in constant memory."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import torch

from making import toy_store
from making.model_folder import write_model
from making.toy_training import TINY as MODEL
from spectrafm.files import read_parquet
from spectrafm.inference import model as model_module
from spectrafm.inference import predict as command
from spectrafm.inference.chunks import BATCH, BLOCK
from spectrafm.inference.options import Predict
from spectrafm.labels import LABELS, PAPER_LABELS, error_column
from spectrafm.networks.ridge import Ridge
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.layout import SHARD_STARS, Stars, write_store
from spectrafm.store.read import AT_ONCE, StarReader, load_stars


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Stars of which none has all its pixels, and one has no good one; splits in no order."""
    stars = toy_store.toy_stars(500)
    stars.spectra["observed"][:, ::37] = np.nan
    stars.spectra["observed"][209] = np.nan
    stars.table["split"] = np.random.default_rng(0).permutation(stars.table["split"])
    stars.table.loc[209, "split"] = "train"
    return toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr", stars)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "base"
    return write_model(folder, SpectraFM(MODEL, PAPER_LABELS), toy_store.WINDOWS, tokens=24)


def predicted(model, store, output, split):
    options = Predict(split=split)
    command.predict(model, store, name="all", output=output, options=options)
    return read_parquet(output)


def test_a_block_is_whole_batches():
    """Where batches end, the last bit of an answer may change: blocks must not move their ends."""
    assert len(BATCH) == 2
    assert all(BLOCK % batch == 0 for batch in BATCH.values())


@pytest.mark.parametrize("split", ["test", "all"])
def test_blocks_change_no_bit_of_a_prediction(model, store, tmp_path, monkeypatch, split):
    whole = predicted(model, store, tmp_path / "whole.parquet", split)
    done = []

    def noted(owner, name, size):
        method = getattr(owner, name)

        def noting(*arguments, **options):
            result = method(*arguments, **options)
            done.append((name, size(arguments, result)))
            return result

        monkeypatch.setattr(owner, name, noting)

    noted(StarReader, "load", lambda arguments, result: len(result))
    noted(model_module, "infer", lambda arguments, result: len(arguments[1]))
    noted(command, "prediction_table", lambda arguments, result: len(result))
    noted(pyarrow.parquet.ParquetWriter, "write_table", lambda arguments, result: len(arguments[1]))
    monkeypatch.setattr(command, "BLOCK", 64)
    assert BATCH["cpu"] == 64
    found = predicted(model, store, tmp_path / "blocks.parquet", split)
    blocks = [64] * (len(whole) // 64) + [len(whole) % 64]
    assert len(blocks) == {"test": 2, "all": 8}[split]
    steps = ("load", "infer", "prediction_table", "write_table")
    assert done == [(step, size) for size in blocks for step in steps], "each block is let go"
    pd.testing.assert_frame_equal(found, whole, check_exact=True)
    assert found.attrs == whole.attrs
    unread = found["apogee_id"] == "2M00000209"
    assert (found["flags"].str.startswith("no good pixel") == unread).all()
    assert unread.sum() == (split == "all")


def test_a_split_without_stars_is_an_empty_prediction(model, tmp_path):
    stars = toy_store.toy_stars(20)
    stars.table["split"] = "train"
    store = toy_store.write_toy_store(tmp_path / "store.zarr", stars)
    assert len(predicted(model, store, tmp_path / "none.parquet", "test")) == 0


@pytest.mark.parametrize("windows", [None, toy_store.WINDOWS])
@pytest.mark.parametrize("split", [None, "test"])
def test_blocks_of_any_size_are_the_stars_of_the_whole(store, monkeypatch, split, windows):
    options = {"flux_range": (0.5, 1.1), "errors": True, "columns": ("snr",)}
    whole = load_stars(store, "observed", split, windows, **options)
    monkeypatch.setattr("spectrafm.store.read.AT_ONCE", 96)
    assert AT_ONCE != 96
    reader = StarReader(store, "observed", split, windows, **options)
    for size in (1, 7, 96, 97, 1000) if split else (97, 1000):
        blocks = list(reader.blocks(size))
        assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
        for name in ("apogee_id", "split", "flux", "flux_error", "label", "label_error"):
            joined = np.concatenate([getattr(block, name) for block in blocks])
            np.testing.assert_array_equal(joined, getattr(whole, name))
        joined = np.concatenate([block.columns["snr"] for block in blocks])
        np.testing.assert_array_equal(joined, whole.columns["snr"])


#: Predicts in a process of its own and prints, after each block, its memory in kB and open files.
_WATCHED = """
import json, os, sys
from pathlib import Path
from spectrafm.inference import model as model_module
from spectrafm.inference import predict as command
from spectrafm.inference.options import Predict

block, model, store, output = int(sys.argv[1]), *map(Path, sys.argv[2:])
seen, infer = [], model_module.infer

def watched(*arguments, **named):
    answer = infer(*arguments, **named)
    lines = Path("/proc/self/status").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    seen.append((memory, len(os.listdir("/proc/self/fd"))))
    return answer

model_module.infer, command.BLOCK = watched, block
command.predict(model, store, name="x", output=output, options=Predict(split="all"))
print(json.dumps(seen))
"""

#: Pixels of the grid of the many stars, and their wavelengths, Angstrom.
PIXELS = 640
GRID = np.linspace(15_200.0, 15_400.0, PIXELS)


def many_stars(count):
    """Blocks of stars with spectra of few values, which take little room and time to write."""
    rng = np.random.default_rng(0)
    flux = (rng.integers(0, 16, (SHARD_STARS, PIXELS)) / 32 + 0.5).astype(np.float32)
    # One error for all pixels would take so little room that the store would be refused.
    error = (rng.integers(1, 5, flux.shape) / 100).astype(np.float32)
    spectra = {"observed": flux, "observed_error": error}
    spectra["mask"] = np.zeros(flux.shape, bool)
    for start in range(0, count, SHARD_STARS):
        size = min(SHARD_STARS, count - start)
        names = [f"2M{number:08d}" for number in range(start, start + size)]
        table = pd.DataFrame({"apogee_id": names, "split": "test"})
        table[list(LABELS)] = 0.5
        table[[error_column(name) for name in LABELS]] = 0.1
        yield Stars(table, {name: values[:size] for name, values in spectra.items()})


@pytest.mark.parametrize(
    ("count", "block"),
    [(30_000, 512), pytest.param(1_000_000, BLOCK, marks=pytest.mark.slow)],
)
def test_memory_does_not_grow_with_the_number_of_stars(tmp_path, count, block):
    """The spectra of 30,000 stars take 77 MB here, and those of a million 2.6 GB."""
    write_store(
        tmp_path / "store.zarr", many_stars(count), {"title": "many", "mock": True},
        wavelength=GRID, labels=PAPER_LABELS, synthetic=False,
    )  # fmt: skip
    network = Ridge(torch.from_numpy(GRID), PAPER_LABELS)
    model = write_model(tmp_path / "ridge", network, [(GRID[0], GRID[-1])], tokens=PIXELS)
    output = tmp_path / "ridge--x.parquet"
    run = subprocess.run(
        [sys.executable, "-c", _WATCHED, str(block), model, tmp_path / "store.zarr", output],
        capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    memory, files = np.array(json.loads(run.stdout)).T
    assert len(memory) == -(-count // block) >= 50, "blocks that were watched"
    tenth = len(memory) // 10
    assert memory[-tenth:].max() < 1.05 * memory[:tenth].max()
    assert len(set(files[1:])) == 1, "open files, from the second block on"
    names = pyarrow.parquet.read_table(output, columns=["apogee_id"])["apogee_id"]
    assert len(names) == count
    assert names[-1].as_py() == f"2M{count - 1:08d}"


#: Predicts tables that it writes itself, each before it is read, and prints its memory in kB.
_WATCHED_FILES = """
import json, sys
from pathlib import Path
import numpy as np
from astropy import units as u
from astropy.table import Table
from spectrafm.inference import predict_files as command
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Predict

files, rows, model, output = int(sys.argv[1]), int(sys.argv[2]), *map(Path, sys.argv[3:])
trained = TrainedModel.load(model)
wavelength = np.tile(trained.network.wavelength.numpy(), (rows, 1)) * u.AA
rng, seen, read = np.random.default_rng(0), [], command.read_spectra

def made_on_the_fly(path):
    flux = rng.normal(1, 0.02, wavelength.shape).astype("f4")
    table = Table({"wavelength": wavelength, "flux": flux, "flux_error": np.full_like(flux, 0.02)})
    table.meta = {"medium": "vacuum", "frame": "rest", "normalisation": "aspcap"}
    table.write(path, format="fits", overwrite=True)
    lines = Path("/proc/self/status").read_text().splitlines()
    seen.append(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")))
    try:
        return read(path)
    finally:
        path.unlink()

command.read_spectra = made_on_the_fly
paths = [output.with_name(f"{number}.fits") for number in range(files)]
command.predict_files(trained, paths, output, Predict())
print(json.dumps(seen))
"""


@pytest.mark.parametrize(
    ("files", "rows"), [(60, 100), pytest.param(1000, 100, marks=pytest.mark.slow)]
)
def test_memory_does_not_grow_with_the_number_of_spectra_in_files(tmp_path, files, rows):
    """100,000 spectra of the slow one, in files that hold several."""
    grid = torch.linspace(15_200.0, 15_210.0, 64, dtype=torch.float64)
    network = Ridge(grid, PAPER_LABELS)
    model = write_model(tmp_path / "ridge", network, [(15_200.0, 15_210.0)], tokens=64)
    output = tmp_path / "labels.parquet"
    run = subprocess.run(
        [sys.executable, "-c", _WATCHED_FILES, str(files), str(rows), model, output],
        capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    memory = np.array(json.loads(run.stdout))
    # The first fifth has the imports, and the first spectra that are predicted.
    fifth = files // 5
    assert memory[-fifth:].max() < 1.05 * memory[fifth : 2 * fifth].max()
    assert pyarrow.parquet.read_metadata(output).num_rows == files * rows


def test_the_arms_of_a_star_stay_together_wherever_files_are_predicted():
    from types import SimpleNamespace

    from spectrafm.inference.predict_files import _whole_stars

    arms = [SimpleNamespace(provenance={"arm_of": star}) for star in "aabbb"]
    assert _whole_stars(arms) == (arms[:2], arms[2:])
    alone = [SimpleNamespace(provenance={}) for _ in range(2)]
    assert _whole_stars(alone) == (alone, [])
    assert _whole_stars([]) == ([], [])
