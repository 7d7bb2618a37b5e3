# Tests of: spectrafm/archive/checksums.py, archive/failures.py, surveys/apogee/spectra_files.py
"""Lists of checksums: judged alike from a server, a mirror or a kept copy, whatever they hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from making import loopback
from making.loopback import running
from making.sas_tree import SasTree, make_tree, row
from making.survey_run import Run
from spectrafm.archive.checksums import flaw_of_list, sha1s_in
from spectrafm.errors import Unfinished
from spectrafm.files import read_parquet, write_bytes
from spectrafm.surveys.apogee.options import Survey

FOLDER = "dr17/apogee/spectro/aspcap/dr17/synspec_rev1/apo25m/000+02"
STARS = 8
ROWS = [row(f"2M{number:08d}") for number in range(STARS)]
NAMES = [f"aspcapStar-dr17-{line['APOGEE_ID']}.fits" for line in ROWS]
ORIGINS = ("server", "mirror", "kept")

#: Changes of a good list (its lines, without ends): what of it is not a whole list any more.
BAD = {
    "empty": lambda lines: b"",
    "blank": lambda lines: b" \n\n\t\n",
    "a page": lambda lines: loopback.HTML,
    "a page below a comment": lambda lines: b"# list\n" + loopback.HTML * 2,
    "text": lambda lines: b"Not found\n",
    "json": lambda lines: b'{"error": "none"}\n',
    "cut in a name": lambda lines: b"\n".join(lines)[:-9],
    "cut in a hash": lambda lines: b"\n".join([*lines[:4], lines[4][:20]]),
    "cut after a hash": lambda lines: b"\n".join([*lines[:4], lines[4][:42]]),
    "only comments": lambda lines: b"# nothing\n# here\n",
    "sha256": lambda lines: b"".join(b"0" * 64 + line[40:] + b"\n" for line in lines),
    "half of it zeros": lambda lines: b"\n".join(lines[:3]) + b"\n" + b"\0\n" * 5,
    "compressed": lambda lines: b"\x1f\x8b\x08" + bytes(range(256)),
}

#: Changes that leave all hashes readable.
ODD = {
    "as it is": lambda lines: b"\n".join(lines) + b"\n",
    "without the last end of line": lambda lines: b"\n".join(lines),
    "in capitals": lambda lines: b"".join(x[:40].upper() + x[40:] + b"\n" for x in lines),
    "with ./": lambda lines: b"".join(x[:42] + b"./" + x[42:] + b"\n" for x in lines),
    "with the field": lambda lines: b"".join(x[:42] + b"000+02/" + x[42:] + b"\n" for x in lines),
    "with the path": lambda lines: b"".join(
        x[:42] + f"{FOLDER}/".encode() + x[42:] + b"\n" for x in lines
    ),
    "binary marks": lambda lines: b"".join(x[:41] + b"*" + x[42:] + b"\n" for x in lines),
    "one space": lambda lines: b"".join(x[:41] + x[42:] + b"\n" for x in lines),
    "of another system": lambda lines: b"\r\n".join(lines) + b"\r\n",
    "a comment at the end": lambda lines: b"\n".join([*lines, b"# 8 files"]) + b"\n",
    "a picture at the end": lambda lines: b"\n".join([*lines, b"0" * 40 + b"  a.jpg"]) + b"\n",
    "blank lines at the end": lambda lines: b"\n".join(lines) + b"\n\n \n",
    "one unreadable line": lambda lines: b"\n".join([*lines[:4], b"\xff?", *lines[4:]]) + b"\n",
    "other folders": lambda lines: (
        b"\n".join([*lines, *(b"0" * 40 + b"  ../x/" + line[42:] for line in lines)]) + b"\n"
    ),
    "other folders, whole paths": lambda lines: (
        b"\n".join([*lines, *(b"0" * 40 + b"  /dr17/999/" + line[42:] for line in lines)]) + b"\n"
    ),
}


def lines_of(tree: SasTree) -> list[bytes]:
    return list_of(tree).read_bytes().splitlines()


def list_of(tree: SasTree) -> Path:
    (path,) = tree.root.rglob("*.sha1sum")
    return path


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> SasTree:
    return make_tree(tmp_path_factory.mktemp("survey") / "sas", ROWS)


@pytest.fixture
def server(tree):
    with running() as server:
        server.files = {
            path.relative_to(tree.root).as_posix(): path.read_bytes()
            for path in tree.root.rglob("*")
            if path.is_file()
        }
        yield server


def place(server, tree: SasTree, folder: Path, origin: str, content: bytes) -> Survey:
    """Options of a survey whose list of checksums is ``content``, where ``origin`` says."""
    path = list_of(tree).relative_to(tree.root).as_posix()
    options = {"shards": 1, "tries": 2, "first_wait": 0.001, "runs": 2, "most_missing": 1}
    if origin == "mirror":
        for name, file in server.files.items():
            write_bytes(folder / "mirror" / name, file)
        write_bytes(folder / "mirror" / path, content)
        return Survey(source=str(folder / "mirror"), **options)
    if origin == "kept":
        write_bytes(folder / "kept" / path, content)
        return Survey(source=server.url, keep=str(folder / "kept"), **options)
    server.files[path] = content
    return Survey(source=server.url, **options)


def counts_of(run: Run) -> dict[str, int]:
    return read_parquet(run.shard_missing(0)).attrs["counts"]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_list_is_called_so(tree, name):
    assert "list of checksums" in flaw_of_list(BAD[name](lines_of(tree)))


@pytest.mark.parametrize("name", ODD)
def test_an_odd_list_says_what_it_says(tree, name):
    content = ODD[name](lines_of(tree))
    assert flaw_of_list(content) is None
    found = sha1s_in(content, FOLDER)
    hashes = {line[42:].decode(): line[:40].decode() for line in lines_of(tree)}
    assert {file: found.get(file) for file in hashes} == hashes


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("name", ["empty", "a page", "cut in a name", "cut after a hash"])
def test_a_bad_list_verifies_nothing_silently(server, tree, tmp_path, origin, name):
    """A kept one is fetched anew; another fails, and only in the second run its files count."""
    survey = place(server, tree, tmp_path, origin, BAD[name](lines_of(tree)))
    run = Run(tmp_path / "run", tree, survey).select()
    if origin != "kept":
        with pytest.raises(Unfinished, match=r"1 files failed .*sha1sum: (an )?\w+"):
            run.fetch(0)
        assert not run.shard(0).exists()
    run.fetch(0)
    verified = STARS if origin == "kept" else 0
    expected = {"asked": STARS, "verified": verified, "unverified": STARS - verified, "missing": 0}
    assert counts_of(run) == expected
    if origin == "kept":
        (kept,) = (tmp_path / "kept").rglob("*.sha1sum")
        assert kept.read_bytes() == list_of(tree).read_bytes()


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize(
    "name", ["in capitals", "with ./", "a comment at the end", "other folders"]
)
def test_an_odd_list_verifies_all(server, tree, tmp_path, origin, name):
    survey = place(server, tree, tmp_path, origin, ODD[name](lines_of(tree)))
    run = Run(tmp_path / "run", tree, survey).select()
    run.fetch(0)
    assert counts_of(run) == {"asked": STARS, "verified": STARS, "unverified": 0, "missing": 0}


def test_a_list_without_a_stated_length_is_not_believed(server, tree, tmp_path):
    """It could have been cut at the end of a line."""
    path = list_of(tree).relative_to(tree.root).as_posix()

    def cut(handler, content: bytes) -> None:
        loopback.head(handler, 200, Connection="close")
        handler.body(b"".join(content.splitlines(keepends=True)[:3]))
        handler.close_connection = True

    server.faults[path] = [cut]
    run = Run(tmp_path, tree, place(server, tree, tmp_path, "server", server.files[path])).select()
    run.fetch(0)
    assert server.injected["cut"] == 1
    assert counts_of(run)["verified"] == STARS


@pytest.mark.parametrize("kind", ["half", "old hashes", "none of these files"])
def test_a_kept_list_that_is_older_than_the_files_is_fetched_anew(server, tree, tmp_path, kind):
    lines = lines_of(tree)
    content = {
        "half": b"\n".join(lines[: STARS // 2]) + b"\n",
        "old hashes": b"".join(b"%040d" % i + x[40:] + b"\n" for i, x in enumerate(lines)),
        "none of these files": b"0" * 40 + b"  other.fits\n",
    }[kind]
    survey = place(server, tree, tmp_path, "kept", content)
    run = Run(tmp_path / "run", tree, survey).select()
    run.fetch(0)
    assert counts_of(run) == {"asked": STARS, "verified": STARS, "unverified": 0, "missing": 0}
    assert server.requests[list_of(tree).relative_to(tree.root).as_posix()] == 1


def test_a_flipped_bit_in_a_kept_spectrum_is_noticed_though_its_list_was_emptied(
    server, tree, tmp_path
):
    survey = place(server, tree, tmp_path, "kept", b"")
    path = f"{FOLDER}/{NAMES[3]}"
    content = bytearray(server.files[path])
    content[9000] ^= 1
    write_bytes(tmp_path / "kept" / path, bytes(content))
    run = Run(tmp_path / "run", tree, survey).select()
    run.fetch(0)
    assert counts_of(run)["verified"] == STARS
    assert (tmp_path / "kept" / path).read_bytes() == server.files[path]


@pytest.mark.parametrize("origin", ORIGINS)
def test_unverified_files_may_be_refused(server, tree, tmp_path, origin, caplog):
    content = b"\n".join(lines_of(tree)[3:]) + b"\n"
    path = list_of(tree).relative_to(tree.root).as_posix()
    server.files[path] = content
    survey = place(server, tree, tmp_path, origin, content)
    run = Run(tmp_path / "run", tree, survey).select()
    with caplog.at_level("INFO"):
        run.fetch(0)
    assert counts_of(run) == {"asked": 8, "verified": 5, "unverified": 3, "missing": 0}
    assert "5 stored with the published SHA-1, 3 stored without one" in caplog.text
    run.survey = survey.model_copy(update={"unverified": "refuse"})
    run.fetch(0)
    assert counts_of(run) == {"asked": 8, "verified": 5, "unverified": 0, "missing": 3}
    reasons = read_parquet(run.shard_missing(0))["reason"]
    assert set(reasons) == {"no published SHA-1, and survey.unverified is refuse"}
    run.build()
    lines = run.funnel.read_text().splitlines()
    assert "spectrum stored with the published SHA-1,5,5" in lines


def test_without_any_list_nothing_is_verified_and_refusing_leaves_nothing(server, tree, tmp_path):
    path = list_of(tree).relative_to(tree.root).as_posix()
    survey = place(server, tree, tmp_path, "server", b"")
    del server.files[path]
    run = Run(tmp_path / "run", tree, survey).select()
    run.fetch(0)
    assert counts_of(run)["unverified"] == STARS
    run.survey = survey.model_copy(update={"unverified": "refuse"})
    run.fetch(0)
    assert counts_of(run)["missing"] == STARS


def test_damaged_lists_give_a_hash_of_the_list_or_none(tree):
    """No damage of a list makes another file's hash out of it, and none ends in an error."""
    whole = list_of(tree).read_bytes()
    hashes = {line[42:].decode(): line[:40].decode() for line in whole.splitlines()}
    rng = np.random.default_rng(0)
    good = 0
    for _ in range(1000):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        if rng.random() < 0.5:
            damaged = damaged[: rng.integers(len(damaged))]
        if flaw_of_list(bytes(damaged)) is None:
            good += 1
            found = sha1s_in(bytes(damaged), FOLDER)
            differing = sum(found.get(name, sha1) != sha1 for name, sha1 in hashes.items())
            assert differing <= 3
    assert 100 < good < 900


def test_the_hashes_are_those_of_the_files(tree):
    found = sha1s_in(list_of(tree).read_bytes(), FOLDER)
    for line, name in zip(ROWS, NAMES, strict=True):
        assert found[name] == hashlib.sha1(tree.path_of(line).read_bytes()).hexdigest()
