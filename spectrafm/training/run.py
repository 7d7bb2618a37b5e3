"""The training loop: steps, validation, checkpoints, and which weights are kept."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from spectrafm import config
from spectrafm.files import SpectraFMError
from spectrafm.model.spectrafm import Answer
from spectrafm.progress import track
from spectrafm.training import checkpoint
from spectrafm.training.batch import Batch, draw_batch, draw_fixed_batch
from spectrafm.training.loss import gaussian_loss
from spectrafm.training.sampling import generator_for, seed_for
from spectrafm.training.schedule import learning_rate
from spectrafm.training.stars import DeviceStars

logger = logging.getLogger(__name__)

#: Stars per batch where no gradients are needed.
VALIDATION_BATCH = 256

#: Seconds between two checkpoints, at least.
CHECKPOINT_INTERVAL = 60.0


class Run:
    """A training under way: everything that changes from step to step.

    Parameters
    ----------
    name : str
    stage : spectrafm.config.Stage
    network : SpectraFM or FCNN
        Trained in place; holds the chosen weights once `fit` returns.
    request : Tensor, shape (R,), int
        The network's labels that the stage trains.
    stars, judged : DeviceStars
        Training and validation stars.
    """

    def __init__(
        self,
        name: str,
        stage: config.Stage,
        network: nn.Module,
        request: Tensor,
        stars: DeviceStars,
        judged: DeviceStars,
    ):
        self.name, self.stage, self.network, self.request = name, stage, network, request
        self.stars, self.judged = stars, judged
        self.optimizer = _optimizer(network, stage)
        self.epoch = 0
        self.step = 0
        self.best_criterion = math.inf
        self.best_epoch = 0
        self.best = checkpoint.copy_of(network)
        self.metrics: list[dict[str, float]] = []

    def fit(self, path: Path | None) -> None:
        """Train to the last epoch, or until validation no longer improves; keep the best.

        Parameters
        ----------
        path : Path, optional
            Where to write checkpoints.
        """
        stage = self.stage
        last_saved = time.monotonic()
        for _ in track(range(self.epoch, stage.epochs), f"training {self.name}"):
            if self._out_of_patience():
                logger.info(
                    "%s: stopped after epoch %d: no better one since", self.name, self.epoch
                )
                break
            loss = self._train_epoch()
            self.epoch += 1
            if self.epoch % stage.validate_every == 0 or self.epoch == stage.epochs:
                self._judge(loss)
            if path is not None and time.monotonic() - last_saved > CHECKPOINT_INTERVAL:
                checkpoint.save(path, self._state())
                last_saved = time.monotonic()
        if stage.selection == "last":
            self.best, self.best_epoch = checkpoint.copy_of(self.network), self.epoch
        if not self.best_epoch:
            raise SpectraFMError(
                f"stage {self.name}: no validation gave a finite {stage.selection}: "
                "have the validation stars the stage's labels?"
            )
        self.network.load_state_dict(self.best)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one."""
        state = checkpoint.load(path)
        if state is None:
            if path.exists():
                logger.warning("%s: %s cannot be read: starting anew", self.name, path)
            return
        self.network.load_state_dict(checkpoint.without_prefix("network", state.tensors))
        self.best = checkpoint.without_prefix("best", state.tensors)
        checkpoint.restore_optimizer(self.optimizer, state.tensors)
        for fact, value in state.facts.items():
            setattr(self, fact, value)
        logger.info("%s: resumed after epoch %d from %s", self.name, self.epoch, path)

    def _state(self) -> checkpoint.State:
        tensors = {
            **checkpoint.with_prefix("network", self.network.state_dict()),
            **checkpoint.with_prefix("best", self.best),
            **checkpoint.optimizer_tensors(self.optimizer),
        }
        facts = ("epoch", "step", "best_criterion", "best_epoch", "metrics")
        return checkpoint.State(tensors, {fact: getattr(self, fact) for fact in facts})

    def _train_epoch(self) -> float:
        """One pass over the stars; the mean loss of its steps."""
        stage, device = self.stage, self.stars.flux.device
        shuffled = torch.randperm(
            len(self.stars),
            generator=generator_for(device, stage.seed, "stars", self.epoch),
            device=device,
        )
        batches = shuffled.split(stage.batch)
        total = torch.zeros((), device=device)
        self.network.train()
        for number, rows in enumerate(batches):
            rate = learning_rate(stage.schedule, self.epoch + (number + 1) / len(batches))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            total += self._train_step(rows)
        loss = (total / len(batches)).item()
        if not math.isfinite(loss):
            raise SpectraFMError(
                f"stage {self.name}: loss became {loss} in epoch {self.epoch + 1}; "
                "try a smaller schedule.learning_rate"
            )
        return loss

    def _train_step(self, rows: Tensor) -> Tensor:
        stage = self.stage
        batch = draw_batch(self.stars, rows, stage.sampling, stage.seed, self.step, self.epoch)
        # Dropout draws from the global generator: tie it to the step as well.
        torch.manual_seed(seed_for(stage.seed, "dropout", self.step))
        self.optimizer.zero_grad(set_to_none=True)
        with _precision(stage.precision, rows.device):
            answer = ask(self.network, batch, self.request)
        loss = gaussian_loss(answer, batch.label, batch.label_error, batch.asked)
        loss.backward()
        if stage.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), stage.clip)
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def _judge(self, training_loss: float) -> None:
        """Validate, log, and keep the weights if they are the best so far."""
        loss, rmse = validate(self.network, self.judged, self.request, self.stage.sampling)
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "training_loss": training_loss,
            "validation_loss": loss,
        }
        names = [self.network.labels[i] for i in self.request.tolist()]
        row |= {f"validation_rmse_{n}": r for n, r in zip(names, rmse, strict=True)}
        self.metrics.append(row)
        logger.info("%s: %s", self.name, ", ".join(f"{k} {v:.5g}" for k, v in row.items()))
        criterion = loss
        if self.stage.selection == "validation_rmse":
            scale = self.network.label_scale[self.request].tolist()
            criterion = sum(r / s for r, s in zip(rmse, scale, strict=True)) / len(rmse)
        if criterion < self.best_criterion:
            self.best_criterion, self.best_epoch = criterion, self.epoch
            self.best = checkpoint.copy_of(self.network)

    def _out_of_patience(self) -> bool:
        stage = self.stage
        if stage.patience is None or not self.best_epoch:
            return False
        return self.epoch - self.best_epoch >= stage.patience * stage.validate_every


def ask(network: nn.Module, batch: Batch, request: Tensor) -> Answer:
    """Show a batch to the network and ask for the stage's labels."""
    known = batch.known
    if known is not None:
        every = known.new_full((len(known), len(network.labels)), torch.nan)
        every[:, request] = known
        known = every
    return network(batch.flux, batch.position, batch.missing, request, known)


@torch.no_grad()
def validate(
    network: nn.Module, stars: DeviceStars, request: Tensor, sampling: config.Sampling
) -> tuple[float, list[float]]:
    """Loss and RMSE on stars that are not trained on, averaged over the windows.

    Returns
    -------
    loss : float
    rmse : list of float
        For each requested label, in its own unit; NaN where no star has the label.
    """
    network.eval()
    device = stars.flux.device
    losses, squares = [], []
    for batch in _validation_batches(stars, sampling):
        answer = ask(network, batch, request)
        loss = gaussian_loss(answer, batch.label, batch.label_error, batch.asked)
        losses.append(loss * batch.asked.sum())
        residual = torch.where(batch.asked, answer.mean - batch.label, torch.nan)
        squares.append(residual.square())
    square = torch.cat(squares)
    count = square.isfinite().sum().clamp(min=1)
    rmse = square.nanmean(dim=0).sqrt() * network.label_scale[request].to(device)
    return (torch.stack(losses).sum() / count).item(), rmse.tolist()


def _validation_batches(stars: DeviceStars, sampling: config.Sampling) -> Iterator[Batch]:
    every = torch.arange(len(stars), device=stars.flux.device)
    windows = stars.windows if sampling.scheme != "all" else (torch.cat(stars.windows),)
    for window in windows:
        tokens = len(window) if sampling.scheme == "all" else sampling.tokens
        for rows in every.split(VALIDATION_BATCH):
            yield draw_fixed_batch(stars, rows, window, tokens)


def _optimizer(network: nn.Module, stage: config.Stage) -> torch.optim.Optimizer:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[stage.optimizer]
    return kind(trained, lr=1.0, weight_decay=stage.weight_decay, fused=True)


def _precision(precision: str, device: torch.device):
    """The arithmetic of the forward pass: bfloat16 only where it is asked for or pays."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "bfloat16" or (precision == "auto" and able):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
