"""Binding of neighbouring pixels: the part of a spectrum that one token holds.

A token covers a fixed step in ln(wavelength), the same for every instrument. Its content is a
linear projection of its valid pixels, whose weights are cosines of the pixel's place within the
step; a small network makes the token of it.

Shapes: B stars, T pixels, F channels of each, C tokens, M pixels of the fullest token, K harmonics,
D dimension.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spectrafm.networks.channels import ERROR_SCALE, Smoothing
from spectrafm.networks.options import Token

#: Share of the stars of a training step whose errors are hidden, so that a network can also read
#: spectra without them.
HIDDEN_ERRORS = 0.1


class Cells(NamedTuple):
    """How the pixels of a wavelength grid fall into tokens, in the order of wavelength."""

    pixel: Tensor  # (C, M) int, indices into the grid; any where there is no pixel
    there: Tensor  # (C, M) bool, whether there is a pixel
    harmonic: Tensor  # (C, M, K), weights of the projection; 0 where there is no pixel
    encoding: Tensor  # (C, D), encoding of the token's central wavelength
    token: Tensor  # (T,) int, the token of each pixel of the grid
    smoothing: Smoothing | None = None  # for a network that normalises the flux itself


def cells_of(wavelength: Tensor, token: Token, encoding: nn.Module) -> Cells:
    """Divide a wavelength grid into tokens.

    Parameters
    ----------
    wavelength : Tensor, shape (T,)
        Vacuum rest-frame wavelength in any order, Angstrom, in float64.
    token : Token
        Width of a token and number of harmonics.
    encoding : WavelengthEncoding

    Returns
    -------
    Cells
    """
    place = wavelength.double().log() / token.width
    number, token_of, count = place.floor().unique(return_inverse=True, return_counts=True)
    order = place.argsort(stable=True)
    row = token_of[order]
    column = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[row]
    pixel = order.new_zeros(len(number), int(count.max()))
    pixel[row, column] = order
    there = torch.zeros_like(pixel, dtype=torch.bool)
    there[row, column] = True
    within = (place - place.floor())[pixel]
    harmonics = torch.arange(token.harmonics, device=place.device)
    # Scaled so that a token with as many pixels as harmonics keeps the variance of white noise.
    harmonic = (math.pi * harmonics * within[..., None]).cos() * math.sqrt(2 * token.harmonics)
    centre = ((number + 0.5) * token.width).exp()
    return Cells(pixel, there, (harmonic * there[..., None]).float(), encoding(centre), token_of)


class Contents(nn.Module):
    """The contents of cells: projections of their valid pixels, without trained weights.

    Parameters
    ----------
    token : Token
    channels : int
        Numbers of each pixel.

    Attributes
    ----------
    count : int
        Numbers of each cell, N: harmonics of each channel and of the places of valid pixels; the
        mean ln error, and the share of pixels whose error is known.
    """

    def __init__(self, token: Token, channels: int = 1):
        super().__init__()
        self.drop, self.stretch = token.drop, token.stretch
        self.count = (channels + 1) * token.harmonics + 2

    def forward(
        self, channels: Tensor, cells: Cells, missing: Tensor | None, error: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the contents for a batch of stars.

        Parameters
        ----------
        channels : Tensor, shape (B, T, F)
            The numbers of each pixel, such as the scaled distance of the flux from the continuum;
            any value where missing.
        cells : Cells
            Of the wavelengths of these pixels.
        missing : Tensor, shape (B, T), bool, optional
        error : Tensor, shape (B, T), optional
            One-sigma errors of the flux; NaN where unknown.

        Returns
        -------
        content : Tensor, shape (B, C, N)
        empty : Tensor, shape (B, C), bool
            True where a cell has no valid pixel, or is hidden in training.
        """
        valid = cells.there.expand(len(channels), -1, -1)
        if missing is not None:
            valid = valid & ~missing[:, cells.pixel]
        count = valid.sum(dim=-1, keepdim=True)
        share = count.clamp(min=1).reciprocal()
        # One matrix product per token and channel: (B, C, M) x (C, M, K) -> (B, C, K).
        content = [
            torch.einsum("bcm,cmk->bck", shown, cells.harmonic) * share
            for shown in (
                *(part[:, cells.pixel].masked_fill(~valid, 0.0) for part in channels.unbind(-1)),
                valid.to(channels.dtype),
            )
        ]
        content = torch.cat([*content, self._errors(valid, cells, share, error)], dim=-1)
        empty = count.squeeze(-1) == 0
        if self.training and self.drop > 0:
            dropped = torch.rand(empty.shape, device=empty.device)
            empty = empty | (dropped < self.drop * torch.rand_like(dropped[:, :1]))
        if self.training and self.stretch > 0:
            empty = empty | ~_stretches(empty, self.stretch)
        return content, empty

    def _errors(self, valid: Tensor, cells: Cells, share: Tensor, error: Tensor | None) -> Tensor:
        """Mean ln error of a token's pixels, and the share of them whose error is known."""
        if error is None:
            return share.new_zeros(*share.shape[:2], 2)
        error = error[:, cells.pixel]
        known = valid & error.isfinite()
        if self.training:
            hidden = torch.rand(len(error), 1, 1, device=error.device) < HIDDEN_ERRORS
            known = known & ~hidden
        level = (error.masked_fill(~known, ERROR_SCALE) / ERROR_SCALE).clamp(0.05, 1e3).log()
        return torch.stack([level.sum(dim=-1), known.sum(dim=-1)], dim=-1) * share


class Binding(nn.Module):
    """Tokens from the contents of cells.

    The projected flux is multiplied by a vector of the cell's wavelength, so that each wavelength
    has weights of its own, as each pixel has in a network bound to a grid.

    Parameters
    ----------
    dimension : int
    token : Token
    channels : int
        Numbers of each pixel.
    """

    def __init__(self, dimension: int, token: Token, channels: int = 1):
        super().__init__()
        self.contents = Contents(token, channels)
        self.content = nn.Linear(self.contents.count, token.hidden)
        self.gain = nn.Linear(dimension, token.hidden)
        self.offset = nn.Linear(dimension, token.hidden)
        self.out = nn.Linear(token.hidden, dimension)

    def forward(
        self, channels: Tensor, cells: Cells, missing: Tensor | None, error: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Make the tokens of a batch of stars.

        Parameters
        ----------
        channels, cells, missing, error
            As in `Contents.forward`.

        Returns
        -------
        x : Tensor, shape (B, C, D)
        empty : Tensor, shape (B, C), bool
            True where a token has no valid pixel, or is hidden in training.
        """
        content, empty = self.contents(channels, cells, missing, error)
        x = self.content(content) * (1 + self.gain(cells.encoding)) + self.offset(cells.encoding)
        return self.out(nn.functional.gelu(x)), empty


def _stretches(tokens: Tensor, share: float) -> Tensor:
    """Draw the tokens that a share of the stars show: neighbours, at least one; others show all.

    The logarithm of the length is uniform, so that short stretches are as frequent as long ones.

    Parameters
    ----------
    tokens : Tensor, shape (B, C)
        Only its shape and device matter.
    share : float
    """
    stars, count = tokens.shape
    chosen, length, start = torch.rand(3, stars, 1, device=tokens.device)
    length = (count**length).round()
    start = (start * (count - length + 1)).floor()
    place = torch.arange(count, device=tokens.device)
    return (chosen >= share) | ((place >= start) & (place < start + length))


def sharpened(attention: Tensor, sensitivity: Tensor, cells: Cells) -> Tensor:
    """Give each pixel the attention of its token, times the pixel's share of the sensitivity.

    The mean over a token's pixels is the token's attention, so that a token with few pixels, at the
    end of a window, does not stand out by their number.

    Parameters
    ----------
    attention : Tensor, shape (B, R, T)
        The attention of each token, divided equally among its pixels; 0 where missing.
    sensitivity : Tensor, shape (B, R, T)
        Size of the gradient of each answer with respect to the pixel's flux.
    cells : Cells

    Returns
    -------
    Tensor, shape (B, R, T)
    """
    shown = (attention > 0).to(attention.dtype)
    empty = attention.new_zeros(*attention.shape[:-1], len(cells.pixel))
    token, weight, count = (
        empty.index_add(-1, cells.token, part)[..., cells.token]
        for part in (attention, sensitivity * shown, shown)
    )
    # Where no pixel of a token has any sensitivity, all have the same share.
    share = torch.where(weight > 0, sensitivity * count / weight, 1.0)
    return token * share * shown
