"""Telling an outage of a source from files that it really lacks, over the runs of one job.

A file is missing for good only where that is known: the source says that it has no such file, no
checksum list names it, or what came is the published file and useless. Any other failure is open:
the job ends as unfinished, and its next run asks again. Failures in a row stop the job, unless the
source still answers for a file that it had before; then they are the files' own. A file that failed
in several runs, while the source answered, is given up.
"""

from __future__ import annotations

from collections.abc import Sequence

from spectrafm.archive.failures import Failure
from spectrafm.archive.options import Archive, CatalogueLimits, FileLimits, Judgement
from spectrafm.archive.source import Fetched, probe
from spectrafm.archive.tape import Tape
from spectrafm.errors import SpectraFMError, Unfinished


class Watch:
    """Failures of one run of a job, and the decision to go on, to stop or to give a file up.

    Parameters
    ----------
    archive : Archive
    limits : FileLimits
    judgement : Judgement
        After how many failures in a row the source is asked whether it answers, and in how many
        runs a file may fail.
    tape : Tape
        Holds the failures of earlier runs, and receives those of this one.
    landmarks : sequence of str
        Paths of which the source must have one, whatever else it lacks; asked for while no file
        has come.

    Attributes
    ----------
    open : dict of str to str
        Reason of each failed file that the next run asks for again, by path.
    arrived : int
        Number of files that came, or that an earlier run had kept.
    """

    def __init__(
        self,
        archive: Archive,
        limits: FileLimits,
        judgement: Judgement,
        tape: Tape,
        landmarks: Sequence[str],
    ):
        self.archive, self.limits, self.judgement = archive, limits, judgement
        self.tape, self.landmarks = tape, tuple(landmarks)
        self.open: dict[str, str] = {}
        self._given_up: list[str] = []
        self._came = next(((path, tape.sha1_of(path)) for path in tape), None)
        self.arrived = 0
        self._in_a_row = 0
        self._last = ""

    def came(self, file: Fetched) -> None:
        """Note a file that came, or that an earlier run had kept."""
        self._came = file.path, file.sha1
        self.arrived += 1
        if not file.kept:
            self._in_a_row = 0

    def gives_up(self, path: str, failure: Failure) -> bool:
        """Note a failure that is not settled; return whether the file is given up.

        Raises
        ------
        Unfinished
            When too many files in a row have failed and the source does not answer.
        SpectraFMError
            When it lacks every file that it must have.
        """
        self._in_a_row += 1
        self._last = f"{path}: {failure.reason}"
        if self._in_a_row >= self.judgement.stop_after:
            self._require_answer()
        if self.tape.failures[path] + 1 >= self.judgement.runs:
            self._given_up.append(path)
            return True
        self.open[path] = failure.reason
        return False

    def settle(self) -> None:
        """End the run: nothing may be open, and the last failures must not be an outage.

        Raises
        ------
        Unfinished
            When files are to be asked for again.
        SpectraFMError
            When the source lacks every file that it must have.
        """
        if self._in_a_row:
            self._require_answer()
        if not self.open:
            return
        # Only now is it known that the source answered after each of these failures.
        self.tape.add_failures([*self.open, *self._given_up])
        path, reason = next(iter(self.open.items()))
        raise Unfinished(
            f"{self.archive.source}: {len(self.open)} files failed ({path}: {reason}{_more(self)})"
        )

    def _require_answer(self) -> None:
        """Refuse to go on if the source no longer answers for a file that it had, or must have."""
        known = [(path, None) for path in self.landmarks] if self._came is None else [self._came]
        failures = [probe(path, self.archive, self.limits, sha1) for path, sha1 in known]
        if None in failures:
            self._in_a_row = 0
            return
        if self._came is None and all(failure.absent for failure in failures):
            raise SpectraFMError(
                f"{self.archive.source}: no file came, and there is no "
                f"{' or '.join(self.landmarks)}: "
                "do survey.source, survey.release and survey.aspcap name what it holds?"
            )
        raise Unfinished(
            f"{self.archive.source}: {self._in_a_row} files in a row failed ({self._last}), "
            f"and it does not answer for {known[0][0]} either"
        )


def require_answer(failure: Failure | None, name: str) -> None:
    """Raise `Unfinished` for a failure that says nothing of the file: the source did not answer.

    A file that is absent, or that came and is another one, is not asked for again by itself.
    """
    if failure is not None and not (failure.absent or failure.wrong_sha1):
        raise Unfinished(f"{name}: {failure.reason}: run it again to go on (code 75)")


def require_landmark(landmarks: Sequence[str], archive: Archive, limits: CatalogueLimits) -> None:
    """Raise `Unfinished` if the source has none of the files of which it must have one.

    A server with an outage may answer 404 for everything, and a disk may not be mounted.
    """
    of_file = FileLimits(file_seconds=limits.catalogue_seconds)
    failures = [probe(path, archive, of_file) for path in landmarks]
    if None not in failures:
        raise Unfinished(
            f"{archive.source}: neither this file nor {landmarks[0]} is there "
            f"({failures[0].reason}): run it again to go on (code 75)"
        )


def _more(watch: Watch) -> str:
    others = len(watch.open) - 1
    return f"; and {others} more" if others else ""
