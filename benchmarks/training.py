"""Benchmark of training and inference against plain PyTorch, and against the machine's limits.

python benchmarks/training.py [--quick]

The benchmark runs on the GPU where there is one, on one core elsewhere; --quick takes less than ten
minutes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import torch
from cases import Case, compiled, demo_case, make_network, operations, our_step, paper_case, sized
from device import Device
from plain_network import (
    TOLERANCE,
    PlainTraining,
    StarsOfStore,
    plain_copy,
    prove_equal,
)
from sidebyside import Timing, aligned, ratio, sidebyside, table, write_timings
from switched_off import (
    DrawnOneByOne,
    OneLabelAPass,
    ProjectedAttention,
    for_loop_optimizer,
    with_masked_attention,
    with_projected_attention,
)
from torch import Tensor, nn

from making.toy_store import toy_stars, write_toy_store
from spectrafm.inference.predictor import infer
from spectrafm.labels import LABELS
from spectrafm.networks.attention import CrossAttention
from spectrafm.store.read import load_stars
from spectrafm.training.batch import draw_batch

#: Chunks of the paper's pre-training, its speed per GPU and its GPU hours on four A100, from the
#: authors' training log.
PAPER_CHUNKS = 30.05e6
PAPER_CHUNKS_PER_SECOND = 97.5
PAPER_GPU_HOURS = 85.6

#: Bytes that forward and backward of a 512-pixel chunk of the paper's network move in bfloat16,
#: counted with all elementwise work fused and attention scores never written to memory.
CHUNK_BYTES = 74e6

#: Target of each figure: how many times faster, unless the name has another unit.
TARGETS = {
    "training, paper": 5.0,
    "training, demo": 8.0,
    "cross-attention, forward + backward": 3.0,
    "cross-attention, forward": 8.0,
    "inference": 3.0,
    "chunks/s, paper": 20_000.0,
    "% of the matrix product, a GPU": 20.0,
    "% of the matrix product, one core": 60.0,
}


class Scale(NamedTuple):
    """Size of the benchmark: enough work to time, little enough for ten minutes."""

    stars: int  # in the store; three fifths of them train
    rounds: int
    batch: dict[str, int]  # of each case, against the plain version
    changed: dict[str, int]  # of each case, where one thing is changed at a time
    throughput: dict[str, tuple[int, ...]]  # batches whose speed and memory are measured
    steps: dict[str, int]  # of each case in one turn
    workers: int  # that read stars for the plain network
    tokens: dict[int, int]  # batch for each number of tokens
    batches: tuple[int, ...]
    spectra: int  # whole spectra predicted


ON_GPU = Scale(
    stars=8192,
    rounds=7,
    batch={"paper": 1024, "demo": 1024},
    changed={"paper": 1024, "demo": 1024},
    throughput={"paper": (1024, 2048, 4096), "demo": (4096,)},
    steps={"paper": 10, "demo": 10},
    workers=8,
    tokens={128: 4096, 256: 2048, 512: 1024, 1024: 512, 2048: 256, 7514: 64},
    batches=(256, 1024, 2048, 4096),
    spectra=512,
)
ON_CORE = Scale(
    stars=512,
    rounds=7,
    batch={"paper": 8, "demo": 32},
    changed={"paper": 4, "demo": 32},
    throughput={"paper": (4, 8, 16), "demo": (32,)},
    steps={"paper": 1, "demo": 5},
    workers=0,
    tokens={128: 16, 256: 8, 512: 4, 1024: 2, 2048: 1, 7514: 1},
    batches=(1, 4, 16),
    spectra=4,
)
QUICK = {"rounds": 3}


class Benchmark:
    """Results of the benchmark, printed as they come and kept for the JSON file.

    Parameters
    ----------
    device : Device
    scale : Scale
    store : pathlib.Path
        Store of fabricated stars.
    compiled : bool
        Whether to time `torch.compile` as well.
    """

    def __init__(self, device: Device, scale: Scale, store: Path, compiled: bool):
        self.device, self.scale, self.store, self.compiled = device, scale, store, compiled
        self.timings: dict[str, list[Timing]] = {}
        self.facts: dict[str, Any] = {}
        self.judged: list[str] = []

    def compare(
        self,
        title: str,
        ways: Mapping[str, Callable],
        amount: float | Mapping[str, float],
        unit: str,
        rounds: int | None = None,
    ) -> dict[str, float]:
        """Time ways side by side; return how many times faster than each the first one is."""
        timings = sidebyside(ways, rounds or self.scale.rounds, finish=self.device.finish)
        ours = next(iter(ways))
        print(f"{title}\n{table(timings, ours, amount, unit)}\n", flush=True)
        self.timings |= {f"{title}: {name}": turns for name, turns in timings.items()}
        amounts = amount if isinstance(amount, Mapping) else None
        return {name: ratio(timings, ours, name, self.device.clock, amounts) for name in ways}

    def show(self, title: str, lines: Sequence[Sequence[str]]) -> None:
        """Print a table of figures and keep it."""
        print(f"{title}\n{aligned(lines)}\n", flush=True)
        header, *rows = lines
        self.facts[title] = [dict(zip(header, row, strict=True)) for row in rows]

    def judge(self, name: str, reached: float, what: str | None = None) -> None:
        """Compare a figure with its target."""
        target = TARGETS[name]
        verdict = "reached" if reached >= target else "MISSED"
        self.judged.append(f"{what or name}: {reached:.4g} (target {target:g}): {verdict}")

    def measured(self, case: Case, through_compiler: bool = False) -> Cost:
        """Measure the cost of SpectraFM's training, including the creation of the network."""
        steps = self.scale.steps[case.name]
        arguments = (case, self.store, steps, through_compiler)
        if self.device.is_gpu:
            return _measured(*arguments)
        # A process keeps memory that it has freed: only a fresh process shows what steps need.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_measured, *arguments).result()


class Cost(NamedTuple):
    """Cost of a training."""

    seconds: float  # per step
    memory: int  # largest use, bytes


def _measured(case: Case, store: Path, steps: int, through_compiler: bool) -> Cost:
    device = Device()
    seconds = 0.0

    def train() -> None:
        nonlocal seconds
        network, stars = make_network(case, store, device.torch)
        step = our_step(case, compiled(network) if through_compiler else network, stars)
        seconds = device.seconds(_repeated(step, steps), 3) / steps

    memory = device.peak_memory(train)
    return Cost(seconds, memory)


def _repeated(step: Callable, steps: int) -> Callable[[], None]:
    def turn() -> None:
        for _ in range(steps):
            step()

    return turn


def training(bench: Benchmark, case: Case) -> None:
    """Compare SpectraFM's step with a plain one, in labels trained per second."""
    differences = prove_equal(case.model, case.stage.sampling.tokens)
    print(f"{case.name}: same loss to {differences[0]:.0e}, same gradients to {differences[1]:.0e}")
    batch, device = case.stage.batch, bench.device.torch
    network, stars = make_network(case, bench.store, device)
    steps = bench.scale.steps[case.name]
    ours = _repeated(our_step(case, network, stars), steps)
    centre, scale = network.label_centre.cpu().numpy(), network.label_scale.cpu().numpy()

    def plain(in_memory: bool) -> PlainTraining:
        read = StarsOfStore(bench.store, case.stage, centre, scale, in_memory)
        return PlainTraining(plain_copy(network), read, case.stage, bench.scale.workers)

    ways = {
        "spectrafm": ours,
        "plain PyTorch, Zarr DataLoader": plain(in_memory=False).step,
        "plain PyTorch, stars in memory": plain(in_memory=True).step,
    }
    amounts = dict.fromkeys(ways, batch) | {"spectrafm": batch * len(LABELS) * steps}
    title = f"training, {case.name}, {case.stage.sampling.tokens} pixels, batch {batch}"
    faster = bench.compare(title, ways, amounts, "labels")
    bench.judge(f"training, {case.name}", faster["plain PyTorch, Zarr DataLoader"], title)


def switched_off(bench: Benchmark, case: Case) -> None:
    """Compare SpectraFM's step with variants that change one thing, each with its own network."""
    device = bench.device.torch

    def step(
        case: Case = case, wrap: Callable[[nn.Module], nn.Module] | None = None, change=None
    ) -> Callable:
        network, stars = make_network(case, bench.store, device)
        wrapped = network if wrap is None else wrap(network)
        return _repeated(our_step(case, wrapped, stars, change), bench.scale.steps[case.name])

    other = "float32" if bench.device.is_gpu else "bfloat16"
    dropout = 0.0 if case.model.dropout else paper_case().model.dropout
    ways = {
        "as it is": step(),
        other: step(case.with_precision(other)),
        "keys and values projected": step(wrap=with_projected_attention),
        "one label a pass": step(wrap=OneLabelAPass),
        "for-loop AdamW": step(change=for_loop_optimizer),
        "with a mask": step(wrap=with_masked_attention),
        f"dropout {dropout:g}": step(case.with_model(dropout=dropout)),
    }
    if bench.compiled:
        ways["torch.compile"] = step(wrap=compiled)
    amount = case.stage.batch * bench.scale.steps[case.name]
    title = f"one thing changed, {case.name}, batch {case.stage.batch}"
    bench.compare(title, ways, amount, "chunks")


def drawing(bench: Benchmark, case: Case) -> None:
    """Compare batches drawn on the device with a DataLoader over the same tensor."""
    _, stars = make_network(case, bench.store, bench.device.torch)
    _, in_memory = make_network(case, bench.store, torch.device("cpu"))
    sampling = case.stage.sampling.model_copy(update={"scheme": "scattered"})
    rows = torch.arange(case.stage.batch, device=bench.device.torch)
    loader = DrawnOneByOne(in_memory, sampling).loader(case.stage.batch)
    batches = iter(loader)

    def loaded() -> list[Tensor]:
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(loader)
            batch = next(batches)
        return [part.to(bench.device.torch) for part in batch]

    ways = {
        "draw_batch": lambda: draw_batch(stars, rows, sampling, 0, 0, 0),
        "DataLoader, same tensor": loaded,
    }
    title = f"making a batch, {case.name}, batch {case.stage.batch}"
    bench.compare(title, ways, case.stage.batch, "chunks")


def cross_attention(bench: Benchmark, heads: Sequence[int]) -> None:
    """Compare folded cross-attention with PyTorch's, of five requests to 512 tokens.

    In folded attention each head reads all components of a token, so that fewer heads gain more:
    counted in operations, 3.2 times with 16 heads, 6.4 with 8, 12.8 with 4, and 5.5 with one block
    of each.
    """
    torch.manual_seed(0)
    device, stars = bench.device.torch, 512 if bench.device.is_gpu else 16
    folded = [CrossAttention(256, number, dropout=0.0).to(device) for number in heads]
    plain = [ProjectedAttention(block) for block in folded]
    x = torch.randn(stars, 512, 256, device=device, requires_grad=True)
    request = torch.randn(stars, 5, 256, device=device, requires_grad=True)

    def answer(blocks: Sequence[nn.Module]) -> Tensor:
        return torch.stack([block(request, x)[0] for block in blocks])

    answers = [answer(blocks) for blocks in (folded, plain)]
    gradients_of_x = [torch.autograd.grad(found.sum(), x)[0] for found in answers]
    torch.testing.assert_close(*answers, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(*gradients_of_x, rtol=0, atol=TOLERANCE)

    in_bfloat16 = torch.autocast(device.type, torch.bfloat16, enabled=bench.device.is_gpu)

    @torch.no_grad()
    def forward(blocks: Sequence[nn.Module]) -> None:
        with in_bfloat16:
            answer(blocks)

    def both(blocks: Sequence[nn.Module]) -> None:
        with in_bfloat16:
            found = answer(blocks)
        found.sum().backward()

    for name, way in (("forward", forward), ("forward + backward", both)):
        ways = {
            "folded": lambda way=way: way(folded),
            "nn.MultiheadAttention": lambda way=way: way(plain),
        }
        title = f"cross-attention, {name}, {' + '.join(map(str, heads))} heads"
        faster = bench.compare(title, ways, stars, "chunks", 3 * bench.scale.rounds)
        bench.judge(f"cross-attention, {name}", faster["nn.MultiheadAttention"], title)


def inference(bench: Benchmark, case: Case) -> None:
    """Compare inference of whole spectra, all chunks and labels together, with one at a time."""
    device = bench.device.torch
    network, _ = make_network(case, bench.store, device)
    plain = plain_copy(network).eval()
    everyone = load_stars(bench.store, "synthetic", None, case.stage.windows)
    flux, wavelength = everyone.flux[: bench.scale.spectra], everyone.wavelength
    chunks = network.contexts(wavelength, case.stage.windows, case.stage.sampling.tokens)
    grid = torch.from_numpy(wavelength).to(device)
    one_star = torch.from_numpy(flux[:1]).to(device)
    labels = torch.arange(len(LABELS), device=device).split(1)

    def ours() -> tuple[Tensor, Tensor]:
        return infer(network, flux, wavelength, LABELS, chunks)

    @torch.no_grad()
    def encoder_once() -> list[Tensor]:
        answers = []
        for chunk in chunks:
            tokens = plain.perceive(one_star[:, chunk], grid[None, chunk])
            answers += [plain.request(tokens, label)[0].cpu() for label in labels]
        return answers

    @torch.no_grad()
    def whole_passes() -> list[Tensor]:
        return [
            plain(one_star[:, chunk], grid[None, chunk], label)[0].cpu()
            for chunk in chunks
            for label in labels
        ]

    # Both ways must give the same answers, chunk by chunk, before they are timed.
    expected = torch.stack(encoder_once()).view(len(chunks), len(LABELS))
    network.eval()
    with torch.no_grad():
        found = [network(one_star[:, c], network.encoding(grid[c])).mean.cpu() for c in chunks]
    torch.testing.assert_close(torch.cat(found), expected, rtol=0, atol=10 * TOLERANCE)
    ways = {
        "infer": ours,
        "one label at a time, encoder once": encoder_once,
        "one label at a time": whole_passes,
    }
    amounts = dict.fromkeys(ways, 1.0) | {"infer": float(len(flux))}
    title = f"inference, {case.name}, {len(chunks)} chunks x {len(LABELS)} labels"
    faster = bench.compare(title, ways, amounts, "stars")
    for name in list(ways)[1:]:
        bench.judge("inference", faster[name], f"inference against {name}")


def throughput(bench: Benchmark, cases: Sequence[Case]) -> dict[str, float]:
    """Measure speed, operations and memory; return chunks/s of each case."""
    lines = [("", "chunks/s", "labels/s", "GFLOP/chunk", "TFLOP/s", "GB")]
    best = {}
    for case in cases:
        work = sum(operations(case.model, case.stage.sampling.tokens))
        for batch in bench.scale.throughput[case.name]:
            for through_compiler in (False, True) if bench.compiled else (False,):
                cost = bench.measured(case.with_batch(batch), through_compiler)
                rate = batch / cost.seconds
                best[case.name] = max(rate, best.get(case.name, 0.0))
                lines.append(
                    (
                        f"{case.name}, batch {batch}{', compiled' if through_compiler else ''}",
                        f"{rate:.4g}",
                        f"{rate * len(LABELS):.4g}",
                        f"{work / 1e9:.3f}",
                        f"{rate * work / 1e12:.4g}",
                        f"{cost.memory / 1e9:.2f}",
                    )
                )
    bench.show("throughput of training", lines)
    return best


def share_of_product(bench: Benchmark, case: Case) -> None:
    """Compare the operations per second of a step with those of a large matrix product, in turns.

    The speed of a shared processor changes between two measurements by more than the share does.
    """
    device = bench.device
    where = "a GPU" if device.is_gpu else "one core"
    lines = [("", "batch", "% of the matrix product")]
    for dropout in (case.model.dropout, 0.0):
        for batch in bench.scale.throughput[case.name]:
            trial = case.with_model(dropout=dropout).with_batch(batch)
            network, stars = make_network(trial, bench.store, device.torch)
            steps = bench.scale.steps[case.name]
            product, operations_of_product = device.matmul(device.precision)
            chunk = sum(operations(trial.model, trial.stage.sampling.tokens))
            ways = {"step": _repeated(our_step(trial, network, stars), steps), "product": product}
            amounts = {"step": steps * batch * chunk, "product": operations_of_product}
            timings = sidebyside(ways, bench.scale.rounds, finish=device.finish)
            share = 100 * ratio(timings, "step", "product", device.clock, amounts)
            lines.append((f"dropout {dropout:g}", str(batch), f"{share:.1f}"))
            if dropout == case.model.dropout:
                name = f"% of the matrix product, {where}"
                bench.judge(name, share, f"{name}, batch {batch}")
    bench.show("training beside a matrix product, paper's network", lines)


def growth(bench: Benchmark, case: Case) -> None:
    """Measure how a step's cost grows with pixels, batch and dimension.

    The network has no dropout, which on a CPU writes the attention scores to memory.
    """
    case = case.with_model(dropout=0.0)
    trials = {}
    for tokens, batch in bench.scale.tokens.items():
        trials[f"{tokens} pixels, batch {batch}"] = case.with_tokens(tokens).with_batch(batch)
    for batch in bench.scale.batches:
        trials[f"batch {batch}"] = case.with_batch(batch)
    for dimension in (64, 128, 256):
        trial = sized(case, dimension).with_batch(bench.scale.tokens[512])
        trials[f"dimension {dimension}, batch {trial.stage.batch}"] = trial
    lines = [("", "chunks/s", "GFLOP/chunk", "GFLOP/s", "pixels/s")]
    for name, trial in trials.items():
        tokens = trial.stage.sampling.tokens
        rate = trial.stage.batch / bench.measured(trial).seconds
        work = sum(operations(trial.model, tokens)) / 1e9
        figures = (f"{rate:.4g}", f"{work:.3f}", f"{rate * work:.4g}", f"{rate * tokens:.4g}")
        lines.append((name, *figures))
    bench.show("growth, paper's network without dropout", lines)


def roofline(bench: Benchmark, case: Case, rate: float, peak: float, bandwidth: float) -> None:
    """Compare the speed reached with the machine's bounds; give the time of a pre-training."""
    work = sum(operations(case.model, case.stage.sampling.tokens))
    moved = CHUNK_BYTES * bench.device.precision.itemsize / torch.bfloat16.itemsize
    by_work, by_bytes = peak / work, bandwidth / moved
    bound = min(by_work, by_bytes)
    hours = [PAPER_CHUNKS / speed / 3600 for speed in (rate, bound)]
    lines = [
        ("", "chunks/s", f"hours for {PAPER_CHUNKS / 1e6:.2f} M chunks"),
        (
            f"bound by {work / 1e9:.2f} GFLOP a chunk, {peak / 1e12:.4g} TFLOP/s",
            f"{by_work:.5g}",
            "",
        ),
        (
            f"bound by {moved / 1e6:.0f} MB a chunk, {bandwidth / 1e9:.4g} GB/s",
            f"{by_bytes:.5g}",
            "",
        ),
        ("the lower of the two", f"{bound:.5g}", f"{hours[1]:.3g}"),
        (f"measured, {100 * rate / bound:.1f} % of it", f"{rate:.5g}", f"{hours[0]:.3g}"),
        ("paper, one of four A100", f"{PAPER_CHUNKS_PER_SECOND}", f"{PAPER_GPU_HOURS}"),
    ]
    bench.show(f"roofline, paper's network on {bench.device}", lines)
    if bench.device.is_gpu:
        bench.judge("chunks/s, paper", rate)


def main() -> None:
    """Run the whole benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--compile", action="store_true", help="time torch.compile on a CPU too")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/training.json"))
    given = parser.parse_args()
    device = Device()
    scale = ON_GPU if device.is_gpu else ON_CORE
    if given.quick:
        scale = scale._replace(**QUICK)
    peaks = {kind: device.matmul_peak(kind) for kind in (torch.float32, torch.bfloat16)}
    bandwidth = device.copy_bandwidth()
    print(
        f"{device}, torch {torch.__version__}: matrix products "
        f"{peaks[torch.float32] / 1e12:.4g} TFLOP/s in float32, "
        f"{peaks[torch.bfloat16] / 1e12:.4g} in bfloat16; copies {bandwidth / 1e9:.4g} GB/s\n"
    )
    cases = [case.with_batch(scale.batch[case.name]) for case in (paper_case(), demo_case())]
    paper = cases[0]
    with tempfile.TemporaryDirectory() as folder:
        store = write_toy_store(Path(folder) / "store.zarr", toy_stars(scale.stars))
        bench = Benchmark(device, scale, store, device.is_gpu or given.compile)
        bench.facts |= {"device": str(device), "bandwidth": bandwidth}
        bench.facts["peaks"] = {str(kind): peak for kind, peak in peaks.items()}
        for case in cases:
            training(bench, case)
        for case in cases:
            switched_off(bench, case.with_batch(scale.changed[case.name]))
        drawing(bench, paper)
        heads = [block.heads for block in paper.model.decoder]
        for blocks in (*([number] for number in heads), heads):
            cross_attention(bench, blocks)
        inference(bench, paper)
        rates = throughput(bench, cases)
        share_of_product(bench, paper)
        growth(bench, paper)
        roofline(bench, paper, rates["paper"], peaks[device.precision], bandwidth)
    print("\n".join(bench.judged))
    write_timings(given.output, bench.timings, judged=bench.judged, **bench.facts)


if __name__ == "__main__":
    main()
