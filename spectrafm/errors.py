"""Errors that the user can correct, and the exit codes of the ``spectrafm`` command."""

from __future__ import annotations

#: Exit code for bad input, options or data; a malformed command line exits with argparse's 2.
BAD_INPUT = 3

#: Exit code of a command that a signal stopped and that can resume (EX_TEMPFAIL of sysexits.h).
INTERRUPTED = 75


class SpectraFMError(Exception):
    """An error that the user can correct; its one-line message names the file, star or key."""


class InterruptedTraining(Exception):
    """A signal stopped a training, whose weights and optimizer moments are in a checkpoint."""
