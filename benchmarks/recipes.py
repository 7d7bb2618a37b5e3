"""Which optimiser, schedule, batch and rate reach the lowest validation error soonest.

python benchmarks/recipes.py results/demo/store.zarr [--minutes 1 2 4 8] [--only muon ...]
python benchmarks/recipes.py results/gaia_xp/store.zarr --survey gaia_xp

Each recipe trains the network of configs/demo.yaml on the mock survey's synthetic spectra, or that
of configs/gaia_xp.yaml on real ones without other inputs, on one core: [Fe/H] RMSE of validation
stars in dex, the loss, and the steps by then. A cosine to zero ends with the time, so that it is
trained anew for each of them; restarts and averages are read on the way. The recipes' steps are
timed in turns first, and the times are made of these.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from cases import REPOSITORY
from equal_time import Reached, Run, cosine, new_learner, on_cpu, stars_of, step_costs, train_until
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spectrafm.files import write_text
from spectrafm.layers import merged, with_likes
from spectrafm.networks.options import Model
from spectrafm.training.options import Stage

#: Decay of the averaged weights per step.
DECAY = 0.998

#: Length of a restarted cosine, and of the warm-up before it or before a constant rate, s of
#: processor time: every whole minute is the end of a cosine.
CYCLE, WARMUP = 15.0, 2.0


@dataclass(frozen=True)
class Recipe:
    """How a network is trained."""

    schedule: str = "decay"  # decay, restarts or constant
    optimizer: str = "adamw"  # or muon
    norm: str = "pre"
    averaged: bool = False
    batch: float = 1.0  # times the stage's
    rate: float = 1.0  # times the stage's
    tokens: bool = True  # of several pixels; else one pixel a token


RECIPES = {
    "AdamW, one warm-up and cosine to zero": Recipe(),
    "the same, normalised after each sum (post)": Recipe(norm="post"),
    "AdamW, restarts every 15 s": Recipe(schedule="restarts"),
    "AdamW, constant rate": Recipe(schedule="constant"),
    "AdamW, constant rate, average of weights (EMA)": Recipe(schedule="constant", averaged=True),
    "Muon for hidden matrices, cosine to zero": Recipe(optimizer="muon"),
    "cosine, a third of the rate": Recipe(rate=1 / 3),
    "cosine, three times the rate": Recipe(rate=3.0),
    "Muon, three times the rate": Recipe(optimizer="muon", rate=3.0),
    "cosine, half the batch": Recipe(batch=0.5),
    "cosine, four times the batch": Recipe(batch=4.0),
    "cosine, one pixel a token, 128 of them": Recipe(tokens=False),
}


class Both(torch.optim.Optimizer):
    """Muon for the hidden matrices, AdamW for what is no matrix, embeds or answers."""

    def __init__(self, network: nn.Module, weight_decay: float):
        # Without a bias, an embedding or an output; all at the rate that suits AdamW.
        hidden = [
            parameter
            for name, parameter in network.named_parameters()
            if parameter.ndim == 2 and name.startswith(("encoder", "decoder", "head.dense"))
        ]
        known = {id(parameter) for parameter in hidden}
        others = [p for p in network.parameters() if id(p) not in known]
        self.parts = (
            torch.optim.Muon(
                hidden, lr=1.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(others, lr=1.0, weight_decay=weight_decay, fused=True),
        )

    @property
    def param_groups(self) -> list[dict]:
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self, closure=None) -> None:
        for part in self.parts:
            part.step()


class Trial:
    """The network, stage and stars on which recipes are tried.

    Parameters
    ----------
    survey : {"demo", "gaia_xp"}
    store : pathlib.Path
    """

    def __init__(self, survey: str, store: Path):
        content = yaml.safe_load((REPOSITORY / "configs" / f"{survey}.yaml").read_text())
        if survey == "demo":
            content = merged(yaml.safe_load((REPOSITORY / "config.yaml").read_text()), content)
        self.model, stages = content["model"], with_likes(content["stages"])
        self.options = stages["pretrain" if survey == "demo" else "xp_all"] | {"inputs": []}
        stage = Stage.model_validate(self.options)
        self.peak, self.batch = stage.schedule.learning_rate, stage.batch
        self.stars, self.validation = (
            stars_of(store, stage, split) for split in ("train", "validation")
        )

    def run(self, recipe: Recipe, seed: int) -> Run:
        """A training that has not begun."""
        sampling, token = self.options["sampling"], self.model["token"]
        if not recipe.tokens:
            sampling, token = sampling | {"scheme": "scattered", "tokens": 128}, {"width": 0}
        batch = round(recipe.batch * self.batch)
        changes = {"batch": batch, "sampling": sampling, "seed": 1 + seed}
        stage = Stage.model_validate(self.options | changes)
        model = Model.model_validate(self.model | {"norm": recipe.norm, "token": token})
        learner = new_learner(model, stage, self.stars, seed)
        network = learner.network
        if recipe.optimizer == "muon":
            learner.optimizer = Both(network, stage.weight_decay)
        averaged = None
        if recipe.averaged:
            averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
        return Run(learner, averaged, seed)

    def reach(
        self, recipe: Recipe, cost: float, seconds: Sequence[float], seed: int
    ) -> list[Reached]:
        """What a recipe reaches by each time, if a step takes so many seconds."""
        steps = [round(time / cost) for time in seconds]

        def until(some: Sequence[int]) -> list[Reached]:
            run = self.run(recipe, seed)
            network, stage = run.learner.network, run.learner.stage
            rate = rate_of(recipe, self.peak, some[-1], cost)
            return train_until(run, some, rate, on_cpu(self.validation, network, stage))

        if recipe.schedule == "decay":
            return [until([count])[0] for count in steps]
        return until(steps)


def rate_of(recipe: Recipe, peak: float, total: int, cost: float) -> Callable[[int], float]:
    """Learning rate by step."""
    peak *= recipe.rate
    if recipe.schedule == "decay":
        return cosine(peak, total)

    def rate(step: int) -> float:
        seconds = (step + 0.5) * cost
        share = (seconds / CYCLE) % 1.0 if recipe.schedule == "restarts" else 0.0
        return peak * min(1.0, seconds / WARMUP) * 0.5 * (1 + math.cos(math.pi * share))

    return rate


def main() -> None:
    """Run the recipes, and print a line after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--survey", choices=["demo", "gaia_xp"], default="demo")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="recipes whose name contains one of these words")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/recipes.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    trial = Trial(given.survey, given.store)
    # A normaliser binds pixels to tokens.
    possible = {n: r for n, r in RECIPES.items() if r.tokens or given.survey == "demo"}
    costs = step_costs({name: trial.run(recipe, 0) for name, recipe in possible.items()})
    heads = [f"{minutes:g} min" for minutes in given.minutes]
    print("| [Fe/H] RMSE, dex (loss; steps) | ms a step | " + " | ".join(heads) + " |")
    print("| --- " + "| ---: " * (1 + len(heads)) + "|", flush=True)
    found = {}
    for name, recipe in possible.items():
        if given.only and not any(word in name for word in given.only):
            continue
        each = [
            trial.reach(recipe, costs[name], [60 * m for m in given.minutes], seed)
            for seed in range(given.seeds)
        ]
        cells = [
            f"{statistics.median(r.rmse['FE_H'] for r in column):.4f}"
            f" ({statistics.median(r.loss for r in column):.2f};"
            f" {statistics.median(r.steps for r in column):,.0f})"
            for column in zip(*each, strict=True)
        ]
        print(f"| {name} | {1e3 * costs[name]:.1f} | {' | '.join(cells)} |", flush=True)
        found[name] = {
            "seconds a step": costs[name],
            "reached": [[vars(one) for one in seeds] for seeds in each],
        }
        write_text(given.output, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
