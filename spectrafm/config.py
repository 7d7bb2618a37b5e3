"""The typed configuration: every key, its default, what is allowed.

``config.yaml`` at the top of the repository is the paper's run, each key explained. The same
models describe the options of the commands: a key of a section is a flag of the command that the
section belongs to (``stages.pretrain.epochs: 325`` is ``spectrafm train --epochs=325``), so there
is one source of truth for names, types and defaults.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from spectrafm.apogee import bitmasks
from spectrafm.files import SpectraFMError
from spectrafm.labels import LABELS

Spectra = Literal["observed", "synthetic"]
Split = Literal["train", "validation", "test"]
LabelName = Literal["TEFF", "LOGG", "O_FE", "MG_FE", "FE_H"]


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values cannot be changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _window(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError("a window is [shortest, longest] in Angstrom")
    return value


def _source(value: str) -> str:
    if "://" in value and not value.startswith(("https://", "http://", "file:///")):
        raise ValueError(f"{value!r} is none of https://..., http://..., file:///... or a folder")
    return value


def _memory(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?(MB|GB|TB)", value):
        raise ValueError(f"{value!r} is no amount such as 500MB, 32GB or 1.5TB")
    return value


def _runtime(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?[mhd]", value):
        raise ValueError(f"{value!r} is no time such as 90m, 12h or 1.5d")
    return value


Source = Annotated[str, Field(min_length=1), AfterValidator(_source)]
Window = Annotated[tuple[float, float], AfterValidator(_window)]
Share = Annotated[float, Field(gt=0, lt=1)]
Part = Annotated[str, Field(pattern=r"^(embedding|encoder|decoder|head)(\.\d+)?$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
Memory = Annotated[str, AfterValidator(_memory)]
Runtime = Annotated[str, AfterValidator(_runtime)]


#: As astroNN's downloader has it. allStarLite's is not known.
ALLSTAR_DR17_SHA1 = "7aa2f381de0e8e246f9833cc7da540ef45096702"


class Survey(Section):
    """Where the survey lies and how it is fetched."""

    source: Source = Field(
        "https://data.sdss.org/sas",
        description="SAS root: https://..., http://..., file:///... or a folder",
    )
    release: Name = Field("dr17", description="data release, as in the SAS paths")
    aspcap: Name = Field("synspec_rev1", description="ASPCAP reduction, as in the SAS paths")
    catalogue: Literal["allStar", "allStarLite"] = Field(
        "allStar", description="allStarLite: the same rows in half the bytes, without arrays"
    )
    allstar_sha1: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        None, description="published SHA-1 of the catalogue; null: not checked"
    )
    shards: int = Field(16, ge=1, le=999, description="fetching jobs, each one shard of stars")
    connections: int = Field(4, ge=1, le=16, description="simultaneous requests of one job")
    tries: int = Field(5, ge=1, le=20, description="tries per file before it counts as missing")
    first_wait: float = Field(
        0.5, ge=0, description="seconds before the second try; each further wait is twice as long"
    )
    stall_seconds: float = Field(
        30.0, gt=0, description="a try is given up when this long brings less than minimum_rate"
    )
    minimum_rate: float = Field(1000.0, gt=0, description="bytes a second, over stall_seconds")
    file_seconds: float = Field(600.0, gt=0, description="deadline of one file, all tries together")
    file_megabytes: float = Field(64.0, gt=0, description="a file that grows larger is refused")
    catalogue_seconds: float = Field(13000.0, gt=0, description="deadline of a catalogue")
    catalogue_megabytes: float = Field(8000.0, gt=0, description="largest catalogue")
    keep: str | None = Field(
        None, min_length=1, description="folder: keep fetched files there as a SAS mirror; null: no"
    )
    flux_range: tuple[float, float] = Field(
        (0.05, 1.2), description="normalised flux outside this range is masked"
    )

    @model_validator(mode="after")
    def _published(self):
        if self.catalogue == "allStarLite" and self.allstar_sha1 == ALLSTAR_DR17_SHA1:
            raise ValueError(
                "allstar_sha1 is that of allStar; of allStarLite none is published: write null"
            )
        return self


class Mock(Section):
    """The mock survey, written as a SAS tree where ``survey.source`` points."""

    rows: int = Field(2600, ge=50, description="rows of the mock allStar catalogue")
    seed: int = Field(17, ge=0)
    gap: float = Field(
        1.0, ge=0, le=3, description="strength of the synthetic gap; 0: observed = noisy model"
    )
    halo_share: float = Field(
        0.14, ge=0, le=1, description="share of halo stars (APOGEE: about 0.03)"
    )


class SplitShares(Section):
    """How stars are divided; by a hash of seed and APOGEE_ID, hence the same in every run."""

    train: Share = 0.7
    validation: Share = 0.1
    test: Share = 0.2
    seed: int = Field(42, ge=0)

    @model_validator(mode="after")
    def _sum(self):
        if not math.isclose(self.train + self.validation + self.test, 1.0, abs_tol=1e-9):
            raise ValueError("train + validation + test must be 1")
        return self


#: The cuts of each preset; the first are the defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "snr_above": 200.0,
        "starflag": "any",
        "aspcapflag": ["STAR_BAD"],
        "vscatter_below": 1.0,
    },
    # STARFLAG == 0 leaves no flag that could be called bad. Of ASPCAPFLAG, STAR_BAD stands for
    # some of the bad flags only: the grid edges of the other parameters, the fit's chi-squared
    # and a low S/N are not among them.
    "strict": {
        "snr_above": 200.0,
        "starflag": "any",
        "aspcapflag": list(bitmasks.ASPCAPFLAG_BAD),
        "vscatter_below": 1.0,
    },
}


class Selection(Section):
    """Which rows of allStar stay (paper appendix B): a preset, and what is to differ from it."""

    preset: Literal["paper", "strict"] = Field(
        "paper",
        description="cuts where no other key says otherwise. paper: the authors'; strict: the "
        "same, and no flag that DR17 calls bad",
    )
    snr_above: float = Field(
        PRESETS["paper"]["snr_above"], ge=0, description="keep rows with SNR above this"
    )
    starflag: Literal["any"] | list[str] = Field(
        PRESETS["paper"]["starflag"],
        description="STARFLAG names that drop a row; any: every set bit does",
    )
    aspcapflag: Literal["any"] | list[str] = Field(
        PRESETS["paper"]["aspcapflag"],
        description="ASPCAPFLAG names that drop a row; any: every set bit does",
    )
    vscatter_below: float | None = Field(
        PRESETS["paper"]["vscatter_below"],
        gt=0,
        description="keep rows with VSCATTER below this, km/s; null: no cut",
    )
    split: SplitShares = SplitShares()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, content: Any) -> Any:
        """Keys that are not given are the preset's: those of a flag line, all given, stay."""
        if isinstance(content, Mapping) and isinstance(content.get("preset"), str):
            # A name that is no preset is refused by its own field.
            return {**PRESETS.get(content["preset"], {}), **content}
        return content

    @model_validator(mode="after")
    def _flags(self):
        for bitmask, names in (("STARFLAG", self.starflag), ("ASPCAPFLAG", self.aspcapflag)):
            if names != "any":
                try:
                    bitmasks.mask_of(bitmask, names)
                except SpectraFMError as error:
                    raise ValueError(str(error)) from None
        return self


#: A layer's width. The bound is far beyond any use: a model's file may come from anyone.
Width = Annotated[int, Field(ge=1, le=65_536)]


class Block(Section):
    """One Transformer block."""

    heads: Width
    feedforward: Width


class Model(Section):
    """The network's sizes (paper section 2)."""

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


class Stars(Section):
    """Which stars of a split a stage learns from."""

    where: str | None = Field(
        None,
        pattern=r"^(TEFF|LOGG|O_FE|MG_FE|FE_H) *(<|<=|>|>=) *-?[0-9.]+$",
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
    spectra: Spectra = "synthetic"
    windows: list[Window] = Field([(15152.2, 16943.6)], min_length=1)
    labels: list[LabelName] = Field(list(LABELS), min_length=1)
    stars: Stars = Stars()
    freeze: list[Part] = Field(
        [], description="parts that keep their weights: embedding, encoder.1, decoder, head ..."
    )
    sampling: Sampling = Sampling()
    epochs: int = Field(325, ge=1)
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


class Predict(Section):
    """Which spectra are predicted, and how."""

    spectra: Spectra = "observed"
    windows: list[Window] = Field([(15152.2, 16943.6)], min_length=1)
    labels: list[LabelName] = Field(list(LABELS), min_length=1)
    split: Split | Literal["all"] = "test"
    combine: Literal["inverse_variance", "mean"] = Field(
        "inverse_variance", description="how the chunks of a long spectrum are combined"
    )


class Evaluation(Predict):
    """Which spectra a set of stages is judged on."""

    stages: list[Name] = Field(min_length=1)


class Attention(Section):
    """The attention maps of Figure 5."""

    stage: Name = "pretrain"
    spectra: Spectra = "synthetic"
    windows: list[Window] = Field([(15152.2, 16943.6)], min_length=1)
    split: Split = "test"
    stars: int = Field(5000, ge=1, description="at most this many stars of the split")


class Figures(Section):
    """Which predictions each table and figure shows: ``<stage>--<evaluation>``."""

    star: str | None = Field(
        None, description="APOGEE_ID of Figures 1 and 2; null: the first test giant"
    )
    table1: list[str] = Field(
        ["pretrain--first_half", "finetune_observed--first_half"], min_length=1
    )
    table1_logg: tuple[float, float] = (1.0, 3.5)
    figure2: list[Name] = Field(["pretrain", "finetune_observed", "finetune_iron"], min_length=1)
    figure3: str = "finetune_observed--first_half"
    figure4: list[str] = Field(
        [
            "fcnn--iron_window",
            "pretrain--iron_window",
            "finetune_observed--iron_window",
            "finetune_iron--iron_window",
        ],
        min_length=1,
    )


class Resources(Section):
    """What a training or prediction asks of the machine; no command line holds any of it."""

    gpus: int = Field(1, ge=0, description="GPUs, on one node; 0: none")
    gpu_model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")] | None = Field(
        None, description="which GPU, as the cluster names it; null: any"
    )
    threads: int = Field(8, ge=1, description="CPU cores")
    memory: Memory = Field("32GB", description="of the first try; a retry asks for more")
    runtime: Runtime = Field("12h", description="of the first try; a retry asks for more")
    partition: str | None = Field(None, description="null: what the profile says")
    account: str | None = Field(None, description="null: what the profile says")

    @property
    def memory_mb(self) -> int:
        """The memory in MB, as Snakemake counts it."""
        number, unit = float(self.memory[:-2]), self.memory[-2:]
        return math.ceil(number * {"MB": 1, "GB": 1000, "TB": 1_000_000}[unit])

    @property
    def minutes(self) -> int:
        """The runtime in minutes, as Snakemake counts it."""
        number, unit = float(self.runtime[:-1]), self.runtime[-1]
        return math.ceil(number * {"m": 1, "h": 60, "d": 24 * 60}[unit])


#: Entries of ``resources`` that are no stages.
JOBS = ("default", "mock_survey", "predict", "map_attention")


class Config(Section):
    """The whole configuration of a run."""

    run: Name = Field("dr17", description="name of the run, and of its folder in results/")
    survey: Survey = Survey()
    mock: Mock | None = Field(None, description="the mock survey; null: the survey is real")
    selection: Selection = Selection()
    model: Model = Model()
    stages: dict[Name, Stage] = {}
    evaluations: dict[Name, Evaluation] = {}
    attention: Attention = Attention()
    figures: Figures = Figures()
    resources: dict[Name, Resources] = Field(
        {},
        description="by stage or job; default: what the others do not say",
    )

    @model_validator(mode="after")
    def _names(self):
        for name, stage in self.stages.items():
            seen = {name}
            before = stage.start_from
            while before is not None:
                if before not in self.stages:
                    raise ValueError(
                        f"stages.{name}.start_from: no stage {before!r}; "
                        f"known: {', '.join(self.stages)}"
                    )
                if before in seen:
                    raise ValueError(f"stages.{name}.start_from: a circle through {before!r}")
                seen.add(before)
                before = self.stages[before].start_from
        for name, evaluation in self.evaluations.items():
            for stage in evaluation.stages:
                if stage not in self.stages:
                    raise ValueError(
                        f"evaluations.{name}.stages: no stage {stage!r}; "
                        f"known: {', '.join(self.stages)}"
                    )
        if self.stages and self.attention.stage not in self.stages:
            raise ValueError(
                f"attention.stage: no stage {self.attention.stage!r}; "
                f"known: {', '.join(self.stages)}"
            )
        for job in self.resources:
            if job not in (*JOBS, *self.stages):
                raise ValueError(
                    f"resources: no stage or job {job!r}; known: {', '.join((*JOBS, *self.stages))}"
                )
        everyone = self.resources.get("default", Resources())
        for job, entry in self.resources.items():
            for key in ("partition", "account"):
                if getattr(entry, key) and not getattr(everyone, key):
                    raise ValueError(
                        f"resources.{job}.{key}: give resources.default.{key} too, for the others"
                    )
        made = set(self.predictions)
        wanted = {"table1": self.figures.table1, "figure3": [self.figures.figure3]}
        wanted["figure4"] = self.figures.figure4
        if self.stages:
            for stage in self.figures.figure2:
                if stage not in self.stages:
                    raise ValueError(f"figures.figure2: no stage {stage!r}")
            for figure, names in wanted.items():
                for name in names:
                    if name not in made:
                        raise ValueError(
                            f"figures.{figure}: no evaluation makes {name!r}; "
                            f"made: {', '.join(sorted(made))}"
                        )
        return self

    def resources_of(self, job: str) -> Resources:
        """What a job asks for: its own entry, then the default one, then what is built in.

        Parameters
        ----------
        job : str
            A stage, ``mock_survey``, ``predict`` or ``map_attention``.
        """
        given: dict[str, Any] = {}
        for entry in ("default", job):
            if entry in self.resources:
                given |= self.resources[entry].model_dump(exclude_unset=True)
        resources = Resources(**given)
        # A prediction is one process.
        gpus = resources.gpus if job in self.stages else min(resources.gpus, 1)
        model = resources.gpu_model if gpus else None
        return resources.model_copy(update={"gpus": gpus, "gpu_model": model})

    @property
    def predictions(self) -> list[str]:
        """``<stage>--<evaluation>`` of every prediction the configuration asks for."""
        return [
            f"{stage}--{name}"
            for name, evaluation in self.evaluations.items()
            for stage in evaluation.stages
        ]


def read_config(content: Mapping[str, Any]) -> Config:
    """Validate the content of a ``config.yaml``.

    Raises
    ------
    SpectraFMError
        One line that names the first wrong key, what it holds and what is allowed.
    """
    return validated(Config, content, "config")


def validated(section: type[Section], content: Mapping[str, Any], where: str) -> Any:
    """Build a section from plain values, turning pydantic's report into one clear line.

    Raises
    ------
    SpectraFMError
        Naming the key, the value found and what is allowed.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise SpectraFMError(f"{where}: {_one_line(section, error)}") from None


def _one_line(section: type[Section], error: ValidationError) -> str:
    problems = error.errors()
    # Where a value may be one of several types, pydantic reports each try: name the key once.
    problem = problems[0]
    location = [part for part in problem["loc"] if not _names_a_type(part)]
    key = ".".join(str(part) for part in location)
    prefix = f"{key}: " if key else ""
    if problem["type"] == "extra_forbidden":
        owner = _section_at(section, location[:-1])
        known = f"; allowed here: {', '.join(owner.model_fields)}" if owner else ""
        return f"{prefix}unknown key{known}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{prefix}{message}"
    allowed = "; or ".join(
        dict.fromkeys(p["msg"] for p in problems if p["loc"][: len(location)] == tuple(location))
    )
    return f"{prefix}{allowed or message} (found {problem['input']!r})"


def _names_a_type(part: Any) -> bool:
    """Whether a piece of pydantic's location is the name of a tried type, not a key."""
    return isinstance(part, str) and re.match(r"^(literal|list|function|constrained|tuple)\[", part)


def _section_at(annotation: Any, location: list) -> type[Section] | None:
    """The section class that a key path leads to."""
    for part in location:
        annotation = _section_in(annotation)
        if annotation is None:
            return None
        if part in annotation.model_fields:
            annotation = annotation.model_fields[part].annotation
    return _section_in(annotation)


def _section_in(annotation: Any) -> type[Section] | None:
    """The section class itself, or the one that an optional, a list or a mapping holds."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = [found for found in map(_section_in, get_args(annotation)) if found]
    return inner[0] if inner else None


def schema() -> dict:
    """JSON schema of ``config.yaml``, made from the typed configuration."""
    return Config.model_json_schema()
