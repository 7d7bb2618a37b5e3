"""Options of the Transformer: its sizes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from spectrafm.options import Section

#: A layer's width. The bound is far beyond any use: a model's file may come from anyone.
Width = Annotated[int, Field(ge=1, le=65_536)]


class Block(Section):
    """One Transformer block."""

    heads: Width
    feedforward: Width


class Model(Section):
    """The network's sizes (paper section 2)."""

    prefix: ClassVar[str] = "model."

    dimension: Width = Field(256, multiple_of=2)
    encoder: list[Block] = Field(
        [
            Block(heads=16, feedforward=2048),
            Block(heads=8, feedforward=1024),
        ],
        max_length=32,
    )
    decoder: list[Block] = Field(
        [
            Block(heads=16, feedforward=2048),
            Block(heads=8, feedforward=1024),
            Block(heads=4, feedforward=512),
        ],
        max_length=32,
    )
    head: list[Width] = Field([2048, 1024, 512, 256], max_length=32)
    dropout: float = Field(0.05, ge=0, lt=1)
    encoding: Literal["paper", "log_wavelength"] = "paper"
    flux_scale: float = Field(0.1, gt=0, description="a token holds (flux - 1) / flux_scale")

    @model_validator(mode="after")
    def _heads(self):
        for block in (*self.encoder, *self.decoder):
            if self.dimension % block.heads:
                raise ValueError(
                    f"dimension {self.dimension} is no multiple of {block.heads} heads"
                )
        return self
