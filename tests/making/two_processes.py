"""Checks that two processes of a training agree; test_processes.py runs this under torchrun."""

import pytest
import torch

from spectrafm.errors import InterruptedTraining, SpectraFMError
from spectrafm.training.interruption import Interruption
from spectrafm.training.processes import processes

with processes() as together:
    assert together.count == 2
    cpu = torch.device("cpu")
    assert together.sum(torch.tensor(1.0 + together.rank)) == 3
    assert together.largest(5 * together.rank, cpu) == 5
    assert together.first_ones("the first's" if together.first else None) == "the first's"

    weights = {"weight": torch.ones(3)}
    together.check_same(weights, "epoch 1")
    weights["weight"][1] += 1e-7 * together.rank
    with pytest.raises(SpectraFMError, match="epoch 2: the processes' weights differ"):
        together.check_same(weights, "epoch 2")

    # A signal to one of them stops both.
    with Interruption(together, cpu) as interruption:
        interruption.check()
        if together.rank == 1:
            interruption._receive(15, None)
        with pytest.raises(InterruptedTraining, match="SIGTERM"):
            interruption.check()
    print(f"process {together.rank} agrees")
