"""Options of the Transformer: its sizes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from spectrafm.options import Section

#: Width of a layer, bounded far beyond any use, since a model's file is untrusted.
Width = Annotated[int, Field(ge=1, le=65_536)]


#: Name of a store's column that a network reads.
InputName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]


class Block(Section):
    """One Transformer block."""

    heads: Width = Field(description="attention heads; the network's dimension is a multiple")
    feedforward: Width = Field(description="width of the layer behind the attention")


class Token(Section):
    """What one token holds: a pixel, as in the paper, or all pixels of a step in ln(wavelength)."""

    width: float = Field(
        0.0,
        ge=0,
        le=0.1,
        description="step in ln(wavelength) that a token holds; 0: one pixel a token, as in the "
        "paper",
    )
    harmonics: int = Field(
        16, ge=1, le=1024, description="numbers that describe the flux within a token"
    )
    hidden: Width = Field(256, description="width of the layer that makes a token")
    drop: float = Field(
        0.0, ge=0, lt=1, description="largest share of a star's tokens dropped in training"
    )
    stretch: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the stars of a training step that show only a stretch of "
        "neighbouring tokens, of random place and length, so that later stages can read a part of "
        "a long window",
    )


class Reads(Section):
    """What a network reads, besides plain normalised flux."""

    normaliser: Literal["xp"] | None = Field(
        None,
        description="how the network divides the flux by its continuum: xp, for Gaia XP spectra as "
        "observed, in any unit; null: the spectra are continuum-normalised",
    )
    errors: bool = Field(
        False,
        description="whether a network bound to a grid reads ln of the flux errors too; a token of "
        "several pixels does, but for ignore_errors",
    )
    ignore_errors: bool = Field(
        False,
        description="whether tokens of several pixels do without the flux errors: of few stars, "
        "errors tell one from the other rather than how sure their labels are",
    )
    inputs: list[InputName] = Field(
        [],
        max_length=64,
        description="columns of the store that the network reads beside the spectrum, such as "
        "colours, extinction or known labels; each may be missing, and each star lacks some of "
        "them in training",
    )


#: A network that reads normalised flux alone.
PLAIN = Reads()


class Model(Section):
    """The network's sizes (paper section 2)."""

    prefix: ClassVar[str] = "model."

    dimension: Width = Field(256, multiple_of=2, description="width of a token")
    encoder: list[Block] = Field(
        [
            Block(heads=16, feedforward=2048),
            Block(heads=8, feedforward=1024),
        ],
        max_length=32,
        description="blocks of self-attention over the tokens, in order",
    )
    decoder: list[Block] = Field(
        [
            Block(heads=16, feedforward=2048),
            Block(heads=8, feedforward=1024),
            Block(heads=4, feedforward=512),
        ],
        max_length=32,
        description="blocks in which a request attends to the tokens, in order",
    )
    head: list[Width] = Field(
        [2048, 1024, 512, 256],
        max_length=32,
        description="widths of the layers that make value and uncertainty of an answer",
    )
    norm: Literal["post", "pre"] = Field(
        "post",
        description="where a block normalises. post: after each sum, as in the paper; pre: before "
        "each layer, and once at the end",
    )
    dropout: float = Field(0.05, ge=0, lt=1, description="share of activations dropped in training")
    encoding: Literal["paper", "log_wavelength"] = Field(
        "paper",
        description="how a wavelength is encoded. paper: equation 2, 1.5-1.7 micron; "
        "log_wavelength: log-spaced periods, 0.3-5.3 micron",
    )
    token: Token = Token()
    flux_scale: float = Field(0.1, gt=0, description="a token holds (flux - 1) / flux_scale")

    @model_validator(mode="after")
    def _heads(self):
        for block in (*self.encoder, *self.decoder):
            if self.dimension % block.heads:
                raise ValueError(
                    f"dimension {self.dimension} is no multiple of {block.heads} heads"
                )
        return self
