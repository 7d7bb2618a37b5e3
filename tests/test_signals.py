# Tests of: spectrafm/signals.py, cli.py, training/interruption.py
"""Signals: one line, code 75, nothing half-written; an ignored signal stays ignored."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from making import commands, toy_store
from making.commands import text_of, until
from making.toy_training import MODEL, command, stage
from spectrafm.signals import SIGNALS, Stopped, stopping

#: A command that says when its handlers stand, before it has imported torch.
AT_ONCE = """
import sys
from spectrafm import cli, signals
from spectrafm.cli import main
load = cli.load
def loading(where):
    print(flush=True)
    return load(where)
cli.load = loading
sys.exit(main())
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_the_first_seconds_ends_as_a_later_one(tmp_path, number):
    arguments = ["train", "no.zarr", "--name=x", "--output=m", "--spectra=observed",
                 "--windows=[[16105, 16220]]", "--epochs=1"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", AT_ONCE, *arguments], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # What runs in the background of a script starts with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    process.stdout.readline()
    time.sleep(random.Random(number).random())
    process.send_signal(number)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 75, said
    assert said.splitlines()[-1].startswith(f"spectrafm train: stopped by {number.name}")
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_sighup_leaves_a_checkpoint_as_sigterm_does(tmp_path):
    store = toy_store.write_toy_store(tmp_path / "store.zarr")
    arguments = command(tmp_path, store, stage(epochs=1000, patience=None), MODEL)
    training = commands.start(arguments, tmp_path, tmp_path / "said")
    until(lambda: "x: epoch 1," in text_of(tmp_path / "said"))
    os.kill(training.pid, signal.SIGHUP)
    training.join(300)
    assert training.exitcode == 75
    assert "stopped by SIGHUP after step" in text_of(tmp_path / "said")
    assert list((tmp_path / "checkpoints").glob("x-*/step-*"))


def test_an_error_after_a_signal_is_its_consequence():
    """A library catches the exception and raises another, as numpy 2.0 does in its import."""
    with pytest.raises(Stopped, match="SIGTERM"), stopping():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Stopped:
            raise RuntimeError("initialized twice") from None
    with pytest.raises(RuntimeError), stopping():
        raise RuntimeError("without a signal")


def test_an_ignored_signal_stays_ignored():
    """SIGHUP below nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping():
            try:
                os.kill(os.getpid(), signal.SIGHUP)
            except Stopped:
                pytest.fail("not ignored")
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_in_a_finalizer_is_not_lost():
    class Finalized:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            # The exception comes here, where Python drops it.
            time.sleep(0.01)

    with pytest.raises(Stopped, match="SIGTERM"), stopping():
        Finalized()
        time.sleep(10)
