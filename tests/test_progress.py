"""What a batch log says while files arrive."""

from __future__ import annotations

import asyncio
import logging
import re
from types import SimpleNamespace

import pytest

from spectrafm import progress
from spectrafm.progress import reported_bytes, track_files


@pytest.fixture(autouse=True)
def often(monkeypatch, caplog):
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.01)
    caplog.set_level(logging.INFO)


def test_files_bytes_rate_failures_and_time_left(caplog):
    arriving = [("a", b"x" * 1_500_000), ("b", "a failure"), ("c", b"x" * 500_000)]
    assert list(track_files(iter(arriving), "fetching spectra", total=3)) == arriving
    pattern = r"fetching spectra: 3 of 3 files, 2\.0 MB, [\d.]+ MB/s, 1 failed, 0 s left"
    assert re.fullmatch(pattern, caplog.messages[-1])


def test_a_large_file_tells_of_itself_until_it_is_here(caplog):
    file = SimpleNamespace(size=1_000_000, whole=4_000_000)

    async def transfer() -> None:
        with reported_bytes(file, "fetching allStar.fits"):
            file.size = 2_000_000
            await asyncio.sleep(0.1)
        told = len(caplog.messages)
        await asyncio.sleep(0.05)
        assert len(caplog.messages) == told

    asyncio.run(transfer())
    pattern = r"fetching allStar\.fits: 2 of 4 MB, [\d.]+ MB/s, \d+ s left"
    assert re.fullmatch(pattern, caplog.messages[0])


def test_a_terminal_shows_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    list(track_files([("a", b"x" * 2_000_000)], "fetching spectra", total=1))
    shown = capsys.readouterr().err
    assert "fetching spectra: 100%" in shown
    assert "2.0 MB" in shown
