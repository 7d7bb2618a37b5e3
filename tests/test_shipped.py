# Tests of: spectrafm/models/
"""The shipped models: small, whole, and right about the real stars of the package's example."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import spectrafm.models
from spectrafm import Spectra, SpectraFM
from spectrafm.continuum import normalise
from spectrafm.integrity import faults_in

MODELS = Path(spectrafm.models.__file__).parent
EXAMPLE = MODELS / "gaia_xp_example.csv"


@pytest.fixture(scope="module")
def model():
    return SpectraFM.from_pretrained("gaia-xp")


def test_a_shipped_model_is_whole_and_at_most_5_mb():
    assert not list(faults_in(MODELS / "gaia-xp"))
    size = sum(path.stat().st_size for path in (MODELS / "gaia-xp").iterdir())
    assert size < 5e6


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
