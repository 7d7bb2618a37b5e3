# Tests of: spectrafm/inference/by_group.py, the table of it in a model's card
"""Errors and coverage by group of validation stars: stars whose errors are known."""

import numpy as np
import pytest

from spectrafm.inference.by_group import FEWEST, by_group
from spectrafm.inference.calibration import FittedOn
from spectrafm.networks.card import _group_table

ON = FittedOn(kind="observed", spectra="observed", count=1, windows=[(15_000.0, 16_000.0)])
STARS = 4000


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    actual = np.stack([rng.uniform(0, 5, STARS), rng.uniform(-2, 0.5, STARS)], axis=1)
    sigma = np.full(actual.shape, 0.1)
    # Iron-poor stars are twice as wrong as their sigma says.
    wrong = np.where(actual[:, 1] < -1, 2.0, 1.0)[:, None]
    predicted = actual + wrong * sigma * rng.standard_normal(actual.shape)
    actual[:20, 1] = np.nan
    snr = rng.uniform(50, 300, STARS)
    return by_group(["LOGG", "FE_H"], predicted, sigma, actual, snr, ON)


def test_each_group_has_its_scatter_and_its_coverage(scores):
    found = {(one.group, one.label): one for one in scores}
    assert found["all", "LOGG"].count == STARS
    assert found["all", "FE_H"].count == STARS - 20
    assert found["iron-poor", "FE_H"].scatter == pytest.approx(0.2, rel=0.08)
    assert found["iron-poor", "FE_H"].rmse == pytest.approx(0.2, rel=0.08)
    assert found["giants", "LOGG"].scatter > 0.1
    for one in scores:
        np.testing.assert_allclose(one.coverage, [0.68, 0.90, 0.95], atol=0.045)


def test_a_group_of_too_few_stars_is_left_out(scores):
    few = np.zeros((FEWEST - 1, 1))
    assert by_group(["FE_H"], few, few + 1, few, None, ON) == []
    assert {one.group for one in scores} >= {"all", "giants", "dwarfs", "iron-poor"}


def test_the_card_has_a_row_a_group_and_a_column_a_label(scores):
    lines = _group_table(scores)
    assert lines[2] == "| stars | LOGG | FE_H |"
    assert sum(line.startswith("| ") for line in lines) == 2 + len({one.group for one in scores})
    assert _group_table([]) == []
