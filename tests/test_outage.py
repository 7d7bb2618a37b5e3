# Tests of: spectrafm/archive/outage.py, archive/tape.py, surveys/apogee/spectra_files.py
"""An outage is no absence: nothing is lost by it, what came is kept, the next run goes on."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from making import loopback
from making.loopback import Server, running
from making.sas_tree import SasTree, make_tree, row
from making.survey_run import Run, select
from spectrafm import cli
from spectrafm.archive.tape import Tape
from spectrafm.errors import SpectraFMError, Unfinished
from spectrafm.files import read_parquet, write_parquet
from spectrafm.store.read import open_store, read
from spectrafm.surveys.apogee import paths, simulated
from spectrafm.surveys.apogee.options import Selection, Survey
from spectrafm.surveys.mock.mock_survey import mock_survey
from spectrafm.surveys.mock.options import Mock

STARS = 60
FIELDS = ("000+02", "K04_083+13", "293-37-C")
ROWS = [row(f"2M{number:08d}", FIELD=FIELDS[number % 3]) for number in range(STARS)]
BEFORE = 20
#: Runs during the outage: after the last of them a file that is its own fault would be given up.
RUNS = 3


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> SasTree:
    return make_tree(tmp_path_factory.mktemp("survey") / "sas", ROWS)


@pytest.fixture(scope="module")
def expected(tree, tmp_path_factory) -> dict[str, np.ndarray]:
    """The arrays of a store that nothing disturbed."""
    run = Run(tmp_path_factory.mktemp("calm"), tree, tree.survey(shards=1)).select()
    run.fetch(0)
    return arrays_of(run)


@pytest.fixture
def server(tree):
    with running() as server:
        server.files = files_of(tree.root)
        yield server


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def arrays_of(run: Run) -> dict[str, np.ndarray]:
    group = open_store(run.shard(0))
    names = ("apogee_id", "sha1", "verified", "observed", "observed_error", "synthetic", "label")
    return {name: read(group, name) for name in names}


def survey_at(server: Server, **options) -> Survey:
    patience = {"tries": 2, "first_wait": 0.001, "stall_seconds": 1.0, "stop_after": 6}
    return Survey(**{"source": server.url, "shards": 1, **patience, **options})


def run_at(folder: Path, tree: SasTree, survey: Survey) -> Run:
    return Run(folder, tree, survey).select()


def spectra(requests: Mapping[str, int] | Iterable[str]) -> Counter:
    """Requests of stars' files, by path."""
    counts = Counter(requests)
    return Counter({path: count for path, count in counts.items() if "aspcapStar-" in path})


def refused(status: int):
    def answer(handler, _content: bytes) -> None:
        loopback.send(handler, status, loopback.HTML)

    return answer


def silent(handler, _content: bytes) -> None:
    """The server is gone: it closes each connection."""
    handler.close_connection = True


def whole_outage(server: Server, fault, after: int) -> list[bool]:
    """Every request after the first ``after`` ones meets a fault, until the list is emptied."""
    on, count, usual = [True], itertools.count(1), server.answer

    def answer(handler):
        if on and next(count) > after:
            with server.lock:
                server.requests[handler.path] += 1
                server.injected["outage"] += 1
            fault(handler, b"")
        else:
            usual(handler)

    server.answer = answer
    return on


OUTAGES = {
    "forbidden": refused(403),
    "absent": refused(404),
    "gone for good": refused(410),
    "too many": refused(429),
    "unavailable": refused(503),
    "log in": refused(401),
    "page": loopback.html_page,
    "empty": loopback.empty,
    "dead": silent,
}


QUICK = ("forbidden", "absent", "too many", "dead")


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        pytest.param(kind, kept, marks=[] if kind in QUICK and not kept else pytest.mark.slow)
        for kind in OUTAGES
        for kept in (False, True)
    ],
)
def test_an_outage_loses_no_star_and_the_next_run_asks_for_the_rest(
    server, tree, tmp_path, expected, kind, kept
):
    """The server answers 20 of 60 files and then nothing sensible; later it heals."""
    keep = str(tmp_path / "kept") if kept else None
    run = run_at(tmp_path, tree, survey_at(server, keep=keep))
    # Before the stars come the marker of a mock survey and three lists.
    on = whole_outage(server, OUTAGES[kind], after=1 + len(FIELDS) + BEFORE)
    for _ in range(RUNS):
        with pytest.raises(Unfinished, match=r"files in a row failed .* run it again .*code 75"):
            run.fetch(0)
        assert not run.shard(0).exists()
        assert not run.shard_missing(0).exists()
    assert server.injected["outage"] >= RUNS * 6, "the outage was met"
    asked = spectra(server.requests)
    came = {path for path in asked if server.sent[path] >= len(server.files[path])}
    assert len(came) == BEFORE
    assert len(asked) < STARS, "the job stopped before it had asked for every file"

    on.clear()
    run.fetch(0)
    again = spectra(server.requests) - asked
    assert set(again) == spectra(list(server.files)).keys() - came, "only the rest is asked for"
    assert set(again.values()) == {1}
    missing = read_parquet(run.shard_missing(0))
    counts = {"asked": STARS, "verified": STARS, "unverified": 0, "missing": 0}
    assert missing.attrs["counts"] == counts
    for name, values in arrays_of(run).items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)
    assert not [path.name for path in run.spectra.iterdir() if path.name.startswith(".")]


def test_the_command_ends_with_75_and_then_0(server, tree, tmp_path, capsys):
    run = run_at(tmp_path, tree, survey_at(server))
    command = ["fetch-spectra", f"--selected={run.selected}", f"--alternates={run.alternates}"]
    command += ["--shard=0", f"--output={run.shard(0)}", f"--missing={run.shard_missing(0)}"]
    command += [f"--source={server.url}", "--tries=1", "--first_wait=0.001", "--stop_after=6"]
    on = whole_outage(server, refused(403), after=30)
    assert cli.main(command) == 75
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "spectrafm fetch" in line]
    assert "refused (403)" in line
    on.clear()
    assert cli.main(command) == 0
    assert len(read(open_store(run.shard(0)), "apogee_id")) == STARS


@pytest.mark.parametrize("count", [1, 3, 15])
def test_files_that_stay_broken_are_given_up_after_some_runs_while_the_source_answers(
    server, tree, tmp_path, count
):
    """More of them than stop a job, one after the other: the source still gives others."""
    run = run_at(tmp_path, tree, survey_at(server, runs=3))
    broken = sorted(spectra(list(server.files)))[:count]
    for path in broken:
        server.faults[path] = [refused(403)] * 99
    for _ in range(2):
        with pytest.raises(Unfinished, match=rf"{count} files failed .*refused \(403\)"):
            run.fetch(0)
        assert not run.shard(0).exists()
    run.fetch(0)
    often = {path for path, asked in spectra(server.requests).items() if asked > 1}
    assert {server.requests[path] for path in broken} == {3}
    assert len(often - set(broken)) <= 1, "beside them, the file that shows that the source answers"
    missing = read_parquet(run.shard_missing(0))
    assert sorted(missing["path"]) == broken
    assert set(missing["reason"]) == {"refused (403)"}
    assert not missing["replaced"].any()


def test_an_outage_at_the_very_end_counts_for_no_file(server, tree, tmp_path):
    """Fewer failures than stop a job, but nothing came after them: they are not the files' own."""
    run = run_at(tmp_path, tree, survey_at(server, runs=2, stop_after=50))
    on = whole_outage(server, refused(404), after=1 + len(FIELDS) + STARS - 5)
    for _ in range(5):
        with pytest.raises(Unfinished, match=r"[1-5] files in a row failed"):
            run.fetch(0)
    on.clear()
    run.fetch(0)
    assert read_parquet(run.shard_missing(0)).empty


def test_a_file_that_comes_in_a_later_run_is_stored(server, tree, tmp_path):
    run = run_at(tmp_path, tree, survey_at(server, runs=9))
    path = sorted(spectra(list(server.files)))[7]
    server.faults[path] = [loopback.flipped] * 2 * 2
    for _ in range(2):
        with pytest.raises(Unfinished, match=r"1 files failed .*wrong sha1"):
            run.fetch(0)
    run.fetch(0)
    assert read_parquet(run.shard_missing(0)).empty
    assert server.injected["flipped"] == 4


def test_another_observation_replaces_a_file_only_when_it_is_given_up(tmp_path):
    """Otherwise an outage would decide which spectrum of a star is stored."""
    rows = [row("2M1", SNR=400.0), row("2M1", FIELD="other", SNR=300.0), row("2M2")]
    tree = make_tree(tmp_path / "sas", rows)
    with running() as server:
        server.files = files_of(tree.root)
        best, other = (tree.path_of(line).relative_to(tree.root).as_posix() for line in rows[:2])
        server.faults[best] = [refused(403)] * 9
        run = run_at(tmp_path, tree, survey_at(server, runs=2))
        with pytest.raises(Unfinished, match="1 files failed"):
            run.fetch(0)
        assert other not in server.requests
        run.fetch(0)
        missing = read_parquet(run.shard_missing(0))
        assert missing["replaced"].tolist() == [True]
        assert server.requests[other] == 1


# What is absent.


def test_only_a_file_that_its_list_does_not_name_is_absent(server, tree, tmp_path):
    run = run_at(tmp_path, tree, survey_at(server, runs=2))
    gone = [tree.path_of(line).relative_to(tree.root).as_posix() for line in ROWS[:2]]
    for path in gone:
        del server.files[path]
    listed = f"{Path(gone[0]).parent.as_posix()}/"
    (name,) = [path for path in server.files if path.startswith(listed) and "sha1sum" in path]
    lines = server.files[name].splitlines(keepends=True)
    server.files[name] = b"".join(x for x in lines if Path(gone[0]).name.encode() not in x)
    with pytest.raises(Unfinished, match=r"1 files failed .*absent \(404\), although its list"):
        run.fetch(0)
    run.fetch(0)
    reasons = read_parquet(run.shard_missing(0)).set_index("path")["reason"]
    assert reasons[gone[0]] == "absent (404)"
    assert reasons[gone[1]] == "absent (404), although its list names it"
    assert server.requests[gone[0]] == 2, "asked for once in each run"


def test_a_ban_is_no_absence_of_a_file_that_no_list_names(server, tree, tmp_path):
    run = run_at(tmp_path, tree, survey_at(server, runs=2))
    path = tree.path_of(ROWS[0]).relative_to(tree.root).as_posix()
    listed = f"{Path(path).parent.as_posix()}/"
    (name,) = [path for path in server.files if path.startswith(listed) and "sha1sum" in path]
    lines = server.files[name].splitlines(keepends=True)
    server.files[name] = b"".join(x for x in lines if Path(path).name.encode() not in x)
    server.faults[path] = [refused(403)]
    with pytest.raises(Unfinished, match=r"1 files failed .*refused \(403\)"):
        run.fetch(0)
    run.fetch(0)
    counts = read_parquet(run.shard_missing(0)).attrs["counts"]
    assert counts == {"asked": STARS, "verified": STARS - 1, "unverified": 1, "missing": 0}


def test_a_mirror_that_is_not_complete_is_not_taken_for_the_survey(tree, tmp_path, expected):
    """As when a transfer is still going on, or a disk is not mounted."""
    mirror = shutil.copytree(tree.root, tmp_path / "mirror")
    files = sorted(mirror.rglob("aspcapStar-*.fits"))
    hidden = [path.rename(tmp_path / path.name) for path in files[BEFORE:]]
    survey = Survey(source=str(mirror), shards=1, stop_after=6)
    run = run_at(tmp_path / "run", tree, survey)
    with pytest.raises(Unfinished, match=r"40 files failed .*although its list names it"):
        run.fetch(0)
    for path, place in zip(hidden, files[BEFORE:], strict=True):
        path.rename(place)
    run.fetch(0)
    for name, values in arrays_of(run).items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)

    shutil.move(mirror / "dr17", tmp_path / "unmounted")
    with pytest.raises(SpectraFMError, match=r"no file came, and there is no .*allStar-dr17"):
        run.fetch(0)


@pytest.mark.parametrize("over", ["server", "mirror"])
@pytest.mark.parametrize("wrong", [{"release": "dr16"}, {"aspcap": "l33"}, {"aspcap": "r12/l33"}])
def test_a_release_whose_paths_all_fail_is_named_before_much_is_asked_for(
    server, tree, tmp_path, over, wrong
):
    options = {} if over == "server" else {"source": str(tree.root)}
    run = run_at(tmp_path, tree, survey_at(server, **wrong, **options))
    with pytest.raises(SpectraFMError, match=r"no file came, .*survey\.release") as raised:
        run.fetch(0)
    assert not isinstance(raised.value, Unfinished)
    assert len(spectra(server.requests)) <= 3 * 6
    assert not run.shard(0).exists()


def test_a_store_that_lacks_too_much_is_not_built(server, tree, tmp_path):
    gone = [tree.path_of(line).relative_to(tree.root).as_posix() for line in ROWS[:6]]
    for path in gone:
        server.faults[path] = [refused(403)] * 9
    run = run_at(tmp_path, tree, survey_at(server, runs=1, most_missing=0.09))
    run.fetch(0)
    with pytest.raises(
        SpectraFMError,
        match=r"6 of 60 selected .* 0\.09 of survey\.most_missing; 6 of them: refused \(403\)\. If",
    ):
        run.build()
    assert not run.store.exists()
    assert not run.missing.exists()
    run.survey = run.survey.model_copy(update={"most_missing": 0.1})
    run.build()
    assert read_parquet(run.missing).attrs["counts"]["missing"] == 6


# The tape.


@pytest.fixture
def tape(tmp_path) -> Tape:
    tape = Tape(tmp_path / "tape", {"source": "here"})
    for number in range(5):
        add(tape, f"{number}.fits", bytes([number]) * (1000 + number))
    tape.add_failures(["a", "b"])
    return tape


def add(tape: Tape, path: str, content: bytes) -> None:
    tape.add(path, content, hashlib.sha1(content).hexdigest())


def test_a_tape_gives_back_what_it_was_given(tape):
    again = Tape(tape.path, {"source": "here"})
    assert list(again) == [f"{number}.fits" for number in range(5)]
    assert [again.read(path) for path in again] == [tape.read(path) for path in tape]
    assert again.failures == {"a": 1, "b": 1}
    again.add_failures(["b"])
    assert Tape(tape.path, {"source": "here"}).failures == {"a": 1, "b": 2}
    assert again.read("absent") is None


def test_a_tape_of_another_job_is_discarded(tape):
    other = Tape(tape.path, {"source": "there"})
    assert not len(other)
    assert not other.failures
    add(other, "x", b"x")
    assert not len(Tape(tape.path, {"source": "here"}))


def test_wherever_a_tape_ends_its_whole_records_are_read_and_it_goes_on(tape, tmp_path):
    whole = tape.path.read_bytes()
    contents = {path: tape.read(path) for path in tape}
    kept = []
    for size in range(0, len(whole) + 1, 7):
        cut = tmp_path / "cut"
        cut.write_bytes(whole[:size])
        found = Tape(cut, {"source": "here"})
        assert all(found.read(path) == contents[path] for path in found)
        kept.append(len(found))
        add(found, "new", b"new")
        assert Tape(cut, {"source": "here"}).read("new") == b"new"
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (0, 5)


def test_a_damaged_tape_gives_no_wrong_file(tape, tmp_path):
    whole = tape.path.read_bytes()
    contents = {path: tape.read(path) for path in tape}
    rng = np.random.default_rng(0)
    lost = 0
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        (tmp_path / "damaged").write_bytes(damaged)
        found = Tape(tmp_path / "damaged", {"source": "here"})
        for path in contents:
            content = found.read(path)
            lost += content is None
            assert content in (None, contents[path])
    assert lost >= 400, "most damage hits a file"


class Killed(BaseException):
    """Stands for a signal."""


def test_a_killed_run_has_kept_what_had_come(server, tree, tmp_path, monkeypatch):
    run = run_at(tmp_path, tree, survey_at(server))
    original, count = Tape.add, itertools.count(1)

    def killed(*given):
        original(*given)
        if next(count) == 31:
            raise Killed

    monkeypatch.setattr(Tape, "add", killed)
    with pytest.raises(Killed):
        run.fetch(0)
    monkeypatch.undo()
    asked = spectra(server.requests)
    run.fetch(0)
    again = spectra(server.requests) - asked
    # Three of the 31 are lists; up to twice as many files as connections were on their way.
    came = 31 - len(FIELDS)
    assert len(spectra(server.requests)) == STARS
    assert STARS - came - 2 * run.survey.connections <= again.total() <= STARS - came
    assert paths.landmarks("dr17", "synspec_rev1")[0] not in server.requests


# What marks a mock survey.


@pytest.mark.parametrize(
    ("answer", "mock"),
    [
        (refused(404), False),
        (refused(403), False),
        (refused(401), False),
        (refused(503), False),
        (loopback.html_page, False),
        (loopback.empty, False),
        ("Not found", False),
        ("mock\n", False),
        (simulated.TEXT, True),
        (f"{simulated.TEXT}\nand more", True),
    ],
)
def test_what_a_server_answers_for_the_marker_decides_nothing(server, tree, tmp_path, answer, mock):
    """But its content does."""
    if isinstance(answer, str):
        server.files[simulated.MARKER] = answer.encode()
    else:
        server.faults[simulated.MARKER] = [answer] * 9
    run = run_at(tmp_path, tree, survey_at(server))
    run.fetch(0)
    group = open_store(run.shard(0))
    assert group.attrs["mock"] is mock
    assert group.attrs["title"].startswith("MOCK SURVEY") == mock


@pytest.mark.parametrize("answer", [refused(403), refused(404), None])
def test_simulated_stars_stay_simulated_whatever_a_server_answers(tmp_path, answer):
    """Their catalogue and each of their files say so."""
    tree = mock_tree(tmp_path / "sas")
    with running() as server:
        server.files = files_of(tree)
        if answer is not None:
            del server.files[simulated.MARKER]
            server.faults[simulated.MARKER] = [answer] * 9
        allstar = tree / paths.allstar_path("dr17", "synspec_rev1")
        every = Selection(snr_above=0, starflag=[], aspcapflag=[], vscatter_below=None)
        survey = survey_at(server, most_missing=1)
        run = Run(tmp_path / "run", SasTree(tree, []), survey)
        select(allstar, run.selected.parent, survey, every)
        run.fetch(0)
        assert open_store(run.shard(0)).attrs["mock"] is True
        assert len(read(open_store(run.shard(0)), "apogee_id")) > 20

        # A selection that does not say so, as of a catalogue from elsewhere.
        for path in (run.selected, run.alternates):
            table = read_parquet(path)
            write_parquet(path, table, {k: v for k, v in table.attrs.items() if k != "mock"})
        run.fetch(0)
        missing = read_parquet(run.shard_missing(0))
        if answer is None:
            assert open_store(run.shard(0)).attrs["mock"] is True
        else:
            assert not len(read(open_store(run.shard(0)), "apogee_id"))
            told = missing["reason"].str.contains("a simulated star, but the survey is no mock")
            assert told.sum() > 20


def mock_tree(root: Path) -> Path:
    """A mock survey of few stars, as `mock_survey` writes it."""
    release = Survey()
    mock_survey(output=root, processes=1, mock=Mock(rows=50, seed=3), release=release)
    return root
