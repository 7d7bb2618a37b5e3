"""Progress of long work: a bar on a terminal, plain log lines in batch."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

#: Seconds between two log lines when there is no terminal.
LOG_INTERVAL = 15.0

logger = logging.getLogger(__name__)


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield ``items`` while telling how far along the work is.

    Parameters
    ----------
    items : iterable
    what : str
        What is being done, such as ``"fetching spectra"``.
    total : int, optional
        Number of items, where ``items`` has no length.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=what, total=total)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_INTERVAL or done == total:
            last = now
            of_total = f" of {total}" if total else ""
            logger.info("%s: %d%s, %.0f s", what, done, of_total, now - start)
