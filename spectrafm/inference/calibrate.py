"""Calibration of a trained network on validation stars, with the inference that users run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np

from spectrafm.inference.by_group import EVERY_STAR, GroupScore, by_group
from spectrafm.inference.calibration import Calibration, FittedOn
from spectrafm.inference.chunks import BLOCK
from spectrafm.inference.conformal import fit_calibration
from spectrafm.inference.predictor import infer
from spectrafm.networks.base import Network
from spectrafm.spectra import Kind
from spectrafm.store.read import StarSet

logger = logging.getLogger(__name__)


def calibrate(
    network: Network,
    stars: StarSet,
    labels: Sequence[str],
    windows: Sequence[tuple[float, float]],
    tokens: int,
    *,
    kind: Literal["observed", "synthetic", "painted"],
    where: str | None,
) -> tuple[Calibration, list[GroupScore]]:
    """Predict validation stars and fit the calibration of a model to them.

    Parameters
    ----------
    network : Network
    stars : StarSet
        Stars that the network did not learn from.
    labels : sequence of str
        Labels to calibrate.
    windows : sequence of (float, float), Angstrom
    tokens : int
        Pixels per star in training.
    kind : {"observed", "synthetic", "painted"}
        Kind of their spectra. Painted ones stand for observed ones.
    where : str, optional
        Condition that the stars fulfil.

    Returns
    -------
    calibration : Calibration
        Without labels where there are too few stars; this is logged.
    scores : list of GroupScore
        Errors and coverage by group of these stars.
    """
    spectra: Kind = "synthetic" if kind == "synthetic" else "observed"
    fitted_on = FittedOn(
        kind=kind, spectra=spectra, where=where, count=len(stars), windows=list(windows)
    )
    chunks = network.contexts(stars.wavelength, windows, tokens)
    errors = stars.flux_error
    predicted = np.empty((len(stars), len(labels)))
    sigma = np.empty_like(predicted)
    for start in range(0, len(stars), BLOCK):
        rows = slice(start, start + BLOCK)
        error = None if errors is None else errors[rows]
        predicted[rows], sigma[rows], _ = infer(
            network, stars.flux[rows], stars.wavelength, labels, chunks, fitted_on.combine, error,
            columns={name: values[rows] for name, values in stars.columns.items()},
        )  # fmt: skip
    names = [label.name for label in stars.labels]
    actual = stars.label[:, [names.index(label) for label in labels]].astype(np.float64)
    # A synthetic spectrum has no noise, and a painted one that of another star.
    snr = stars.signal_to_noise if kind == "observed" else None
    found = fit_calibration(labels, predicted, sigma, actual, snr, fitted_on)
    logger.info(
        "calibrated %s on %d %s validation spectra; temperature %s",
        ", ".join(found.labels) or "nothing", len(stars), kind,
        ", ".join(f"{label.temperature:.2f}" for label in found.labels.values()) or "none",
    )  # fmt: skip
    if found.note:
        logger.warning("calibration: %s", found.note)
    scores = by_group(labels, predicted, sigma, actual, snr, fitted_on)
    return _with_coverage(found, scores), scores


def _with_coverage(calibration: Calibration, scores: Sequence[GroupScore]) -> Calibration:
    """Record the share of all stars within intervals that were fitted on others, by label."""
    shares = {one.label: list(one.coverage) for one in scores if one.group == EVERY_STAR}
    labels = {
        name: label.model_copy(update={"coverage": shares.get(name) or None})
        for name, label in calibration.labels.items()
    }
    return calibration.model_copy(update={"labels": labels})
