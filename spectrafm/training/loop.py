"""The training loop: steps, validation, checkpoints, and the choice of the weights to keep."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectrafm.errors import InterruptedTraining, SpectraFMError
from spectrafm.networks.base import ClosedForm, Extrapolation, Network
from spectrafm.progress import track
from spectrafm.training import checkpoint
from spectrafm.training.checkpoint import Checkpoints
from spectrafm.training.interruption import Interruption
from spectrafm.training.options import Stage
from spectrafm.training.processes import ALONE, Processes
from spectrafm.training.replay import Replay
from spectrafm.training.sampling import generator_for
from spectrafm.training.schedule import rate_of_step
from spectrafm.training.stars import DeviceStars
from spectrafm.training.step import Learner, Tally
from spectrafm.training.validation import validate

logger = logging.getLogger(__name__)

#: Shortest time between two checkpoints, seconds.
CHECKPOINT_INTERVAL = 60.0

#: Steps between two reads from the device (and exchanges between processes): after each read a GPU
#: is idle for a moment.
READ_EVERY = 10

#: Number of consecutive skipped steps that stops a training.
SKIPPED_IN_A_ROW = 10


class Training:
    """A training in progress: everything that changes from step to step.

    Parameters
    ----------
    name : str
    stage : spectrafm.training.options.Stage
    network : Network
        Trained in place; holds the chosen weights once `fit` returns.
    request : Tensor, shape (R,), int
        The network's labels that the stage trains.
    stars, validation_stars : DeviceStars
    processes : Processes
        The processes that train together.
    replay : Replay, optional
        Other spectra beside the training stars of each step.

    Attributes
    ----------
    step : int
        Steps completed. Stars and pixels of the next step are a function of this number alone.
    epoch : int
        Epochs completed.
    metrics : list of dict
        One row a validation, as written to ``metrics.csv``.
    options : dict
        Options that identify the training among those of its stage.
    environments : list of dict
        Where the training ran: the first from step 0, others where it resumed elsewhere.
    start : dict of str to Tensor, or None
        Weights before the first step, where the trained ones are averaged with them.
    averaged_loss : float or None
        Validation loss of the averaged weights.
    extrapolation : Extrapolation or None
        Correction of the answers for their pull towards the mean.
    skipped : int
        Steps without a finite loss or gradient, which changed nothing, as last read from the
        device.
    """

    def __init__(
        self,
        name: str,
        stage: Stage,
        network: Network,
        request: Tensor,
        stars: DeviceStars,
        validation_stars: DeviceStars,
        processes: Processes = ALONE,
        replay: Replay | None = None,
    ):
        self.name, self.stage, self.network, self.request = name, stage, network, request
        self.stars, self.validation_stars, self.processes = stars, validation_stars, processes
        # A closed form takes no steps.
        closed = isinstance(network, ClosedForm)
        self.learner = None
        if not closed:
            self.learner = Learner(stage, network, request, stars, processes, replay)
        self.steps_per_epoch = -(-len(stars) // stage.batch)
        self.step = 0
        self.epoch = 0
        self.skipped = 0
        self.best_criterion = math.inf
        self.best_epoch = 0
        self.best = checkpoint.copy_of(network)
        averages = getattr(stage.average, "with") == "start"
        self.start = checkpoint.copy_of(network) if averages else None
        self.averaged_loss: float | None = None
        self.extrapolation: Extrapolation | None = None
        self.metrics: list[dict[str, float]] = []
        self.options: dict[str, Any] = {}
        self.environments: list[dict[str, Any]] = []
        self._shuffled: tuple[int, Tensor] | None = None

    def fit(self, checkpoints: Checkpoints | None = None) -> None:
        """Train to the last epoch, or until validation no longer improves; keep the best.

        Parameters
        ----------
        checkpoints : Checkpoints, optional
            Where to write checkpoints: every minute, and when a signal stops the training.

        Raises
        ------
        InterruptedTraining
            When a signal has stopped the training.
        SpectraFMError
            When too many steps in a row are not finite, the processes' weights drift apart, or no
            validation gives a finite criterion.
        """
        with Interruption(self.processes, self.stars.flux.device) as interruption:
            try:
                self._train(interruption, checkpoints)
            except InterruptedTraining as stopped:
                raise self._stopped(stopped, checkpoints) from None
        if self.stage.selection == "last":
            self.best, self.best_epoch = checkpoint.copy_of(self.network), self.epoch
        if not self.best_epoch:
            raise SpectraFMError(
                f"stage {self.name}: no validation gave a finite {self.stage.selection}: "
                "try a smaller schedule.learning_rate"
            )
        self.network.load_state_dict(self.best)
        if self.start is not None:
            self._average()

    def solve(self) -> None:
        """Fit a network that has a closed form, once, and validate it; keep that of a twin.

        Raises
        ------
        SpectraFMError
            When the fit gives no finite validation loss.
        """
        with Interruption(self.processes, self.stars.flux.device) as interruption:
            if isinstance(self.network, ClosedForm):
                self.network.fit(self.stars, self.request, self.stage.sampling.noise)
            self.step = self.epoch = 1
            loss, _ = self._loss_and_rmse(self.stars, interruption)
            self._validate(1, loss, interruption)
        self.best, self.best_epoch = checkpoint.copy_of(self.network), 1
        if not math.isfinite(self.metrics[-1]["validation_loss"]):
            raise SpectraFMError(f"stage {self.name}: the fit gives no finite validation loss")

    def _average(self) -> None:
        """Average the chosen weights with those of the start, and validate the average."""
        weight = self.stage.average.weight
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.lerp(self.start[name], value, weight))
        with Interruption(self.processes, self.stars.flux.device) as interruption:
            self.averaged_loss, _ = self._loss_and_rmse(self.validation_stars, interruption)
        logger.info(
            "%s: averaged with the start, %g of the trained weights: validation_loss %.5g",
            self.name, weight, self.averaged_loss,
        )  # fmt: skip

    def state(self) -> checkpoint.State:
        """State of the training, from which `restore` resumes it."""
        tensors = {
            **checkpoint.with_prefix("network", self.network.state_dict()),
            **checkpoint.with_prefix("best", self.best),
            **checkpoint.with_prefix("tally", self.learner.tally._asdict()),
            **checkpoint.optimizer_tensors(self.learner.optimizer),
        }
        return checkpoint.State(tensors, {fact: getattr(self, fact) for fact in _FACTS})

    def restore(self, state: checkpoint.State) -> None:
        """Restore the training to the step at which ``state`` was taken."""
        device = self.stars.flux.device
        self.network.load_state_dict(checkpoint.without_prefix("network", state.tensors))
        best = checkpoint.without_prefix("best", state.tensors)
        self.best = {name: value.to(device) for name, value in best.items()}
        tally = checkpoint.without_prefix("tally", state.tensors)
        self.learner.tally = Tally(**{name: value.to(device) for name, value in tally.items()})
        checkpoint.restore_optimizer(self.learner.optimizer, state.tensors)
        for fact in _FACTS:
            setattr(self, fact, state.facts[fact])

    def _train(self, interruption: Interruption, checkpoints: Checkpoints | None) -> None:
        steps = range(self.step, self.stage.epochs * self.steps_per_epoch)
        saved = time.monotonic()
        self._end_epoch_if_due(interruption)
        logged = track(steps, f"training {self.name}", unit="step")
        for _ in logged if self.processes.first else steps:
            if self._out_of_patience():
                logger.info(
                    "%s: stopped after epoch %d: no better validation since epoch %d",
                    self.name, self.epoch, self.best_epoch,
                )  # fmt: skip
                break
            self.train_step()
            self._end_epoch_if_due(interruption)
            if checkpoints is not None and time.monotonic() - saved > CHECKPOINT_INTERVAL:
                self._save(checkpoints)
                saved = time.monotonic()
            self._look_around(interruption)

    def train_step(self) -> None:
        """Do the next step."""
        epoch = self.step // self.steps_per_epoch
        rate = rate_of_step(self.stage.schedule, self.step, self.steps_per_epoch)
        self.learner.step(self._rows(self.step), self.step, epoch, rate)
        self.step += 1

    def _last_rate(self) -> float:
        """Learning rate that the last step used; NaN for a closed form."""
        if self.learner is None:
            return math.nan
        return rate_of_step(self.stage.schedule, self.step - 1, self.steps_per_epoch)

    def _rows(self, step: int) -> Tensor:
        """Rows of a step's stars, of all processes together."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if self._shuffled is None or self._shuffled[0] != epoch:
            device = self.stars.flux.device
            generator = generator_for(device, self.stage.seed, "stars", epoch)
            order = torch.randperm(len(self.stars), generator=generator, device=device)
            self._shuffled = epoch, order
        start = number * self.stage.batch
        return self._shuffled[1][start : start + self.stage.batch]

    def _look_around(self, interruption: Interruption) -> None:
        """Read the tally every `READ_EVERY` steps; check for signals."""
        rarely = self.step % READ_EVERY == 0
        if rarely:
            self._read_tally()
        if rarely or self.processes.count == 1:
            interruption.check()

    def _read_tally(self) -> None:
        tally = self.learner.tally
        self.skipped = int(tally.skipped)
        if tally.longest >= SKIPPED_IN_A_ROW:
            raise SpectraFMError(
                f"stage {self.name}: {SKIPPED_IN_A_ROW} steps in a row gave no finite loss or "
                f"gradient, before step {self.step}: {self._offenders()}"
            )

    def _offenders(self) -> str:
        """Name the stars of the last steps whose loss is not finite."""
        first = max(self.step - READ_EVERY - SKIPPED_IN_A_ROW, 0)
        shown, found = [], []
        for step in range(first, self.step):
            rows = self._rows(step)
            shown.append(rows)
            found.append(self.learner.offenders(rows, step, step // self.steps_per_epoch))
        bad, every = (np.unique(torch.cat(rows).cpu()) for rows in (found, shown))
        if len(bad) in (0, len(every)):
            return "no single star causes it; try a smaller schedule.learning_rate"
        names = self.stars.apogee_id[bad]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return f"look at {', '.join(names[:5])}{more} ({len(bad)} of {len(every)} stars)"

    def _end_epoch_if_due(self, interruption: Interruption) -> None:
        """Validate and log at the end of an epoch, also when a training resumes exactly there."""
        if self.step < (self.epoch + 1) * self.steps_per_epoch:
            return
        self._read_tally()
        done = self.epoch + 1
        self.processes.check_same(
            dict(self.network.named_parameters()), f"stage {self.name}, epoch {done}"
        )
        if done % self.stage.validate_every == 0 or done == self.stage.epochs:
            tally = self.learner.tally
            self._validate(done, (tally.loss / tally.steps).item(), interruption)
        self.epoch = done
        self.learner.tally = self.learner.tally.next_epoch()

    def _loss_and_rmse(
        self, stars: DeviceStars, interruption: Interruption
    ) -> tuple[float, list[float]]:
        sampling = self.stage.sampling
        return validate(self.network, stars, self.request, sampling, interruption)

    def _validate(self, epoch: int, training_loss: float, interruption: Interruption) -> None:
        """Validate, log, and keep the weights if they are the best so far."""
        stage = self.stage
        loss, rmse = self._loss_and_rmse(self.validation_stars, interruption)
        row = {
            "epoch": epoch,
            "step": self.step,
            "learning_rate": self._last_rate(),
            "training_loss": training_loss,
            "validation_loss": loss,
            "skipped_steps": self.skipped,
        }
        names = [self.network.labels[i] for i in self.request.tolist()]
        row |= {f"validation_rmse_{n}": r for n, r in zip(names, rmse, strict=True)}
        self.metrics.append(row)
        logger.info("%s: %s", self.name, ", ".join(f"{k} {v:.5g}" for k, v in row.items()))
        criterion = loss
        if stage.selection in ("validation_rmse", "painted"):
            scale = self.network.label_scale[self.request].tolist()
            criterion = sum(r / s for r, s in zip(rmse, scale, strict=True)) / len(rmse)
        if criterion < self.best_criterion:
            self.best_criterion, self.best_epoch = criterion, epoch
            self.best = checkpoint.copy_of(self.network)

    def _out_of_patience(self) -> bool:
        stage = self.stage
        if stage.patience is None or not self.best_epoch:
            return False
        return self.epoch - self.best_epoch >= stage.patience * stage.validate_every

    def _save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint in the first process; all processes hold the same state."""
        if self.processes.first:
            path = checkpoints.save(self.state())
            logger.info("%s: checkpoint after step %d: %s", self.name, self.step, path)

    def _stopped(
        self, stopped: InterruptedTraining, checkpoints: Checkpoints | None
    ) -> InterruptedTraining:
        """Write a checkpoint; return the exception with stage, step and checkpoint folder."""
        kept = ""
        if checkpoints is not None:
            self._save(checkpoints)
            kept = f"; the same command resumes from its checkpoint in {checkpoints.folder}"
        return InterruptedTraining(f"stage {self.name}: {stopped} after step {self.step}{kept}")


#: Attributes of `Training` that a checkpoint holds as plain values.
_FACTS = (
    "step",
    "epoch",
    "skipped",
    "best_criterion",
    "best_epoch",
    "metrics",
    "options",
    "environments",
)
