# Tests of: spectrafm/archive/source.py, archive/http.py
"""Files from a server or a folder: checked, tried again, whole or absent."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from making.fetching import contents_of, twice
from making.loopback import (
    Server,
    flipped,
    hung_up,
    running,
    short_with_length,
    unauthorized,
    unavailable,
)
from making.sas_tree import RELEASE, make_tree, row
from making.survey_run import fetch_catalogue
from spectrafm.archive.failures import Failure
from spectrafm.archive.source import fetch, fetch_one
from spectrafm.errors import SpectraFMError
from spectrafm.surveys.apogee.options import Survey


def survey_at(source: str, connections: int = 1, tries: int = 1) -> Survey:
    return Survey(source=source, connections=connections, tries=tries, first_wait=0.001)


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def test_fetches_every_file_once_with_few_connections(server):
    server.files = {f"dr17/000+{i:02d}/file {i}": bytes([i]) * 5000 for i in range(40)}
    # The request line holds the path quoted, except for the plus sign of field names.
    served = {path.replace(" ", "%20"): content for path, content in server.files.items()}
    paths, server.files = list(server.files), served
    found = contents_of(paths, {}, survey_at(server.url, connections=3))
    assert {path.replace(" ", "%20"): content for path, content in found.items()} == served
    assert set(server.requests.values()) == {1}
    assert server.most_at_once <= 3
    assert len(server.clients) <= 3, "connections are kept alive between files"


def test_holds_only_a_few_files_ahead_of_a_slow_caller(server):
    server.files = {f"{i}": b"x" for i in range(200)}
    arriving = fetch(list(server.files), {}, *twice(survey_at(server.url, connections=4)))
    for taken in range(1, 101):
        next(arriving)
        time.sleep(0.002)
        assert sum(server.requests.values()) <= taken + 2 * 4
    arriving.close()
    assert sum(server.requests.values()) < 200


@pytest.mark.parametrize("fault", [unavailable, short_with_length, flipped, hung_up])
def test_tries_again_after_a_passing_fault(server, fault):
    content = b"spectrum" * 1000
    server.files, server.faults = {"a": content}, {"a": [fault, fault]}
    assert fetch_one("a", *twice(survey_at(server.url, tries=3)), sha1(content)) == content
    assert server.requests["a"] == 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (unavailable, "refused (503)"),
        (short_with_length, "short body"),
        (flipped, "wrong sha1"),
        (hung_up, "no answer"),
    ],
)
def test_names_the_fault_that_stays(server, fault, reason):
    content = b"spectrum" * 1000
    server.files, server.faults = {"a": content, "b": b"other"}, {"a": [fault] * 10}
    found = contents_of(["a", "b"], {"a": sha1(content)}, survey_at(server.url, tries=3))
    assert found["b"] == b"other"
    assert found["a"].reason.startswith(reason)
    assert not found["a"].absent
    # aiohttp by itself asks again where a connection is closed under it.
    assert 3 <= server.requests["a"] <= 6


def test_an_absent_or_denied_file_is_asked_for_once(server):
    server.faults = {"denied": [unauthorized] * 5}
    found = contents_of(["absent", "denied"], {}, survey_at(server.url, tries=5))
    assert found["absent"] == Failure("absent (404)", absent=True)
    assert found["denied"] == Failure("refused (401)")
    assert server.requests == {"absent": 1, "denied": 1}


def test_a_server_that_is_not_there():
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}"
    result = fetch_one("a", *twice(survey_at(url)))
    assert result.reason.startswith("no answer")
    assert not result.absent


@pytest.mark.parametrize("form", ["file", "folder"])
def test_reads_a_local_source_in_place(tmp_path, form):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/here").write_bytes(b"here")
    root = (tmp_path / "a b").as_uri() if form == "file" else str(tmp_path / "a b")
    sha1s = {"here": sha1(b"here")}
    found = contents_of(["here", "absent", "here/below"], sha1s, survey_at(root))
    assert found["here"] == b"here"
    assert found["absent"].absent
    assert found["here/below"].absent
    wrong = fetch_one("here", *twice(survey_at(root)), sha1(b"there"))
    assert wrong.reason.startswith("wrong sha1")


# The catalogue.


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "sas", [row("2M00000001")])


def served(server: Server, tree) -> Survey:
    server.files = {
        path.relative_to(tree.root).as_posix(): path.read_bytes()
        for path in tree.root.rglob("*")
        if path.is_file()
    }
    return tree.survey(source=server.url, tries=2, first_wait=0.001)


def test_allstar_from_a_server_and_from_a_folder_are_the_same(server, tree, tmp_path):
    expected = tree.allstar.read_bytes()
    published = sha1(expected)
    for survey in (served(server, tree), tree.survey()):
        output = tmp_path / "catalogue/allStar.fits"
        fetch_catalogue(output, survey.model_copy(update={"allstar_sha1": published}))
        assert output.read_bytes() == expected
        assert not output.is_symlink()
        assert output.stat().st_nlink == 1, "the run's catalogue is its own"
        output.unlink()


def test_a_download_begins_anew_after_a_short_body(server, tree, tmp_path):
    survey = served(server, tree)
    path = tree.allstar.relative_to(tree.root).as_posix()
    server.faults = {path: [short_with_length]}
    fetch_catalogue(tmp_path / "allStar.fits", survey)
    assert (tmp_path / "allStar.fits").read_bytes() == tree.allstar.read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "absent"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "not a whole FITS file"),
        (lambda path: path.write_bytes(path.read_bytes()[:2880]), "HDU1 is not a table"),
        (
            lambda path: path.write_bytes(b"<html>sorry</html>"),
            "FITS file|an HTML page",
        ),
    ],
)
@pytest.mark.parametrize("over", ["http", "folder"])
def test_a_bad_catalogue_is_named_and_leaves_nothing(server, tree, tmp_path, damage, message, over):
    damage(tree.allstar)
    survey = served(server, tree) if over == "http" else tree.survey()
    output = tmp_path / "catalogue/allStar.fits"
    output.parent.mkdir()
    output.write_text("the one before")
    with pytest.raises(SpectraFMError, match=message) as raised:
        fetch_catalogue(output, survey)
    assert f"allStar-{RELEASE}" in str(raised.value)
    assert output.read_text() == "the one before"
    assert [path.name for path in output.parent.iterdir()] == ["allStar.fits"]


def test_a_catalogue_with_another_sha1_is_refused(tree, tmp_path):
    survey = tree.survey(allstar_sha1="0" * 40)
    with pytest.raises(SpectraFMError, match=r"allStar-dr17-synspec_rev1\.fits: wrong sha1"):
        fetch_catalogue(tmp_path / "allStar.fits", survey)
    assert not list(Path(tmp_path).glob("*allStar*"))
