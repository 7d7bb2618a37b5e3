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

from spectrafm.archive import http
from spectrafm.archive.http import PIECE, Client, Failure, Limits, Received, mismatch, url_of
from spectrafm.archive.options import Archive, CatalogueLimits, FileLimits
from spectrafm.archive.paths import below, local_root
from spectrafm.files import atomic_path, write_bytes
from spectrafm.progress import Meter

_NO_SUCH_FILE = Failure("absent (no such file)", absent=True)


class Fetched(NamedTuple):
    """A fetched file, or the reason why it could not be fetched."""

    path: str  # relative to the root of the archive
    content: bytes | Failure
    sha1: str = ""  # SHA-1 of the content


def fetch(
    paths: Sequence[str], sha1s: Mapping[str, str], archive: Archive, limits: FileLimits
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
    wanted = paths
    if archive.keep is not None:
        wanted = []
        for path in paths:
            kept = _read_local(Path(archive.keep), path, sha1s.get(path))
            if isinstance(kept.content, bytes):
                yield kept
            else:
                wanted.append(path)
    for file in _from_server(wanted, sha1s, archive, limits):
        if archive.keep is not None and isinstance(file.content, bytes):
            write_bytes(below(Path(archive.keep), file.path), file.content)
        yield file


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
        return Fetched(path, _NO_SUCH_FILE)
    except OSError as error:
        return Fetched(path, Failure(f"not readable ({error.strerror})"))
    sha1 = hashlib.sha1(content).hexdigest()
    return Fetched(path, mismatch(sha1, published) or content, sha1)


def _copy(original: Path, destination: Path, sha1: str | None) -> Failure | None:
    try:
        with open(original, "rb") as given, open(destination, "wb") as copy:
            digest = hashlib.sha1()
            while piece := given.read(PIECE):
                digest.update(piece)
                copy.write(piece)
    except (FileNotFoundError, NotADirectoryError):
        return _NO_SUCH_FILE
    except (PermissionError, IsADirectoryError) as error:
        return Failure(f"not readable ({error.strerror})")
    return mismatch(digest.hexdigest(), sha1)


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
