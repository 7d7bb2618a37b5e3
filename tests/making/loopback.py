"""A loopback HTTP server of given files that injects faults on demand; see `BEHAVIOURS`."""

from __future__ import annotations

import functools
import gzip
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HTML = b"<!DOCTYPE html><html><body>Service temporarily overloaded</body></html>"
#: Size in bytes of the decompressed gzip bomb.
BOMB_BYTES = 200_000_000


class Server:
    """A server of files by path; the faults listed for a path are injected into its next requests.

    Attributes
    ----------
    injected : Counter
        Faults injected, by name.
    sent : Counter
        Bytes of the bodies that were written, by path.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Callable]] = {}
        self.requests: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.ranges: list[str | None] = []
        self.versions: list[str | None] = []  # If-Range of each request
        self.clients: set[tuple] = set()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # With Nagle's algorithm a head and its body wait for one another.
            disable_nagle_algorithm = True

            def do_GET(self):
                self.over, self.path = server.over, self.path.removeprefix("/sas/")
                server.answer(self)

            def body(self, content: bytes):
                with server.lock:
                    server.sent[self.path] += len(content)
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self.http.server_port}/sas"

    def answer(self, handler) -> None:
        path = handler.path
        with self.lock:
            self.requests[path] += 1
            self.ranges.append(handler.headers.get("Range"))
            self.versions.append(handler.headers.get("If-Range"))
            self.clients.add(handler.client_address)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            faults = self.faults.get(path)
            fault = faults.pop(0) if faults else None
            if fault is not None:
                self.injected[fault.__name__] += 1
        try:
            if fault is not None:
                fault(handler, self.files.get(path, b""))
            elif path in self.files:
                send_range(handler, self.files[path])
            else:
                send(handler, 404, HTML)
        except ConnectionError:
            handler.close_connection = True
        finally:
            with self.lock:
                self.at_once -= 1


@contextmanager
def running() -> Iterator[Server]:
    """A server in a thread of this process."""
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def head(handler, status: int, **headers: object) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()


def send(handler, status: int, content: bytes, length: int | None = None, **headers) -> None:
    head(handler, status, Content_Length=len(content) if length is None else length, **headers)
    handler.body(content)


def send_range(handler, content: bytes) -> None:
    """Send the whole file, or the rest of it if the request has a Range header."""
    wanted, tag = handler.headers.get("Range"), f'"{hash(content)}"'
    if wanted is None or handler.headers.get("If-Range", tag) != tag:
        send(handler, 200, content, ETag=tag)
        return
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    if start >= len(content):
        send(handler, 416, b"")
        return
    sent = f"bytes {start}-{len(content) - 1}/{len(content)}"
    send(handler, 206, content[start:], Content_Range=sent, ETag=tag)


# The faults.


def short_with_length(handler, content: bytes) -> None:
    send(handler, 200, content[: len(content) * 3 // 8], length=len(content))
    handler.close_connection = True


def short_without_length(handler, content: bytes) -> None:
    head(handler, 200, Connection="close")
    handler.body(content[: len(content) * 3 // 8])
    handler.close_connection = True


def bad_chunking(handler, content: bytes) -> None:
    head(handler, 200, Transfer_Encoding="chunked")
    half = content[: len(content) // 2]
    handler.body(b"%x\r\n%s\r\nnot-a-length\r\n%s" % (len(half), half, half))
    handler.close_connection = True


def reset(handler, content: bytes) -> None:
    send(handler, 200, content[: len(content) // 2], length=len(content))
    handler.wfile.flush()
    # Closing without lingering sends RST instead of FIN.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def hung_up(handler, _content: bytes) -> None:
    handler.close_connection = True


def html_page(handler, _content: bytes) -> None:
    send(handler, 200, HTML, Content_Type="text/html")


def empty(handler, _content: bytes) -> None:
    send(handler, 200, b"")


def absent(handler, _content: bytes) -> None:
    send(handler, 404, HTML)


def too_many(handler, _content: bytes) -> None:
    send(handler, 429, HTML, Retry_After=1)


def unavailable(handler, _content: bytes) -> None:
    send(handler, 503, HTML)


def forbidden(handler, _content: bytes) -> None:
    send(handler, 403, HTML)


def unauthorized(handler, _content: bytes) -> None:
    send(handler, 401, HTML)


def flipped(handler, content: bytes) -> None:
    middle = len(content) // 2
    send(handler, 200, content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


def redirect_loop(handler, _content: bytes) -> None:
    # One fault is one whole loop: the path that is redirected to has no faults of its own.
    send(handler, 302, b"", Location="/sas/redirected")


def redirected(handler, _content: bytes) -> None:
    send(handler, 302, b"", Location="/sas/redirected")


def stall(handler, content: bytes) -> None:
    send(handler, 200, content[: len(content) // 2], length=len(content))
    handler.over.wait(30)
    handler.close_connection = True


def drip(handler, content: bytes) -> None:
    head(handler, 200, Content_Length=len(content))
    for byte in content:
        if handler.over.wait(0.02):
            break
        handler.body(bytes([byte]))
    handler.close_connection = True


def endless(handler, content: bytes) -> None:
    head(handler, 200, Connection="close")
    handler.body(content)
    while not handler.over.is_set():
        handler.body(b"\0" * 65536)
    handler.close_connection = True


@functools.cache
def bomb() -> bytes:
    return gzip.compress(b"\0" * BOMB_BYTES, 1)


def gzip_bomb(handler, _content: bytes) -> None:
    send(handler, 200, bomb(), Content_Encoding="gzip")


def wrong_range(handler, content: bytes) -> None:
    start = len(content) // 2 - 7
    sent = f"bytes {start}-{len(content) - 1}/{len(content)}"
    send(handler, 206, content[start:], Content_Range=sent)


#: Faults of real archive servers that the tests and benchmarks inject.
BEHAVIOURS = (
    short_with_length,
    short_without_length,
    bad_chunking,
    reset,
    html_page,
    empty,
    absent,
    too_many,
    unavailable,
    flipped,
    redirect_loop,
    stall,
    drip,
    endless,
    gzip_bomb,
    wrong_range,
)
