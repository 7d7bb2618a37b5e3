"""Outputs of commands: which folders they may replace, and that one process writes each."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from spectrafm import locks
from spectrafm.errors import SpectraFMError
from spectrafm.files import Replaces, no_folder, require_replaceable
from spectrafm.integrity import CHECKSUMS, MANIFEST, read_checksums

#: Files that others put into our folders, and that may be deleted with them.
LITTER = (".snakemake_timestamp", ".DS_Store")

logger = logging.getLogger(__name__)


class ListedFolder(NamedTuple):
    """A kind of folder with a checksum list; one replaces another, and no other folder.

    A folder is of the kind if it holds the kind's files and, besides, nothing that its checksum
    list does not name: what somebody else put there is not deleted.
    """

    name: str  # such as "a model"
    files: tuple[str, ...]  # relative paths of files that each one holds

    def __call__(self, folder: Path) -> str | None:
        """Why what stands at a path must not be replaced; see `spectrafm.files.Replaces`."""
        if not folder.is_dir():
            return f"{folder}: is a file; {self._kept}" if folder.exists() else None
        found = sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if not path.is_dir() and path.name not in LITTER
        )
        if not found:
            return None
        if absent := [name for name in self.files if name not in found]:
            return f"{folder}: is a folder without {absent[0]}; {self._kept}"
        try:
            listed = read_checksums(folder).keys() | {CHECKSUMS, MANIFEST}
        except SpectraFMError as error:
            return f"{error}; {self._kept}"
        if foreign := [name for name in found if name not in listed]:
            return f"{folder}: holds {foreign[0]}, which {CHECKSUMS} does not list; {self._kept}"
        return None

    @property
    def _kept(self) -> str:
        return f"it is not replaced by {self.name}"


@contextlib.contextmanager
def claimed(path: Path, replaces: Replaces = no_folder) -> Iterator[None]:
    """Within the block, be the only process that writes an output.

    Parameters
    ----------
    path : pathlib.Path
        Final path of the output. Its parent folder is created.
    replaces : callable
        Says of what stands at ``path`` why it must not be replaced. Default: no folder may be.

    Raises
    ------
    SpectraFMError
        When another process is writing the output, or something stands there that it must not
        replace.
    """
    require_replaceable(path, replaces)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f".{path.name}.lock")
    lock = None
    try:
        lock = locks.acquire(file)
        if lock is None:
            raise SpectraFMError(f"{path}: already being written by {_writer(file)}")
    except PermissionError:
        raise
    except OSError as error:
        logger.warning("%s: cannot tell whether another process writes it (%s)", path, error)
    try:
        if lock is not None:
            _sign(lock)
        yield
    finally:
        if lock is not None:
            locks.release(file, lock)


def _sign(lock: int) -> None:
    """Note this process in the file of a lock."""
    with contextlib.suppress(OSError):
        os.truncate(lock, 0)
        note = f"{os.getpid()} {socket.gethostname()} {time.strftime('%H:%M:%S')}\n"
        os.write(lock, note.encode())


def _writer(file: Path) -> str:
    """The process that holds a lock, as it has noted in the lock's file."""
    with contextlib.suppress(OSError):
        if found := re.fullmatch(r"(\d+) (\S+) (\S+)\n", file.read_text("utf-8", "replace")):
            number, host, since = found.groups()
            where = "" if host == socket.gethostname() else f" on {host}"
            return f"process {number}{where} since {since}"
    return "another process"


def claims(**outputs: Replaces) -> Callable[[Callable], Callable]:
    """Have a command claim its outputs while it runs; see `claimed`.

    Parameters
    ----------
    **outputs : callable
        For the name of each parameter that is an output's path, the folders that it may replace.
    """

    def decorate(verb: Callable) -> Callable:
        @functools.wraps(verb)
        def alone(*values, **named):
            given = inspect.signature(verb).bind(*values, **named).arguments
            with contextlib.ExitStack() as stack:
                for name, replaces in outputs.items():
                    if given.get(name) is None:
                        continue  # an output that the caller did not want
                    stack.enter_context(claimed(Path(given[name]), replaces))
                return verb(*values, **named)

        return alone

    return decorate
