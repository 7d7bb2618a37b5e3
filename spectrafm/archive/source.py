"""Fetching the bytes of files from an archive, given its source and the files' paths.

A source is the root of an archive: ``https://...``, ``http://...``, ``file:///...`` or a plain
folder. `spectrafm.archive.http` validates what a server sends before any code parses it. With the
option ``keep``, fetched files are also kept in the layout of the archive, and not fetched again.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from yarl import URL

from spectrafm.archive import http
from spectrafm.archive.failures import Failure, absence, flaw_in
from spectrafm.archive.http import PIECE, Client, Limits, Received, url_of
from spectrafm.archive.options import Archive, CatalogueLimits, FileLimits
from spectrafm.archive.paths import below, local_root
from spectrafm.archive.tape import Tape
from spectrafm.files import atomic_path, write_bytes
from spectrafm.progress import Meter


class Fetched(NamedTuple):
    """A fetched file, or the reason why it could not be fetched."""

    path: str  # relative to the root of the archive
    content: bytes | Failure
    sha1: str = ""  # SHA-1 of the content
    kept: bool = False  # whether an earlier run had fetched it


def fetch(
    paths: Sequence[str],
    sha1s: Mapping[str, str],
    archive: Archive,
    limits: FileLimits,
    tape: Tape | None = None,
    anew: bool = False,
) -> Iterator[Fetched]:
    """Fetch files; yield each one, or the reason for its failure, in the order of arrival.

    Memory holds only a few files at a time: further ones are requested as the caller takes these.
    Deadlines keep running while the caller works on a file, so that work should be short.

    Parameters
    ----------
    paths : sequence of str
        Paths relative to the root of the archive.
    sha1s : mapping of str to str
        Published SHA-1 by path; files without one are not checked.
    archive : Archive
        An absent file is requested once, unless its SHA-1 is published.
    limits : FileLimits
        Deadline and largest size of a file.
    tape : Tape, optional
        Keeps files from a server where the option ``keep`` does not.
    anew : bool
        Whether files that an earlier run kept are fetched again; they are then replaced.

    Yields
    ------
    Fetched
        One for each path.
    """
    root = local_root(archive.source)
    if root is not None:
        for path in paths:
            yield _read_local(root, path, sha1s.get(path))
        return
    wanted = []
    for path in paths:
        kept = None if anew else _read_kept(path, sha1s.get(path), archive, tape)
        if kept is not None:
            yield kept
        else:
            wanted.append(path)
    for file in _from_server(wanted, sha1s, archive, limits):
        if isinstance(file.content, bytes):
            if archive.keep is not None:
                write_bytes(below(Path(archive.keep), file.path), file.content)
            elif tape is not None:
                tape.add(file.path, file.content, file.sha1)
        yield file


def _read_kept(path: str, sha1: str | None, archive: Archive, tape: Tape | None) -> Fetched | None:
    """A file that an earlier run kept; None if it must be fetched."""
    kept = None
    if archive.keep is not None:
        kept = _read_local(Path(archive.keep), path, sha1)
    elif tape is not None and (content := tape.read(path)) is not None:
        kept = _judged(path, content, sha1)
    good = kept is not None and isinstance(kept.content, bytes)
    return kept._replace(kept=True) if good else None


def fetch_one(
    path: str, archive: Archive, limits: FileLimits, sha1: str | None = None
) -> bytes | Failure:
    """Fetch one small file: its content, or the reason for the failure; see `fetch`."""
    sha1s = {} if sha1 is None else {path: sha1}
    return next(file.content for file in fetch([path], sha1s, archive, limits))


def download(
    path: str,
    destination: Path,
    archive: Archive,
    limits: CatalogueLimits,
    sha1: str | None = None,
) -> Failure | None:
    """Fetch one large file to disk, piece by piece; an interrupted transfer resumes.

    A local file is copied, not linked, so that later changes of the mirror do not change the
    run's file, nor the other way round.

    Parameters
    ----------
    path : str
        Path relative to the root of the archive.
    destination : pathlib.Path
        File to write.
    archive : Archive
    limits : CatalogueLimits
        Deadline and largest size of the file.
    sha1 : str, optional
        Published SHA-1; None: the content is not checked.

    Returns
    -------
    Failure or None
        None if ``destination`` holds the whole file. After a failure its content is incomplete;
        from a server and with a published ``sha1``, the next call resumes from it.
    """
    root = local_root(archive.source)
    if root is not None:
        return _copy(below(root, path), destination, sha1)
    kept = None if archive.keep is None else below(Path(archive.keep), path)
    if kept is not None and _copy(kept, destination, sha1) is None:
        return None
    failure = asyncio.run(_download(path, destination, archive, limits, sha1))
    if failure is None and kept is not None:
        with atomic_path(kept) as temporary:
            _copy(destination, temporary, sha1)
    return failure


def _read_local(root: Path, path: str, published: str | None) -> Fetched:
    try:
        content = below(root, path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Fetched(path, absence("no such file", published))
    except OSError as error:
        return Fetched(path, Failure(f"not readable ({error.strerror})"))
    return _judged(path, content, published)


def _judged(path: str, content: bytes, published: str | None) -> Fetched:
    """A file that is on this machine, by the rules that hold for one from a server."""
    sha1 = hashlib.sha1(content).hexdigest()
    flaw = flaw_in(path, io.BytesIO(content), sha1, published)
    return Fetched(path, flaw or content, sha1)


def probe(
    path: str, archive: Archive, limits: FileLimits, sha1: str | None = None
) -> Failure | None:
    """Failure if the source does not give a file now, whether or not an earlier run kept it.

    With the SHA-1 that the file had, it is fetched whole; without, only its beginning is looked at.
    """
    root = local_root(archive.source)
    if sha1 is not None:
        (again,) = fetch([path], {path: sha1}, archive, limits, anew=True)
        return again.content if isinstance(again.content, Failure) else None
    if root is not None:
        there = below(root, path).is_file()
        return None if there else absence("no such file", None)
    return asyncio.run(_probe(url_of(archive.source, path), archive, limits))


async def _probe(url: URL, archive: Archive, limits: FileLimits) -> Failure | None:
    bounds = _limits(archive, limits.file_seconds, limits.file_megabytes)
    async with http.client(1, bounds) as client:
        return await http.probe(client, url)


def _copy(original: Path, destination: Path, sha1: str | None) -> Failure | None:
    try:
        with open(original, "rb") as given, open(destination, "wb") as copy:
            digest = hashlib.sha1()
            while piece := given.read(PIECE):
                digest.update(piece)
                copy.write(piece)
    except (FileNotFoundError, NotADirectoryError):
        return absence("no such file", None)
    except (PermissionError, IsADirectoryError) as error:
        return Failure(f"not readable ({error.strerror})")
    with open(destination, "rb") as copied:
        return flaw_in(original.name, copied, digest.hexdigest(), sha1)


def _limits(archive: Archive, seconds: float, megabytes: float) -> Limits:
    return Limits(
        tries=archive.tries,
        first_wait=archive.first_wait,
        stall_seconds=archive.stall_seconds,
        minimum_rate=archive.minimum_rate,
        seconds=seconds,
        megabytes=megabytes,
    )


async def _download(
    path: str, destination: Path, archive: Archive, limits: CatalogueLimits, sha1: str | None
) -> Failure | None:
    bounds = _limits(archive, limits.catalogue_seconds, limits.catalogue_megabytes)
    mode = "r+b" if sha1 is not None and destination.exists() else "w+b"
    with open(destination, mode) as sink, Meter(f"fetching {PurePosixPath(path).name}") as meter:
        received = Received(sink, meter.bytes)
        async with http.client(1, bounds) as client:
            url = url_of(archive.source, path)
            return await http.get(client, url, received, sha1, resume=True)


def _from_server(
    paths: Sequence[str], sha1s: Mapping[str, str], archive: Archive, limits: FileLimits
) -> Iterator[Fetched]:
    with asyncio.Runner() as runner:
        arriving = _arriving(paths, sha1s, archive, limits)
        loop = runner.get_loop()

        def step(coroutine: Coroutine[Any, Any, Any]) -> Any:
            # runner.run is not used: on Ctrl-C it prints the last result, a whole spectrum.
            task = loop.create_task(coroutine)
            try:
                return loop.run_until_complete(task)
            finally:
                # After Ctrl-C the task must end first: a running generator cannot be closed.
                if task.cancel():
                    loop.run_until_complete(asyncio.wait([task]))

        try:
            while (arrival := step(_next(arriving))) is not None:
                yield arrival
        finally:
            step(arriving.aclose())


async def _next(arriving: AsyncIterator):
    return await anext(arriving, None)


async def _arriving(
    paths: Sequence[str], sha1s: Mapping[str, str], archive: Archive, limits: FileLimits
) -> AsyncGenerator[Fetched, None]:
    """Fetch files from a server; yield them in the order of arrival.

    Twice as many files as connections are in progress, so that no connection is idle while a file
    waits for its next try.
    """
    bounds = _limits(archive, limits.file_seconds, limits.file_megabytes)
    async with http.client(archive.connections, bounds) as client:
        under_way: set[asyncio.Task] = set()
        try:
            for path in paths:
                one = _content(client, archive.source, path, sha1s.get(path))
                under_way.add(asyncio.create_task(one))
                if len(under_way) >= 2 * archive.connections:
                    done, under_way = await asyncio.wait(
                        under_way, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in done:
                        yield await task
            for finished in asyncio.as_completed(under_way):
                yield await finished
        finally:
            for task in under_way:
                task.cancel()


async def _content(client: Client, source: str, path: str, sha1: str | None) -> Fetched:
    received = Received(io.BytesIO())
    failure = await http.get(client, url_of(source, path), received, sha1)
    if failure is not None:
        return Fetched(path, failure)
    return Fetched(path, received.sink.getvalue(), received.digest.hexdigest())
