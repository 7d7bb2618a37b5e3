"""The device of a benchmark: its clock, its peak speeds, its memory."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from sidebyside import timed


class Device:
    """The processor that a benchmark runs on: a GPU where there is one.

    Attributes
    ----------
    torch : torch.device
    clock : {"cpu", "wall"}
        Clock that is read: processor time on a CPU, whose cores may be shared; wall time on a GPU.
    precision : torch.dtype
        Type of the matrix products in SpectraFM's training.
    """

    def __init__(self):
        cuda = torch.cuda.is_available()
        self.torch = torch.device("cuda" if cuda else "cpu")
        self.clock = "wall" if cuda else "cpu"
        self.precision = torch.bfloat16 if cuda else torch.float32
        if not cuda:
            torch.set_num_threads(1)

    def __str__(self) -> str:
        if self.is_gpu:
            return torch.cuda.get_device_name()
        models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        return f"one core of {models[0]}" if models else "one core"

    @property
    def is_gpu(self) -> bool:
        return self.torch.type == "cuda"

    def finish(self) -> None:
        """Wait until the GPU has finished all work."""
        if self.is_gpu:
            torch.cuda.synchronize()

    def seconds(self, way: Callable, rounds: int) -> float:
        """Median time of one run, s, after a run that warms up."""
        timed(way, self.finish)
        turns = (timed(way, self.finish) for _ in range(rounds))
        return statistics.median(getattr(turn, self.clock) for turn in turns)

    def matmul(self, dtype: torch.dtype) -> tuple[Callable[[], None], float]:
        """Prepare large matrix products; return one turn and its floating-point operations."""
        size, repeats = (8192, 10) if self.is_gpu else (2048, 1)
        a = torch.randn(size, size, device=self.torch, dtype=dtype)
        b, product = torch.randn_like(a), torch.empty_like(a)

        def turn() -> None:
            for _ in range(repeats):
                torch.mm(a, b, out=product)

        return turn, 2.0 * repeats * size**3

    def matmul_peak(self, dtype: torch.dtype, rounds: int = 15) -> float:
        """Measure the floating-point operations per second of a large matrix product."""
        turn, operations = self.matmul(dtype)
        return operations / self._fastest(turn, 1, rounds)

    def copy_bandwidth(self, rounds: int = 15) -> float:
        """Measure the bytes per second that a large copy reads and writes."""
        size, repeats = (4 << 30, 10) if self.is_gpu else (256 << 20, 1)
        source = torch.ones(size, device=self.torch, dtype=torch.uint8)
        target = torch.empty_like(source)
        return 2 * size / self._fastest(lambda: target.copy_(source), repeats, rounds)

    def _fastest(self, way: Callable, repeats: int, rounds: int) -> float:
        """Shortest time of one run, s, which is the least disturbed."""

        def turn():
            for _ in range(repeats):
                way()

        timed(turn, self.finish)
        turns = (timed(turn, self.finish) for _ in range(rounds))
        return min(getattr(turn, self.clock) for turn in turns) / repeats

    def peak_memory(self, way: Callable) -> int:
        """Largest memory of a run, bytes, beyond what is held before it."""
        if self.is_gpu:
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            way()
            self.finish()
            return torch.cuda.max_memory_allocated() - held
        held = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        way()
        return _status("VmHWM") - held


def _status(name: str) -> int:
    """Read a size of this process from ``/proc/self/status``, bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", status)[1])
