# Tests of: spectrafm/archive/http.py, archive/source.py
"""Whatever a server does: no file with a wrong hash, no hang, and patience where it recovers."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import random
import re
import shutil
import signal
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from making import loopback
from making.fetching import contents_of, twice
from making.loopback import BEHAVIOURS, Server, running
from making.sas_tree import ASPCAP, RELEASE, make_tree, row, write_allstar
from making.survey_run import Run, fetch_catalogue
from spectrafm.archive.failures import Failure
from spectrafm.archive.source import fetch_one, probe
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.store.read import open_store, read
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.options import Survey

TRIES = 5
#: As short as a busy machine allows: a request that is only slow must not look like a stall.
STALL_SECONDS = 0.5
CAP = 1_000_000

#: What a failure of each behaviour is called.
REASONS = {
    "short_with_length": "short body",
    "short_without_length": "wrong sha1",
    # How far aiohttp has read when it meets the chunk decides what it says, if anything.
    "bad_chunking": "short body|broken answer|stalled",
    "reset": "short body|no answer",
    "html_page": "an HTML page",
    "empty": "empty body",
    "absent": r"absent \(404\)",
    "too_many": r"refused \(429\)",
    "unavailable": r"refused \(503\)",
    "flipped": "wrong sha1",
    "redirect_loop": "redirected more than",
    "stall": "stalled",
    "drip": "too slow",
    "endless": "larger than 1 MB",
    "gzip_bomb": "compressed",
    "wrong_range": "another part of the file",
}


@pytest.fixture
def server() -> Iterator[Server]:
    loopback.bomb()
    with running() as server:
        server.faults["redirected"] = Forever(loopback.redirected)
        yield server


class Forever(list):
    """A fault that never ends."""

    def __init__(self, fault: Callable):
        super().__init__([fault])

    def pop(self, _index: int = 0) -> Callable:
        return self[0]


def survey_at(server: Server, **options) -> Survey:
    given = {
        "source": server.url,
        "tries": TRIES,
        "first_wait": 0.001,
        "stall_seconds": STALL_SECONDS,
        "minimum_rate": 1000,
        "file_megabytes": CAP / 1e6,
        # A fault that nothing else ends fails a test instead of hanging it.
        "file_seconds": 20.0,
    }
    return Survey(**given | options)


def fits_like(seed: int, blocks: int = 10) -> bytes:
    """Bytes that begin and are as long as a FITS file."""
    body = np.random.default_rng(seed).bytes(2880 * blocks - 80)
    return b"SIMPLE  =                    T".ljust(80) + body


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def wrong_files(folder: Path, expected: dict[str, bytes]) -> list[Path]:
    """Files at final paths that are not the published ones."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.read_bytes() != expected[path.relative_to(folder).as_posix()]
    ]


def test_sixteen_behaviours_are_tried():
    assert len(BEHAVIOURS) == len(REASONS) == 16


@pytest.mark.parametrize("fault", BEHAVIOURS, ids=lambda fault: fault.__name__)
def test_a_server_that_recovers_is_waited_for(server, tmp_path, fault):
    server.files = {f"{count}.fits": fits_like(count) for count in range(1, TRIES)}
    # The first file meets one fault, the last one four.
    server.faults |= {f"{count}.fits": [fault] * count for count in range(1, TRIES)}
    sha1s = {path: sha1(content) for path, content in server.files.items()}
    found = contents_of(list(sha1s), sha1s, survey_at(server, keep=str(tmp_path / "kept")))
    assert server.injected[fault.__name__] == sum(range(1, TRIES))
    assert found == server.files
    assert {path.name for path in (tmp_path / "kept").iterdir()} == set(server.files)
    assert not wrong_files(tmp_path / "kept", server.files)


@pytest.mark.parametrize("fault", BEHAVIOURS, ids=lambda fault: fault.__name__)
def test_a_server_that_never_recovers_is_left_and_named(server, tmp_path, fault):
    server.files = {f"{number}.fits": fits_like(number) for number in range(4)}
    broken = ["0.fits", "1.fits", "2.fits"]
    server.faults |= {path: Forever(fault) for path in broken}
    sha1s = {path: sha1(content) for path, content in server.files.items()}
    survey = survey_at(server, keep=str(tmp_path / "kept"))
    start = time.monotonic()
    found = contents_of(list(sha1s), sha1s, survey)
    # Retry-After asks for a second before each of four tries; a drip is judged twice as late.
    assert time.monotonic() - start < (TRIES - 1) * 1.0 + TRIES * 2 * STALL_SECONDS + 5
    # A reset may also meet the next request before the server has read it.
    assert server.injected[fault.__name__] >= (TRIES - 1) * len(broken)
    for path in broken:
        assert isinstance(found[path], Failure)
        assert re.match(REASONS[fault.__name__], found[path].reason)
    assert found["3.fits"] == server.files["3.fits"]
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["3.fits"]


@pytest.mark.parametrize(
    "fault",
    [fault for fault in BEHAVIOURS if fault.__name__ not in ("absent", "flipped")],
    ids=lambda fault: fault.__name__,
)
def test_without_a_published_hash_damage_that_shows_is_still_refused(server, fault):
    content = fits_like(1, blocks=9)
    server.files, server.faults["a.fits"] = {"a.fits": content}, [fault, fault]
    assert fetch_one("a.fits", *twice(survey_at(server))) == content
    assert server.injected[fault.__name__] == 2


def test_an_unpublished_absent_file_is_asked_for_once(server):
    server.faults["a.fits"] = Forever(loopback.absent)
    assert fetch_one("a.fits", *twice(survey_at(server))).absent
    assert server.requests["a.fits"] == 1


def test_a_list_of_checksums_cut_short_is_not_taken_for_a_shorter_list(server):
    lines = [f"{sha1(bytes([i]))}  aspcapStar-dr17-2M{i:08d}.fits\n" for i in range(9)]
    content = "".join(lines).encode()
    server.files = {"a.sha1sum": content}
    server.faults["a.sha1sum"] = [loopback.short_without_length, loopback.html_page, loopback.empty]
    assert fetch_one("a.sha1sum", *twice(survey_at(server))) == content
    assert server.injected.total() == 3


def test_retry_after_is_honoured(server):
    server.files, server.faults["a.fits"] = {"a.fits": fits_like(1)}, [loopback.too_many]
    start = time.monotonic()
    assert isinstance(fetch_one("a.fits", *twice(survey_at(server))), bytes)
    assert 1.0 <= time.monotonic() - start < 3.0


def test_a_wait_beyond_the_deadline_is_not_begun(server):
    server.faults["a.fits"] = Forever(loopback.too_many)
    start = time.monotonic()
    failure = fetch_one("a.fits", *twice(survey_at(server, file_seconds=0.5)))
    assert failure.reason == "refused (429); no time for another try"
    assert time.monotonic() - start < 0.5


def test_the_deadline_ends_a_transfer_that_is_only_just_fast_enough(server):
    server.files, server.faults["a.fits"] = {"a.fits": fits_like(1)}, [loopback.drip]
    survey = survey_at(server, minimum_rate=1, file_seconds=0.6)
    failure = fetch_one("a.fits", survey, survey)
    assert failure.reason == "not complete after 0.6 s; no time for another try"


@pytest.mark.parametrize("fault", [loopback.stall, loopback.drip])
def test_stall_and_drip_are_left_in_time(server, fault):
    server.files, server.faults["a.fits"] = {"a.fits": fits_like(1)}, [fault]
    start = time.monotonic()
    # Without a lowest rate only the deadline of the file would end it, with another reason.
    survey = survey_at(server, tries=1, file_seconds=20 * STALL_SECONDS)
    failure = fetch_one("a.fits", *twice(survey))
    assert failure.passing
    assert re.match(REASONS[fault.__name__], failure.reason)
    assert STALL_SECONDS <= time.monotonic() - start < 2 * STALL_SECONDS + 1
    # By default that is within the minute.
    assert 2 * Survey().stall_seconds <= 60


def test_an_endless_body_stops_at_the_cap(server):
    server.files, server.faults["a.fits"] = {"a.fits": fits_like(1)}, [loopback.endless]
    assert fetch_one("a.fits", *twice(survey_at(server, tries=1))).reason == "larger than 1 MB"
    # What was sent beyond the cap lay in the buffers of the two sockets.
    assert server.sent["a.fits"] < CAP + 16_000_000


def test_a_gzip_bomb_is_not_unfolded(server):
    server.files, server.faults["a.fits"] = {"a.fits": fits_like(1)}, [loopback.gzip_bomb]
    tracemalloc.start()
    assert isinstance(fetch_one("a.fits", *twice(survey_at(server))), bytes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert server.injected["gzip_bomb"] == 1
    assert peak < loopback.BOMB_BYTES / 20


def test_a_thousand_files_at_a_fault_rate_of_30_percent(server, tmp_path):
    """Each request meets a fault with probability 0.3, at most four times a file."""
    draw = random.Random(17)
    server.files = {f"{number:04d}.fits": fits_like(number, blocks=3) for number in range(1000)}
    for path in server.files:
        faults = []
        while len(faults) < TRIES - 1 and draw.random() < 0.3:
            faults.append(draw.choice(BEHAVIOURS))
        server.faults[path] = faults
    stated = sum(len(server.faults[path]) for path in server.files)
    sha1s = {path: sha1(content) for path, content in server.files.items()}
    survey = survey_at(server, connections=8, keep=str(tmp_path / "kept"))
    found = contents_of(list(sha1s), sha1s, survey)
    injected = server.injected.total() - server.injected["redirected"]
    assert injected == stated
    assert injected / (injected + 1000) == pytest.approx(0.3, abs=0.03)
    assert sum(found[path] == content for path, content in server.files.items()) == 1000
    assert len(list((tmp_path / "kept").iterdir())) == 1000
    assert not wrong_files(tmp_path / "kept", server.files)


# A shard of stars from such a server.


def test_a_shard_accounts_for_every_star(server, tmp_path):
    """For each behaviour a star whose file recovers, and one whose file never does."""
    rows = [row(f"2M{number:08d}") for number in range(2 * len(BEHAVIOURS) + 3)]
    tree = make_tree(tmp_path / "sas", rows)
    paths = {
        line["APOGEE_ID"]: tree.path_of(line).relative_to(tree.root).as_posix() for line in rows
    }
    unlisted = [line["APOGEE_ID"] for line in rows[-2:]]
    for listed in tree.root.rglob("*.sha1sum"):
        lines = listed.read_text().splitlines(keepends=True)
        listed.write_text("".join(line for line in lines if not any(u in line for u in unlisted)))
    serve(server, tree.root)
    for number, fault in enumerate(BEHAVIOURS):
        server.faults[paths[f"2M{2 * number:08d}"]] = [fault] * 2
        server.faults[paths[f"2M{2 * number + 1:08d}"]] = Forever(fault)

    survey = survey_at(server, connections=8, shards=1, stall_seconds=1.0, runs=1)
    run = Run(tmp_path, tree, survey).select()
    run.fetch(0)
    shard, missing = run.shard(0), run.shard_missing(0)

    faults = {fault.__name__: server.injected[fault.__name__] for fault in BEHAVIOURS}
    # A reset may also meet the next request before the server has read it.
    assert all(count >= 2 + TRIES - 1 for count in faults.values()), faults
    lost = read_parquet(missing)
    assert sorted(lost["apogee_id"]) == [f"2M{2 * n + 1:08d}" for n in range(len(BEHAVIOURS))]
    assert all(lost["reason"])
    group = open_store(shard)
    stars = dict(zip(read(group, "apogee_id"), read(group, "verified"), strict=True))
    assert [star for star, verified in stars.items() if not verified] == unlisted
    counts = lost.attrs["counts"]
    assert counts == {"asked": 35, "verified": 17, "unverified": 2, "missing": 16}

    # The stars that came are the ones that come when nothing is wrong.
    server.faults.clear()
    copied = shutil.copytree(shard, tmp_path / "faulty.zarr")
    group = open_store(copied)
    run.fetch(0)
    calm = open_store(shard)
    kept = np.isin(list(read(calm, "apogee_id")), list(stars))
    for name in ("observed", "observed_error", "synthetic", "label", "sha1"):
        np.testing.assert_array_equal(read(calm, name)[kept], read(group, name))


def serve(server: Server, root: Path) -> None:
    server.files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


# The catalogue: large, hence continued where it broke off.


@pytest.fixture
def catalogue(server, tmp_path) -> str:
    """Path of the catalogue on the server."""
    path = paths.allstar_path(RELEASE, ASPCAP)
    write_allstar(tmp_path / "sas" / path, [row(f"2M{number:08d}") for number in range(2000)])
    serve(server, tmp_path / "sas")
    return path


def catalogue_survey(server: Server, path: str, published: bool = True) -> Survey:
    allstar_sha1 = sha1(server.files[path]) if published else None
    return survey_at(server, catalogue_megabytes=100, allstar_sha1=allstar_sha1)


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("fault", [loopback.stall, loopback.reset, loopback.short_with_length])
def test_a_catalogue_is_continued_where_it_broke_off(server, catalogue, tmp_path, fault, published):
    content = server.files[catalogue]
    server.faults[catalogue] = [fault]
    fetch_catalogue(tmp_path / "allStar.fits", catalogue_survey(server, catalogue, published))
    assert (tmp_path / "allStar.fits").read_bytes() == content
    assert server.requests[catalogue] == 2
    # Without a hash or a tag of its own, what came first cannot be trusted to be the same file.
    assert (server.ranges[-1] is not None) == published


@pytest.mark.parametrize("fault", BEHAVIOURS, ids=lambda fault: fault.__name__)
def test_any_fault_in_the_middle_of_a_catalogue_is_overcome(server, catalogue, tmp_path, fault):
    server.faults[catalogue] = [loopback.short_with_length, fault, fault]
    survey = catalogue_survey(server, catalogue).model_copy(update={"catalogue_megabytes": 3.0})
    fetch_catalogue(tmp_path / "allStar.fits", survey)
    assert (tmp_path / "allStar.fits").read_bytes() == server.files[catalogue]
    assert [path.name for path in tmp_path.iterdir() if "allStar" in path.name] == ["allStar.fits"]


def test_a_tag_of_its_own_lets_an_unpublished_catalogue_be_continued(server, catalogue, tmp_path):
    def half_with_tag(handler, content: bytes) -> None:
        half, tag = content[: len(content) // 2], f'"{hash(content)}"'
        loopback.send(handler, 200, half, length=len(content), ETag=tag)
        handler.close_connection = True

    server.faults[catalogue] = [half_with_tag]
    content = server.files[catalogue]
    fetch_catalogue(tmp_path / "allStar.fits", catalogue_survey(server, catalogue, published=False))
    assert (tmp_path / "allStar.fits").read_bytes() == content
    assert server.ranges[-1] == f"bytes={len(content) // 2}-"


def test_a_killed_download_goes_on_in_the_next_run(server, catalogue, tmp_path):
    content = server.files[catalogue]
    (tmp_path / ".allStar.fits.part").write_bytes(content[:100_000])
    fetch_catalogue(tmp_path / "allStar.fits", catalogue_survey(server, catalogue))
    assert (tmp_path / "allStar.fits").read_bytes() == content
    assert server.ranges == ["bytes=100000-"]


@pytest.mark.parametrize("left", ["damaged", "whole", "too long"])
def test_whatever_a_killed_download_left_is_judged(server, catalogue, tmp_path, left):
    content = server.files[catalogue]
    parts = {"damaged": b"\0" * 100_000, "whole": content, "too long": content + b"\0" * 2880}
    (tmp_path / ".allStar.fits.part").write_bytes(parts[left])
    fetch_catalogue(tmp_path / "allStar.fits", catalogue_survey(server, catalogue))
    assert (tmp_path / "allStar.fits").read_bytes() == content
    assert server.requests[catalogue] == {"damaged": 2, "whole": 0, "too long": 2}[left]


def test_a_download_that_failed_leaves_its_first_part_for_the_next_run(server, catalogue, tmp_path):
    server.faults[catalogue] = [loopback.reset, *[loopback.unavailable] * TRIES]
    with pytest.raises(SpectraFMError, match=r"allStar-.*refused \(503\)"):
        fetch_catalogue(tmp_path / "allStar.fits", catalogue_survey(server, catalogue))
    assert not (tmp_path / "allStar.fits").exists()
    fetch_catalogue(tmp_path / "allStar.fits", catalogue_survey(server, catalogue))
    assert (tmp_path / "allStar.fits").read_bytes() == server.files[catalogue]
    assert not (tmp_path / ".allStar.fits.part").exists()


# Two versions of a catalogue.

STRONG, OTHER = '"one"', '"two"'
MONDAY, TUESDAY = "Mon, 23 Nov 2026 10:00:00 GMT", "Tue, 24 Nov 2026 10:00:00 GMT"


def half_of(handler, content: bytes, **version: str) -> None:
    loopback.send(handler, 200, content[: len(content) // 2], length=len(content), **version)
    handler.close_connection = True


def rest_of(handler, content: bytes, **version: str) -> None:
    """The rest, whatever If-Range says, as some servers and caches send it."""
    start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    sent = f"bytes {start}-{len(content) - 1}/{len(content)}"
    loopback.send(handler, 206, content[start:], Content_Range=sent, **version)


@pytest.mark.parametrize(
    ("first", "then", "same"),
    [
        ({"ETag": STRONG}, {"ETag": STRONG}, True),
        ({"ETag": STRONG}, {"ETag": OTHER}, False),
        ({"ETag": STRONG}, {}, False),
        ({"ETag": STRONG, "Last-Modified": MONDAY}, {"ETag": STRONG}, True),
        ({"ETag": STRONG, "Last-Modified": MONDAY}, {"Last-Modified": MONDAY}, True),
        ({"ETag": STRONG, "Last-Modified": MONDAY}, {"Last-Modified": TUESDAY}, False),
        ({"ETag": STRONG, "Last-Modified": MONDAY},
         {"ETag": STRONG, "Last-Modified": TUESDAY}, False),
        ({"ETag": 'W/"one"', "Last-Modified": MONDAY},
         {"ETag": 'W/"two"', "Last-Modified": MONDAY}, False),
        ({"Last-Modified": MONDAY}, {"Last-Modified": MONDAY}, True),
        ({"Last-Modified": MONDAY}, {"Last-Modified": TUESDAY}, False),
        ({"Last-Modified": MONDAY}, {"ETag": OTHER}, False),
    ],
)  # fmt: skip
def test_two_versions_of_a_catalogue_are_never_joined(
    server, catalogue, tmp_path, first, then, same
):
    """The second version has as many rows and bytes, and no SHA-1 is published."""
    old = server.files[catalogue]
    new = old.replace(b"2M0000", b"2M9999")
    assert len(new) == len(old) != old.count(b"2M0000")

    def broken_off(handler, content: bytes) -> None:
        half_of(handler, old, **first)

    def continued(handler, content: bytes) -> None:
        rest_of(handler, old if same else new, **then)

    server.files[catalogue] = new
    server.faults[catalogue] = [broken_off, continued]
    patient = {"stall_seconds": 20.0}
    survey = catalogue_survey(server, catalogue, published=False).model_copy(update=patient)
    fetch_catalogue(tmp_path / "allStar.fits", survey)
    assert (tmp_path / "allStar.fits").read_bytes() == (old if same else new)
    assert server.injected == {"broken_off": 1, "continued": 1}
    assert server.ranges[1] == f"bytes={len(old) // 2}-"
    strong = first.get("ETag") if first.get("ETag") == STRONG else first.get("Last-Modified")
    assert server.versions[:2] == [None, strong], "the server was asked for the same version"


# Answers that no sane server gives.


def raw(answer: bytes) -> Callable:
    def write(handler, content: bytes) -> None:
        with contextlib.suppress(OSError):
            handler.wfile.write(answer.replace(b"CONTENT", content))
            handler.wfile.flush()
        handler.close_connection = True

    return write


def answer_of(status: str = "200 OK", body: bytes = b"CONTENT", *headers: str) -> Callable:
    lines = [f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]
    return raw("\r\n".join(lines).encode("utf-8", "surrogateescape") + body)


def with_length(value: str) -> Callable:
    return answer_of("200 OK", b"CONTENT", f"Content-Length: {value}")


def redirected_to(url: str) -> Callable:
    return answer_of("302 Found", b"", f"Location: {url}", "Content-Length: 0")


def ranged(value: str) -> Callable:
    return answer_of("206 Partial Content", b"CONTENT", f"Content-Range: {value}")


def busy_until(date: str) -> Callable:
    return answer_of("503 Busy", b"", f"Retry-After: {date}", "Content-Length: 0")


DIGITS = "9" * 5000
ODD_ANSWERS = {
    "long host": redirected_to(f"http://{'a' * 70}.b/"),
    "no host": redirected_to("http://./"),
    "empty host": redirected_to("http:///x"),
    "only a scheme": redirected_to("http:"),
    "odd port": redirected_to("http://127.0.0.1:99999999/"),
    "port of letters": redirected_to("http://127.0.0.1:abc/"),
    "port of digits without end": redirected_to(f"http://127.0.0.1:{DIGITS}/"),
    "bracket": redirected_to("http://[::1/"),
    "no such scheme": redirected_to("gopher://127.0.0.1/"),
    "a file": redirected_to("file:///etc/passwd"),
    "code": redirected_to("javascript:alert(1)"),
    "data": redirected_to("data:text/plain,SIMPLE"),
    "user": redirected_to("http://a:b@127.0.0.1:1/"),
    "control characters": redirected_to("http://127.0.0.1\t/\x01"),
    "no address": redirected_to(""),
    "redirect without address": answer_of("302 Found", b"", "Content-Length: 0"),
    "unicode host": redirected_to("http://\u2025.\u212a/"),
    "bytes that are no text": redirected_to("http://\udcff\udcfe/"),
    "long address": redirected_to("http://127.0.0.1:1/" + "a" * 7000),
    "endless range": ranged(f"bytes 0-{DIGITS}/{DIGITS}"),
    "negative range": ranged("bytes -5--1/-1"),
    "range without numbers": ranged("bytes */*"),
    "range backwards": ranged("bytes 9-1/5"),
    "range of words": ranged("a few"),
    "no range": answer_of("206 Partial Content"),
    "far date": busy_until("Fri, 31 Dec 99999999999 23:59:59 GMT"),
    "negative wait": busy_until("-5"),
    "wait of letters": busy_until("soon"),
    "wait in other digits": busy_until("\u0665"),
    "wait without end": busy_until(DIGITS),
    "date of no day": busy_until("Sun, 99 Foo 2026 25:61:61 XYZ"),
    "date without zone": busy_until("Mon, 23 Nov 2026 10:00:00"),
    "negative length": with_length("-1"),
    "length of letters": with_length("many"),
    "length without end": with_length(DIGITS),
    "length with a sign": with_length("+28800"),
    "hexadecimal length": with_length("0x7080"),
    "empty length": with_length(""),
    "two lengths": answer_of("200 OK", b"CONTENT", "Content-Length: 5", "Content-Length: 6"),
    "length and chunks": answer_of(
        "200 OK", b"5\r\nSIMPL\r\n0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"
    ),
    "unknown coding": answer_of("200 OK", b"CONTENT", "Transfer-Encoding: magic"),
    "chunk of negative size": answer_of("200 OK", b"-5\r\nx", "Transfer-Encoding: chunked"),
    "chunk without end": answer_of("200 OK", b"f" * 99, "Transfer-Encoding: chunked"),
    "compressed by an unknown method": answer_of("200 OK", b"CONTENT", "Content-Encoding: zz"),
    "compressed, and it is not": answer_of("200 OK", b"CONTENT", "Content-Encoding: br"),
    "no status": raw(b"HTTP/1.1\r\n\r\n"),
    "status of letters": answer_of("abc OK"),
    "status 0": answer_of("000 Nothing"),
    "status 99": answer_of("99 Little"),
    "status 999": answer_of("999 Much"),
    "status without end": answer_of(f"{DIGITS} Big"),
    "informational": answer_of("100 Continue", b""),
    "switching": answer_of("101 Switching Protocols", b"", "Upgrade: x"),
    "no content": answer_of("204 No Content", b""),
    "not modified": answer_of("304 Not Modified", b""),
    "choices": answer_of("300 Multiple Choices", b"", "Content-Length: 0"),
    "payment": answer_of("402 Payment Required", b"", "Content-Length: 0"),
    "teapot": answer_of("418 Teapot", b"", "Content-Length: 0"),
    "too early": answer_of("425 Too Early", b"", "Content-Length: 0"),
    "legal": answer_of("451 Unavailable", b"", "Content-Length: 0"),
    "another version of HTTP": raw(b"HTTP/9.9 200 OK\r\n\r\nSIMPLE"),
    "another protocol": raw(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "nothing but ends of lines": raw(b"\r\n" * 500),
    "zeros": raw(b"\0" * 5000),
    "random bytes": raw(np.random.default_rng(0).bytes(5000)),
    "header without colon": raw(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\nSIMPLE"),
    "header without name": raw(b"HTTP/1.1 200 OK\r\n: value\r\n\r\nSIMPLE"),
    "folded header": raw(b"HTTP/1.1 200 OK\r\nA: b\r\n  c\r\n\r\nSIMPLE"),
    "header of zeros": raw(b"HTTP/1.1 200 OK\r\nA: \0\0\r\n\r\nSIMPLE"),
    "long header": raw(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\nSIMPLE"),
    "many headers": raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000 + b"\r\nSIMPLE"),
    "odd type": answer_of("200 OK", b"SIMPLE", "Content-Type: \x00/;;=", "Content-Length: 6"),
    "type of an unknown charset": answer_of(
        "200 OK", b"SIMPLE", "Content-Type: text/x; charset=zz", "Content-Length: 6"
    ),
    "odd cookie": answer_of("404 No", b"", "Set-Cookie: ;;=;\x01", "Content-Length: 0"),
    "odd tag": answer_of("200 OK", b"SIMPLE", "ETag: \x7f", "Content-Length: 6"),
}


def test_more_odd_answers_are_tried_than_are_known_to_have_broken_something():
    assert len(ODD_ANSWERS) >= 67


def test_no_answer_of_a_server_ends_in_a_traceback(server):
    """Each odd answer once, to recover from, and for ever, beside a file that comes."""
    server.files = {f"{kind}.fits": fits_like(1) for kind in ("once", "ever", "good")}
    survey = survey_at(server, tries=2)
    wanted = set(server.files)
    recovered = 0
    for name, fault in ODD_ANSWERS.items():
        server.injected.clear()
        server.faults = {"once.fits": [fault], "ever.fits": Forever(fault)}
        start = time.monotonic()
        found = contents_of(["once.fits", "ever.fits", "good.fits"], {}, survey)
        assert time.monotonic() - start < 10, name
        assert server.injected.total() >= 2, name
        assert set(found) == wanted, name
        assert found["good.fits"] == server.files["good.fits"], name
        for path in ("once.fits", "ever.fits"):
            content = found[path]
            if isinstance(content, Failure):
                assert 0 < len(content.reason) < 500, name
                assert "\n" not in content.reason, name
            else:
                assert content == server.files[path], name
        recovered += isinstance(found["once.fits"], bytes)
        odd = fetch_one("ever.fits", survey, survey, sha1(fits_like(2)))
        assert isinstance(odd, Failure), name
    assert recovered >= len(ODD_ANSWERS) // 2


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_no_answer_for_a_probe_ends_in_a_traceback(server, name):
    server.files = {"a.fits": fits_like(1)}
    server.faults["a.fits"] = Forever(ODD_ANSWERS[name])
    survey = survey_at(server, tries=1)
    found = probe("a.fits", survey, survey)
    assert found is None or found.reason


def test_ctrl_c_while_files_are_on_their_way_is_only_that(server):
    """The generator closes, and no task complains."""
    server.files = {f"{number}.fits": fits_like(number) for number in range(8)}
    for path in server.files:
        server.faults[path] = Forever(loopback.stall)
    survey = survey_at(server, stall_seconds=20.0)
    interrupt = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    # A shell starts background jobs, CI's too, with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt.start()
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(KeyboardInterrupt):
                contents_of(list(server.files), {}, survey)
            gc.collect()
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - start < 10
