"""The blocks of the Transformer: attention and a feed-forward layer, with their normalisation."""

from __future__ import annotations

from torch import Tensor, nn

from spectrafm.networks.attention import CrossAttention, SelfAttention
from spectrafm.networks.dropout import Dropout
from spectrafm.networks.options import Block


class FeedForward(nn.Sequential):
    """Two dense layers with an exact GELU between them."""

    def __init__(self, dimension: int, inner: int, dropout: float):
        super().__init__(
            nn.Linear(dimension, inner), nn.GELU(), Dropout(dropout), nn.Linear(inner, dimension)
        )


class PostNorm(nn.LayerNorm):
    """Normalisation after each sum of a block, as in the paper."""

    def before(self, x: Tensor) -> Tensor:
        """Input of the block's layer."""
        return x

    def after(self, x: Tensor) -> Tensor:
        """Output of the block, from the sum."""
        return self(x)


class PreNorm(nn.LayerNorm):
    """Normalisation before each layer of a block; the sums pass unchanged."""

    def before(self, x: Tensor) -> Tensor:
        """Input of the block's layer."""
        return self(x)

    def after(self, x: Tensor) -> Tensor:
        """Output of the block, from the sum."""
        return x


NORMS = {"post": PostNorm, "pre": PreNorm}


class EncoderBlock(nn.Module):
    """Self-attention and a feed-forward layer, each added to its input."""

    def __init__(self, dimension: int, block: Block, norm: str, dropout: float):
        super().__init__()
        self.attention = SelfAttention(dimension, block.heads, dropout)
        self.feedforward = FeedForward(dimension, block.feedforward, dropout)
        self.attention_norm = NORMS[norm](dimension)
        self.feedforward_norm = NORMS[norm](dimension)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, missing: Tensor | None) -> Tensor:
        norm = self.attention_norm
        x = norm.after(x + self.dropout(self.attention(norm.before(x), missing)))
        norm = self.feedforward_norm
        return norm.after(x + self.dropout(self.feedforward(norm.before(x))))


class DecoderBlock(nn.Module):
    """Cross-attention from requests to tokens; requests do not attend to each other."""

    def __init__(self, dimension: int, block: Block, norm: str, dropout: float):
        super().__init__()
        self.attention = CrossAttention(dimension, block.heads, dropout)
        self.feedforward = FeedForward(dimension, block.feedforward, dropout)
        self.attention_norm = NORMS[norm](dimension)
        self.feedforward_norm = NORMS[norm](dimension)
        self.dropout = Dropout(dropout)

    def forward(self, request: Tensor, x: Tensor, missing: Tensor | None) -> tuple[Tensor, Tensor]:
        norm = self.attention_norm
        answer, attention = self.attention(norm.before(request), x, missing)
        request = norm.after(request + self.dropout(answer))
        norm = self.feedforward_norm
        answer = self.dropout(self.feedforward(norm.before(request)))
        return norm.after(request + answer), attention
