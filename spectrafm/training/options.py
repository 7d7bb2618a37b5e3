"""Options of a training stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, create_model, model_validator

from spectrafm.labels import CONDITION, LabelName
from spectrafm.networks import NETWORKS
from spectrafm.networks.options import Reads
from spectrafm.options import Count, Name, Section, Seed
from spectrafm.spectra import FLUX_RANGE, FluxRange, Kind, Window
from spectrafm.training.schemes import SCHEMES

Condition = Annotated[str, Field(pattern=CONDITION)]

#: A part of a network, by the name of its module.
Part = Annotated[str, Field(pattern=r"^[a-z_]+(\.[0-9]+)*$")]


class Stars(Section):
    """Stars of the training split that a stage learns from."""

    where: Condition | None = Field(
        None,
        description="condition on labels, or on columns of the store such as a_k, in their units: "
        "'FE_H > -1' or 'FE_H > -1 and LOGG < 3.5'; null: all stars",
    )
    count: Count | None = Field(
        None, description="number of stars, drawn with the seed; null: all that fulfil where"
    )
    seed: Seed = Field(77, description="seed of the draw of stars")
    labelled: dict[LabelName, Condition] = Field(
        {},
        description="label -> condition on the stars that have it, as in where: {FE_H: LOGG >= 3.8}"
        " learns [Fe/H] of dwarfs alone, and every other label of all stars; {}: all have all",
    )
    aside: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of them that the stage does not learn from, with selection: painted: "
        "what the synthetic gap leaves of these paints the validation spectra, so that the "
        "intervals hold for spectra that the network was not shown; none of fewer than 50",
    )


class Sampling(Section):
    """Pixels of its windows that a star shows at one step."""

    scheme: Literal[tuple(SCHEMES)] = Field(
        "mixed",
        description="scattered: random pixels of one window; contiguous: neighbouring pixels; "
        "mixed: scattered and contiguous in alternate steps; paper: the same random pixels of all "
        "windows for every star of an epoch; window: every pixel of one window in order, missing "
        "ones included; all: every pixel of all windows",
    )
    tokens: Count = Field(512, description="pixels shown per star and step")
    noise: float = Field(
        0.0, ge=0, description="largest one-sigma Gaussian noise added to the flux while training"
    )
    error_noise: float = Field(
        0.0,
        ge=0,
        description="largest Gaussian noise added to the flux while training, in units of the "
        "flux's own error",
    )
    noise_pixels: float = Field(
        0.0,
        ge=0,
        le=100,
        description="correlation of the noise of error_noise: it is smoothed by a Gaussian of so "
        "many pixels, one sigma, without losing variance; 0: none",
    )
    line_noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="largest one-sigma relative change of the depth of absorption lines while "
        "training, the same for a few neighbouring pixels; for the schemes window and all",
    )
    continuum_noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="largest one-sigma relative change of the continuum while training, smooth "
        "over tens of pixels; for the schemes window and all",
    )
    known_labels: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="probability that a label is given as a token rather than requested",
    )


class Replay(Section):
    """Other spectra that a stage on observed stars learns from beside them."""

    spectra: Literal["synthetic", "painted", "start"] | None = Field(
        None,
        description="synthetic: the models of all training stars, with their labels; painted: the "
        "same with the synthetic gap and the noise of the stage's own stars; start: the observed "
        "stars of the kind that the start learned from, with the labels that the start itself "
        "gives them; null: none",
    )
    ratio: float = Field(1.0, gt=0, le=64, description="replayed spectra per observed star")


#: Averaging of the trained weights with those of the start. ``with`` is a word of Python's, so that
#: no class can declare it.
Average = create_model(
    "Average",
    __base__=Section,
    __doc__="Averaging of the trained weights with others, once the training has ended.",
    **{
        "with": (
            Literal["start"] | None,
            Field(None, description="start: the weights that the stage started from; null: none"),
        ),
        "weight": (
            float,
            Field(0.75, gt=0, le=1, description="share of the trained weights in the average"),
        ),
    },
)


class TwinOptions(Section):
    """Synthetic twins: the network keeps its weights and reads each star's synthetic spectrum."""

    components: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None,
        description="principal components of the synthetic spectra that a twin is made of, for "
        "example 8. The stage takes no steps: the network of its start reads the synthetic "
        "spectrum behind each observed one, as the stage's own stars show the gap between the "
        "two; null: spectra as they are",
    )


class PseudoLabels(Section):
    """Labels of a teacher, another model, in place of the catalogue's."""

    teacher: Name | None = Field(
        None,
        description="stage whose model labels the stars: it reads its own windows of their "
        "spectra, and this stage learns to say the same from the stage's windows. No label of the "
        "catalogue is read, also not in stars.where; stars that the teacher's stars.count drew are "
        "left out; null: labels of the catalogue",
    )


class Schedule(Section):
    """The learning rate: linear warm-up, then cosine annealing with warm restarts."""

    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate")
    minimum: float = Field(1e-10, ge=0, description="learning rate at the end of each cosine")
    warmup_epochs: float = Field(
        0.0, ge=0, description="epochs of linear warm-up before the first cosine"
    )
    restart_epochs: float = Field(50.0, gt=0, description="length of each cosine, in epochs")


class Stage(Reads):
    """One training: its start, spectra, windows, stars, labels, frozen parts and length."""

    architecture: Literal[tuple(NETWORKS)] = Field("spectrafm", description="the network")
    start_from: Name | None = Field(
        None, description="stage whose weights are the start; null: from scratch"
    )
    spectra: Kind = Field(description="spectra of the stars to learn from")
    windows: list[Window] = Field(
        min_length=1, description="wavelengths, [[shortest, longest], ...] in vacuum Angstrom"
    )
    flux_range: FluxRange = Field(
        FLUX_RANGE, description="normalised flux outside [lowest, highest] is missing"
    )
    labels: list[LabelName] | None = Field(
        None, min_length=1, description="labels to train; null: all of the store's"
    )
    stars: Stars = Stars()
    freeze: list[Part] = Field(
        [], description="parts that keep their weights: embedding, encoder.1, decoder, head ..."
    )
    sampling: Sampling = Sampling()
    replay: Replay = Replay()
    average: Average = Average()
    twin: TwinOptions = TwinOptions()
    pseudo_labels: PseudoLabels = PseudoLabels()
    extrapolate: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of the stage's stars, those with the lowest values of its one label, "
        "that a second training leaves out, to correct the answers for their pull towards the "
        "mean; 0: answers stay as they are",
    )
    epochs: Count = Field(description="passes over the training stars")
    batch: Count = Field(256, description="stars per step, of all processes together")
    optimizer: Literal["adamw", "adam"] = Field("adamw", description="optimizer")
    weight_decay: float = Field(0.01, ge=0, description="weight decay per unit of learning rate")
    clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null: not clipped")
    schedule: Schedule = Schedule()
    validate_every: Count = Field(1, description="epochs between two validations")
    patience: Count | None = Field(
        None, description="validations without a better one before stopping; null: never"
    )
    selection: Literal["validation", "validation_rmse", "painted", "paper", "last"] = Field(
        "validation",
        description="which checkpoint is kept. validation: lowest loss on validation stars of the "
        "same kind as the training stars; validation_rmse: their lowest RMSE; painted: lowest RMSE "
        "on painted synthetic spectra of all validation stars, which needs no label of an observed "
        "star; paper: the authors' choice, the lowest loss on stars half of which are iron-poor; "
        "last: the final one",
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
        "another device or torch has written. continue: resume, log a warning and record it in "
        "the model; exact: stop with an error, also where the only checkpoints are of other "
        "options",
    )
    seed: Seed = Field(0, description="seed of weights, of star order and of pixels")

    @property
    def reads(self) -> Reads:
        """What a network that the stage creates reads."""
        return Reads(**{key: getattr(self, key) for key in Reads.model_fields})

    @model_validator(mode="after")
    def _fits_its_network(self):
        known = NETWORKS[self.architecture]
        if known.reads == "grid" and self.sampling.scheme != "all":
            raise ValueError(
                f"sampling.scheme: {self.architecture} reads all its pixels at once: write all"
            )
        if self.start_from is not None and not known.finetunes:
            raise ValueError(f"start_from: {self.architecture} has no fine-tune: write null")
        for part in self.freeze:
            if part.split(".")[0] not in known.parts:
                raise ValueError(
                    f"freeze: {self.architecture} has no part {part!r}; "
                    f"it has {', '.join(known.parts)}"
                )
        if getattr(self.average, "with") and (self.start_from is None or not known.parts):
            raise ValueError(
                "average.with: start needs start_from, and a network that is trained in steps"
            )
        if self.replay.spectra and not known.parts:
            raise ValueError(
                f"replay.spectra: {self.architecture} has a closed form and replays nothing"
            )
        if self.spectra != "observed" and (self.replay.spectra or self.selection == "painted"):
            raise ValueError("replay, and selection: painted, need observed spectra")
        if self.replay.spectra == "start" and self.start_from is None:
            raise ValueError("replay.spectra: start needs start_from")
        if self.stars.aside and self.selection != "painted":
            raise ValueError("stars.aside needs selection: painted")
        if self.twin.components:
            if self.start_from is None or not known.parts or self.spectra != "observed":
                raise ValueError(
                    "twin.components needs start_from, observed spectra and a network that is "
                    "trained in steps"
                )
            if self.replay.spectra or getattr(self.average, "with"):
                raise ValueError("twin.components: such a stage neither replays nor averages")
        if self.extrapolate and (
            self.labels is None
            or len(self.labels) != 1
            or not known.parts
            or self.twin.components
            or self.replay.spectra
            or self.selection == "painted"
        ):
            # What is replayed, or painted with all of the stars, would show the second training
            # what it must not have seen.
            raise ValueError(
                "extrapolate: needs one label, a network that is trained in steps, and neither "
                "replay, painted spectra nor a twin"
            )
        if self.pseudo_labels.teacher and (
            self.replay.spectra or self.twin.components or self.selection in ("painted", "paper")
        ):
            raise ValueError(
                "pseudo_labels.teacher: such a stage has no replay, no twin, and no selection by "
                "labels of the catalogue"
            )
        if self.sampling.known_labels and known.reads == "grid":
            raise ValueError(f"sampling.known_labels: {self.architecture} reads no label tokens")
        return self
