"""Progress of long work: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

#: Seconds between two log lines without a terminal. A line is written when an item is done, so
#: this is below the 15 seconds within which a log must show that the work continues.
LOG_INTERVAL = 10.0

logger = logging.getLogger(__name__)


class Meter:
    """Progress display of one piece of work; a context manager.

    Parameters
    ----------
    what : str
        Description of the work, such as ``"fetching spectra"``.
    total : int, optional
        Total number of units, if known.
    unit : str
        Name of one unit, in the singular: ``"file"``, ``"step"``.
    """

    def __init__(self, what: str, total: int | None = None, unit: str = "item"):
        self.what, self.total, self.unit = what, total, unit
        self.done = self.size = self.failed = 0

    def __enter__(self) -> Meter:
        self._start = self._last = time.monotonic()
        self._first_size: int | None = None
        self._bar = None
        self._terminal = sys.stderr.isatty()
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, size: int = 0, failed: bool = False) -> None:
        """Count one more unit.

        Parameters
        ----------
        size : int
            Bytes transferred for the unit; if not 0, megabytes and rate are shown too.
        failed : bool
            Whether the unit counts as failed.
        """
        self.done += 1
        self.size += size
        self.failed += failed
        if self._terminal:
            bar = self._opened_bar(self.total, self.unit)
            bar.set_postfix_str(self._extras().removeprefix(", "), refresh=False)
            bar.update()
        elif self._is_time(self.done == self.total):
            of = f" of {self.total}" if self.total else ""
            elapsed = time.monotonic() - self._start
            left = f", {(self.total - self.done) * elapsed / self.done:.0f} s left"
            plural = "" if (self.total or self.done) == 1 else "s"
            logger.info(
                "%s: %d%s %s%s%s, %.0f s%s",
                self.what,
                self.done,
                of,
                self.unit,
                plural,
                self._extras(),
                elapsed,
                left if self.total else "",
            )

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield ``items`` and count each that is done."""
        for item in items:
            yield item
            self.add()

    def bytes(self, size: int, whole: int | None) -> None:
        """Show how much of one large file has arrived.

        Parameters
        ----------
        size : int
            Bytes received so far.
        whole : int or None
            Size of the whole file in bytes, if known.
        """
        if self._first_size is None or size < self._first_size:
            # Bytes from before a resumed transfer do not count towards its rate; a restarted
            # transfer has none.
            self._first_size = size
        if self._terminal:
            bar = self._opened_bar(whole, "B", unit_scale=True)
            bar.total = whole
            bar.update(size - bar.n)
        elif self._is_time(size == whole):
            rate = (size - self._first_size) / max(time.monotonic() - self._start, 1e-3)
            of = f" of {whole / 1e6:.0f}" if whole else ""
            left = f", {(whole - size) / rate:.0f} s left" if whole and rate else ""
            logger.info("%s: %.0f%s MB, %.2f MB/s%s", self.what, size / 1e6, of, rate / 1e6, left)

    def _is_time(self, last: bool) -> bool:
        now = time.monotonic()
        if not last and now - self._last < LOG_INTERVAL:
            return False
        self._last = now
        return True

    def _extras(self) -> str:
        """Text with the bytes, rate and number of failures; empty if there are none."""
        rate = self.size / max(time.monotonic() - self._start, 1e-3)
        traffic = f", {self.size / 1e6:.1f} MB, {rate / 1e6:.2f} MB/s" if self.size else ""
        return f"{traffic}, {self.failed} failed" if self.size or self.failed else traffic

    def _opened_bar(self, total: int | None, unit: str, **options):
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(desc=self.what, total=total, unit=unit, **options)
        return self._bar


def track(
    items: Iterable[Item], what: str, total: int | None = None, unit: str = "item"
) -> Iterator[Item]:
    """Yield ``items`` and show the progress through them, with the time left.

    Parameters
    ----------
    items : iterable
    what : str
        Description of the work, such as ``"training pretrain"``.
    total : int, optional
        Number of items; needed if ``items`` has no length.
    unit : str
        Name of one item, in the singular: ``"step"``.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    with Meter(what, total, unit) as meter:
        yield from meter.over(items)
