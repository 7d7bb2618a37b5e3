"""The aspcapStar files of stars, fetched and judged with the checksum lists of their folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from spectrafm.archive.checksums import sha1s_in
from spectrafm.archive.failures import Failure
from spectrafm.archive.options import Archive, FileLimits, Judgement
from spectrafm.archive.outage import Watch
from spectrafm.archive.source import Fetched, fetch
from spectrafm.archive.tape import Tape
from spectrafm.errors import SpectraFMError
from spectrafm.progress import Meter
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.aspcapstar import AspcapStar, usable_spectra
from spectrafm.surveys.apogee.options import Release

_UNPUBLISHED = Failure("no published SHA-1, and survey.unverified is refuse", settled=True)


@dataclass(frozen=True)
class FolderList:
    """The checksum list of a folder.

    Attributes
    ----------
    sha1s : mapping of str to str
        Published SHA-1 by name of the file.
    there : bool
        Whether the folder has a list.
    kept : bool
        Whether an earlier run had kept it, so that it may be older than the files.
    open : bool
        Whether it failed and is to be asked for again by the next run.
    """

    sha1s: Mapping[str, str] = field(default_factory=dict)
    there: bool = False
    kept: bool = False
    open: bool = False


class SpectraFiles:
    """Fetches and reads the spectra of an archive.

    Parameters
    ----------
    archive : Archive
    limits : FileLimits
    judgement : Judgement
    release : Release
    tape : Tape
        Keeps what came and what failed, until the job is done.
    mock : bool
        Whether the source is a mock survey; only then may a file hold a simulated star.
    """

    def __init__(
        self,
        archive: Archive,
        limits: FileLimits,
        judgement: Judgement,
        release: Release,
        tape: Tape,
        mock: bool,
    ):
        self.archive, self.limits, self.judgement = archive, limits, judgement
        self.tape, self.mock = tape, mock
        self._lists: dict[str, FolderList] = {}
        self.watch = Watch(
            archive, limits, judgement, tape, paths.landmarks(release.release, release.aspcap)
        )

    def read(self, rows: pd.DataFrame) -> Iterator[tuple[dict, AspcapStar | Failure]]:
        """Fetch the file of each row; yield the row with its spectra or with a settled failure.

        Rows whose file failed otherwise are not yielded: the next run asks for them again. Files
        are yielded in the order of arrival. A row that is yielded with spectra has two more keys:
        ``sha1`` of the file, and ``verified``, whether that is the published SHA-1.

        Raises
        ------
        Unfinished
            When too many files in a row have failed; see `Watch`.
        """
        by_path = {row["path"]: row for row in records_of(rows)}
        self._fetch_lists(list(by_path))
        with Meter("fetching spectra", len(by_path), "file") as meter:
            for path, content, sha1, _ in self._judged(list(by_path)):
                row = by_path[path]
                star = self._star_of(content, path, row["apogee_id"])
                failed = isinstance(star, Failure)
                meter.add(len(content) if isinstance(content, bytes) else 0, failed)
                if not failed:
                    yield row | {"sha1": sha1, "verified": self._published(path) is not None}, star
                elif star.settled or self.watch.gives_up(path, star):
                    yield row, star

    def _judged(self, wanted: list[str]) -> Iterator[Fetched]:
        """Fetch files, by lists that are as new as they are; a failure says if it is settled."""
        self._renew_lists(path for path in wanted if self._published(path) is None)
        asked = [path for path in wanted if not self._list_of(path).open]
        if self.judgement.unverified == "refuse":
            for path in asked:
                if self._published(path) is None:
                    yield Fetched(path, _UNPUBLISHED)
            asked = [path for path in asked if self._published(path) is not None]
        again, used = [], {path: self._published(path) for path in asked}
        for file in self._fetched(asked):
            if isinstance(file.content, Failure) and file.content.wrong_sha1:
                self._renew_lists([file.path])
                if self._published(file.path) != used[file.path]:
                    again.append(file.path)
                    continue
            yield file
        yield from self._fetched(again)

    def _fetched(self, wanted: list[str]) -> Iterator[Fetched]:
        sha1s = {path: sha1 for path in wanted if (sha1 := self._published(path)) is not None}
        for file in fetch(wanted, sha1s, self.archive, self.limits, self.tape):
            if isinstance(file.content, bytes):
                self.watch.came(file)
                yield file
            else:
                yield file._replace(content=self._known_absence(file.path, file.content))

    def _known_absence(self, path: str, failure: Failure) -> Failure:
        """The failure, settled if the file is absent and its folder's list does not name it."""
        if not failure.absent:
            return failure
        if self._list_of(path).there:
            return replace(failure, settled=True)
        reason = f"{failure.reason}, and its folder has no list of checksums"
        return replace(failure, reason=reason, absent=False)

    def _star_of(self, content: bytes | Failure, path: str, apogee_id: str) -> AspcapStar | Failure:
        if isinstance(content, Failure):
            return content
        try:
            star = usable_spectra(content, path, apogee_id)
        except SpectraFMError as error:
            return Failure(str(error).removeprefix(f"{path}: "), settled=True)
        if star.simulated and not self.mock:
            return Failure("a simulated star, but the survey is no mock survey", settled=True)
        return star

    # The checksum lists.

    def _list_of(self, path: str) -> FolderList:
        return self._lists[PurePosixPath(path).parent.as_posix()]

    def _published(self, path: str) -> str | None:
        return self._list_of(path).sha1s.get(PurePosixPath(path).name)

    def _fetch_lists(self, files: Iterable[str]) -> None:
        """Fetch the lists of the files' folders; note which failed, and which are not there."""
        folders = {PurePosixPath(path).parent.as_posix() for path in files} - self._lists.keys()
        lists = {paths.sha1sum_of(folder): folder for folder in sorted(folders)}
        for file in fetch(list(lists), {}, self.archive, self.limits, self.tape):
            folder, found = lists[file.path], file.content
            if isinstance(found, bytes):
                self.watch.came(file)
                sha1s = sha1s_in(found, folder)
                self._lists[folder] = FolderList(sha1s, there=True, kept=file.kept)
            else:
                given_up = found.absent or self.watch.gives_up(file.path, found)
                self._lists[folder] = FolderList(open=not given_up)

    def _renew_lists(self, files: Iterable[str]) -> None:
        """Fetch the kept lists of the files' folders again; they may be older than the files."""
        folders = {PurePosixPath(path).parent.as_posix() for path in files}
        kept = sorted(folder for folder in folders if self._lists[folder].kept)
        lists = {paths.sha1sum_of(folder): folder for folder in kept}
        for path, content, *_ in fetch(
            list(lists), {}, self.archive, self.limits, self.tape, anew=True
        ):
            folder = lists[path]
            self._lists[folder] = replace(self._lists[folder], kept=False)
            if isinstance(content, bytes):
                self._lists[folder] = FolderList(sha1s_in(content, folder), there=True)


def records_of(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table; pandas would copy the table's metadata for each of them."""
    return [dict(zip(rows.columns, values, strict=True)) for values in rows.itertuples(index=False)]
