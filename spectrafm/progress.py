"""Progress of long work: a bar on a terminal, plain log lines in batch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

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


def track_files(
    arriving: Iterable[tuple[str, Item]], what: str, total: int
) -> Iterator[tuple[str, Item]]:
    """Yield files as they arrive, while telling files, bytes, rate, failures and time left.

    Parameters
    ----------
    arriving : iterable of (str, object)
        A path with its bytes, or with something else that says why there are none.
    what : str
        What is being done, such as ``"fetching spectra"``.
    total : int
        Number of files.
    """
    size = failed = 0
    start = last = time.monotonic()
    with _bar(what, total, "file") as bar:
        for done, (path, content) in enumerate(arriving, start=1):
            if isinstance(content, bytes):
                size += len(content)
            else:
                failed += 1
            yield path, content
            now = time.monotonic()
            traffic = f"{_traffic(size, now - start)}, {failed} failed"
            if bar is not None:
                bar.set_postfix_str(traffic, refresh=False)
                bar.update()
            elif now - last >= LOG_INTERVAL or done == total:
                last = now
                left = (total - done) * (now - start) / done
                logger.info("%s: %d of %d files, %s, %.0f s left", what, done, total, traffic, left)


class Growing(Protocol):
    """A file on its way: the bytes that are here, and, where it is known, how many it has."""

    size: int
    whole: int | None


@contextlib.contextmanager
def reported_bytes(file: Growing, what: str) -> Iterator[None]:
    """Tell how far along one large file is while the block, a coroutine's, runs."""
    telling = asyncio.create_task(_tell_bytes(file, what, file.size))
    try:
        yield
    finally:
        telling.cancel()


async def _tell_bytes(file: Growing, what: str, before: int) -> None:
    start = time.monotonic()
    with _bar(what, file.whole, "B", unit_scale=True) as bar:
        while True:
            await asyncio.sleep(LOG_INTERVAL if bar is None else 0.5)
            if bar is not None:
                bar.total = file.whole
                bar.update(file.size - bar.n)
                continue
            # Where a server made us begin anew, there is less than before.
            rate = max(file.size - before, 0) / (time.monotonic() - start)
            whole = f" of {file.whole / 1e6:.0f}" if file.whole else ""
            left = f", {(file.whole - file.size) / rate:.0f} s left" if file.whole and rate else ""
            logger.info(
                "%s: %.0f%s MB, %.2f MB/s%s", what, file.size / 1e6, whole, rate / 1e6, left
            )


def _traffic(size: int, seconds: float) -> str:
    return f"{size / 1e6:.1f} MB, {size / 1e6 / max(seconds, 1e-3):.2f} MB/s"


def _bar(what: str, total: int | None, unit: str, **options):
    """A bar on a terminal; None elsewhere."""
    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    from tqdm import tqdm

    return tqdm(desc=what, total=total, unit=unit, **options)
