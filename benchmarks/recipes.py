"""Which optimiser, schedule, batch and rate reach the lowest validation error soonest.

python benchmarks/recipes.py results/demo/store.zarr [--minutes 1 2 4 8] [--only muon ...]

Each recipe pre-trains the demo's network on the store's synthetic spectra, on one core. A cosine to
zero ends with the processor time, so that it is trained anew for each of them; restarts and
averages are read on the way. Validation spectra are synthetic, without noise: [Fe/H] RMSE in dex,
the loss, and the steps by then. Run it on an idle machine: other work lengthens the processor time
of a step, by half where it shares a core's caches.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from cases import REPOSITORY
from equal_time import Reached, new_network, on_cpu, requests, stars_of, train_for
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spectrafm.files import write_text
from spectrafm.layers import merged, with_likes
from spectrafm.networks.options import Model
from spectrafm.training.options import Stage
from spectrafm.training.step import Learner

#: Decay of the averaged weights per step.
DECAY = 0.998

#: Length of a restarted cosine, s of processor time: every time that is shown is the end of one.
CYCLE = 15.0


@dataclass(frozen=True)
class Recipe:
    """How a network is trained."""

    schedule: str = "decay"  # decay, restarts or constant
    optimizer: str = "adamw"  # or muon
    norm: str = "pre"
    averaged: bool = False
    batch: int = 32
    rate: float = 1e-3
    tokens: bool = True  # of 16 pixels; else one pixel a token


RECIPES = {
    "AdamW, one warm-up and cosine to zero": Recipe(),
    "the same, normalised after each sum (post)": Recipe(norm="post"),
    "AdamW, restarts every 15 s": Recipe(schedule="restarts"),
    "AdamW, constant rate": Recipe(schedule="constant"),
    "AdamW, constant rate, average of weights (EMA)": Recipe(schedule="constant", averaged=True),
    "Muon for hidden matrices, cosine to zero": Recipe(optimizer="muon"),
    "cosine, rate 3e-4": Recipe(rate=3e-4),
    "cosine, rate 3e-3": Recipe(rate=3e-3),
    "Muon, rate 3e-3": Recipe(optimizer="muon", rate=3e-3),
    "cosine, batch 16": Recipe(batch=16),
    "cosine, batch 128": Recipe(batch=128),
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


def rate_of(recipe: Recipe, total: float) -> Callable[[float], float]:
    """Learning rate by processor time, after a warm-up of two seconds."""

    def rate(seconds: float) -> float:
        warm = min(1.0, (seconds + 0.05) / 2.0)
        share = {
            "decay": min(seconds / total, 1.0),
            "restarts": (seconds / CYCLE) % 1.0,
            "constant": 0.0,
        }[recipe.schedule]
        return recipe.rate * warm * 0.5 * (1 + math.cos(math.pi * share))

    return rate


def reach(recipe: Recipe, store: Path, seconds: list[float], seed: int) -> list[Reached]:
    """What a recipe reaches by each time."""
    paper, demo = (
        yaml.safe_load((REPOSITORY / name).read_text())
        for name in ("config.yaml", "configs/demo.yaml")
    )
    options = with_likes(merged(paper, demo)["stages"])["pretrain"]
    sampling = options["sampling"]
    if not recipe.tokens:
        sampling = sampling | {"scheme": "scattered", "tokens": 128}
    changes = {"batch": recipe.batch, "sampling": sampling, "seed": 1 + seed}
    stage = Stage.model_validate(options | changes)
    token = demo["model"]["token"] if recipe.tokens else {"width": 0}
    model = Model.model_validate(demo["model"] | {"norm": recipe.norm, "token": token})
    stars = stars_of(store, stage, "train")
    validation = stars_of(store, stage, "validation")

    def until(times: list[float]) -> list[Reached]:
        network = new_network(model, stars, seed)
        learner = Learner(stage, network, requests(network), on_cpu(stars, network, stage))
        if recipe.optimizer == "muon":
            learner.optimizer = Both(network, stage.weight_decay)
        averaged = None
        if recipe.averaged:
            averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
        rate = rate_of(recipe, times[-1])
        return train_for(learner, times, rate, on_cpu(validation, network, stage), averaged, seed)

    if recipe.schedule == "decay":
        return [until([time])[0] for time in seconds]
    return until(seconds)


def main() -> None:
    """Run the recipes, and print a line after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="recipes whose name contains one of these words")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/recipes.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    heads = [f"{minutes:g} min" for minutes in given.minutes]
    print("| [Fe/H] RMSE, dex (loss; steps) by processor time | " + " | ".join(heads) + " |")
    print("| --- " + "| ---: " * len(heads) + "|", flush=True)
    found = {}
    for name, recipe in RECIPES.items():
        if given.only and not any(word in name for word in given.only):
            continue
        each = [
            reach(recipe, given.store, [60 * m for m in given.minutes], seed)
            for seed in range(given.seeds)
        ]
        cells = [
            f"{statistics.median(r.rmse['FE_H'] for r in column):.4f}"
            f" ({statistics.median(r.loss for r in column):.2f};"
            f" {statistics.median(r.steps for r in column):,.0f})"
            for column in zip(*each, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        found[name] = [[vars(one) for one in seeds] for seeds in each]
        write_text(given.output, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
