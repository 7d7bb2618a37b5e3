"""Workspaces: hidden folders in which outputs are made, each beside the output's final path.

A workspace belongs to one process, which holds a lock in it. A killed process leaves its workspace
behind, without the lock: the next one that writes the same output deletes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from spectrafm import locks

_LOCK = "lock"


class Workspace:
    """The hidden folder ``.<name>.<random>.partial`` of one output.

    Parameters
    ----------
    folder : pathlib.Path
    final : pathlib.Path
        Final path of the output.

    Attributes
    ----------
    new : pathlib.Path
        Where the file or folder is made.
    old : pathlib.Path
        Where the folder that it replaces is put aside.
    """

    def __init__(self, folder: Path, final: Path):
        self.folder, self.final = folder, final
        self.new = folder / f"new{final.suffix}"
        self.old = folder / "old"

    def clear(self) -> None:
        """Delete the workspace; put the old folder back if nothing took its place."""
        if self.old.exists() and not self.final.exists():
            with contextlib.suppress(OSError):
                os.replace(self.old, self.final)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def beside(final: Path) -> Iterator[Workspace]:
    """Open a workspace beside an output's final path; delete it, and those of killed processes.

    Parameters
    ----------
    final : pathlib.Path
        In an existing folder.

    Yields
    ------
    Workspace
        Nobody else writes into it.
    """
    for left in _left_behind(final):
        left.clear()
    space, lock = _opened(final)
    try:
        yield space
    finally:
        space.clear()
        if lock is not None:
            os.close(lock)


def _opened(final: Path) -> tuple[Workspace, int | None]:
    """A new workspace and its lock; None where the file system has no locks."""
    while True:
        folder = final.with_name(f".{final.name}.{uuid.uuid4().hex[:12]}.partial")
        folder.mkdir()
        try:
            lock = locks.acquire(folder / _LOCK)
        except FileNotFoundError:
            continue  # taken for a killed process's, before it had its lock
        except OSError:
            return Workspace(folder, final), None
        if lock is not None:
            return Workspace(folder, final), lock


def _left_behind(final: Path) -> Iterator[Workspace]:
    """Yield the workspaces of the same output whose processes have been killed."""
    with os.scandir(final.parent) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        if not (name.startswith(f".{final.name}.") and name.endswith(".partial")):
            continue
        folder = final.with_name(name)
        try:
            lock = locks.acquire(folder / _LOCK)
        except OSError:
            continue  # a file, gone already, or where there are no locks
        if lock is not None:
            yield Workspace(folder, final)
            os.close(lock)
