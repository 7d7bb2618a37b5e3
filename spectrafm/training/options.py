"""Options of a training stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spectrafm.labels import LABELS, LabelName
from spectrafm.options import Name, Section
from spectrafm.spectra import Kind, Window

Part = Annotated[str, Field(pattern=r"^(embedding|encoder|decoder|head)(\.\d+)?$")]


class Stars(Section):
    """Which stars of a split a stage learns from."""

    where: str | None = Field(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9_]* *(<|<=|>|>=) *-?[0-9.]+$",
        description="condition on a label, such as 'FE_H > -1'; null: all",
    )
    count: int | None = Field(None, ge=1, description="that many, drawn with the seed; null: all")
    seed: int = Field(77, ge=0)


class Sampling(Section):
    """Which pixels of its windows a star shows at one step."""

    scheme: Literal["scattered", "contiguous", "mixed", "paper", "all"] = Field(
        "mixed",
        description="scattered: random pixels of one window; contiguous: neighbouring pixels; "
        "mixed: either, by turns; paper: the same random pixels of all windows for every star of "
        "an epoch; all: every pixel of the windows in order, missing ones included",
    )
    tokens: int = Field(512, ge=1, description="pixels shown per star and step")
    noise: float = Field(
        0.0, ge=0, description="largest one-sigma Gaussian noise added to the flux while training"
    )
    known_labels: float = Field(
        0.0, ge=0, lt=1, description="probability that a label is given as a token, not asked"
    )


class Schedule(Section):
    """The learning rate: linear warm-up, then cosine annealing with warm restarts."""

    learning_rate: float = Field(1e-4, gt=0)
    minimum: float = Field(1e-10, ge=0, description="learning rate at the end of each cosine")
    warmup_epochs: float = Field(0.0, ge=0)
    restart_epochs: float = Field(50.0, gt=0, description="length of each cosine, in epochs")


class Stage(Section):
    """One training: what it starts from, what it sees, what it learns, for how long."""

    architecture: Literal["spectrafm", "fcnn"] = "spectrafm"
    start_from: Name | None = Field(None, description="stage whose weights are the start")
    spectra: Kind = Field(
        description="observed spectra, or synthetic: the models that fit them best"
    )
    windows: list[Window] = Field(
        min_length=1, description="wavelengths to learn from, [shortest, longest], vacuum Angstrom"
    )
    labels: list[LabelName] = Field(list(LABELS), min_length=1)
    stars: Stars = Stars()
    freeze: list[Part] = Field(
        [], description="parts that keep their weights: embedding, encoder.1, decoder, head ..."
    )
    sampling: Sampling = Sampling()
    epochs: int = Field(ge=1, description="passes over the training stars, at most")
    batch: int = Field(256, ge=1, description="stars per step, of all processes together")
    optimizer: Literal["adamw", "adam"] = "adamw"
    weight_decay: float = Field(0.01, ge=0)
    clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null: not clipped")
    schedule: Schedule = Schedule()
    validate_every: int = Field(1, ge=1, description="epochs between two validations")
    patience: int | None = Field(
        None, ge=1, description="validations without a better one before stopping; null: never"
    )
    selection: Literal["validation", "validation_rmse", "paper", "last"] = Field(
        "validation",
        description="which checkpoint is kept. validation: lowest loss on validation stars of the "
        "same kind as the training stars; validation_rmse: their lowest RMSE; paper: the authors' "
        "choice, the lowest loss on stars half of which are iron-poor; last: the final one",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on a GPU that has it, float32 elsewhere"
    )
    compile: Literal["auto", "always", "never"] = Field(
        "auto", description="fuse the network's operations with torch.compile; auto: on a GPU"
    )
    deterministic: bool = Field(
        False, description="only algorithms that give the same bits each time, also on a GPU"
    )
    resume: Literal["continue", "exact"] = Field(
        "continue",
        description="what to do with a checkpoint that another number of threads or processes, "
        "another device or torch has written. continue: go on, say so, and record it in the "
        "model; exact: refuse, as also to start anew beside a checkpoint of other options",
    )
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _fcnn(self):
        if self.architecture == "fcnn":
            if self.start_from is not None:
                raise ValueError("fcnn starts from scratch: start_from must be null")
            if self.sampling.scheme != "all":
                raise ValueError("fcnn needs sampling.scheme: all")
            if len(self.labels) != 1:
                raise ValueError("fcnn predicts one label")
        return self
