"""The split of stars into sides that train, validate and test, the same for every survey."""

from __future__ import annotations

import hashlib
import math

from pydantic import Field, model_validator

from spectrafm.options import Section, Seed, Share


class SplitShares(Section):
    """Shares of the split, which a hash of seed and APOGEE_ID makes the same in every run."""

    train: Share = Field(0.7, description="share of the stars that networks learn from")
    validation: Share = Field(0.1, description="share of the stars that choose the best epoch")
    test: Share = Field(0.2, description="share of the stars that only evaluations use")
    seed: Seed = Field(42, description="seed of the hash that divides the stars")

    @model_validator(mode="after")
    def _sum(self):
        if not math.isclose(self.train + self.validation + self.test, 1.0, abs_tol=1e-9):
            raise ValueError("train + validation + test must be 1")
        return self


class Split(Section):
    """The split of the stars, a part of the section ``selection``."""

    split: SplitShares = Field(
        SplitShares(), description="shares of the stars on each side of the split, and the seed"
    )


def split_of(apogee_id: str, shares: SplitShares) -> str:
    """Side of the split that a star is on: the same in every run with this seed and shares."""
    digest = hashlib.sha256(f"{shares.seed}:{apogee_id}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < shares.train:
        return "train"
    return "validation" if position < shares.train + shares.validation else "test"
