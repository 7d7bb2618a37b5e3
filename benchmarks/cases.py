"""The networks whose training is timed, their stars, and one step of SpectraFM's training."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spectrafm.labels import LABELS, PAPER_LABELS
from spectrafm.networks.options import Block, Model, Token
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.read import StarSet, load_stars
from spectrafm.training.objective import gaussian_loss
from spectrafm.training.options import Stage
from spectrafm.training.stars import DeviceStars, to_device
from spectrafm.training.step import Learner

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Case:
    """A network's sizes and the stage that pre-trains it."""

    name: str
    model: Model
    stage: Stage

    def with_batch(self, batch: int) -> Case:
        return replace(self, stage=self.stage.model_copy(update={"batch": batch}))

    def with_tokens(self, tokens: int) -> Case:
        sampling = self.stage.sampling.model_copy(update={"tokens": tokens})
        return replace(self, stage=self.stage.model_copy(update={"sampling": sampling}))

    def with_precision(self, precision: str) -> Case:
        return replace(self, stage=self.stage.model_copy(update={"precision": precision}))

    def with_model(self, **sizes) -> Case:
        return replace(self, model=self.model.model_copy(update=sizes))


def paper_case() -> Case:
    """The paper's network and its pre-training in config.yaml."""
    content = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    return _case("paper", content["model"], content["stages"]["pretrain"])


def demo_case() -> Case:
    """The demo's network and pre-training with one pixel a token, as the plain network has it."""
    paper = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    demo = yaml.safe_load((REPOSITORY / "configs/demo.yaml").read_text())
    changed = paper["stages"]["pretrain"] | demo["stages"]["pretrain"]
    changed |= {"sampling": {"scheme": "scattered", "tokens": 128, "noise": 0.02}}
    model = paper["model"] | demo["model"] | {"token": {"width": 0}, "norm": "post"}
    return _case("demo", model, changed)


def with_bound_pixels(case: Case) -> Case:
    """The same network with the tokens of configs/dr17_best.yaml, 16 APOGEE pixels each."""
    best = yaml.safe_load((REPOSITORY / "configs/dr17_best.yaml").read_text())["model"]["token"]
    sampling = case.stage.sampling.model_copy(update={"scheme": "all"})
    stage = case.stage.model_copy(update={"sampling": sampling})
    return replace(case.with_model(token=Token.model_validate(best)), stage=stage)


def _case(name: str, model: dict, stage: dict) -> Case:
    # Compiled networks are timed as a separate variant.
    options = Stage.model_validate(stage | {"compile": "never"})
    return Case(name, Model.model_validate(model), options)


def sized(case: Case, dimension: int) -> Case:
    """Change the dimension of a case's network, and all other widths in proportion."""
    share = dimension / case.model.dimension

    def block(size: Block) -> Block:
        return size.model_copy(update={"feedforward": round(size.feedforward * share)})

    return case.with_model(
        dimension=dimension,
        encoder=[block(size) for size in case.model.encoder],
        decoder=[block(size) for size in case.model.decoder],
        head=[round(width * share) for width in case.model.head],
    )


def make_network(case: Case, store: Path, device: torch.device) -> tuple[SpectraFM, DeviceStars]:
    """Create a network with fresh weights, and load its training stars onto the device."""
    stars = _training_stars(store, case.stage.spectra, tuple(case.stage.windows))
    torch.manual_seed(0)
    network = SpectraFM(case.model, PAPER_LABELS)
    network.scale_labels(stars.label)
    network = network.to(device)
    request = torch.arange(len(LABELS), device=device)
    return network, to_device(stars, network, request, case.stage.windows, device)


@functools.cache
def _training_stars(store: Path, spectra: str, windows: tuple) -> StarSet:
    return load_stars(store, spectra, "train", windows)


def compiled(network: nn.Module) -> nn.Module:
    """Compile a network with `torch.compile`, after clearing what it caches of other networks."""
    torch.compiler.reset()
    return torch.compile(network)


def our_step(
    case: Case,
    network: nn.Module,
    stars: DeviceStars,
    change: Callable[[Learner], None] | None = None,
) -> Callable[[], object]:
    """Make a function that does one step of SpectraFM's training at each call.

    Parameters
    ----------
    case : Case
    network : SpectraFM, or what wraps one
    stars : DeviceStars
    change : callable, optional
        Called once to change the training before its first step.
    """
    device = stars.flux.device
    learner = Learner(case.stage, network, torch.arange(5, device=device), stars)
    if change is not None:
        change(learner)
    batches = torch.randperm(len(stars), device=device).split(case.stage.batch)
    whole = itertools.cycle(rows for rows in batches if len(rows) == case.stage.batch)
    number, rate = itertools.count(), case.stage.schedule.learning_rate
    return lambda: learner.step(next(whole), next(number), 0, rate)


def operations(model: Model, tokens: int, labels: int = 5) -> tuple[int, int]:
    """Count the floating-point operations of one chunk, forward and backward.

    Operations are counted on meta tensors with the plain attention kernel: PyTorch does not count
    the operations of its fast kernel on a CPU, and counts recomputed ones on a GPU.
    """
    with torch.device("meta"), sdpa_kernel(SDPBackend.MATH):
        network = SpectraFM(model, PAPER_LABELS).train()
        flux, label = torch.ones(1, tokens), torch.ones(1, labels)
        position, request = torch.ones(tokens, model.dimension), torch.arange(labels)
        with FlopCounterMode(display=False) as forward:
            answer = network(flux, position, request=request)
        with FlopCounterMode(display=False) as backward:
            gaussian_loss(answer, label, label, label.bool()).sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()
