"""Multi-head attention with one learned extra key and value per block (paper section 2).

Shapes: B stars, T tokens, R requests, H heads, D dimension, E = D / H.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectrafm.networks.dropout import Dropout, dropped_scores


class Attention(nn.Module):
    """The projections that self-attention and cross-attention share.

    The extra key and value belong to no token: a request that matches no token attends to them,
    and a star without a single valid pixel still gives a finite result.
    """

    def __init__(self, dimension: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = Dropout(dropout)
        self.query = nn.Linear(dimension, dimension)
        self.key = nn.Linear(dimension, dimension)
        self.value = nn.Linear(dimension, dimension)
        self.out = nn.Linear(dimension, dimension)
        self.extra_key = nn.Parameter(torch.empty(dimension))
        self.extra_value = nn.Parameter(torch.empty(dimension))
        for layer in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.zeros_(layer.bias)
        for extra in (self.extra_key, self.extra_value):
            nn.init.normal_(extra, std=dimension**-0.5)

    def split_heads(self, x: Tensor) -> Tensor:
        """Split the dimension into heads: (B, T, D) -> (B, H, T, E)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class SelfAttention(Attention):
    """Self-attention: every token attends to every token."""

    def forward(self, x: Tensor, missing: Tensor | None = None) -> Tensor:
        """Mix the tokens of each star.

        Parameters
        ----------
        x : Tensor, shape (B, T, D)
        missing : Tensor, shape (B, T), bool, optional
            True where a token is masked out.

        Returns
        -------
        Tensor, shape (B, T, D)
        """
        key = _with_extra(self.key(x), self.extra_key)
        value = _with_extra(self.value(x), self.extra_value)
        allowed = None
        if missing is not None:
            allowed = functional.pad(~missing, (0, 1), value=True)[:, None, None, :]
        query = self.split_heads(self.query(x))
        dropout = self.dropout.p if self.training else 0.0
        if dropout and x.device.type == "cpu":
            shape = (*query.shape[:3], key.shape[1])
            hidden = dropped_scores(shape, dropout, query.dtype)
            allowed = hidden if allowed is None else hidden.where(allowed, -torch.inf)
            dropout = 0.0
        mixed = functional.scaled_dot_product_attention(
            query,
            self.split_heads(key),
            self.split_heads(value),
            attn_mask=allowed,
            dropout_p=dropout,
        )
        return self.out(mixed.transpose(1, 2).flatten(-2))


class CrossAttention(Attention):
    """Cross-attention: a few requests attend to many tokens.

    With R much smaller than T, projecting every token to a key and a value is nearly all of the
    work. The projections are avoided without approximation: a score q . (W x + b) equals
    (W'q) . x + q . b, so the key projection is folded into the few queries, and the value
    projection is applied after pooling.
    """

    def forward(
        self, request: Tensor, x: Tensor, missing: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Answer requests from tokens.

        Parameters
        ----------
        request : Tensor, shape (B, R, D)
        x : Tensor, shape (B, T, D)
        missing : Tensor, shape (B, T), bool, optional
            True where a token is masked out.

        Returns
        -------
        answer : Tensor, shape (B, R, D)
        attention : Tensor, shape (B, H, R, T)
            Weights of the tokens; together with the weight of the extra key they sum to 1.
        """
        stars, requests, dimension = request.shape
        size = dimension // self.heads
        # Heads first and the requests of all stars together, (H, B R, E): a product with weights is
        # then one matrix product per head, and no weight is copied per star.
        query = self.query(request).view(-1, self.heads, size).transpose(0, 1) / math.sqrt(size)
        folded = query @ self.key.weight.view(self.heads, size, dimension)
        keys = torch.stack([self.key.bias, self.extra_key]).view(2, self.heads, size)
        offset = query @ keys.permute(1, 2, 0)

        scores = self._stars_first(folded, stars) @ x.transpose(1, 2)  # (B, H R, T)
        offset, extra = self._stars_first(offset, stars).split(1, dim=-1)
        scores = torch.cat([scores + offset, extra], dim=-1).unflatten(1, (self.heads, requests))
        if missing is not None:
            hidden = functional.pad(missing, (0, 1), value=False)[:, None, None, :]
            scores = scores.masked_fill(hidden, -torch.inf)
        weights = self.dropout(scores.softmax(dim=-1))

        attention = weights[..., :-1]
        pooled = attention.flatten(1, 2) @ x  # (B, H R, D)
        pooled = pooled.unflatten(1, (self.heads, requests)).transpose(0, 1).flatten(1, 2)
        answer = pooled @ self.value.weight.view(self.heads, size, dimension).transpose(1, 2)
        answer = answer.transpose(0, 1).unflatten(0, (stars, requests))  # (B, R, H, E)
        resting = torch.cat([attention.sum(-1, keepdim=True), weights[..., -1:]], dim=-1)
        biases = torch.stack([self.value.bias, self.extra_value]).view(2, self.heads, size)
        answer = answer + torch.einsum("bhrk,khe->brhe", resting, biases)
        return self.out(answer.flatten(-2)), attention

    def _stars_first(self, x: Tensor, stars: int) -> Tensor:
        """Reorder requests: (H, B R, D) -> (B, H R, D)."""
        return x.unflatten(1, (stars, -1)).transpose(0, 1).flatten(1, 2)


def _with_extra(projected: Tensor, extra: Tensor) -> Tensor:
    """Append the extra key or value, in the projection's own precision."""
    return torch.cat([projected, extra.to(projected.dtype).expand(len(projected), 1, -1)], dim=1)
