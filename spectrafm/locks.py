"""Locks on files, which end with the process that holds them, also after kill -9 (flock)."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


def acquire(path: Path) -> int | None:
    """Lock a file for this process; create it if there is none.

    Returns
    -------
    int or None
        Descriptor to `release`; None while another process holds the lock.

    Raises
    ------
    OSError
        When the file cannot be created, or its file system has no locks.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its holder may have deleted the file just before: then it is another file's lock.
            if _is_at(path, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def release(path: Path, descriptor: int) -> None:
    """Delete the file of a lock that this process holds, and end the lock."""
    with contextlib.suppress(OSError):
        if _is_at(path, descriptor):
            path.unlink()
    os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one that stands at a path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
