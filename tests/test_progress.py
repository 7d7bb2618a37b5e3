"""What a batch log says while work goes on, and what a terminal shows."""

from __future__ import annotations

import logging
import re
import time

import pytest

from spectrafm import progress
from spectrafm.progress import Meter, track


@pytest.fixture(autouse=True)
def often(monkeypatch, caplog):
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.01)
    caplog.set_level(logging.INFO)


def test_a_line_comes_more_often_than_a_reader_waits():
    assert progress.LOG_INTERVAL < 15


def test_files_bytes_rate_failures_and_time_left(caplog):
    """What counts as failed, the caller says."""
    with Meter("fetching spectra", 3, "file") as meter:
        for size, failed in ((1_500_000, False), (0, True), (500_000, False)):
            meter.add(size, failed)
    pattern = r"fetching spectra: 3 of 3 files, 2\.0 MB, [\d.]+ MB/s, 1 failed, 0 s, 0 s left"
    assert re.fullmatch(pattern, caplog.messages[-1])


def test_steps_with_the_time_left(caplog):
    for _ in track(range(4), "training pretrain", unit="step"):
        time.sleep(0.02)
    told = [re.fullmatch(r"training pretrain: (\d) of 4 steps, 0 s, 0 s left", line)
            for line in caplog.messages]  # fmt: skip
    assert [found[1] for found in told] == ["1", "2", "3", "4"]
    caplog.clear()
    list(track(iter("ab"), "reading"))
    assert not caplog.messages or caplog.messages[-1].startswith("reading: ")


def test_a_large_file_tells_how_much_of_it_is_here(caplog):
    with Meter("fetching allStar.fits") as meter:
        for megabytes in (1, 2, 4):
            time.sleep(0.02)
            meter.bytes(megabytes * 1_000_000, 4_000_000)
    patterns = [
        r"fetching allStar\.fits: 1 of 4 MB, 0\.00 MB/s",
        r"fetching allStar\.fits: 2 of 4 MB, [\d.]+ MB/s, 0 s left",
        r"fetching allStar\.fits: 4 of 4 MB, [\d.]+ MB/s, 0 s left",
    ]
    for pattern, line in zip(patterns, caplog.messages, strict=True):
        assert re.fullmatch(pattern, line)


def test_a_terminal_shows_a_bar(monkeypatch, capsys, caplog):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Meter("fetching spectra", 1, "file") as meter:
        meter.add(2_000_000)
    with Meter("fetching allStar.fits") as meter:
        meter.bytes(1_000_000, 2_000_000)
        meter.bytes(2_000_000, 2_000_000)
    shown = capsys.readouterr().err
    assert "fetching spectra: 100%" in shown
    assert "2.0 MB" in shown
    assert "fetching allStar.fits: 100%" in shown
    assert not caplog.messages
