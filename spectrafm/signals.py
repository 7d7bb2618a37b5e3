"""Signals that stop a command: the command cleans up, says so in one line and exits with 75."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

#: SIGTERM and, as an earlier warning, SIGUSR1 from a scheduler; SIGHUP from a terminal that is
#: closed; SIGINT from Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT)

#: Seconds after which a signal is sent again whose exception Python has dropped.
_AGAIN = 0.1


class Stopped(KeyboardInterrupt):
    """A signal stopped the command. Like `KeyboardInterrupt` it passes ``except Exception``."""


@contextlib.contextmanager
def handled(receive: Callable[[int, Any], None]) -> Iterator[None]:
    """Within the block, have each of `SIGNALS` call a function.

    A signal that is ignored stays so: SIGHUP below ``nohup``, SIGINT in the background of a script.
    Only the main thread receives signals.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """Within the block, have each of `SIGNALS` raise `Stopped`, which names it.

    An error after a signal is taken for its consequence: a library whose import was interrupted
    may raise another error than `Stopped`.
    """
    received = []

    def stop(number: int, _) -> None:
        received.append(signal.Signals(number).name)
        raise Stopped(received[-1])

    with handled(stop), _noticing_drops():
        try:
            yield
        except Exception as error:
            if received:
                raise Stopped(received[-1]) from error
            raise


@contextlib.contextmanager
def _noticing_drops() -> Iterator[None]:
    """Send a signal again if Python dropped its exception, as it does in finalizers."""
    usual = sys.unraisablehook

    def hook(dropped) -> None:
        if isinstance(dropped.exc_value, Stopped):
            number = signal.Signals[str(dropped.exc_value)]
            threading.Timer(_AGAIN, os.kill, (os.getpid(), number)).start()
        else:
            usual(dropped)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual
