"""One file over HTTP: whole and as published, or a named reason why not.

A server may cut a body short with or without saying its length, stall, trickle, never end, send an
error page with status 200, a compressed body or another part of the file than asked for. Each try
is bounded in time, in rate and in size, and what came is judged before anyone else sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import BinaryIO
from urllib.parse import quote

import aiohttp
from yarl import URL

from spectrafm.archive.checksums import listed
from spectrafm.archive.paths import checked_path

#: What servers answer for a file they do not have (object stores say 403 where listing is denied).
_ABSENT = {403, 404, 410}
_WORTH_ANOTHER_TRY = {408, 416, 425, 429, 500, 502, 503, 504}
_REDIRECTS = 5
#: Bytes read at a time of a file that is already on disk.
PIECE = 1 << 20

_HTML = re.compile(rb"\s*<(!doctype html|html|head|\?xml)", re.IGNORECASE)
_FITS_BLOCK = 2880
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


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
    wait : float
        Seconds that the server asks to wait before it.
    """

    reason: str
    absent: bool = False
    passing: bool = False
    wait: float = 0.0


@dataclass(frozen=True)
class Limits:
    """What bounds a file: see the options of the same name."""

    tries: int
    first_wait: float
    stall_seconds: float
    minimum_rate: float
    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Client:
    """An open session, how many requests it may have under way, and the bounds of each file."""

    session: aiohttp.ClientSession
    free: asyncio.Semaphore
    limits: Limits


class _GivenUp(Exception):
    """A try that was ended on our side; its text is the reason."""


class Received:
    """What has arrived of a file so far.

    Attributes
    ----------
    sink : BinaryIO
        Where the bytes go; readable, since they are judged when all are there.
    size : int
        Bytes in it.
    whole : int or None
        Bytes of the whole file, once the server has said so.
    validator : str or None
        What the server calls this state of the file: its ETag, or when it was last changed.
    report : callable
        Called with ``size`` and ``whole`` whenever bytes have arrived.
    """

    def __init__(
        self, sink: BinaryIO, report: Callable[[int, int | None], None] = lambda size, whole: None
    ):
        self.sink, self.report = sink, report
        self._take_stock()

    def _take_stock(self) -> None:
        """Begin with what is in the sink."""
        self.whole: int | None = None
        self.validator: str | None = None
        self.digest = hashlib.sha1()
        self.sink.seek(0)
        while piece := self.sink.read(PIECE):
            self.digest.update(piece)
        self.size = self.sink.tell()

    def add(self, piece: bytes) -> None:
        self.sink.write(piece)
        self.digest.update(piece)
        self.size += len(piece)
        self.report(self.size, self.whole)

    def restart(self) -> None:
        """Forget everything: the next bytes are the file's first."""
        self.sink.seek(0)
        self.sink.truncate()
        self._take_stock()

    def ends(self) -> tuple[bytes, bytes]:
        """The first and the last bytes."""
        self.sink.seek(0)
        first = self.sink.read(512)
        self.sink.seek(max(0, self.size - 512))
        return first, self.sink.read()


def url_of(source: str, path: str) -> URL:
    """URL of a file; a plus sign, which field names hold, stays as it is.

    Raises
    ------
    SpectraFMError
        When the path leads anywhere but below the source.
    """
    return URL(f"{source.rstrip('/')}/{quote(checked_path(path), safe='/+')}", encoded=True)


@contextlib.asynccontextmanager
async def client(connections: int, limits: Limits) -> AsyncIterator[Client]:
    """Keep a few connections to servers while the block runs."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        # A compressed body would hide its length, and may unfold to any size: it is refused.
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
    """Bring a file's content into ``received``; the last try's failure if none succeeded.

    Parameters
    ----------
    client : Client
    url : yarl.URL
    received : Received
        May hold the first part of the file where ``resume`` is true.
    sha1 : str or None
        As published. A file that is published but absent is asked for again.
    resume : bool
        Whether a further try continues where the last one broke off.
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
            # Waiting for other files does not count.
            end = min(end, time.monotonic() + limits.seconds)
            failure = await _bounded_try(client, url, received, sha1, end)
        if failure is None or not failure.passing:
            break
    return failure


def _growing_wait(first: float, attempt: int) -> float:
    """Twice as long each time; scattered, so that not all files come back at once."""
    return first * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)


async def _bounded_try(
    client: Client, url: URL, received: Received, sha1: str | None, end: float
) -> Failure | None:
    try:
        async with asyncio.timeout(end - time.monotonic()):
            return await _try(client, url, received, sha1)
    except _GivenUp as reason:
        return Failure(str(reason), passing=True)
    except TimeoutError:
        return Failure(f"not complete after {client.limits.seconds:g} s", passing=True)
    except aiohttp.ClientPayloadError:
        return Failure("short body", passing=True)
    except aiohttp.TooManyRedirects:
        return Failure(f"redirected more than {_REDIRECTS} times", passing=True)
    except aiohttp.ClientResponseError:
        return Failure("broken answer", passing=True)
    except (aiohttp.ClientError, ConnectionError) as error:
        return Failure(f"no answer ({error or type(error).__name__})", passing=True)
    except (ValueError, OverflowError):
        # A host name, number or date of the answer that cannot be one.
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
    """Ask for the rest of a file, as long as it is the same file."""
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
    """Why an answer is not (a part of) the file, as far as its head tells."""
    status = response.status
    if status in _ABSENT:
        # A server under load may deny what its own list names.
        listed = sha1 is not None
        return Failure(f"absent ({status})", absent=not listed, passing=listed)
    if status not in (200, 206):
        passing = status in _WORTH_ANOTHER_TRY
        return Failure(f"refused ({status})", passing=passing, wait=_retry_after(response))
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return Failure("compressed, though asked not to be", passing=True)
    if response.content_type == "text/html" and response.url.path.endswith(".fits"):
        return Failure("an HTML page in its place", passing=True)
    return None


def _retry_after(response: aiohttp.ClientResponse) -> float:
    """Seconds that a server asks to wait, in either of the two forms it may say so."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _begin(response: aiohttp.ClientResponse, received: Received) -> Failure | None:
    """Make ``received`` ready for a body: the whole file's, or the rest of it."""
    if response.status == 206:
        part = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        start, whole = map(int, part.groups()) if part else (0, 0)
        if received.size and start == received.size and whole == (received.whole or whole):
            received.whole = whole
            return None
        received.restart()
        return Failure("another part of the file than asked for", passing=True)
    received.restart()
    received.whole = response.content_length
    etag = response.headers.get("ETag", "")
    strong = etag if etag.startswith('"') else None
    received.validator = strong or response.headers.get("Last-Modified")
    return None


async def _pieces(response: aiohttp.ClientResponse, limits: Limits) -> AsyncIterator[bytes]:
    """The body as it comes, as long as it comes fast enough."""
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
    """What is wrong with a body that has ended."""
    if not received.size:
        return Failure("empty body", passing=True)
    if received.whole not in (None, received.size):
        return Failure("short body", passing=True)
    first, last = received.ends()
    if sha1 is not None:
        flaw = mismatch(received.digest.hexdigest(), sha1)
        html = flaw is not None and _HTML.match(first)
        return Failure("an HTML page in its place", passing=True) if html else flaw
    if _HTML.match(first):
        return Failure("an HTML page in its place", passing=True)
    if path.endswith(".fits") and (
        not first.startswith(b"SIMPLE  =") or received.size % _FITS_BLOCK
    ):
        return Failure("not a whole FITS file", passing=True)
    if path.endswith(".sha1sum") and not _ends_a_list(last):
        return Failure("not a whole list of checksums", passing=True)
    return None


def _ends_a_list(last: bytes) -> bool:
    """Whether the last bytes of a list of checksums end with the whole name of a FITS file."""
    line = listed(last.strip().rpartition(b"\n")[2].decode("utf-8", errors="replace"))
    return line is not None and line[0].endswith(".fits")


def mismatch(found: str, sha1: str | None) -> Failure | None:
    """Whether a file is another than the published one."""
    if sha1 is None or found == sha1:
        return None
    return Failure(f"wrong sha1 ({found}, published {sha1})", passing=True)
