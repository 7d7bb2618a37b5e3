"""SpectraFM in plain PyTorch: the reference that SpectraFM's training is timed against.

Network, loss and optimizer are the same, but made from PyTorch's own parts:
`torch.nn.MultiheadAttention`, one requested label per pass (as in the paper), and a `DataLoader`
that reads one star at a time from the Zarr store.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import zarr
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from spectrafm.labels import LABELS, PAPER_LABELS
from spectrafm.networks.encoding import ENCODINGS
from spectrafm.networks.options import Model
from spectrafm.networks.transformer import SpectraFM
from spectrafm.surveys.apogee.grid import N_PIXELS, WAVELENGTH
from spectrafm.training.objective import gaussian_loss
from spectrafm.training.options import Stage

#: Largest difference of answers and gradients, both of order 1, that rounding may cause.
TOLERANCE = 1e-5


def plain_attention(dimension: int, heads: int, dropout: float) -> nn.MultiheadAttention:
    """PyTorch's attention with the paper's extra key and value."""
    return nn.MultiheadAttention(dimension, heads, dropout, add_bias_kv=True, batch_first=True)


class PlainBlock(nn.Module):
    """A Transformer block: queries attend to tokens, then a feed-forward layer, post-norm."""

    def __init__(self, dimension: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.attention = plain_attention(dimension, heads, dropout)
        self.attention_norm = nn.LayerNorm(dimension)
        self.feedforward = nn.Sequential(
            nn.Linear(dimension, feedforward),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward, dimension),
        )
        self.feedforward_norm = nn.LayerNorm(dimension)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        attended, _ = self.attention(query, tokens, tokens, need_weights=False)
        x = self.attention_norm(query + self.dropout(attended))
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))


class PlainSpectraFM(nn.Module):
    """The paper's network, with one requested label per star and pass.

    Parameters
    ----------
    options : spectrafm.networks.options.Model
    labels : int
        Number of labels that the network knows.
    """

    def __init__(self, options: Model, labels: int):
        super().__init__()
        size, dropout = options.dimension, options.dropout
        self.flux_scale = options.flux_scale
        self.encoding = ENCODINGS[options.encoding](size)
        self.flux_weight = nn.Parameter(torch.randn(size))
        self.flux_bias = nn.Parameter(torch.randn(size))
        self.label = nn.Embedding(labels, size)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.ModuleList(
            PlainBlock(size, block.heads, block.feedforward, dropout) for block in options.encoder
        )
        self.decoder = nn.ModuleList(
            PlainBlock(size, block.heads, block.feedforward, dropout) for block in options.decoder
        )
        widths = [size, *options.head]
        dense = []
        for before, after in itertools.pairwise(widths):
            dense += [nn.Linear(before, after), nn.GELU(), nn.Dropout(dropout)]
        self.dense = nn.Sequential(*dense)
        self.mean = nn.Linear(widths[-1], 1)
        self.log_variance = nn.Linear(widths[-1], 1)

    def perceive(self, flux: Tensor, wavelength: Tensor) -> Tensor:
        """Encode spectra as tokens: (B, T) -> (B, T, D)."""
        scaled = (flux - 1) / self.flux_scale
        x = nn.functional.gelu(scaled[..., None] * self.flux_weight + self.flux_bias)
        x = self.dropout(x + self.encoding(wavelength))
        for block in self.encoder:
            x = block(x, x)
        return x

    def request(self, tokens: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Answer a request for one label per star: mean and ln variance, each of shape (B,)."""
        query = self.label(label)[:, None]
        for block in self.decoder:
            query = block(query, tokens)
        x = self.dense(query[:, 0])
        return self.mean(x)[:, 0], self.log_variance(x)[:, 0]

    def forward(self, flux: Tensor, wavelength: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        return self.request(self.perceive(flux, wavelength), label)


def plain_loss(mean: Tensor, log_variance: Tensor, value: Tensor, error: Tensor) -> Tensor:
    """Compute the paper's loss for one label per star."""
    variance = log_variance.exp() + error**2 + 1e-8
    return 0.5 * ((value - mean) ** 2 / variance + variance.log()).mean()


class StarsOfStore(Dataset):
    """Training stars of a store; an item is one star's random good pixels and one of its labels.

    Parameters
    ----------
    store : pathlib.Path
    stage : spectrafm.training.options.Stage
    centre, scale : numpy.ndarray, shape (L,)
        Labels are learned as (label - centre) / scale.
    in_memory : bool
        Whether all spectra are read into memory before the training.
    """

    def __init__(
        self,
        store: Path,
        stage: Stage,
        centre: np.ndarray,
        scale: np.ndarray,
        in_memory: bool = False,
    ):
        group = zarr.open_group(store, mode="r")
        self.flux = group[stage.spectra][:] if in_memory else group[stage.spectra]
        self.tokens, self.noise = stage.sampling.tokens, stage.sampling.noise
        self.rows = np.flatnonzero(group["split"][:] == "train")
        self.wavelength = group["wavelength"][:]
        inside = [(self.wavelength >= a) & (self.wavelength <= b) for a, b in stage.windows]
        self.in_windows = np.any(inside, axis=0)
        self.value = (group["label"][:] - centre) / scale
        self.error = group["label_error"][:] / scale

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple:
        row = self.rows[item]
        flux = self.flux[row]
        good = np.flatnonzero(np.isfinite(flux) & self.in_windows)
        pixels = np.random.choice(good, self.tokens, replace=False)  # noqa: NPY002
        shown = flux[pixels] + self.noise * np.random.rand() * np.random.randn(self.tokens)  # noqa: NPY002
        label = np.random.choice(np.flatnonzero(np.isfinite(self.value[row])))  # noqa: NPY002
        return (
            shown.astype(np.float32),
            self.wavelength[pixels],
            label,
            np.float32(self.value[row, label]),
            np.float32(self.error[row, label]),
        )


class PlainTraining:
    """The training loop, one step at a time.

    Parameters
    ----------
    network : PlainSpectraFM
    stars : Dataset
    stage : spectrafm.training.options.Stage
    workers : int
        Number of processes that read stars.
    """

    def __init__(self, network: PlainSpectraFM, stars: Dataset, stage: Stage, workers: int):
        self.network, self.clip = network.train(), stage.clip
        self.device = network.flux_weight.device
        self.optimizer = torch.optim.AdamW(
            network.parameters(), stage.schedule.learning_rate, weight_decay=stage.weight_decay
        )
        self.loader = DataLoader(
            stars,
            stage.batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            # A forked process may hang where the parent runs threads (zarr, CUDA).
            multiprocessing_context="spawn" if workers else None,
            pin_memory=self.device.type == "cuda",
        )
        self.batches = self._epochs()

    def _epochs(self) -> Iterator[list[Tensor]]:
        while True:
            yield from self.loader

    def step(self) -> None:
        """Train on one batch."""
        flux, wavelength, label, value, error = (x.to(self.device) for x in next(self.batches))
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            mean, log_variance = self.network(flux, wavelength, label)
        plain_loss(mean.float(), log_variance.float(), value, error).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()


def copy_attention(ours: nn.Module, plain: nn.MultiheadAttention) -> None:
    """Copy the weights of SpectraFM's attention to PyTorch's."""
    layers = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        plain.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))
        plain.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
        plain.out_proj.load_state_dict(ours.out.state_dict())
        plain.bias_k.copy_(ours.extra_key)
        plain.bias_v.copy_(ours.extra_value)


def plain_copy(network: SpectraFM) -> PlainSpectraFM:
    """Make a plain network with the weights of a SpectraFM network."""
    plain = PlainSpectraFM(network.options, len(network.labels))
    with torch.no_grad():
        plain.flux_weight.copy_(network.embedding.flux_weight)
        plain.flux_bias.copy_(network.embedding.flux_bias)
        plain.label.weight.copy_(network.embedding.label_weight)
    for part in ("encoder", "decoder"):
        pairs = zip(getattr(network, part), getattr(plain, part), strict=True)
        for ours, theirs in pairs:
            copy_attention(ours.attention, theirs.attention)
            for same in ("attention_norm", "feedforward", "feedforward_norm"):
                getattr(theirs, same).load_state_dict(getattr(ours, same).state_dict())
    for same in ("dense", "mean", "log_variance"):
        getattr(plain, same).load_state_dict(getattr(network.head, same).state_dict())
    return plain.to(network.label_scale.device)


def prove_equal(options: Model, tokens: int, stars: int = 4) -> tuple[float, float]:
    """Check that SpectraFM and the plain network have the same loss and gradients.

    Both networks read the same pixels and answer a request for the same label of each star.

    Parameters
    ----------
    options : spectrafm.networks.options.Model
        Sizes of the network; its dropout is set to 0.
    tokens, stars : int
        Number of pixels per star, number of stars.

    Returns
    -------
    loss, gradient : float
        Largest difference between the two networks.

    Raises
    ------
    AssertionError
        When a difference exceeds `TOLERANCE`.
    """
    torch.manual_seed(0)
    network = SpectraFM(options.model_copy(update={"dropout": 0.0}), PAPER_LABELS)
    plain = plain_copy(network)
    wavelength = torch.from_numpy(WAVELENGTH)[torch.randint(N_PIXELS, (stars, tokens))]
    flux = 1 + 0.1 * torch.randn(stars, tokens)
    value, error = torch.randn(stars, len(LABELS)), 0.1 * torch.rand(stars, len(LABELS))
    label = torch.randint(len(LABELS), (stars,))
    requested = nn.functional.one_hot(label, len(LABELS)).bool()

    answer = network(flux, network.encoding(wavelength))
    ours = gaussian_loss(answer, value, error, requested).sum() / requested.sum()
    ours.backward()
    theirs = plain_loss(*plain(flux, wavelength, label), value[requested], error[requested])
    theirs.backward()

    found, expected = gradients(network), dict(plain.named_parameters())
    assert found.keys() == expected.keys()
    gradient = max(float((found[name] - p.grad).abs().max()) for name, p in expected.items())
    loss = abs(ours.item() - theirs.item())
    assert max(loss, gradient) <= TOLERANCE, (loss, gradient)
    return loss, gradient


def gradients(network: SpectraFM) -> dict[str, Tensor]:
    """Collect a SpectraFM network's gradients under the names of the plain network."""
    found = {}
    embedding = network.embedding
    found["flux_weight"] = embedding.flux_weight.grad
    found["flux_bias"] = embedding.flux_bias.grad
    found["label.weight"] = embedding.label_weight.grad
    for part in ("encoder", "decoder"):
        for number, block in enumerate(getattr(network, part)):
            where, attention = f"{part}.{number}", block.attention
            layers = (attention.query, attention.key, attention.value)
            found[f"{where}.attention.in_proj_weight"] = torch.cat([x.weight.grad for x in layers])
            found[f"{where}.attention.in_proj_bias"] = torch.cat([x.bias.grad for x in layers])
            found[f"{where}.attention.out_proj.weight"] = attention.out.weight.grad
            found[f"{where}.attention.out_proj.bias"] = attention.out.bias.grad
            found[f"{where}.attention.bias_k"] = attention.extra_key.grad.view(1, 1, -1)
            found[f"{where}.attention.bias_v"] = attention.extra_value.grad.view(1, 1, -1)
            for same in ("attention_norm", "feedforward", "feedforward_norm"):
                for name, parameter in getattr(block, same).named_parameters():
                    found[f"{where}.{same}.{name}"] = parameter.grad
    for name, parameter in network.head.named_parameters():
        found[name] = parameter.grad
    return found
