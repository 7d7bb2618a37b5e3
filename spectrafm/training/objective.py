"""The loss (paper section 2): a Gaussian likelihood with catalogue error and predicted variance."""

from __future__ import annotations

import torch
from torch import Tensor

from spectrafm.networks.base import Answer

#: Keeps the variance positive where both uncertainties vanish.
SMALLEST_VARIANCE = 1e-8


def gaussian_loss(answer: Answer, label: Tensor, label_error: Tensor, requested: Tensor) -> Tensor:
    """Compute ``(y - mean)^2 / (2 V) + ln(V) / 2`` for each label.

    ``V`` is the sum of the predicted variance and the squared label error.

    Parameters
    ----------
    answer : Answer
        Mean and ln variance, shape (B, R).
    label, label_error : Tensor, shape (B, R)
        Standardised; values where ``requested`` is False do not matter. A NaN error counts as 0.
    requested : Tensor, shape (B, R), bool

    Returns
    -------
    Tensor, shape (B, R)
        0, with gradients 0, where a label is not requested.
    """
    mean, log_variance = answer.mean.float(), answer.log_variance.float()
    # Fill before the arithmetic: 0 x NaN would still be NaN in the gradient.
    label = torch.where(requested, label, mean.detach())
    label_error = torch.where(requested, label_error, 0.0).nan_to_num(0.0)
    variance = log_variance.exp() + label_error.square() + SMALLEST_VARIANCE
    each = 0.5 * ((label - mean).square() / variance + variance.log())
    return torch.where(requested, each, 0.0)
