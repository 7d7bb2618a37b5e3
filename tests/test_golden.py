# Tests of: spectrafm/networks/, spectrafm/store/, spectrafm/inference/
"""The golden models and stars of every release: still read, and still answered the same.

`making/golden.py` makes the folder of a release, once. Neither a later version of this package nor
another version of torch, numpy, zarr or pyarrow may change what the models in it answer.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import spectrafm
from making import golden

RELEASES = sorted(golden.FOLDER.iterdir())

#: Largest relative difference from the answers of the release; of labels near zero, in units of
#: the scale by which the network divides them.
TOLERANCE = 1e-6


def test_there_is_a_golden_model_of_this_release():
    assert spectrafm.__version__ in [release.name for release in RELEASES]
    for release in RELEASES:
        size = sum(path.stat().st_size for path in release.rglob("*") if path.is_file())
        assert size < 200_000, release


@pytest.mark.parametrize("name", golden.NAMES)
@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_a_golden_model_answers_as_in_its_release(release: Path, name: str, tmp_path):
    expected = pd.read_csv(release / "expected.csv").query("model == @name")
    network, facts = spectrafm.from_pretrained(release / name)
    assert facts["architecture"] == name
    table = golden.answered(release, name, tmp_path)
    assert table["apogee_id"].tolist() == expected["apogee_id"].tolist()
    assert table["good_pixels"].tolist() == expected["good_pixels"].tolist()
    compared = 0
    for label, scale in zip(network.labels, network.label_scale.tolist(), strict=True):
        for column in (f"{label}_predicted", f"{label}_uncertainty"):
            found, answer = table[column].to_numpy(), expected[column].to_numpy()
            assert np.array_equal(np.isnan(found), expected["good_pixels"] == 0)
            allowed = TOLERANCE * np.maximum(np.abs(answer), scale)
            assert (np.abs(found - answer) <= allowed)[~np.isnan(answer)].all(), column
            compared += np.isfinite(answer).sum()
    assert compared == 23 * 2 * len(network.labels)


def test_the_golden_stars_open_through_the_door():
    for release in RELEASES:
        with spectrafm.read_store(release / "store.zarr") as stars:
            assert dict(stars.sizes)["star"] == 24
            assert stars["wavelength"].attrs["units"] == "Angstrom"
