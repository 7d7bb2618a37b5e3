# Tests of: spectrafm/models/
"""The shipped models: small, whole, and right about the real stars of the package's example."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import spectrafm.models
from spectrafm import Spectra, SpectraFM
from spectrafm.continuum import normalise
from spectrafm.inference import flags
from spectrafm.inference.fingerprint import check_fingerprint
from spectrafm.inference.model import TrainedModel
from spectrafm.integrity import faults_in
from spectrafm.models import shipped

DWARFS = Path(__file__).parents[2] / "shared/data/aspcapstar_dr13"
MODELS = Path(spectrafm.models.__file__).parent
EXAMPLE = MODELS / "gaia_xp_example.csv"


@pytest.fixture(scope="module")
def model():
    return SpectraFM.from_pretrained("gaia-xp")


@pytest.mark.parametrize("name", ["gaia-xp", "apogee-mock"])
def test_a_shipped_model_is_whole_and_at_most_5_mb(name):
    folder = shipped()[name]
    assert not list(faults_in(folder))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5e6
    check_fingerprint(TrainedModel.load(folder))
    card = (folder / "README.md").read_text()
    assert ("**MOCK SURVEY**: trained on simulated stars" in card) == (name == "apogee-mock")


def predicted(*words: str) -> str:
    """What the command prints, as from a shell; it may take a minute, imports included."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "spectrafm", *words], capture_output=True, text=True, check=True
    )
    assert time.monotonic() - began < 60
    return done.stdout


def test_one_command_prints_labels_of_real_xp_spectra():
    shown = predicted("predict", "gaia-xp", str(EXAMPLE))
    assert [line.split()[0] for line in shown.splitlines()] == [
        "name",
        *pd.read_csv(EXAMPLE)["source_id"].astype(str),
    ]


def test_two_commands_describe_a_real_aspcapstar_file_and_print_labels_that_say_mock():
    if not DWARFS.is_dir():
        pytest.skip(f"no real file: {DWARFS} is not there")
    files = sorted(map(str, DWARFS.glob("*.fits")))
    assert "apogee-mock covers this spectrum" in predicted(
        "inspect", files[0], "--model", "apogee-mock"
    )
    rows = predicted("predict", "apogee-mock", *files).splitlines()[1:]
    assert len(rows) == len(files)
    # Real dwarfs, most of them cooler than any star of the mock survey.
    assert all(flags.MOCK_TRAINED in row and flags.OUT_OF_DISTRIBUTION in row for row in rows)


def test_the_labels_of_three_real_stars_are_near_the_catalogues(model):
    assert model.labels == ["TEFF", "LOGG", "FE_H", "ALPHA_M"]
    known = pd.read_csv(EXAMPLE)
    found = model.predict(Spectra.read(EXAMPLE))
    for label, largest in (("TEFF", 100), ("LOGG", 0.3), ("FE_H", 0.2), ("ALPHA_M", 0.1)):
        off = np.asarray(found[label].value) - known[label]
        assert (off.abs() < largest).all(), label
        lower, upper = (np.asarray(found[f"{label}_{end}95"].value) for end in ("lower", "upper"))
        assert ((known[label] > lower) & (known[label] < upper)).sum() >= 2, label
    assert not any(found["flags"])
    assert (found["good_pixels"] == 343).all(), "all pixels of a spectrum in nm"


def test_noise_alone_is_flagged(model):
    rng = np.random.default_rng(1)
    wavelength = np.arange(3360.0, 10201.0, 20.0)
    flux = 1e-16 * (1 + 0.5 * rng.standard_normal((20, len(wavelength))))
    noise = Spectra(
        flux.astype("f4"), wavelength, np.full(flux.shape, 5e-17, "f4"), medium="vacuum",
        frame="barycentric",
    )  # fmt: skip
    assert np.mean([text != "" for text in model.predict(noise)["flags"]]) > 0.95


def test_spectra_that_are_normalised_already_get_no_labels_and_a_reason(model):
    spectra = [normalise(one, "xp") for one in Spectra.read(EXAMPLE)]
    found = model.predict(Spectra.of(spectra))
    assert all("NO_ANSWER" in text for text in found["flags"])
    assert all("normalised with 'xp' before" in text for text in found["notes"])
    assert not np.isfinite(np.asarray(found["TEFF"].value)).any()


def test_colours_are_welcome_and_not_needed(model):
    spectra, known = Spectra.read(EXAMPLE), pd.read_csv(EXAMPLE)
    without = model.predict(spectra)
    given = model.predict(spectra, inputs={"bp_rp": np.float32([1.0, np.nan, 1.3])})
    off = np.asarray(given["TEFF"].value) - np.asarray(without["TEFF"].value)
    assert off[1] == 0, "a colour that is missing is no token"
    assert (off[[0, 2]] != 0).all()
    assert len(known) == len(given)


HUNDRED = MODELS / "gaia_xp_hundred.parquet"


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_hundred_real_stars_are_fine_tuned_with_one_command(whole, tmp_path):
    """The whole of it takes less than two minutes of one core: processor time is what is held."""
    fast = [] if whole else ["--steps", "10", "--draws", "1"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = ["finetune", "gaia-xp", str(HUNDRED), "-o", str(tmp_path / "mine"), *fast]
    done = subprocess.run(
        [sys.executable, "-m", "spectrafm", *words, "--labels", "[FE_H, J_K]"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 120
    for model in ("mean label", "start, not fine-tuned", "fine-tuned", "ridge", "MLP from scratch"):
        assert f"\n{model}" in done.stdout
    assert "100 labelled spectra" in done.stdout
    scores = pd.read_csv(tmp_path / "mine" / "comparison.csv")
    scores = scores[scores["stars"] == "inside"].groupby(["model", "label"])["rmse"].median()
    # gaia-xp knows [Fe/H] of such stars, but has not seen these.
    assert scores["start, not fine-tuned", "FE_H"] < 0.17
    assert scores["mean label, no spectrum", "FE_H"] > 0.25
    if whole:
        assert scores["fine-tuned", "FE_H"] < 0.17
        assert scores["fine-tuned", "J_K"] < 0.1
    assert SpectraFM.from_pretrained(tmp_path / "mine").labels == ["FE_H", "J_K"]
