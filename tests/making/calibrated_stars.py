"""Stars with predictions, sigmas and true labels, and calibrations that are fitted on them."""

import numpy as np

from spectrafm.inference.calibration import FittedOn
from spectrafm.inference.conformal import fit_calibration

ON = FittedOn(kind="observed", spectra="observed", count=1, windows=[(15_000.0, 16_000.0)])


def fitted(stars, labels=("LOGG", "FE_H"), wrong_by=1.0, seed=0, spread=None):
    """A calibration, and the stars that it was fitted on: features, sigma, actual."""
    features, sigma, actual = population(stars, labels, wrong_by, seed, spread)
    predicted = np.stack([features[name] for name in labels], axis=1)
    found = fit_calibration(labels, predicted, sigma, actual, features["snr"], ON)
    return found, (features, sigma, actual)


def population(stars, labels=("LOGG", "FE_H"), wrong_by=1.0, seed=0, spread=None):
    """Stars whose errors are ``wrong_by`` times the sigmas, and ``spread`` times that by [Fe/H]."""
    rng = np.random.default_rng(seed)
    features = {
        "LOGG": rng.uniform(0, 5, stars), "FE_H": rng.normal(-0.5, 0.5, stars),
        "snr": rng.uniform(50, 300, stars),
    }  # fmt: skip
    sigma = rng.uniform(0.05, 0.2, (stars, len(labels)))
    factor = np.ones(stars) if spread is None else spread(features["FE_H"])
    error = wrong_by * factor[:, None] * sigma * rng.standard_t(4, sigma.shape)
    actual = np.stack([features[name] for name in labels], axis=1) - error
    return features, sigma, actual


def coverage(calibration, label, features, sigma, actual):
    half = calibration.half_widths(label, sigma, features)
    return (np.abs(features[label] - actual) <= half).mean(axis=1)
