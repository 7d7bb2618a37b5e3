"""A training on invented stars that takes seconds: its options and its command line."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from making.commands import forking
from making.toy_store import WINDOWS
from spectrafm.networks.options import Model
from spectrafm.options import options as flags_of
from spectrafm.training.options import Stage

MODEL = Model(
    dimension=16,
    encoder=[{"heads": 2, "feedforward": 32}, {"heads": 2, "feedforward": 32}],
    decoder=[{"heads": 2, "feedforward": 32}],
    head=[16],
    encoding="log_wavelength",
)
#: One block each, for tests that need weights but no training.
TINY = Model(
    dimension=16,
    encoder=[{"heads": 2, "feedforward": 32}],
    decoder=[{"heads": 2, "feedforward": 32}],
    head=[16],
)
STAGE = Stage(
    spectra="synthetic",
    windows=WINDOWS,
    sampling={"scheme": "mixed", "tokens": 24, "noise": 0.005},
    epochs=3,
    batch=16,
    schedule={"learning_rate": 2e-3, "restart_epochs": 3},
)


def stage(**changes) -> Stage:
    """The toy stage with some options changed."""
    return Stage.model_validate({**STAGE.model_dump(), **changes})


def command(folder: Path, store: Path, options: Stage, model: Model) -> list[str]:
    """Arguments of ``spectrafm train`` for a stage ``x`` whose outputs are in ``folder``."""
    return [
        "train", str(store), "--name=x", f"--output={folder / 'model'}",
        f"--checkpoints={folder / 'checkpoints'}",
        *flags_of(options), *flags_of(model),
    ]  # fmt: skip


class End(NamedTuple):
    """How and when a process ended."""

    code: int  # exit code; negative: the signal that killed the process
    seconds: float  # since the command began
    seconds_after_signal: float


def _train(arguments: list[str], checkpoint_interval: float, end_state: Path, begun) -> None:
    """Body of the child process: train, and save the final state of the training."""
    from spectrafm import cli
    from spectrafm.training import loop, train
    from spectrafm.training.checkpoint import Checkpoints

    loop.CHECKPOINT_INTERVAL = checkpoint_interval
    write = train.write_model

    def writing(output, under_way, *rest) -> None:
        Checkpoints(end_state).save(under_way.state())
        write(output, under_way, *rest)

    train.write_model = writing
    begun.set()
    os._exit(cli.main(arguments))


def train_and_signal(
    arguments: list[str],
    end_state: Path,
    number: signal.Signals | None = None,
    after: float = 0.0,
    checkpoint_interval: float = 0.2,
) -> End:
    """Run a training in a child process; send it signal ``number``, if any, after some seconds."""
    context = forking()
    begun = context.Event()
    process = context.Process(
        target=_train, args=(arguments, checkpoint_interval, end_state, begun)
    )
    process.start()
    begun.wait(60)
    start = sent = time.monotonic()
    if number is not None:
        process.join(after)
        sent = time.monotonic()
        if process.is_alive():
            os.kill(process.pid, number)
    process.join(300)
    end = time.monotonic()
    return End(process.exitcode, end - start, end - sent)
