"""The demo itself, held against what the README says of it. Minutes each: marked slow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray
import yaml

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.slow

#: The centre of Br11 in vacuum, Angstrom, and how far its core and inner wings reach.
BR11 = 16_811.18
REACH = 6.0


def overlay(seed):
    """The demo with other stars and other draws everywhere."""
    stages = yaml.safe_load((REPOSITORY / "config.yaml").read_text())["stages"]
    return {"mock": {"seed": seed}, "stages": {stage: {"seed": seed} for stage in stages}}


@pytest.fixture(scope="module", params=[None, 18, 19], ids=["repository", "18", "19"])
def results(request, tmp_path_factory):
    """The finished demo with the repository's seeds, and with two others."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "seed.yaml").write_text(yaml.safe_dump(overlay(request.param)))
    configurations = [REPOSITORY / "config.yaml", REPOSITORY / "configs/demo.yaml"]
    if request.param is not None:
        configurations.append(folder / "seed.yaml")
    # As a user runs it: the number of threads is the workflow's own.
    environment = {name: v for name, v in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [BIN / "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", "2",
         "--configfile", *configurations, "--", "all"],
        cwd=folder, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "results/demo"


@pytest.fixture
def scores(results):
    """Scores of one label of one prediction."""
    predictions = json.loads((results / "metrics.json").read_text())["predictions"]
    return lambda name, label="FE_H": predictions[name]["labels"][label]


def test_the_frozen_fine_tune_is_right_on_iron_poor_stars(scores):
    poor = scores("finetune_iron--iron_window")["poor"]
    assert poor["n"] >= 30
    assert poor["rmse"] <= 0.45
    assert poor["rmse"] <= 0.7 * scores("fcnn--iron_window")["poor"]["rmse"]


def test_the_baseline_is_well_trained_where_it_has_stars(scores):
    assert scores("fcnn--iron_window")["rich"]["rmse"] < 0.12


def test_pre_trained_plain_networks_are_right_on_iron_poor_stars_too(scores):
    """The bar for the foundation model: a baseline is trained as well as it can be."""
    for stage in ("mlp_tuned", "fcnn_tuned"):
        assert scores(f"{stage}--iron_window")["poor"]["rmse"] < 0.3, stage
        assert scores(f"{stage}--iron_window")["rich"]["rmse"] < 0.1, stage
    assert scores("mlp_observed--iron_window")["all"]["rmse"] < 0.07


def test_the_fine_tune_is_better_than_the_base_model(scores):
    tuned, base = (scores(f"{s}--iron_window")["all"] for s in ("finetune_iron", "pretrain"))
    assert tuned["rmse"] < base["rmse"]


def test_painted_replay_beats_every_network_that_was_tuned_without_it(scores):
    painted = scores("finetune_painted--iron_window")
    assert painted["poor"]["rmse"] < 0.13
    for stage in ("finetune_iron", "finetune_iron_direct", "mlp_tuned", "fcnn_tuned"):
        plain = scores(f"{stage}--iron_window")
        for group in ("all", "poor", "rich"):
            assert painted[group]["rmse"] < plain[group]["rmse"], (stage, group)


@pytest.mark.parametrize(
    ("window", "measure"),
    [("iron_window", "median_abs"), ("iron_window", "mad_std"), ("first_half", "median_abs")],
)
def test_the_synthetic_gap_shows(scores, window, measure):
    """In the first half mad_std, which leaves the bias out, came to 1.8-2.4: not held to 2."""
    observed = scores(f"pretrain--{window}")["all"][measure]
    synthetic = scores(f"pretrain--{window}_synthetic")["all"][measure]
    assert observed / synthetic >= 2


@pytest.mark.parametrize("label", ["TEFF", "LOGG", "FE_H"])
def test_fine_tuning_on_observed_spectra_lowers_the_scatter(scores, label):
    before = scores("pretrain--first_half", label)["all"]["mad_std"]
    after = scores("finetune_observed--first_half", label)["all"]["mad_std"]
    assert after <= 0.85 * before


def test_log_g_of_dwarfs_looks_at_br11(results):
    """In dwarfs alone: in giants the seed decides (0.6 to 2.9 times the mean attention)."""
    with xarray.open_zarr(results / "attention/pretrain.zarr") as maps:
        attention = maps["attention"].sel(request="LOGG", population="dwarfs")
        on_line = np.abs(maps["wavelength"] - BR11) < REACH
        ratio = attention.where(on_line).mean() / attention.mean()
    assert float(ratio) >= 1.2
