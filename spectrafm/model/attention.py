"""Multi-head attention with one learned extra key and value per block (paper-facts section 2).

Shapes: B stars, T tokens, R requests, H heads, D dimension, E = D / H.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """The projections that self-attention and cross-attention share.

    The extra key and value belong to no token: attention can rest there when nothing in the
    spectrum answers, and a star without a single valid pixel still gives a finite result.
    """

    def __init__(self, dimension: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
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
        """(B, T, D) -> (B, H, T, E)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class SelfAttention(Attention):
    """Every token looks at every token."""

    def forward(self, x: Tensor, missing: Tensor | None = None) -> Tensor:
        """Mix tokens.

        Parameters
        ----------
        x : Tensor, shape (B, T, D)
        missing : Tensor, shape (B, T), bool, optional
            True where a token must not be looked at.

        Returns
        -------
        Tensor, shape (B, T, D)
        """
        key = _with_extra(self.key(x), self.extra_key)
        value = _with_extra(self.value(x), self.extra_value)
        allowed = None
        if missing is not None:
            allowed = functional.pad(~missing, (0, 1), value=True)[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(
            self.split_heads(self.query(x)),
            self.split_heads(key),
            self.split_heads(value),
            attn_mask=allowed,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(mixed.transpose(1, 2).flatten(-2))


class CrossAttention(Attention):
    """A few requests look at many tokens.

    With R much smaller than T, projecting every token to a key and a value is nearly all of the
    work. It is left out exactly: a score q . (W x + b) is (W'q) . x + q . b, so the key projection
    is folded into the few queries, and the value projection is applied after pooling.
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

        Returns
        -------
        answer : Tensor, shape (B, R, D)
        attention : Tensor, shape (B, H, R, T)
            Weights over tokens; with the extra key's weight they sum to 1.
        """
        dimension = x.shape[-1]
        requests = request.shape[1]
        query = self.split_heads(self.query(request)) / math.sqrt(dimension / self.heads)

        key_weight = self.key.weight.unflatten(0, (self.heads, -1))  # (H, E, D)
        folded = query @ key_weight  # (B, H, R, D)
        scores = folded.flatten(1, 2) @ x.transpose(1, 2)  # (B, H R, T)
        scores = scores.unflatten(1, (self.heads, requests))
        offset = query @ self.key.bias.view(self.heads, -1, 1)
        extra = query @ self.extra_key.view(self.heads, -1, 1)
        scores = torch.cat([scores + offset, extra], dim=-1)
        if missing is not None:
            hidden = functional.pad(missing, (0, 1), value=False)[:, None, None, :]
            scores = scores.masked_fill(hidden, -torch.inf)
        weights = functional.dropout(scores.softmax(dim=-1), self.dropout, self.training)

        attention = weights[..., :-1]
        pooled = attention.flatten(1, 2) @ x  # (B, H R, D)
        pooled = pooled.unflatten(1, (self.heads, requests))
        value_weight = self.value.weight.unflatten(0, (self.heads, -1))  # (H, E, D)
        answer = pooled @ value_weight.transpose(1, 2)
        answer = answer + attention.sum(-1, keepdim=True) * self.value.bias.view(self.heads, 1, -1)
        answer = answer + weights[..., -1:] * self.extra_value.view(self.heads, 1, -1)
        return self.out(answer.transpose(1, 2).flatten(-2)), attention


def _with_extra(projected: Tensor, extra: Tensor) -> Tensor:
    """Append the extra key or value, in the projection's own precision."""
    return torch.cat([projected, extra.to(projected.dtype).expand(len(projected), 1, -1)], dim=1)
