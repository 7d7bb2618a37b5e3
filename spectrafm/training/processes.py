"""The processes that torchrun started, or one alone, and what they exchange."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist

from spectrafm.errors import SpectraFMError

#: A process stops with an error after waiting this long for the others.
TIMEOUT = datetime.timedelta(minutes=10)


class Processes(NamedTuple):
    """This process among those that train one model together, each with a share of every batch."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and logs."""
        return self.rank == 0

    def device(self) -> torch.device:
        """The GPU of this process, or the CPU where there is none."""
        if torch.cuda.is_available():
            return torch.device("cuda", self.local_rank)
        return torch.device("cpu")

    def wrap(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that its backward pass averages gradients over the processes."""
        if self.count == 1:
            return network
        parallel = nn.parallel.DistributedDataParallel
        # Buffers are the same constants everywhere. torch before 2.13 has another name for this.
        names = inspect.signature(parallel).parameters
        sync = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        # A stage that gives no label as a token leaves the label biases without a gradient.
        return parallel(network, find_unused_parameters=True, **{sync: False})

    def sum(self, value: Tensor) -> Tensor:
        """Sum of a tensor over the processes, with the same bits on all of them."""
        if self.count == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total

    def largest(self, value: int, device: torch.device) -> int:
        """Largest of the processes' values of an integer."""
        if self.count == 1:
            return value
        found = torch.tensor(value, device=device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def first_ones(self, value: Any) -> Any:
        """The first process's value of an object, in all processes."""
        if self.count == 1:
            return value
        holder = [value]
        dist.broadcast_object_list(holder)
        return holder[0]

    def check_same(self, tensors: Mapping[str, Tensor], what: str) -> None:
        """Compare a hash of every process's tensors.

        Raises
        ------
        SpectraFMError
            When one bit differs, so that the processes no longer train the same model.
        """
        if self.count == 1:
            return
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, digest_of(tensors))
        if len(set(found)) > 1:
            raise SpectraFMError(f"{what}: the processes' weights differ ({', '.join(found)})")


#: A training without torchrun.
ALONE = Processes()


@contextlib.contextmanager
def processes() -> Iterator[Processes]:
    """Join the processes that torchrun started; without torchrun yield `ALONE`.

    NCCL connects the processes on GPUs, gloo on CPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    found = Processes(int(os.environ["RANK"]), count, int(os.environ["LOCAL_RANK"]))
    if found.device().type == "cuda":
        torch.cuda.set_device(found.device())
    backend = "nccl" if found.device().type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield found
    finally:
        dist.destroy_process_group()


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 of named tensors: names, types, shapes and every bit."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
