"""Answers beyond the labels of a stage's stars: how far they are pulled towards the mean.

A network that learned from few stars of similar labels answers with labels too near their mean,
and the more so the farther a star is from them. How much is measured on the stage's own stars:
those with the lowest labels are left out of a second training, whose answers for them, as distances
from the mean of the others, are multiplied with the factor that suits them best (least squares).
The answers of the stage are then multiplied with it too. No other star's label is used.
"""

from __future__ import annotations

import logging

import numpy as np

from spectrafm.inference.predictor import infer
from spectrafm.networks.base import Extrapolation, Network
from spectrafm.store.read import StarSet
from spectrafm.training.choice import FEWEST
from spectrafm.training.loop import Training
from spectrafm.training.stars import DeviceStars, column_of, subset, to_device

logger = logging.getLogger(__name__)

#: Largest factor: answers that hardly differ from the mean hold nothing that could be multiplied.
LARGEST = 2.0


def extrapolation_of(
    training: Training, untrained: Network, stars: StarSet, validation: DeviceStars
) -> Extrapolation | None:
    """Measure the pull towards the mean of a stage with one label.

    Parameters
    ----------
    training : Training
        Of the stage.
    untrained : Network
        The network before it; is trained in place.
    stars : StarSet
        The stage's training stars.
    validation : DeviceStars

    Returns
    -------
    Extrapolation or None
        None where fewer than `spectrafm.training.choice.FEWEST` stars have the label.
    """
    stage, name = training.stage, training.name
    (label,) = (training.network.labels[place] for place in training.request.tolist())
    values = stars.label[:, column_of(stars, label)].astype(np.float64)
    known = np.isfinite(values)
    if known.sum() < FEWEST:
        logger.warning(
            "%s: extrapolate: %d stars have %s, and %d are needed: answers stay as they are",
            name, known.sum(), label, FEWEST,
        )  # fmt: skip
        return None
    lowest = known & (values <= np.quantile(values[known], stage.extrapolate))
    inner, outer = subset(stars, known & ~lowest), subset(stars, lowest)
    device = training.stars.flux.device
    inner_stars = to_device(inner, untrained, training.request, stage.windows, device)
    Training(
        f"{name} without its lowest {label}", stage, untrained, training.request, inner_stars,
        validation, training.processes,
    ).fit()  # fmt: skip
    answer = infer(
        untrained.eval(),
        outer.flux,
        outer.wavelength,
        [label],
        untrained.contexts(outer.wavelength, stage.windows, stage.sampling.tokens),
        error=outer.flux_error if untrained.wants_errors else None,
        columns=outer.columns,
    )
    factor = factor_of(answer.value[:, 0], values[lowest], values[known & ~lowest].mean())
    logger.info("%s: extrapolate: distances from the mean are multiplied with %.3g", name, factor)
    return Extrapolation(label, float(values[known].mean()), factor)


def factor_of(answer: np.ndarray, label: np.ndarray, centre: float) -> float:
    """Factor of distances from the centre that suits the labels best; from 1 to `LARGEST`.

    Parameters
    ----------
    answer, label : numpy.ndarray, shape (n,)
        A star whose answer is not finite is left out.
    centre : float
    """
    shown = np.isfinite(answer)
    distance = answer[shown] - centre
    square = np.square(distance).sum()
    if not square > 0:
        return 1.0
    return float(np.clip((distance * (label[shown] - centre)).sum() / square, 1.0, LARGEST))
