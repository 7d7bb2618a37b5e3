"""Processes that write one output again and again, all at the same moments."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm import files

#: Files of a folder.
FILES = 12


def may_be_replaced(path: Path) -> None:
    """A `files.Replaces` that lets every folder be replaced."""


def write_table(path: Path, mark: int) -> None:
    """Write a table that says who wrote it."""
    noise = np.random.default_rng(mark).random(20_000)
    files.write_parquet(path, pd.DataFrame({"mark": mark, "noise": noise}))


def write_folder(path: Path, mark: int) -> None:
    """Write a folder of files that all say who wrote them."""
    with files.atomic_path(path, may_be_replaced) as temporary:
        temporary.mkdir()
        for number in range(FILES):
            (temporary / f"{number}").write_text(f"{mark}" * 500)


WRITE = {"table": write_table, "folder": write_folder}


def write_rounds(kind: str, path: Path, mark: int, rounds: int, together) -> None:
    """Write in every round, at the same moment as the others; body of a child process."""
    for _ in range(rounds):
        together.wait()
        WRITE[kind](path, mark)
        together.wait()


def read_whole(kind: str, path: Path, by_mark: dict[bytes, int]) -> int | str | None:
    """Who wrote what stands at a path; ``"half"`` or ``"mixed"`` if not one; None if nothing does.

    A folder that is replaced while it is read is not judged: None.
    """
    if kind == "table":
        return by_mark.get(path.read_bytes(), "half") if path.exists() else None
    with contextlib.suppress(FileNotFoundError):
        before = os.stat(path).st_ino
        found = {file.name: file.read_text()[:1] for file in path.iterdir()}
        if os.stat(path).st_ino == before:
            marks = set(found.values())
            if len(found) < FILES:
                return "half"
            return int(marks.pop()) if len(marks) == 1 else "mixed"
    return None
