"""What jobs ask of the machine, or of a cluster's scheduler: written as a person writes it."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from spectrafm.options import Section


def _memory(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?(MB|GB|TB)", value):
        raise ValueError(f"{value!r} is no amount such as 500MB, 32GB or 1.5TB")
    return value


def _runtime(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?[mhd]", value):
        raise ValueError(f"{value!r} is no time such as 90m, 12h or 1.5d")
    return value


Memory = Annotated[str, AfterValidator(_memory)]
Runtime = Annotated[str, AfterValidator(_runtime)]


class Resources(Section):
    """What a job asks of the machine; no command line holds any of it."""

    gpus: int = Field(1, ge=0, description="GPUs, on one node; 0: none")
    gpu_model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")] | None = Field(
        None, description="which GPU, as the cluster names it; null: any"
    )
    threads: int = Field(8, ge=1, description="CPU cores")
    memory: Memory = Field("32GB", description="of the first try; a retry asks for more")
    runtime: Runtime = Field("12h", description="of the first try; a retry asks for more")
    partition: str | None = Field(None, description="partition; null: what the profile says")
    account: str | None = Field(None, description="account; null: what the profile says")

    @property
    def memory_mb(self) -> int:
        """The memory in MB, as Snakemake counts it."""
        number, unit = float(self.memory[:-2]), self.memory[-2:]
        return math.ceil(number * {"MB": 1, "GB": 1000, "TB": 1_000_000}[unit])

    @property
    def minutes(self) -> int:
        """The runtime in minutes, as Snakemake counts it."""
        number, unit = float(self.runtime[:-1]), self.runtime[-1]
        return math.ceil(number * {"m": 1, "h": 60, "d": 24 * 60}[unit])
