"""Resources that jobs request from the machine or a cluster's scheduler, in readable units."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from spectrafm.options import Section


def _memory(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?(MB|GB|TB)", value):
        raise ValueError(f"{value!r} is not a memory size such as 500MB, 32GB or 1.5TB")
    return value


def _runtime(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?[mhd]", value):
        raise ValueError(f"{value!r} is not a duration such as 90m, 12h or 1.5d")
    return value


Memory = Annotated[str, AfterValidator(_memory)]
Runtime = Annotated[str, AfterValidator(_runtime)]

#: Name of a partition or account, or several partitions; Snakemake's plugin writes it into a shell
#: command.
SlurmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,@+:-]*$", max_length=256)]


class Resources(Section):
    """Resources of a job; they are not part of its command line, so a change reruns nothing."""

    gpus: int = Field(1, ge=0, le=1024, description="number of GPUs, all on one node; 0: none")
    gpu_model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")] | None = Field(
        None, description="GPU model by the cluster's name for it, such as a100; null: any"
    )
    threads: int = Field(8, ge=1, le=4096, description="number of CPU cores")
    memory: Memory = Field("32GB", description="memory of the first try; a retry requests more")
    runtime: Runtime = Field(
        "12h", description="time limit of the first try; a retry requests more"
    )
    partition: SlurmName | None = Field(None, description="SLURM partition; null: the profile's")
    account: SlurmName | None = Field(None, description="SLURM account; null: the profile's")

    @property
    def memory_mb(self) -> int:
        """The memory in MB (Snakemake's ``mem_mb``), rounded up."""
        number, unit = float(self.memory[:-2]), self.memory[-2:]
        return math.ceil(number * {"MB": 1, "GB": 1000, "TB": 1_000_000}[unit])

    @property
    def minutes(self) -> int:
        """The time limit in minutes (Snakemake's ``runtime``), rounded up."""
        number, unit = float(self.runtime[:-1]), self.runtime[-1]
        return math.ceil(number * {"m": 1, "h": 60, "d": 24 * 60}[unit])
