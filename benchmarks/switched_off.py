"""Variants of SpectraFM without one of its optimisations: the same weights and answers."""

from __future__ import annotations

import torch
from plain_network import copy_attention, plain_attention
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from spectrafm.networks.attention import CrossAttention, SelfAttention
from spectrafm.networks.transformer import Answer, SpectraFM
from spectrafm.training.options import Sampling
from spectrafm.training.stars import DeviceStars
from spectrafm.training.step import Learner


class ProjectedAttention(nn.Module):
    """Cross-attention with PyTorch's own kernel, which projects every token to key and value."""

    def __init__(self, folded: CrossAttention):
        super().__init__()
        dimension = folded.out.in_features
        self.plain = plain_attention(dimension, folded.heads, folded.dropout.p)
        copy_attention(folded, self.plain)
        self.plain.to(folded.out.weight.device)

    def forward(self, request: Tensor, x: Tensor, missing: Tensor | None = None):
        answer, _ = self.plain(request, x, x, key_padding_mask=missing, need_weights=False)
        return answer, None


class MaskedSelfAttention(SelfAttention):
    """Self-attention that always gets a mask, even one that hides nothing."""

    def forward(self, x: Tensor, missing: Tensor | None = None) -> Tensor:
        if missing is None:
            missing = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        return super().forward(x, missing)


class OneLabelAPass(nn.Module):
    """A network that answers one request per pass, each time from the spectrum's pixels on."""

    def __init__(self, network: SpectraFM):
        super().__init__()
        self.network, self.labels = network, network.labels

    def forward(self, flux, position, missing, request, known, error) -> Answer:
        given = (flux, position, missing)
        answers = [self.network(*given, one, known, error) for one in request.split(1)]
        mean, log_variance, _ = zip(*answers, strict=True)
        return Answer(torch.cat(mean, dim=1), torch.cat(log_variance, dim=1))


def with_projected_attention(network: SpectraFM) -> SpectraFM:
    """Replace the decoder's attention in place by `ProjectedAttention`."""
    for block in network.decoder:
        block.attention = ProjectedAttention(block.attention)
    return network


def with_masked_attention(network: SpectraFM) -> SpectraFM:
    """Replace the encoder's attention in place by `MaskedSelfAttention`."""
    for block in network.encoder:
        block.attention.__class__ = MaskedSelfAttention
    return network


class ForLoopAdamW(torch.optim.AdamW):
    """AdamW that updates parameters one after the other and cannot skip a step on the device."""

    found_inf = property(lambda self: None, lambda self, value: None)


def for_loop_optimizer(learner: Learner) -> None:
    """Replace a training's optimizer by `ForLoopAdamW`."""
    (group,) = learner.optimizer.param_groups
    learner.optimizer = ForLoopAdamW(
        group["params"], group["lr"], weight_decay=group["weight_decay"], foreach=False
    )


class DrawnOneByOne(Dataset):
    """Dataset that draws pixels star by star from the tensor that `draw_batch` draws from."""

    def __init__(self, stars: DeviceStars, sampling: Sampling):
        self.stars, self.sampling = stars, sampling
        (self.window,) = stars.windows

    def __len__(self) -> int:
        return len(self.stars)

    def __getitem__(self, row: int) -> tuple[Tensor, ...]:
        good = self.window[self.stars.valid[row, self.window]]
        pixel = good[torch.randperm(len(good))[: self.sampling.tokens]]
        flux = self.stars.flux[row, pixel]
        flux = flux + self.sampling.noise * torch.rand(()) * torch.randn(flux.shape)
        label = self.stars.label[row]
        return flux, self.stars.position[pixel], label, self.stars.label_error[row]

    def loader(self, batch: int) -> DataLoader:
        return DataLoader(self, batch, shuffle=True, drop_last=True)
