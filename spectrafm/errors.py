"""What can go wrong in a way that the user can mend, and the exit codes that say so."""

from __future__ import annotations

#: Exit code of bad input, options or data; bad use of the command line is argparse's 2.
BAD_INPUT = 3

#: Exit code of a command that a signal stopped and that can resume (EX_TEMPFAIL of sysexits.h).
INTERRUPTED = 75


class SpectraFMError(Exception):
    """Something the user can mend: the message is one line that names file, star or key."""


class InterruptedTraining(Exception):
    """A signal has stopped a training; its weights and moments are in a checkpoint."""
