"""Replay: spectra of many other stars beside the few of a stage.

A network that learns from a hundred iron-rich stars alone forgets what it knew of other stars.
Replayed spectra keep that knowledge: synthetic spectra of all training stars, painted ones, which
have it carried over the synthetic gap, or the stars of the stage's start, as the start labels them.

Shapes: B observed and R replayed stars of a step, N replayed spectra, P pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from spectrafm.networks.base import Network
from spectrafm.spectra import FluxRange
from spectrafm.store.read import StarSet
from spectrafm.training.gap import Gap
from spectrafm.training.options import Stage
from spectrafm.training.sampling import generator_for
from spectrafm.training.stars import DeviceStars, to_device


class StepStars(DeviceStars):
    """Stars of a single step."""

    @property
    def fewest_valid(self) -> tuple[int, ...]:
        """The lower limit 0: counting valid pixels would make the host wait at every step."""
        return (0,) * (len(self.windows) + 1)


@dataclass(frozen=True)
class Replay:
    """Spectra to replay.

    Attributes
    ----------
    stars : DeviceStars
        Their flux has the gap added where they are painted.
    residual, residual_error : Tensor, shape (n, P), or None
        Residuals to paint with, one of which is added to each spectrum at each step; None: not
        painted.
    flux_range : (float, float)
        Lowest and highest flux: a painted pixel outside is missing.
    ratio : float
        Replayed stars per observed star.
    seed : int
    """

    stars: DeviceStars
    residual: Tensor | None
    residual_error: Tensor | None
    flux_range: FluxRange
    ratio: float
    seed: int

    def beside(self, stars: DeviceStars, rows: Tensor, step: int) -> StepStars:
        """Join the observed stars of a step, first, and the replayed ones, drawn for the step.

        Parameters
        ----------
        stars : DeviceStars
            The stage's stars.
        rows : Tensor, shape (B,), int
        step : int

        Returns
        -------
        StepStars
            B + R stars.
        """
        generator = generator_for(rows.device, self.seed, "replay", step)
        count = max(round(self.ratio * len(rows)), 1)
        drawn = torch.randint(len(self.stars), (count,), generator=generator, device=rows.device)
        flux, error = self.stars.flux[drawn], self.stars.flux_error
        error = None if error is None else error[drawn]
        valid = self.stars.valid[drawn]
        if self.residual is not None:
            donor = torch.randint(
                len(self.residual), (count,), generator=generator, device=rows.device
            )
            flux = flux + self.residual[donor]
            low, high = self.flux_range
            valid = valid & (flux >= low) & (flux <= high)
            error = None if error is None else self.residual_error[donor]
        joined = {
            "flux": torch.cat([stars.flux[rows], flux]),
            "valid": torch.cat([stars.valid[rows], valid]),
            "label": torch.cat([stars.label[rows], self.stars.label[drawn]]),
            "label_error": torch.cat([stars.label_error[rows], self.stars.label_error[drawn]]),
        }
        if stars.inputs is not None:
            joined["inputs"] = torch.cat([stars.inputs[rows], self.stars.inputs[drawn]])
        if stars.flux_error is not None:
            joined["flux_error"] = torch.cat([stars.flux_error[rows], error])
        kept = {field.name: getattr(stars, field.name) for field in fields(stars)}
        return StepStars(**{**kept, **joined})


def replay_of(
    replayed: StarSet, gap: Gap | None, stage: Stage, network: Network, request: Tensor
) -> Replay:
    """Prepare the replay of a stage on the network's device.

    Parameters
    ----------
    replayed : StarSet
        The stars to replay.
    gap : Gap, optional
        Paint the spectra with this gap.
    stage : Stage
    network : Network
    request : Tensor, shape (R,), int
        The network's labels that the stage trains.
    """
    device = request.device
    residual = residual_error = None
    if gap is not None:
        replayed = replace(replayed, flux=replayed.flux + gap.of(replayed.flux))
        residual = torch.from_numpy(gap.residual).to(device)
        residual_error = torch.from_numpy(gap.residual_error).to(device)
    return Replay(
        stars=to_device(replayed, network, request, stage.windows, device),
        residual=residual,
        residual_error=residual_error,
        flux_range=stage.flux_range,
        ratio=stage.replay.ratio,
        seed=stage.seed,
    )
