"""SpectraFM: tokens -> encoder -> requests -> decoder -> value and uncertainty.

Shapes: B stars, P pixels, T tokens (pixels, or cells of several), L labels known to the model,
R requests, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from astropy.stats import mad_std
from torch import Tensor, nn

from spectrafm.errors import SpectraFMError
from spectrafm.labels import Label
from spectrafm.networks.base import Answer
from spectrafm.networks.binding import Binding, Cells
from spectrafm.networks.blocks import DecoderBlock, EncoderBlock
from spectrafm.networks.dropout import Dropout
from spectrafm.networks.options import PLAIN, Model, Reads, Token
from spectrafm.networks.tokens import TokenNetwork
from spectrafm.spectra import pixels_in


class Embedding(nn.Module):
    """Equation 1 as the authors computed it, ``GELU(w M + b)``, or the binding of pixels.

    One pair (w, b) serves every pixel, since wavelength tells pixels apart; each label has a pair
    of its own, and its w is also the vector by which the label is requested.
    """

    def __init__(
        self, dimension: int, labels: int, token: Token, channels: int = 1, inputs: int = 0
    ):
        super().__init__()
        if token.width:
            self.binding = Binding(dimension, token, channels)
        else:
            self.flux_weight = nn.Parameter(torch.randn(dimension))
            self.flux_bias = nn.Parameter(torch.randn(dimension))
        self.label_weight = nn.Parameter(torch.randn(labels, dimension))
        self.label_bias = nn.Parameter(torch.randn(labels, dimension))
        if inputs:
            self.input_weight = nn.Parameter(torch.randn(inputs, dimension))
            self.input_bias = nn.Parameter(torch.randn(inputs, dimension))

    def flux(self, scaled_flux: Tensor) -> Tensor:
        """Embed scaled flux: (B, T) -> (B, T, D)."""
        return nn.functional.gelu(scaled_flux[..., None] * self.flux_weight + self.flux_bias)

    def label(self, value: Tensor) -> Tensor:
        """Embed standardised label values: (B, L) -> (B, L, D)."""
        return nn.functional.gelu(value[..., None] * self.label_weight + self.label_bias)

    def input(self, value: Tensor) -> Tensor:
        """Embed standardised inputs: (B, I) -> (B, I, D)."""
        return nn.functional.gelu(value[..., None] * self.input_weight + self.input_bias)


class Head(nn.Module):
    """Dense layers shared by all labels, then one number for the mean and one for ln variance."""

    def __init__(self, dimension: int, widths: Sequence[int], dropout: float):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((dimension, *widths), widths, strict=False):
            layers += [nn.Linear(before, after), nn.GELU(), Dropout(dropout)]
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


class SpectraFM(TokenNetwork):
    """The paper's network, an encoder and decoder Transformer.

    Parameters
    ----------
    options : spectrafm.networks.options.Model
        Sizes. The defaults are the paper's: 8.02 million parameters.
    labels : sequence of Label
        Labels that the model knows, in the order of its outputs.
    reads : Reads
        What the network reads. A normaliser needs tokens of several pixels.

    Notes
    -----
    The network does not depend on a pixel grid: flux is scaled by one formula for all wavelengths,
    and a pixel is identified by its wavelength alone.
    """

    architecture = "spectrafm"

    def __init__(self, options: Model, labels: Sequence[Label], reads: Reads = PLAIN):
        super().__init__(options, labels, reads)
        if reads.normaliser and not options.token.width:
            raise SpectraFMError(
                "normaliser: needs tokens of several pixels: set model.token.width"
            )
        size, dropout = options.dimension, options.dropout
        self.embedding = Embedding(
            size, len(self.labels), options.token, self.channels.count, len(reads.inputs)
        )
        self.dropout = Dropout(dropout)
        self.encoder = nn.ModuleList(
            EncoderBlock(size, block, options.norm, dropout) for block in options.encoder
        )
        self.decoder = nn.ModuleList(
            DecoderBlock(size, block, options.norm, dropout) for block in options.decoder
        )
        self.head = Head(size, options.head, dropout)
        # Blocks that normalise their inputs leave their last sums to be normalised.
        last = nn.LayerNorm if options.norm == "pre" else nn.Identity
        self.encoder_norm = last(size)
        self.decoder_norm = last(size)

    @staticmethod
    def label_scaling(label: Tensor) -> tuple[Tensor, Tensor]:
        """Centre and scale of each label: median and scaled median absolute deviation."""
        values = label.numpy()
        centre = np.nanmedian(values, axis=0)
        scale = np.asarray(mad_std(values, axis=0, ignore_nan=True), values.dtype)
        return torch.from_numpy(centre), torch.from_numpy(scale)

    def join(self, new: Self) -> None:
        for name in ("label_weight", "label_bias"):
            both = torch.cat([getattr(part.embedding, name).detach() for part in (self, new)])
            setattr(self.embedding, name, nn.Parameter(both))

    @property
    def reads_whole(self) -> bool:
        """Whether a token holds several pixels, so that all pixels of a window are read at once."""
        return self.options.token.width > 0

    @classmethod
    def reads_errors(cls, model: Model, reads: Reads) -> bool:
        return model.token.width > 0 and not reads.ignore_errors

    def contexts(
        self, wavelength: np.ndarray, windows: Sequence[tuple[float, float]], tokens: int
    ) -> list[np.ndarray]:
        """Divide the pixels of the windows into disjoint sets of at most ``tokens`` pixels.

        A window's pixels are distributed at random, the same for every star, over sets of nearly
        equal size. Where a token holds several pixels, one set holds all pixels. Parameters are
        those of `Network.contexts`.
        """
        if self.reads_whole:
            return super().contexts(wavelength, windows, tokens)
        inside = pixels_in(wavelength, windows)
        generator = np.random.default_rng(CONTEXT_SEED)
        contexts = []
        for pixels in inside:
            if len(pixels):
                dealt = generator.permutation(pixels)
                contexts += np.array_split(dealt, -(-len(pixels) // tokens))
        return [np.sort(context) for context in contexts]

    def encoding(self, wavelength: Tensor) -> Tensor | Cells:
        """Encode wavelengths without trained weights.

        Returns
        -------
        Tensor, shape (P, D), or Cells
            Sines and cosines of each wavelength; where a token holds several pixels, the division
            of the pixels into tokens, with the encoding of each token.
        """
        token = self.options.token
        if token.width:
            return self.cells(wavelength, token)
        return self.wavelength_encoding(wavelength)

    def forward(
        self,
        flux: Tensor,
        position: Tensor | Cells,
        missing: Tensor | None = None,
        request: Tensor | None = None,
        known: Tensor | None = None,
        error: Tensor | None = None,
        inputs: Tensor | None = None,
        return_attention: bool = False,
    ) -> Answer | tuple[Answer, Tensor]:
        """Answer requests about stars.

        Parameters
        ----------
        flux : Tensor, shape (B, P)
            Continuum-normalised flux; with a normaliser, flux as observed, in any unit.
        position : Tensor, shape (B, P, D) or (P, D), or Cells
            `encoding` of the pixels' wavelengths. It has no trained weights, so that callers
            compute it once per grid.
        missing : Tensor, shape (B, P), bool, optional
            True where a pixel is bad; a bad pixel is never part of a token. None: all are good.
        request : Tensor, shape (R,), int, optional
            Indices into ``labels``. Default: all labels.
        known : Tensor, shape (B, L), optional
            Standardised values of labels given as input tokens; NaN where not given.
        error : Tensor, shape (B, P), optional
            One-sigma errors of the flux, NaN where unknown; read where a token holds several
            pixels, else ignored.
        inputs : Tensor, shape (B, I), optional
            Standardised inputs, a token each; NaN where a star has none.
        return_attention : bool
            Also return the last decoder block's attention.

        Returns
        -------
        answer : Answer
        attention : Tensor, shape (B, R, P)
            Mean over heads; 0 where a pixel is missing. The pixels of a token share its attention
            equally. Only with ``return_attention``.
        """
        if isinstance(position, Cells):
            channels, error = self.channels(flux, position.smoothing, missing, error)
            x, empty = self.embedding.binding(channels, position, missing, error)
        else:
            x, empty = self._pixel_tokens(flux, position, missing)
        order, tokens = None, x.shape[1]
        if empty is not None and not self.training:
            order, empty = _valid_first(empty)
            x = x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))
        shown = x.shape[1]
        for given, embed in ((known, self.embedding.label), (inputs, self.embedding.input)):
            if given is None:
                continue
            unknown = given.isnan()
            x = torch.cat([x, embed(given.nan_to_num())], dim=1)
            if empty is None:
                before = x.shape[1] - unknown.shape[1]
                empty = torch.zeros(len(x), before, dtype=torch.bool, device=x.device)
            empty = torch.cat([empty, unknown], dim=1)
        x = self.dropout(x)
        for block in self.encoder:
            x = block(x, empty)
        x = self.encoder_norm(x)
        feature = None if self.training else _mean_of_tokens(x, empty, shown)

        wanted = self.embedding.label_weight
        wanted = wanted if request is None else wanted[request]
        answers = wanted.expand(len(x), -1, -1)
        for block in self.decoder:
            answers, attention = block(answers, x, empty)
        answer = self.head(self.decoder_norm(answers))._replace(feature=feature)
        if not return_attention:
            return answer
        attention = attention[..., :shown].mean(dim=1)
        if order is not None:
            full = attention.new_zeros(*attention.shape[:2], tokens)
            attention = full.scatter(2, order[:, None, :].expand_as(attention), attention)
        if isinstance(position, Cells):
            attention = _share_out(attention, position, missing, flux.shape)
        return answer, attention

    def _pixel_tokens(
        self, flux: Tensor, position: Tensor, missing: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Make a token of each pixel, (B, P, D); the second result is ``missing``."""
        if missing is not None:
            flux = flux.masked_fill(missing, 1.0)
        return self.embedding.flux((flux - 1.0) / self.options.flux_scale) + position, missing


def _mean_of_tokens(x: Tensor, empty: Tensor | None, shown: int) -> Tensor:
    """Mean over the first ``shown`` tokens, those of the spectrum, without empty ones: (B, D)."""
    full = torch.ones_like(x[:, :shown, 0]) if empty is None else (~empty[:, :shown]).to(x.dtype)
    return (x[:, :shown] * full[..., None]).sum(dim=1) / full.sum(dim=1, keepdim=True)


def _share_out(
    attention: Tensor, cells: Cells, missing: Tensor | None, shape: torch.Size
) -> Tensor:
    """Divide the attention to each token, (B, R, C), equally among its valid pixels, (B, R, P)."""
    valid = torch.ones(shape, device=attention.device) if missing is None else (~missing).float()
    count = valid.new_zeros(shape[0], attention.shape[-1]).index_add(1, cells.token, valid)
    each = attention / count.clamp(min=1)[:, None]
    return each[..., cells.token] * valid[:, None]


def _valid_first(missing: Tensor) -> tuple[Tensor, Tensor | None]:
    """Order that puts each star's valid tokens first and drops the columns without valid tokens.

    Empty tokens are removed rather than masked, so that further bad pixels change no bit of the
    result; only a star with fewer valid tokens than others of its batch keeps masked ones.

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
