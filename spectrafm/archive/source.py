"""From a source and a path to the bytes of a survey file.

A source is the root of a Science Archive Server: ``https://...``, ``http://...``,
``file:///...`` or a plain folder; the paths below it are those of `spectrafm.surveys.apogee.paths`.
What a server sends is judged by `spectrafm.archive.http` before anyone parses it. With
``survey.keep`` it is also kept, in the layout of the archive, and not asked for again.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from spectrafm.archive import http
from spectrafm.archive.http import PIECE, Client, Failure, Limits, Received, mismatch, url_of
from spectrafm.files import atomic_path, write_bytes
from spectrafm.progress import reported_bytes
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.options import Survey

_NO_SUCH_FILE = Failure("absent (no such file)", absent=True)


def local_root(source: str) -> Path | None:
    """Folder that a local source names; None for a server."""
    parts = urlsplit(source)
    if parts.scheme in ("http", "https"):
        return None
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(source)


def fetch(
    paths: Sequence[str], sha1s: Mapping[str, str], survey: Survey
) -> Iterator[tuple[str, bytes | Failure]]:
    """Give the content of each file, or why there is none, in the order they arrive.

    Only a few files are held at a time: the next ones are asked for as the caller takes these. A
    server's time runs on while the caller works on one, so that work should be short.

    Parameters
    ----------
    paths : sequence of str
        Paths relative to the root of the archive.
    sha1s : mapping
        SHA-1 by path, as published; files that are not in it are not checked.
    survey : Survey
        Its source, and how it is asked. An absent file is asked for once, unless it is published.

    Yields
    ------
    (str, bytes or Failure)
        Each path once.
    """
    root = local_root(survey.source)
    if root is not None:
        for path in paths:
            yield path, _read_local(_below(root, path), sha1s.get(path))
        return
    wanted = paths
    if survey.keep is not None:
        wanted = []
        for path in paths:
            content = _read_local(_below(Path(survey.keep), path), sha1s.get(path))
            if isinstance(content, bytes):
                yield path, content
            else:
                wanted.append(path)
    for path, content in _from_server(wanted, sha1s, survey):
        if survey.keep is not None and isinstance(content, bytes):
            write_bytes(_below(Path(survey.keep), path), content, shared=True)
        yield path, content


def fetch_one(path: str, survey: Survey, sha1: str | None = None) -> bytes | Failure:
    """Content of one small file, or why there is none; see `fetch`."""
    sha1s = {} if sha1 is None else {path: sha1}
    return next(content for _, content in fetch([path], sha1s, survey))


def download(
    path: str, destination: Path, survey: Survey, sha1: str | None = None
) -> Failure | None:
    """Write one large file to disk, piece by piece; a transfer that breaks off is continued.

    A local file is copied, not linked: what a run has read must not change when the mirror does,
    and removing or touching the run's file must not reach the mirror's.

    Returns
    -------
    Failure or None
        None when ``destination`` holds the whole file; otherwise it holds nothing of use, or,
        from a server and with a published ``sha1``, a first part that the next call continues.
    """
    root = local_root(survey.source)
    if root is not None:
        return _copy(_below(root, path), destination, sha1)
    kept = None if survey.keep is None else _below(Path(survey.keep), path)
    if kept is not None and _copy(kept, destination, sha1) is None:
        return None
    failure = asyncio.run(_download(path, destination, survey, sha1))
    if failure is None and kept is not None:
        with atomic_path(kept, shared=True) as temporary:
            _copy(destination, temporary, sha1)
    return failure


def _below(root: Path, path: str) -> Path:
    """A file of a mirror; whatever ``path`` says, it stays below the root."""
    return root / paths.checked_path(path)


def _read_local(path: Path, sha1: str | None) -> bytes | Failure:
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return _NO_SUCH_FILE
    except OSError as error:
        return Failure(f"not readable ({error.strerror})")
    return mismatch(hashlib.sha1(content).hexdigest(), sha1) or content


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


def _limits(survey: Survey, seconds: float, megabytes: float) -> Limits:
    return Limits(
        tries=survey.tries,
        first_wait=survey.first_wait,
        stall_seconds=survey.stall_seconds,
        minimum_rate=survey.minimum_rate,
        seconds=seconds,
        megabytes=megabytes,
    )


async def _download(
    path: str, destination: Path, survey: Survey, sha1: str | None
) -> Failure | None:
    limits = _limits(survey, survey.catalogue_seconds, survey.catalogue_megabytes)
    mode = "r+b" if sha1 is not None and destination.exists() else "w+b"
    with open(destination, mode) as sink:
        received = Received(sink)
        async with http.client(1, limits) as client:
            with reported_bytes(received, f"fetching {PurePosixPath(path).name}"):
                return await http.get(
                    client, url_of(survey.source, path), received, sha1, resume=True
                )


def _from_server(
    paths: Sequence[str], sha1s: Mapping[str, str], survey: Survey
) -> Iterator[tuple[str, bytes | Failure]]:
    with asyncio.Runner() as runner:
        arriving = _arriving(paths, sha1s, survey)
        # Not runner.run: its care of Ctrl-C prints the last result, a whole spectrum, each time.
        step = runner.get_loop().run_until_complete
        try:
            while (arrival := step(_next(arriving))) is not None:
                yield arrival
        finally:
            step(arriving.aclose())


async def _next(arriving: AsyncIterator):
    return await anext(arriving, None)


async def _arriving(
    paths: Sequence[str], sha1s: Mapping[str, str], survey: Survey
) -> AsyncGenerator[tuple[str, bytes | Failure], None]:
    """`fetch` from a server.

    Twice as many files as connections are under way, so that a file that waits for its next try
    does not keep a connection idle.
    """
    limits = _limits(survey, survey.file_seconds, survey.file_megabytes)
    async with http.client(survey.connections, limits) as client:
        under_way: set[asyncio.Task] = set()
        try:
            for path in paths:
                one = _content(client, survey.source, path, sha1s.get(path))
                under_way.add(asyncio.create_task(one))
                if len(under_way) >= 2 * survey.connections:
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


async def _content(
    client: Client, source: str, path: str, sha1: str | None
) -> tuple[str, bytes | Failure]:
    received = Received(io.BytesIO())
    failure = await http.get(client, url_of(source, path), received, sha1)
    return path, failure or received.sink.getvalue()
