"""From a source and a path to the bytes of a survey file.

A source is the root of a Science Archive Server: ``https://...``, ``http://...``,
``file:///...`` or a plain folder; the paths below it are those of `spectrafm.apogee.sas`.
What a server sends is held against its length and its published SHA-1 before anyone parses it.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import aiohttp
from yarl import URL

from spectrafm.apogee import sas
from spectrafm.apogee.fits import opened_catalogue
from spectrafm.config import Survey
from spectrafm.files import SpectraFMError, atomic_path

#: Seconds before the second try; each further wait is twice as long.
FIRST_WAIT = 0.5
#: Seconds without a byte after which a try is given up.
SILENCE = 60.0
#: Seconds after which a try for one small file is given up.
DEADLINE = 300.0
#: Bytes read at a time from a large file.
PIECE = 1 << 20

#: What servers answer for a file they do not have (object stores say 403 where listing is denied).
_ABSENT = {403, 404, 410}
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Failure:
    """Why a file could not be had.

    Attributes
    ----------
    reason : str
        Such as ``absent (404)``, ``wrong sha1`` or ``short body``.
    absent : bool
        The source answered that it does not have the file.
    passing : bool
        Another try may succeed.
    """

    reason: str
    absent: bool = False
    passing: bool = False


_NO_SUCH_FILE = Failure("absent (no such file)", absent=True)


def local_root(source: str) -> Path | None:
    """Folder that a local source names; None for a server."""
    parts = urlsplit(source)
    if parts.scheme in ("http", "https"):
        return None
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(source)


def fetch(
    source: str, paths: Sequence[str], sha1s: Mapping[str, str], connections: int, tries: int
) -> Iterator[tuple[str, bytes | Failure]]:
    """Give the content of each file, or why there is none, in the order they arrive.

    Only a few files are held at a time: the next ones are asked for as the caller takes these.

    Parameters
    ----------
    source : str
        Root of the archive.
    paths : sequence of str
        Paths relative to the root.
    sha1s : mapping
        SHA-1 by path, as published; files that are not in it are not checked.
    connections : int
        Simultaneous requests, kept alive between files.
    tries : int
        Tries per file, with growing waits; an absent file is not tried again.

    Yields
    ------
    (str, bytes or Failure)
        Each path once.
    """
    root = local_root(source)
    if root is not None:
        for path in paths:
            yield path, _read_local(root / path, sha1s.get(path))
        return
    with asyncio.Runner() as runner:
        arriving = _arriving(source, paths, sha1s, connections, tries)
        # Not runner.run: its care of Ctrl-C prints the last result, a whole spectrum, each time.
        step = runner.get_loop().run_until_complete
        while (arrival := step(_next(arriving))) is not None:
            yield arrival


def fetch_one(source: str, path: str, tries: int, sha1: str | None = None) -> bytes | Failure:
    """Content of one small file, or why there is none; see `fetch`."""
    sha1s = {} if sha1 is None else {path: sha1}
    return next(content for _, content in fetch(source, [path], sha1s, 1, tries))


def download(
    source: str, path: str, destination: Path, tries: int, sha1: str | None = None
) -> Failure | None:
    """Write one large file to disk, piece by piece.

    A local file is copied, not linked: what a run has read must not change when the mirror does,
    and removing or touching the run's file must not reach the mirror's.

    Returns
    -------
    Failure or None
        None when ``destination`` holds the whole file; otherwise it holds nothing of use.
    """
    root = local_root(source)
    if root is None:
        return asyncio.run(_download(url_of(source, path), destination, tries, sha1))
    try:
        with open(root / path, "rb") as original, open(destination, "wb") as copy:
            digest = hashlib.sha1()
            while piece := original.read(PIECE):
                digest.update(piece)
                copy.write(piece)
    except (FileNotFoundError, NotADirectoryError):
        return _NO_SUCH_FILE
    except (PermissionError, IsADirectoryError) as error:
        return Failure(f"not readable ({error.strerror})")
    return _mismatch(digest.hexdigest(), sha1)


def fetch_allstar(output: Path, survey: Survey) -> None:
    """Bring the allStar catalogue to ``output``.

    Parameters
    ----------
    output : pathlib.Path
        ``catalogue/allStar.fits``.
    survey : Survey
        Its ``allstar_sha1`` is checked where given.

    Raises
    ------
    SpectraFMError
        When the source has no such file, its SHA-1 is another, or it is not a whole FITS table.
    """
    path = sas.allstar_path(survey.release, survey.aspcap)
    name = f"{survey.source}/{path}"
    with atomic_path(output) as temporary:
        failure = download(survey.source, path, temporary, survey.tries, survey.allstar_sha1)
        if failure is not None:
            raise SpectraFMError(f"{name}: {failure.reason}")
        with opened_catalogue(temporary, name):
            pass


def _read_local(path: Path, sha1: str | None) -> bytes | Failure:
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return _NO_SUCH_FILE
    except OSError as error:
        return Failure(f"not readable ({error.strerror})")
    return _mismatch(hashlib.sha1(content).hexdigest(), sha1) or content


def _mismatch(found: str, sha1: str | None) -> Failure | None:
    if sha1 is None or found == sha1:
        return None
    return Failure(f"wrong sha1 ({found}, published {sha1})", passing=True)


def url_of(source: str, path: str) -> URL:
    """URL of a file; a plus sign, which field names hold, stays as it is."""
    return URL(f"{source.rstrip('/')}/{quote(path, safe='/+')}", encoded=True)


async def _download(url: URL, destination: Path, tries: int, sha1: str | None) -> Failure | None:
    async with _session(connections=1) as session:
        with open(destination, "wb") as sink:
            return await _with_tries(session, url, sha1, tries, sink, deadline=None)


async def _next(arriving: AsyncIterator):
    return await anext(arriving, None)


async def _arriving(
    source: str, paths: Sequence[str], sha1s: Mapping[str, str], connections: int, tries: int
) -> AsyncIterator[tuple[str, bytes | Failure]]:
    """`fetch` from a server.

    Twice as many files as connections are under way, so that a file that waits for its next try
    does not keep a connection idle.
    """

    async def one(path: str) -> tuple[str, bytes | Failure]:
        content = io.BytesIO()
        failure = await _with_tries(
            session, url_of(source, path), sha1s.get(path), tries, content, DEADLINE
        )
        return path, failure or content.getvalue()

    async with _session(connections) as session:
        under_way: set[asyncio.Task] = set()
        try:
            for path in paths:
                under_way.add(asyncio.create_task(one(path)))
                if len(under_way) >= 2 * connections:
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


def _session(connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        # Without compression the length of the body is the length of the file.
        headers={"Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE),
    )


async def _with_tries(
    session: aiohttp.ClientSession,
    url: URL,
    sha1: str | None,
    tries: int,
    sink: BinaryIO,
    deadline: float | None,
) -> Failure | None:
    """Write a file's content to ``sink``; the last try's failure, if all of them failed."""
    for attempt in range(tries):
        if attempt:
            await asyncio.sleep(FIRST_WAIT * 2 ** (attempt - 1))
            sink.seek(0)
            sink.truncate()
        try:
            async with asyncio.timeout(deadline):
                failure = await _try(session, url, sha1, sink)
        except (TimeoutError, aiohttp.ClientError) as error:
            failure = _broken_off(error)
        if failure is None or not failure.passing:
            break
    return failure


async def _try(
    session: aiohttp.ClientSession, url: URL, sha1: str | None, sink: BinaryIO
) -> Failure | None:
    digest = hashlib.sha1()
    async with session.get(url) as response:
        if response.status in _ABSENT:
            return Failure(f"absent ({response.status})", absent=True)
        if response.status != 200:
            passing = response.status in _WORTH_ANOTHER_TRY
            return Failure(f"refused ({response.status})", passing=passing)
        async for piece in response.content.iter_chunked(PIECE):
            digest.update(piece)
            sink.write(piece)
    return _mismatch(digest.hexdigest(), sha1)


def _broken_off(error: Exception) -> Failure:
    """Name what ended a transfer; another try may succeed."""
    if isinstance(error, aiohttp.ClientPayloadError):
        return Failure("short body", passing=True)
    if isinstance(error, TimeoutError):
        return Failure("timed out", passing=True)
    return Failure(f"no answer ({error or type(error).__name__})", passing=True)
