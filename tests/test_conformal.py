# Tests of: spectrafm/inference/conformal.py
"""Fitting calibrated intervals: quantiles by hand, coverage, groups."""

import numpy as np
import pytest

from making.calibrated_stars import ON, coverage, fitted, population
from spectrafm.inference import conformal
from spectrafm.inference.calibration import LEVELS
from spectrafm.inference.conformal import (
    FEWEST,
    SMALLEST_GROUP,
    conformal_quantiles,
    fit_calibration,
)

# Quantiles.


def test_quantiles_of_nineteen_stars():
    """k = ceil(20 level): 14 of 68 %, 18 of 90 %, 19 of 95 %."""
    assert conformal_quantiles(np.arange(19.0)[::-1] + 1) == [14.0, 18.0, 19.0]


def test_quantiles_of_ninety_nine_stars():
    assert conformal_quantiles(np.arange(99.0) + 1) == [68.0, 90.0, 95.0]


def test_a_calibration_by_hand():
    """Twenty stars whose pulls are 1 to 20, in sigmas of 0.1."""
    pulls = np.arange(20.0) + 1
    predicted = pulls[:, None] / 10
    found = fit_calibration(["C_FE"], predicted, np.full((20, 1), 0.1), 0 * predicted, None, ON)
    label = found.labels["C_FE"]
    assert label.temperature == pytest.approx(np.sqrt(20 * 21 * 41 / 6 / 20))
    # k = ceil(21 level) = 15, 19, 20.
    half = found.half_widths("C_FE", np.array([0.1, 0.2]), {})
    np.testing.assert_allclose(half, [[1.5, 3.0], [1.9, 3.8], [2.0, 4.0]])
    assert label.range == (0.0, 0.0)
    assert found.groupings == [], "no [Fe/H], no log g, no S/N: all stars are one group"


@pytest.mark.parametrize("wrong_by", [0.4, 1.0, 3.0])
def test_whatever_the_sigmas_say_the_intervals_hold_their_share(wrong_by):
    """Student's t with 4 degrees of freedom: one scale for all levels would not do."""
    found, _ = fitted(4000, wrong_by=wrong_by)
    features, sigma, actual = population(20_000, wrong_by=wrong_by, seed=1)
    for number, label in enumerate(("LOGG", "FE_H")):
        shares = coverage(found, label, features, sigma[:, number], actual[:, number])
        # Stars predicted iron-poor are held too often, where iron-poor ones hide among the others.
        atol = 0.02 if label == "FE_H" and wrong_by > 1 else 0.015
        np.testing.assert_allclose(shares, np.array(LEVELS) / 100, atol=atol)
        expected = wrong_by * np.sqrt(2)  # the standard deviation of t(4)
        assert found.labels[label].temperature == pytest.approx(expected, rel=0.15)


def test_groups_hold_their_share_each():
    """Errors that grow towards low [Fe/H]: one quantile for all stars would not do."""

    def spread(iron):
        return np.where(iron < -1, 3.0, 1.0)

    found, _ = fitted(6000, spread=spread)
    features, sigma, actual = population(20_000, seed=1, spread=spread)
    poor = features["FE_H"] < -1
    assert 3000 < poor.sum() < 3400
    for label, number in (("LOGG", 0), ("FE_H", 1)):
        for rows in (~poor, poor):
            some = {name: values[rows] for name, values in features.items()}
            shares = coverage(found, label, some, sigma[rows, number], actual[rows, number])
            # Those predicted iron-poor make up for iron-poor stars among the others.
            atol = 0.07 if rows is poor and label == "FE_H" else 0.025
            np.testing.assert_allclose(shares, np.array(LEVELS) / 100, atol=atol)
            assert (shares > np.array(LEVELS) / 100 - 0.025).all()
    # The control: without groups the poor are held too seldom.
    label = found.labels["FE_H"]
    alone = label.model_copy(update={"factors": [], "quantiles": [1.0, 1.5, 2.0]})
    one = found.model_copy(update={"groupings": [], "labels": {"FE_H": alone}})
    some = {name: values[poor] for name, values in features.items()}
    assert coverage(one, "FE_H", some, sigma[poor, 1], actual[poor, 1])[0] < 0.6


def test_iron_poor_stars_of_the_catalogue_are_held_too(monkeypatch):
    """Some are predicted iron-rich, and are far outside: the others make up for them."""
    features, sigma, actual = population(40_000, seed=3)
    poor = actual[:, 1] < -1
    some = {name: values[poor] for name, values in features.items()}
    hidden = some["FE_H"] >= -1
    assert 0.05 < hidden.mean() < 0.3

    def shares():
        found, _ = fitted(6000, seed=2)
        return coverage(found, "FE_H", some, sigma[poor, 1], actual[poor, 1])

    np.testing.assert_allclose(shares(), np.array(LEVELS) / 100, atol=0.025)
    # The control: groups by prediction alone.
    monkeypatch.setattr(conformal, "_hold_iron_poor", lambda label, *_: label)
    assert (shares() < np.array(LEVELS) / 100 - 0.03).all()


def test_no_width_makes_up_for_many_hidden_iron_poor_stars():
    """A third of them are predicted iron-rich: the others have 97.5 % within their 95 %."""
    rng = np.random.default_rng(0)
    actual = np.concatenate([np.full(600, -1.5), rng.uniform(-0.7, 0.5, 9400)])
    predicted = actual + 0.1 * rng.standard_normal(10_000)
    predicted[:200] = rng.uniform(-0.2, 0.5, 200)
    columns = (predicted[:, None], np.full((10_000, 1), 0.1), actual[:, None])
    found = fit_calibration(["FE_H"], *columns, None, ON)
    seen = slice(200, 600)
    half = found.half_widths("FE_H", np.full(400, 0.1), {"FE_H": predicted[seen]})
    within = (np.abs(predicted - actual)[seen] <= half).mean(axis=1)
    np.testing.assert_allclose(within, [0.84, 0.95, 0.975], atol=0.01)


def test_errors_that_grow_with_two_features_are_held_where_both_are_bad():
    """Faint and iron-poor: too few stars to be a group of their own, yet their errors follow."""

    def population_of(stars, seed):
        features, sigma, _ = population(stars, seed=seed)
        rng = np.random.default_rng(seed + 100)
        wrong = np.where(features["FE_H"] < -1, 2.0, 1.0) * np.where(features["snr"] < 150, 1.5, 1)
        error = wrong[:, None] * sigma * rng.standard_normal(sigma.shape)
        predicted = np.stack([features["LOGG"], features["FE_H"]], axis=1)
        return features, sigma, predicted, predicted - error

    features, sigma, predicted, actual = population_of(8000, 0)
    found = fit_calibration(("LOGG", "FE_H"), predicted, sigma, actual, features["snr"], ON)
    features, sigma, _, actual = population_of(40_000, 1)
    both = (features["FE_H"] < -1) & (features["snr"] < 150)
    assert both.sum() > 1500
    for rows in (both, ~both, features["FE_H"] < -1, features["snr"] < 150):
        some = {name: values[rows] for name, values in features.items()}
        shares = coverage(found, "FE_H", some, sigma[rows, 1], actual[rows, 1])
        np.testing.assert_allclose(shares, np.array(LEVELS) / 100, atol=0.035)


# Groups.


def test_the_groupings_of_a_model():
    by = {grouping.by: grouping for grouping in fitted(900)[0].groupings}
    assert list(by) == ["FE_H", "LOGG", "snr"]
    assert -1.0 in by["FE_H"].edges, "iron-poor stars"
    assert len(by["FE_H"].edges) == 5, "and fifths"
    assert by["LOGG"].edges == [3.0, 4.0]
    assert by["LOGG"].names() == ["LOGG < 3", "3 <= LOGG < 4", "LOGG >= 4"]
    np.testing.assert_allclose(by["snr"].edges, [100, 150, 200, 250], atol=15)


def test_too_few_iron_poor_stars_are_no_group():
    (grouping,) = (part for part in fitted(250)[0].groupings if part.by == "FE_H")
    assert grouping.edges == [pytest.approx(-0.5, abs=0.1)], "the median"
    assert [part.by for part in fitted(100)[0].groupings] == ["LOGG"], "groups of too few stars"


def test_labels_that_a_model_lacks_do_not_group():
    found, _ = fitted(900, labels=("FE_H",))
    assert [grouping.by for grouping in found.groupings] == ["FE_H", "snr"]


@pytest.mark.parametrize("stars", [60, 200, 5000])
def test_small_groups_have_no_factor(stars):
    found, (features, sigma, _) = fitted(stars)
    places = found.places(features, stars)
    for part, column in zip(found.labels["FE_H"].factors, places.T, strict=True):
        for number, factors in enumerate(part):
            few = (column == number).sum() < SMALLEST_GROUP
            assert few == (factors == [1.0] * 3)
    # Every star has an interval, and the wider levels the wider ones.
    half = found.half_widths("FE_H", sigma[:, 1], features)
    assert np.isfinite(half).all()
    assert (np.diff(half, axis=0) >= 0).all()


def test_a_star_without_a_feature_has_the_factors_of_the_others():
    found, _ = fitted(5000, spread=lambda iron: np.exp(-iron))
    label = found.labels["FE_H"]
    features = {"FE_H": np.array([-2.0]), "LOGG": np.array([1.0]), "snr": np.array([60.0])}
    for lacking in ("", "FE_H", "LOGG", "snr"):
        wanted = np.array(label.quantiles) * label.temperature
        for part, factors in zip(("FE_H", "LOGG", "snr"), label.factors, strict=True):
            wanted = wanted * (1.0 if part == lacking else np.array(factors[0]))
        for shown in (
            features | {lacking: np.array([np.nan])},
            {name: values for name, values in features.items() if name != lacking},
        ):
            half = found.half_widths("FE_H", np.ones(1), shown)[:, 0]
            np.testing.assert_allclose(half, np.maximum.accumulate(wanted))


def test_too_few_stars_are_said_to_be_too_few():
    found, _ = fitted(FEWEST - 1)
    assert found.labels == {}
    assert found.note == "not calibrated, fewer than 20 stars: LOGG, FE_H"
    assert "no calibrated intervals" in str(found)
    found, _ = fitted(FEWEST)
    assert list(found.labels) == ["LOGG", "FE_H"]


def test_stars_without_a_number_do_not_count():
    found, (features, sigma, actual) = fitted(300)
    predicted = np.stack([features["LOGG"], features["FE_H"]], axis=1)
    spoiled = [
        np.concatenate([part, np.full((9, 2), np.nan)]) for part in (predicted, sigma, actual)
    ]
    spoiled[0][-3:] = [1.0, -0.5]
    spoiled[1][-3:] = 0.0
    spoiled[2][-3:] = 7.0
    snr = np.concatenate([features["snr"], np.full(9, np.nan)])
    again = fit_calibration(("LOGG", "FE_H"), *spoiled, snr, ON)
    assert again.labels["FE_H"].count == 300
    assert again.labels["FE_H"].temperature == found.labels["FE_H"].temperature
    assert again.labels["LOGG"].range == found.labels["LOGG"].range
