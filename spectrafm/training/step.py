"""One training step: draw, request, loss, gradients, update, without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from spectrafm.networks.base import Answer
from spectrafm.training.batch import Batch, draw_batch
from spectrafm.training.objective import gaussian_loss
from spectrafm.training.options import Stage
from spectrafm.training.processes import ALONE, Processes
from spectrafm.training.replay import Replay
from spectrafm.training.sampling import seed_for
from spectrafm.training.stars import DeviceStars


class Tally(NamedTuple):
    """Sums over steps, each a scalar on the device, which the training loop reads rarely."""

    loss: Tensor  # sum over the present epoch's steps that counted
    steps: Tensor  # how many these were
    skipped: Tensor  # steps with a non-finite loss or gradient, of the whole training
    in_a_row: Tensor  # how many of them have followed each other up to now
    longest: Tensor  # the longest such row

    @classmethod
    def zero(cls, device: torch.device) -> Tally:
        """A tally of zeros."""
        return cls(*(torch.zeros((), device=device) for _ in cls._fields))

    def add(self, loss: Tensor, finite: Tensor) -> Tally:
        """The tally after one more step."""
        in_a_row = torch.where(finite, 0.0, self.in_a_row + 1)
        return Tally(
            loss=self.loss + torch.where(finite, loss, 0.0),
            steps=self.steps + finite,
            skipped=self.skipped + ~finite,
            in_a_row=in_a_row,
            longest=torch.maximum(self.longest, in_a_row),
        )

    def next_epoch(self) -> Tally:
        """The tally with its sums over the epoch reset to 0."""
        return self._replace(loss=torch.zeros_like(self.loss), steps=torch.zeros_like(self.steps))


class Learner:
    """A network with its optimizer and training stars, which does training steps.

    Parameters
    ----------
    stage : spectrafm.training.options.Stage
    network : Network
        Trained in place.
    request : Tensor, shape (R,), int
        The network's labels that the stage trains.
    stars : DeviceStars
    processes : Processes
        The processes that share each step.
    replay : Replay, optional
        Other spectra beside the training stars of each step.

    Attributes
    ----------
    optimizer : torch.optim.Optimizer
    tally : Tally
    """

    def __init__(
        self,
        stage: Stage,
        network: nn.Module,
        request: Tensor,
        stars: DeviceStars,
        processes: Processes = ALONE,
        replay: Replay | None = None,
    ):
        self.stage, self.network, self.request = stage, network, request
        self.stars, self.processes, self.replay = stars, processes, replay
        self.device = stars.flux.device
        self.optimizer = _optimizer(network, stage)
        self.tally = Tally.zero(self.device)
        self._trained = [p for p in network.parameters() if p.requires_grad]
        self._network = processes.wrap(_compiled(network, stage.compile, self.device))

    def step(self, rows: Tensor, step: int, epoch: int, learning_rate: float) -> None:
        """Do one training step, a function of weights, moments, seed and step alone.

        A step whose loss or gradient is not finite changes nothing and is counted as skipped. The
        device decides this by itself, since reading the loss back would make the host wait.

        Parameters
        ----------
        rows : Tensor, shape (B,), int
            Stars of the step, of all processes together.
        step, epoch : int
            Numbers of the step and of its epoch, counted from 0.
        learning_rate : float
        """
        stage, processes = self.stage, self.processes
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        # Each process has its share of the sum: their average, times their number, is the mean.
        batch, each = self._losses(self._network, rows, step, epoch, processes)
        share = each.sum() / batch.count.clamp(min=1)
        (share * processes.count).backward()
        loss = processes.sum(share.detach())
        norm = nn.utils.get_total_norm([p.grad for p in self._trained if p.grad is not None])
        if stage.clip is not None:
            nn.utils.clip_grads_with_norm_(self._trained, stage.clip, norm)
        finite = loss.isfinite() & norm.isfinite()
        self.optimizer.found_inf = (~finite).float()
        self.optimizer.step()
        self.tally = self.tally.add(loss, finite)

    @torch.no_grad()
    def offenders(self, rows: Tensor, step: int, epoch: int) -> Tensor:
        """Rows of a step's stars whose own loss is not finite with the present weights."""
        self.network.train()
        _, each = self._losses(self.network, rows, step, epoch, ALONE)
        return rows[~each[: len(rows)].sum(dim=1).isfinite()]

    def _losses(
        self, network: nn.Module, rows: Tensor, step: int, epoch: int, processes: Processes
    ) -> tuple[Batch, Tensor]:
        """Draw the batch of a step and compute each label's loss, shape (B, R)."""
        stage = self.stage
        stars = self.stars
        if self.replay is not None:
            stars = self.replay.beside(stars, rows, step)
            rows = torch.arange(len(stars), device=self.device)
        batch = draw_batch(stars, rows, stage.sampling, stage.seed, step, epoch, processes)
        # Dropout draws from the global generator, which is seeded for the step as well. Processes
        # show different stars and need different masks.
        purpose = "dropout" if processes.first else f"dropout of process {processes.rank}"
        torch.manual_seed(seed_for(stage.seed, purpose, step))
        with _precision(stage.precision, self.device), _attention_kernels(stage.deterministic):
            answer = request_labels(network, len(self.network.labels), batch, self.request)
        return batch, gaussian_loss(answer, batch.label, batch.label_error, batch.requested)


def request_labels(
    forward: Callable[..., Answer], known_labels: int, batch: Batch, request: Tensor
) -> Answer:
    """Run a network on a batch and request the stage's labels.

    Parameters
    ----------
    forward : callable
        The network or a wrapper of it (compiled, distributed over processes).
    known_labels : int
        Number of labels that the network knows.
    batch : Batch
    request : Tensor, shape (R,), int
        Indices of the stage's labels among those that the network knows.
    """
    known = batch.known
    if known is not None:
        every = known.new_full((len(known), known_labels), torch.nan)
        every[:, request] = known
        known = every
    inputs = {} if batch.inputs is None else {"inputs": batch.inputs}
    return forward(batch.flux, batch.position, batch.missing, request, known, batch.error, **inputs)


def _optimizer(network: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[stage.optimizer]
    return kind(trained, lr=1.0, weight_decay=stage.weight_decay, fused=True)


def _compiled(network: nn.Module, when: str, device: torch.device) -> nn.Module:
    """Compile the network where the option is ``always``, or ``auto`` on a GPU with triton."""
    able = device.type == "cuda" and find_spec("triton") is not None
    if when == "never" or (when == "auto" and not able):
        return network
    # With `auto`, a failed compilation (no C compiler on the node, say) falls back to eager mode,
    # with a warning.
    torch._dynamo.config.suppress_errors = when == "auto"
    return torch.compile(network, dynamic=False)


def _precision(precision: str, device: torch.device) -> AbstractContextManager:
    """Context of the forward pass: bfloat16 where set, or with ``auto`` on a GPU that has it."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "bfloat16" or (precision == "auto" and able):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def _attention_kernels(deterministic: bool) -> AbstractContextManager:
    """Context of the attention kernels: the memory-efficient one has no repeatable gradient."""
    if deterministic:
        return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])
    return nullcontext()
