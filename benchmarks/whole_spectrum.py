"""Benchmark of inference of whole APOGEE spectra: one pass of all pixels against chunks of them.

python benchmarks/whole_spectrum.py [--store results/demo/store.zarr --minutes 2]

Speed: the paper's network, 7,514 pixels, five labels, one core or the GPU. With --store also the
errors: two networks of the demo's width, one that reads chunks of 512 single pixels and one that
reads tokens of several pixels in one pass, are pre-trained on the store's whole synthetic spectra
for the same processor time each, and predict its test stars.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import numpy as np
import torch
from cases import Case, demo_case, paper_case, with_bound_pixels
from device import Device
from equal_time import (
    Run,
    cosine,
    new_learner,
    new_network,
    on_cpu,
    stars_of,
    step_costs,
    train_until,
)
from sidebyside import aligned, ratio, sidebyside, table, timed, write_timings
from torch import Tensor

from making.toy_store import toy_stars, write_toy_store
from spectrafm.inference.predictor import infer
from spectrafm.labels import LABELS
from spectrafm.networks.transformer import SpectraFM

#: How many times faster one pass should be than the chunks.
TARGET = 8.0

WHOLE = [(15152.2, 16943.6)]


def speed(device: Device, stars: int, rounds: int, alone: bool) -> dict:
    """Time one pass of tokens against chunks of pixels, and against one pass of single pixels."""
    paper = paper_case()
    with tempfile.TemporaryDirectory() as folder:
        store = write_toy_store(Path(folder) / "store.zarr", toy_stars(5 * stars))
        shown = stars_of(store, paper.stage, "test")
    ways, parts = {}, {}
    for name, case, tokens in (
        ("tokens of 16 pixels, one pass", with_bound_pixels(paper), 512),
        ("15 chunks of 512 pixels", paper, 512),
        ("single pixels, one pass", paper, 8192),
    ):
        network = new_network(case.model, shown).eval().to(device.torch)
        chunks = network.contexts(shown.wavelength, WHOLE, tokens)
        ways[name] = _inference(network, shown, chunks, shown.flux_error)
        if network.wants_errors:
            parts = _parts(device, network, shown)
    ours, chunked, single = ways
    timings = sidebyside({ours: ways[ours], chunked: ways[chunked]}, rounds, finish=device.finish)
    if alone:
        # So slow that one turn must do.
        timings[single] = [timed(ways[single], device.finish)] * rounds
    pixels = len(np.concatenate(chunks))
    print(f"whole spectra, {pixels} pixels, {len(LABELS)} labels, paper's width, {stars} stars")
    print(f"{table(timings, ours, float(stars), 'stars')}\n")
    faster = ratio(timings, ours, chunked, device.clock)
    verdict = "reached" if faster >= TARGET else "MISSED"
    print(f"one pass against chunks: {faster:.1f} (target {TARGET:g}): {verdict}")
    print(aligned([("part of one pass", "ms a star"), *parts.items()]), flush=True)
    return {"timings": timings, "faster": faster, "parts": parts}


def _inference(network: SpectraFM, stars, chunks, error) -> Callable[[], object]:
    return lambda: infer(network, stars.flux, stars.wavelength, LABELS, chunks, error=error)


@torch.no_grad()
def _parts(device: Device, network: SpectraFM, stars) -> dict[str, str]:
    """Time of each part of one pass, for all stars together."""
    flux = torch.from_numpy(stars.flux).to(device.torch)
    missing = ~flux.isfinite()
    error = torch.from_numpy(stars.flux_error).to(device.torch)
    wavelength = torch.from_numpy(stars.wavelength).to(device.torch)
    cells = network.encoding(wavelength)
    channels, error = network.channels(flux, cells.smoothing, missing, error)
    x, _ = network.embedding.binding(channels, cells, missing, error)
    encoded = _through(network.encoder, x)
    wanted = network.embedding.label_weight.expand(len(x), -1, -1)

    def decoded() -> Tensor:
        answers = wanted
        for block in network.decoder:
            answers, _ = block(answers, encoded, None)
        return network.head(answers)

    ways = {
        "division into tokens (once a grid)": lambda: network.encoding(wavelength),
        f"binding to {x.shape[1]} tokens": lambda: network.embedding.binding(
            network.channels(flux, cells.smoothing, missing, error)[0], cells, missing, error
        ),
        "encoder": lambda: _through(network.encoder, x),
        "decoder and head": decoded,
    }
    return {name: f"{1e3 * device.seconds(way, 3) / len(flux):.2f}" for name, way in ways.items()}


def _through(blocks, x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x, None)
    return x


def errors(store: Path, minutes: float, seed: int) -> dict:
    """Pre-train both kinds of networks for the same time; RMSE of each label of test stars."""
    demo = demo_case()
    stage = demo.stage.model_copy(
        update={
            "windows": WHOLE,
            "sampling": demo.stage.sampling.model_copy(update={"scheme": "mixed", "tokens": 512}),
        }
    )
    pixels = Case("demo", demo.model.model_copy(update={"norm": "pre"}), stage)
    cases = {
        "tokens of 16 pixels, one pass": with_bound_pixels(pixels),
        "15 chunks": pixels,
    }

    def begun(case: Case) -> Run:
        stars = stars_of(store, case.stage, "train")
        return Run(new_learner(case.model, case.stage, stars, seed), seed=seed)

    costs = step_costs({name: begun(case) for name, case in cases.items()})
    lines = [("", "steps", "spectra", *LABELS)]
    found = {}
    for name, case in cases.items():
        run, steps = begun(case), round(60 * minutes / costs[name])
        network = run.learner.network
        validation = on_cpu(stars_of(store, case.stage, "validation"), network, case.stage)
        train_until(run, [steps], cosine(case.stage.schedule.learning_rate, steps), validation)
        for spectra in ("synthetic", "observed"):
            kind = case.stage.model_copy(update={"spectra": spectra})
            test = stars_of(store, kind, "test")
            chunks = network.contexts(test.wavelength, WHOLE, 512)
            answer = infer(
                network, test.flux, test.wavelength, LABELS, chunks, error=test.flux_error
            )
            rmse = np.sqrt(np.nanmean(np.square(answer.value - test.label), axis=0))
            lines.append((name, f"{steps}", spectra, *(f"{value:.3g}" for value in rmse)))
            found[f"{name}, {spectra}"] = dict(zip(LABELS, map(float, rmse), strict=True))
    print(f"\nRMSE of test stars after {minutes:g} processor minutes each, seed {seed}")
    print(aligned(lines), flush=True)
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stars", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="time single pixels in one pass too")
    parser.add_argument("--store", type=Path, help="store of whole spectra to compare errors on")
    parser.add_argument("--minutes", type=float, default=2.0, help="processor time of a training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("results/benchmarks/whole_spectrum.json")
    )
    given = parser.parse_args()
    device = Device()
    print(f"{device}, torch {torch.__version__}\n")
    found = speed(device, given.stars, given.rounds, given.alone)
    facts = {"device": str(device), "faster": found["faster"], "parts": found["parts"]}
    if given.store is not None:
        facts["rmse"] = errors(given.store, given.minutes, given.seed)
    write_timings(given.output, found["timings"], **facts)


if __name__ == "__main__":
    main()
