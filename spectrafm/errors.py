"""Errors that the user can correct, and the exit codes of the ``spectrafm`` command."""

from __future__ import annotations

#: Exit code for bad input, options or data; a malformed command line exits with argparse's 2.
BAD_INPUT = 3

#: Exit code of a command that can go on when it is run again: a signal or a passing failure stopped
#: it (EX_TEMPFAIL of sysexits.h).
INTERRUPTED = 75


class SpectraFMError(Exception):
    """An error that the user can correct; its one-line message names the file, star or key."""


class Unfinished(SpectraFMError):
    """A passing failure, such as an outage, stopped a job; its next run goes on from what came."""


class SpectrumError(SpectraFMError):
    """A spectrum that cannot be used as it is given.

    Parameters
    ----------
    spectrum : str
        Name of the spectrum, such as its file.
    field : str
        What of it is wrong: ``flux``, ``wavelength``, ``flux_error``, ``mask``, ``medium`` ...
    problem : str
        What is wrong with it, and what to give instead.
    """

    def __init__(self, spectrum: str, field: str, problem: str):
        super().__init__(f"{spectrum}: {field}: {problem}")
        self.spectrum, self.field, self.problem = spectrum, field, problem


class InterruptedTraining(Exception):
    """A signal stopped a training, whose weights and optimizer moments are in a checkpoint."""
