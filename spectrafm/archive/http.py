"""Fetching one file over HTTP: the whole file as published, or a `Failure` with its reason.

A server may truncate a body with or without stating its length, stall, trickle, never end, or send
an error page with status 200, a compressed body or another part of the file than the requested one.
Each try therefore has limits on time, rate and size, and the body is validated before any other
code sees it.

aiohttp, not urllib3 with threads: written with the same guarantees and timed side by side, threads
took 1.06 times the lines, 1.02 times the time and 1.6 times the processor time, and left Ctrl-C
waiting for silent hosts.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import BinaryIO
from urllib.parse import quote

import aiohttp
from yarl import URL

from spectrafm.archive.checksums import SUFFIX
from spectrafm.archive.failures import FITS, Failure, absence, flaw_in
from spectrafm.archive.paths import checked_path

#: Status codes for a file that the server does not have. 403 is none of them: a server that bans a
#: client sends it for files that exist.
_ABSENT = {404, 410}
_WORTH_ANOTHER_TRY = {408, 416, 425, 429, 500, 502, 503, 504}
_REDIRECTS = 5
#: Longest quotation of what a server made of its answer.
_LONGEST_REASON = 200
#: Bytes read at a time of a file that is already on disk.
PIECE = 1 << 20

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True)
class Limits:
    """Limits on one file; see the options of the same names in `spectrafm.archive.options`."""

    tries: int
    first_wait: float
    stall_seconds: float
    minimum_rate: float
    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Client:
    """An open session, a semaphore for its simultaneous requests, and the limits on each file."""

    session: aiohttp.ClientSession
    free: asyncio.Semaphore
    limits: Limits


class _GivenUp(Exception):
    """The client abandoned a try; the message is the reason."""


class Received:
    """The part of a file that has been received so far.

    Attributes
    ----------
    sink : BinaryIO
        File object that the bytes are written to; readable, since the whole body is validated.
    size : int
        Bytes received.
    whole : int or None
        Size of the whole file in bytes, once the server has stated it.
    version : dict of str to str
        The headers ETag and Last-Modified of this version of the file, as far as the server sent
        them.
    report : callable
        Called with ``size`` and ``whole`` whenever bytes have arrived.
    """

    def __init__(
        self, sink: BinaryIO, report: Callable[[int, int | None], None] = lambda size, whole: None
    ):
        self.sink, self.report = sink, report
        self._take_stock()

    def _take_stock(self) -> None:
        """Set size and digest from the bytes that the sink already holds."""
        self.whole: int | None = None
        self.version: dict[str, str] = {}
        self.digest = hashlib.sha1()
        self.sink.seek(0)
        while piece := self.sink.read(PIECE):
            self.digest.update(piece)
        self.size = self.sink.tell()

    @property
    def validator(self) -> str | None:
        """The strong ETag or the date that a request for the rest of the file names."""
        etag = self.version.get("ETag", "")
        return etag if etag.startswith('"') else self.version.get("Last-Modified")

    def add(self, piece: bytes) -> None:
        self.sink.write(piece)
        self.digest.update(piece)
        self.size += len(piece)
        self.report(self.size, self.whole)

    def restart(self) -> None:
        """Discard all received bytes; the next ones are the file's first."""
        self.sink.seek(0)
        self.sink.truncate()
        self._take_stock()


def url_of(source: str, path: str) -> URL:
    """URL of a file; a plus sign, which occurs in field names, is not escaped.

    Raises
    ------
    SpectraFMError
        When the path leads out of the source; see `checked_path`.
    """
    return URL(f"{source.rstrip('/')}/{quote(checked_path(path), safe='/+')}", encoded=True)


@contextlib.asynccontextmanager
async def client(connections: int, limits: Limits) -> AsyncIterator[Client]:
    """Open a client that keeps up to ``connections`` connections while the block runs."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        # Compressed bodies are refused: their length is unknown and they may expand to any size.
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        # Time is bounded in `_answer`, `_pieces` and `get`.
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        yield Client(session, asyncio.Semaphore(connections), limits)


async def get(
    client: Client, url: URL, received: Received, sha1: str | None, resume: bool = False
) -> Failure | None:
    """Fetch a file into ``received``, in up to ``client.limits.tries`` tries.

    Parameters
    ----------
    client : Client
    url : yarl.URL
    received : Received
        Receives the content; may hold the first part of the file if ``resume`` is true.
    sha1 : str or None
        Published SHA-1. An absent file with a published SHA-1 is requested again.
    resume : bool
        Whether a further try continues where the previous one ended.

    Returns
    -------
    Failure or None
        Failure of the last try; None if a try succeeded.
    """
    limits = client.limits
    failure, end = None, math.inf
    if resume and sha1 is not None and received.digest.hexdigest() == sha1:
        return None
    for attempt in range(limits.tries):
        if failure is not None:
            wait = max(failure.wait, _growing_wait(limits.first_wait, attempt))
            if time.monotonic() + wait >= end:
                return replace(failure, reason=f"{failure.reason}; no time for another try")
            await asyncio.sleep(wait)
        if not (resume and (sha1 or received.validator)):
            received.restart()
        async with client.free:
            # The deadline starts here, so that waiting for other files does not count.
            end = min(end, time.monotonic() + limits.seconds)
            one = _try(client, url, received, sha1)
            failure = await _bounded(one, end - time.monotonic(), limits)
        if failure is None or not failure.passing:
            break
    return failure


def _growing_wait(first: float, attempt: int) -> float:
    """Seconds to wait before a try: doubled each time, with jitter so that tries spread out."""
    return first * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)


async def probe(client: Client, url: URL) -> Failure | None:
    """Failure if the server does not begin to send a FITS file; the rest is not received."""
    return await _bounded(_beginning(client, url), client.limits.seconds, client.limits)


async def _beginning(client: Client, url: URL) -> Failure | None:
    async with await _answer(client, url, {}) as response:
        failure = _refusal(response, None)
        if failure is not None:
            return failure
        async for piece in _pieces(response, client.limits):
            return None if piece.startswith(FITS) else Failure("not a FITS file")
        return Failure("empty body")


async def _bounded(
    one: Awaitable[Failure | None], seconds: float, limits: Limits
) -> Failure | None:
    """Result of one try; whatever ends it, or is wrong with the answer, becomes a failure."""
    try:
        async with asyncio.timeout(seconds):
            return await one
    except _GivenUp as reason:
        return Failure(str(reason), passing=True)
    except TimeoutError:
        return Failure(f"not complete after {limits.seconds:g} s", passing=True)
    except aiohttp.ClientPayloadError:
        return Failure("short body", passing=True)
    except aiohttp.TooManyRedirects:
        return Failure(f"redirected more than {_REDIRECTS} times", passing=True)
    except aiohttp.ClientResponseError:
        return Failure("broken answer", passing=True)
    except (aiohttp.ClientError, ConnectionError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        return Failure(f"no answer ({what[:_LONGEST_REASON]})", passing=True)
    except (ValueError, OverflowError):
        # The response holds an invalid host name, number or date.
        return Failure("broken answer", passing=True)


async def _try(client: Client, url: URL, received: Received, sha1: str | None) -> Failure | None:
    async with await _answer(client, url, _range_headers(received)) as response:
        failure = _refusal(response, sha1) or _begin(response, received)
        if failure is not None:
            if response.status == 416:
                received.restart()
            return failure
        largest = client.limits.megabytes * 1e6
        async for piece in _pieces(response, client.limits):
            received.add(piece)
            if max(received.size, received.whole or 0) > largest:
                received.restart()
                return Failure(f"larger than {client.limits.megabytes:g} MB", passing=True)
    failure = _flaw(url.path, received, sha1)
    if failure is not None:
        received.restart()
    return failure


def _range_headers(received: Received) -> dict[str, str]:
    """Headers that request the rest of a file, on condition that the file has not changed."""
    if not received.size:
        return {}
    headers = {"Range": f"bytes={received.size}-"}
    return headers | ({"If-Range": received.validator} if received.validator else {})


async def _answer(client: Client, url: URL, headers: dict[str, str]) -> aiohttp.ClientResponse:
    try:
        async with asyncio.timeout(client.limits.stall_seconds):
            return await client.session.get(url, headers=headers, max_redirects=_REDIRECTS)
    except TimeoutError:
        raise _GivenUp(f"no answer within {client.limits.stall_seconds:g} s") from None


def _refusal(response: aiohttp.ClientResponse, sha1: str | None) -> Failure | None:
    """Failure if the status and headers of a response show that it is not the file; else None."""
    status = response.status
    if status in _ABSENT:
        return absence(str(status), sha1)
    if status not in (200, 206):
        passing = status in _WORTH_ANOTHER_TRY
        return Failure(f"refused ({status})", passing=passing, wait=_retry_after(response))
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return Failure("compressed, though asked not to be", passing=True)
    if response.content_type == "text/html" and response.url.path.endswith(".fits"):
        return Failure("an HTML page in its place", passing=True)
    chunked = "Transfer-Encoding" in response.headers
    if response.url.path.endswith(SUFFIX) and response.content_length is None and not chunked:
        # Nothing else would show that a list was cut at the end of a line.
        return Failure("no stated length", passing=True)
    return None


def _retry_after(response: aiohttp.ClientResponse) -> float:
    """Seconds to wait from the header Retry-After, which holds seconds or a date; else 0."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _begin(response: aiohttp.ClientResponse, received: Received) -> Failure | None:
    """Prepare ``received`` for the body of a response: the whole file or the rest of it."""
    if response.status == 206:
        part = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        start, whole = map(int, part.groups()) if part else (0, 0)
        other = _other_version(response, received)
        rest = received.size and start == received.size and whole == (received.whole or whole)
        if rest and not other:
            received.whole = whole
            return None
        received.restart()
        what = "version" if other else "part"
        return Failure(f"another {what} of the file than asked for", passing=True)
    received.restart()
    received.whole = response.content_length
    received.version = _version(response)
    return None


def _version(response: aiohttp.ClientResponse) -> dict[str, str]:
    names = ("ETag", "Last-Modified")
    return {name: response.headers[name] for name in names if name in response.headers}


def _other_version(response: aiohttp.ClientResponse, received: Received) -> bool:
    """Whether the rest of a file may be of another version than the part received so far.

    Servers ignore If-Range, so the answer must repeat what the first one said of its version.
    """
    found, expected = _version(response), received.version
    repeated = found.keys() & expected.keys()
    return (bool(expected) and not repeated) or any(found[k] != expected[k] for k in repeated)


async def _pieces(response: aiohttp.ClientResponse, limits: Limits) -> AsyncIterator[bytes]:
    """Yield the body in pieces; raise `_GivenUp` if it stalls or falls below the minimum rate."""
    since, arrived = time.monotonic(), 0
    while True:
        try:
            async with asyncio.timeout(limits.stall_seconds):
                piece = await response.content.readany()
        except TimeoutError:
            raise _GivenUp(f"stalled for {limits.stall_seconds:g} s") from None
        if not piece:
            return
        yield piece
        arrived += len(piece)
        elapsed = time.monotonic() - since
        if elapsed >= limits.stall_seconds:
            if arrived < limits.minimum_rate * elapsed:
                raise _GivenUp(f"too slow ({arrived / elapsed:.0f} bytes/s)")
            since, arrived = time.monotonic(), 0


def _flaw(path: str, received: Received, sha1: str | None) -> Failure | None:
    """Failure if a complete body is not the whole published file; else None."""
    if received.size and received.whole not in (None, received.size):
        return Failure("short body", passing=True)
    return flaw_in(path, received.sink, received.digest.hexdigest(), sha1)
