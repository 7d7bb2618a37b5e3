"""SpectraFM: tokens -> encoder -> requests -> decoder -> value and uncertainty.

Shapes: B stars, T tokens (pixels), L labels known to the model, R requests, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from astropy.stats import mad_std
from pydantic import Field
from torch import Tensor, nn

from spectrafm.labels import Label
from spectrafm.networks.attention import CrossAttention, SelfAttention
from spectrafm.networks.base import Answer, Network, TrainingStars
from spectrafm.networks.encoding import ENCODINGS
from spectrafm.networks.options import Model
from spectrafm.options import Section
from spectrafm.spectra import pixels_in


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
    """Cross-attention from requests to tokens; requests do not attend to each other."""

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
        """Embed scaled flux: (B, T) -> (B, T, D)."""
        return nn.functional.gelu(scaled_flux[..., None] * self.flux_weight + self.flux_bias)

    def label(self, value: Tensor) -> Tensor:
        """Embed standardised label values: (B, L) -> (B, L, D)."""
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


#: Seed of the order in which a window's pixels are distributed over contexts (as in the authors'
#: code).
CONTEXT_SEED = 0


class TransformerSizes(Section):
    """Sizes of a SpectraFM network in ``config.json``."""

    model: Model = Field(description="sizes of the network")


class SpectraFM(Network):
    """The paper's network, an encoder and decoder Transformer.

    Parameters
    ----------
    options : spectrafm.networks.options.Model
        Sizes. The defaults are the paper's: 8.02 million parameters.
    labels : sequence of Label
        Labels that the model knows, in the order of its outputs.

    Notes
    -----
    The network does not depend on a pixel grid: flux is scaled by one formula for all wavelengths,
    and a pixel is identified by its wavelength alone.
    """

    architecture = "spectrafm"
    Sizes = TransformerSizes

    def __init__(self, options: Model, labels: Sequence[Label]):
        super().__init__(labels)
        self.options = options
        size, dropout = options.dimension, options.dropout
        self.wavelength_encoding = ENCODINGS[options.encoding](size)
        self.embedding = Embedding(size, len(self.labels))
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.ModuleList(
            EncoderBlock(size, block.heads, block.feedforward, dropout) for block in options.encoder
        )
        self.decoder = nn.ModuleList(
            DecoderBlock(size, block.heads, block.feedforward, dropout) for block in options.decoder
        )
        self.head = Head(size, options.head, dropout)

    @classmethod
    def start(cls, model: Model, stars: TrainingStars, labels: Sequence[str]) -> Self:
        # The network knows every label of the store, so that a later stage can train labels that
        # this stage does not.
        network = cls(model, stars.labels)
        network.scale_labels(stars.label)
        return network

    @classmethod
    def build(cls, sizes: TransformerSizes, labels: Sequence[Label]) -> Self:
        return cls(sizes.model, labels)

    def sizes(self) -> dict[str, Any]:
        return {"model": self.options.model_dump(mode="json")}

    @staticmethod
    def label_scaling(label: Tensor) -> tuple[Tensor, Tensor]:
        """Centre and scale of each label: median and scaled median absolute deviation."""
        values = label.numpy()
        centre = np.nanmedian(values, axis=0)
        scale = np.asarray(mad_std(values, axis=0, ignore_nan=True), values.dtype)
        return torch.from_numpy(centre), torch.from_numpy(scale)

    def add_labels(self, labels: Sequence[Label], label: np.ndarray) -> None:
        new = type(self)(self.options, labels)
        new.scale_labels(label)
        self.label_table += new.label_table
        for name in ("label_weight", "label_bias"):
            both = torch.cat([getattr(part.embedding, name).detach() for part in (self, new)])
            setattr(self.embedding, name, nn.Parameter(both))
        self.label_centre = torch.cat([self.label_centre, new.label_centre])
        self.label_scale = torch.cat([self.label_scale, new.label_scale])

    def contexts(
        self, wavelength: np.ndarray, windows: Sequence[tuple[float, float]], tokens: int
    ) -> list[np.ndarray]:
        """Divide the pixels of the windows into disjoint sets of at most ``tokens`` pixels.

        A window's pixels are distributed at random, the same for every star, over sets of nearly
        equal size. Parameters are those of `Network.contexts`.
        """
        generator = np.random.default_rng(CONTEXT_SEED)
        contexts = []
        for pixels in pixels_in(wavelength, windows):
            if len(pixels):
                dealt = generator.permutation(pixels)
                contexts += np.array_split(dealt, -(-len(pixels) // tokens))
        return [np.sort(context) for context in contexts]

    def encoding(self, wavelength: Tensor) -> Tensor:
        """Encode each wavelength as sines and cosines, shape (T, D), without trained weights."""
        return self.wavelength_encoding(wavelength)

    def forward(
        self,
        flux: Tensor,
        position: Tensor,
        missing: Tensor | None = None,
        request: Tensor | None = None,
        known: Tensor | None = None,
        error: Tensor | None = None,
        return_attention: bool = False,
    ) -> Answer | tuple[Answer, Tensor]:
        """Answer requests about stars.

        Parameters
        ----------
        flux : Tensor, shape (B, T)
            Continuum-normalised flux.
        position : Tensor, shape (B, T, D) or (T, D)
            `encoding` of each pixel's wavelength. It has no trained weights, so that callers
            compute it once per grid.
        missing : Tensor, shape (B, T), bool, optional
            True where a pixel is bad; a bad pixel is never a token. None: all are good.
        request : Tensor, shape (R,), int, optional
            Indices into ``labels``. Default: all labels.
        known : Tensor, shape (B, L), optional
            Standardised values of labels given as input tokens; NaN where not given.
        error : Tensor, optional
            Ignored.
        return_attention : bool
            Also return the last decoder block's attention.

        Returns
        -------
        answer : Answer
        attention : Tensor, shape (B, R, T)
            Mean over heads; 0 where a pixel is missing. Only with ``return_attention``.
        """
        tokens, order = flux.shape[1], None
        # In training, `draw_batch` already prefers valid pixels, and removing the missing ones here
        # would make the host wait for the device at every step.
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
        answers = wanted.expand(len(x), -1, -1)
        for block in self.decoder:
            answers, attention = block(answers, x, missing_token)
        answer = self.head(answers)
        if not return_attention:
            return answer
        attention = attention[..., : flux.shape[1]].mean(dim=1)
        if order is not None:
            full = attention.new_zeros(*attention.shape[:2], tokens)
            index = order[:, None, :].expand_as(attention)
            attention = full.scatter(2, index, attention)
        return answer, attention


def _valid_first(missing: Tensor) -> tuple[Tensor, Tensor | None]:
    """Order that puts each star's valid pixels first and drops the columns without valid pixels.

    Bad pixels are removed rather than masked, so that further bad pixels change no bit of the
    result; only a star with fewer good pixels than others of its batch keeps masked ones.

    Returns
    -------
    order : Tensor, shape (B, T'), int
    missing : Tensor, shape (B, T'), bool, or None where all remaining pixels are valid
    """
    good = (~missing).sum(dim=1)
    longest = max(int(good.max()), 1)
    order = missing.to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    left = missing.gather(1, order)
    return order, left if bool(left.any()) else None
