"""SpectraFM: tokens -> encoder -> requests -> decoder -> value and uncertainty.

Shapes: B stars, T tokens (pixels), L labels known to the model, R requests, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spectrafm.networks.attention import CrossAttention, SelfAttention
from spectrafm.networks.base import Network
from spectrafm.networks.encoding import ENCODINGS
from spectrafm.networks.options import Model


class Answer(NamedTuple):
    """What a network says, in standardised label units, both of shape (B, R)."""

    mean: Tensor
    log_variance: Tensor


class FeedForward(nn.Sequential):
    """Two dense layers with an exact GELU between them."""

    def __init__(self, dimension: int, inner: int, dropout: float):
        super().__init__(
            nn.Linear(dimension, inner), nn.GELU(), nn.Dropout(dropout), nn.Linear(inner, dimension)
        )


class EncoderBlock(nn.Module):
    """Self-attention and a feed-forward layer, each added and then normalised (post-norm)."""

    def __init__(self, dimension: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.attention = SelfAttention(dimension, heads, dropout)
        self.feedforward = FeedForward(dimension, feedforward, dropout)
        self.attention_norm = nn.LayerNorm(dimension)
        self.feedforward_norm = nn.LayerNorm(dimension)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, missing: Tensor | None) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, missing)))
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))


class DecoderBlock(nn.Module):
    """Cross-attention from requests to tokens: requests never look at each other."""

    def __init__(self, dimension: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.attention = CrossAttention(dimension, heads, dropout)
        self.feedforward = FeedForward(dimension, feedforward, dropout)
        self.attention_norm = nn.LayerNorm(dimension)
        self.feedforward_norm = nn.LayerNorm(dimension)
        self.dropout = nn.Dropout(dropout)

    def forward(self, request: Tensor, x: Tensor, missing: Tensor | None) -> tuple[Tensor, Tensor]:
        answer, attention = self.attention(request, x, missing)
        request = self.attention_norm(request + self.dropout(answer))
        return self.feedforward_norm(request + self.dropout(self.feedforward(request))), attention


class Embedding(nn.Module):
    """Equation 1 as the authors computed it: ``GELU(w M + b)``.

    One pair (w, b) serves every pixel, since wavelength tells pixels apart; each label has a pair
    of its own, and its w is also the vector by which the label is requested.
    """

    def __init__(self, dimension: int, labels: int):
        super().__init__()
        self.flux_weight = nn.Parameter(torch.randn(dimension))
        self.flux_bias = nn.Parameter(torch.randn(dimension))
        self.label_weight = nn.Parameter(torch.randn(labels, dimension))
        self.label_bias = nn.Parameter(torch.randn(labels, dimension))

    def flux(self, scaled_flux: Tensor) -> Tensor:
        """(B, T) -> (B, T, D)."""
        return nn.functional.gelu(scaled_flux[..., None] * self.flux_weight + self.flux_bias)

    def label(self, value: Tensor) -> Tensor:
        """(B, L) standardised label values -> (B, L, D)."""
        return nn.functional.gelu(value[..., None] * self.label_weight + self.label_bias)


class Head(nn.Module):
    """Dense layers shared by all labels, then one number for the mean and one for ln variance."""

    def __init__(self, dimension: int, widths: Sequence[int], dropout: float):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((dimension, *widths), widths, strict=False):
            layers += [nn.Linear(before, after), nn.GELU(), nn.Dropout(dropout)]
        self.dense = nn.Sequential(*layers)
        last = widths[-1] if widths else dimension
        self.mean = nn.Linear(last, 1)
        self.log_variance = nn.Linear(last, 1)

    def forward(self, request: Tensor) -> Answer:
        x = self.dense(request)
        return Answer(self.mean(x).squeeze(-1), self.log_variance(x).squeeze(-1))


class SpectraFM(Network):
    """The paper's network.

    Parameters
    ----------
    options : spectrafm.networks.options.Model
        Sizes. The defaults are the paper's: 8.02 million parameters.
    labels : sequence of str
        Labels that the model knows, in the order of its outputs.

    Notes
    -----
    Nothing in it depends on a pixel grid: flux is scaled by one formula for all wavelengths, and
    a pixel is known by its wavelength alone.
    """

    def __init__(self, options: Model, labels: Sequence[str]):
        super().__init__()
        self.options = options
        self.labels = tuple(labels)
        size, dropout = options.dimension, options.dropout
        self.encoding = ENCODINGS[options.encoding](size)
        self.embedding = Embedding(size, len(self.labels))
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.ModuleList(
            EncoderBlock(size, block.heads, block.feedforward, dropout) for block in options.encoder
        )
        self.decoder = nn.ModuleList(
            DecoderBlock(size, block.heads, block.feedforward, dropout) for block in options.decoder
        )
        self.head = Head(size, options.head, dropout)
        # Labels are learned as (label - centre) / scale, from the pre-training stars.
        self.register_buffer("label_centre", torch.zeros(len(self.labels)))
        self.register_buffer("label_scale", torch.ones(len(self.labels)))

    def forward(
        self,
        flux: Tensor,
        position: Tensor,
        missing: Tensor | None = None,
        request: Tensor | None = None,
        known: Tensor | None = None,
        return_attention: bool = False,
    ) -> Answer | tuple[Answer, Tensor]:
        """Answer requests about stars.

        Parameters
        ----------
        flux : Tensor, shape (B, T)
            Continuum-normalised flux.
        position : Tensor, shape (B, T, D) or (T, D)
            ``model.encoding(wavelength)`` of each pixel. It has no weights to learn, so it is
            computed once per grid and then only looked up.
        missing : Tensor, shape (B, T), bool, optional
            True where a pixel is bad: it becomes no token. None: all are good.
        request : Tensor, shape (R,), int, optional
            Indices into ``labels``. Default: all labels.
        known : Tensor, shape (B, L), optional
            Standardised values of labels given as input tokens; NaN where not given.
        return_attention : bool
            Also return the last decoder block's attention.

        Returns
        -------
        answer : Answer
        attention : Tensor, shape (B, R, T), only where asked for
            Mean over heads; 0 where a pixel is missing.
        """
        tokens, order = flux.shape[1], None
        # A training's batches hold valid pixels wherever a star has enough of them; sorting out the
        # others would make the host wait for the device at every step.
        if missing is not None and not self.training:
            order, missing = _valid_first(missing)
            flux = flux.gather(1, order)
            position = position.expand(len(flux), -1, -1)
            position = position.gather(1, order[..., None].expand(-1, -1, position.shape[-1]))
        if missing is not None:
            flux = flux.masked_fill(missing, 1.0)
        x = self.embedding.flux((flux - 1.0) / self.options.flux_scale) + position
        if known is not None:
            unknown = known.isnan()
            x = torch.cat([x, self.embedding.label(known.nan_to_num())], dim=1)
            pixels = flux.new_zeros(flux.shape, dtype=torch.bool) if missing is None else missing
            missing_token = torch.cat([pixels, unknown], dim=1)
        else:
            missing_token = missing
        x = self.dropout(x)
        for block in self.encoder:
            x = block(x, missing_token)

        wanted = self.embedding.label_weight
        wanted = wanted if request is None else wanted[request]
        asked = wanted.expand(len(x), -1, -1)
        for block in self.decoder:
            asked, attention = block(asked, x, missing_token)
        answer = self.head(asked)
        if not return_attention:
            return answer
        attention = attention[..., : flux.shape[1]].mean(dim=1)
        if order is not None:
            full = attention.new_zeros(*attention.shape[:2], tokens)
            index = order[:, None, :].expand_as(attention)
            attention = full.scatter(2, index, attention)
        return answer, attention


def _valid_first(missing: Tensor) -> tuple[Tensor, Tensor | None]:
    """Order that puts each star's valid pixels first and drops columns where none is left.

    Bad pixels are then not hidden but absent, so that adding some changes not one bit of the
    result; only a star with fewer good pixels than its neighbours in the batch keeps hidden ones.

    Returns
    -------
    order : Tensor, shape (B, T'), int
    missing : Tensor, shape (B, T'), bool, or None where all that is left is valid
    """
    good = (~missing).sum(dim=1)
    longest = max(int(good.max()), 1)
    order = missing.to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    left = missing.gather(1, order)
    return order, left if bool(left.any()) else None
