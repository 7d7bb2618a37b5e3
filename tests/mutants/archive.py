"""Fetching: versions of a file, lists of checksums, outages and absences, fills, options."""

from mutants import Mutant

HTTP = "spectrafm/archive/http.py"
LISTS = "spectrafm/archive/checksums.py"
FAILURES = "spectrafm/archive/failures.py"
OUTAGE = "spectrafm/archive/outage.py"
TAPE = "spectrafm/archive/tape.py"
FITS = "spectrafm/archive/fits.py"
FILES = "spectrafm/surveys/apogee/spectra_files.py"
STARS = "spectrafm/surveys/apogee/fetch_spectra.py"
ALLSTAR = "spectrafm/surveys/apogee/allstar.py"
MARK = "spectrafm/surveys/apogee/simulated.py"
OPTIONS = "spectrafm/options.py"

VERSIONS = "tests/test_hostile_server.py::test_two_versions_of_a_catalogue_are_never_joined"
WHOLE_OUTAGE = (
    "tests/test_outage.py::test_an_outage_loses_no_star_and_the_next_run_asks_for_the_rest"
)
AT_THE_END = "tests/test_outage.py::test_an_outage_at_the_very_end_counts_for_no_file"
STAYS_BROKEN = (
    "tests/test_outage.py::"
    "test_files_that_stay_broken_are_given_up_after_some_runs_while_the_source_answers"
)
ODD_LISTS = "tests/test_checksums.py::test_an_odd_list_says_what_it_says"

MUTANTS = [
    # Versions.
    Mutant(
        HTTP,
        'headers | ({"If-Range": received.validator} if received.validator else {})',
        "headers",
        VERSIONS,
        "the rest of a catalogue is asked for whatever became of its first part",
    ),
    Mutant(
        HTTP,
        "any(found[k] != expected[k] for k in repeated)",
        "False",
        VERSIONS,
        "two versions of a catalogue are joined",
    ),
    Mutant(
        HTTP,
        "(bool(expected) and not repeated) or ",
        "",
        VERSIONS,
        "the rest of a catalogue is taken from a server that does not say of which version it is",
    ),
    Mutant(
        HTTP,
        "if arrived < limits.minimum_rate * elapsed:",
        "if False:",
        "tests/test_hostile_server.py::test_stall_and_drip_are_left_in_time",
        "a server that sends a byte a second is waited for",
    ),
    Mutant(
        HTTP,
        "_ABSENT = {404, 410}",
        "_ABSENT = {403, 404, 410}",
        "tests/test_outage.py::test_a_ban_is_no_absence_of_a_file_that_no_list_names",
        "a ban loses stars for good",
    ),
    # Lists of checksums.
    Mutant(
        LISTS,
        "found[path.name] = line[1].lower()",
        "found[path.name] = line[1]",
        ODD_LISTS,
        "of a list in capitals every file has a wrong SHA-1",
    ),
    Mutant(
        LISTS,
        "found[path.name] = ",
        "found[line[2]] = ",
        ODD_LISTS,
        "of a list with ./ no file is verified",
    ),
    Mutant(
        LISTS,
        "if path.name and within ==",
        "if path.name or within ==",
        ODD_LISTS,
        "a line of another folder's file replaces the SHA-1 of this one's",
    ),
    Mutant(
        LISTS,
        "if read <= len(lines) - read:",
        "if 2 * read < len(lines):",
        "tests/test_checksums.py::test_what_is_no_whole_list_is_called_so",
        "a list that holds comments alone verifies nothing, silently",
    ),
    Mutant(
        HTTP,
        "response.content_length is None and not chunked",
        "False",
        "tests/test_checksums.py::test_a_list_without_a_stated_length_is_not_believed",
        "a list that was cut at the end of a line is believed",
    ),
    Mutant(
        FILES,
        "if self._published(file.path) != used[file.path]:",
        "if False:",
        "tests/test_checksums.py::test_a_kept_list_that_is_older_than_the_files_is_fetched_anew",
        "an old list makes its files missing, though the server is fine",
    ),
    # Outages.
    Mutant(
        FAILURES,
        '    if sha1 is None:\n        return Failure(f"absent',
        '    if True:\n        return Failure(f"absent',
        WHOLE_OUTAGE,
        "a 404 for a file that its list names makes the star missing",
    ),
    Mutant(
        FILES,
        "if self._list_of(path).there:",
        "if True:",
        "tests/test_outage.py::"
        "test_a_release_whose_paths_all_fail_is_named_before_much_is_asked_for",
        "of a wrong release every star is missing",
    ),
    Mutant(
        OUTAGE,
        "        if self._in_a_row:\n            self._require_answer()",
        "        pass",
        AT_THE_END,
        "an outage at the end of a run uses up the runs of the last files",
    ),
    Mutant(
        OUTAGE,
        "if self._in_a_row >= self.judgement.stop_after:",
        "if False:",
        WHOLE_OUTAGE,
        "a server that bans is asked for every file",
    ),
    Mutant(
        OUTAGE,
        "        if None in failures:\n            self._in_a_row = 0\n            return\n",
        "",
        STAYS_BROKEN,
        "some files that are broken for good block a run for ever",
    ),
    Mutant(
        OUTAGE,
        "self.tape.failures[path] + 1 >= self.judgement.runs",
        "False",
        STAYS_BROKEN,
        "one file that is broken for good blocks a run for ever",
    ),
    Mutant(
        STARS,
        "settled = [star for star, failed in reasons.items() if len(failed) == rank]",
        "settled = list(set(candidates['apogee_id']) - set(delivered))",
        "tests/test_outage.py::test_another_observation_replaces_a_file_only_when_it_is_given_up",
        "an outage decides which spectrum of a star is stored",
    ),
    Mutant(
        TAPE,
        "return content if hashlib.sha1(content).hexdigest() == place.sha1 else None",
        "return content",
        "tests/test_outage.py::test_a_damaged_tape_gives_no_wrong_file",
        "a damaged file of an earlier run is stored",
    ),
    Mutant(
        "spectrafm/store/build_store.py",
        'if counts["missing"] <= most * counts["asked"]:',
        "if True:",
        "tests/test_outage.py::test_a_store_that_lacks_too_much_is_not_built",
        "a store of few stars is built, and nothing says so",
    ),
    # Fills.
    Mutant(
        FITS,
        "FILLS = (-999.0, -999.99)",
        "FILLS = (-998.0, -998.99)",
        "tests/test_fills.py::test_a_fill_is_missing_in_every_column_that_is_measured",
        "a fill of DR16 is learned as a label",
    ),
    Mutant(
        FITS,
        "values == (1 << 8 * values.dtype.itemsize) + fill",
        "False",
        "tests/test_fills.py::test_a_fill_is_missing_in_every_column_that_is_measured",
        "a fill that lost its sign is the highest S/N of all",
    ),
    Mutant(
        ALLSTAR,
        "impossible = made[name] < 0",
        "impossible = made[name] < -900",
        "tests/test_fills.py::test_a_negative_error_is_missing_and_counted",
        "a negative error weighs as if it were positive",
    ),
    Mutant(
        ALLSTAR,
        "dict.fromkeys(_FLAGS, -1)",
        "dict.fromkeys(_FLAGS, 0)",
        "tests/test_fills.py::test_an_unknown_flag_of_a_star_passes_no_cut",
        "a star of unknown quality passes every cut",
    ),
    # The mock survey's mark, and the configuration.
    Mutant(
        MARK,
        "isinstance(found, bytes) and found.startswith(TEXT.encode())",
        "isinstance(found, bytes)",
        "tests/test_outage.py::test_what_a_server_answers_for_the_marker_decides_nothing",
        "a server that sends a page for everything makes real stars simulated ones",
    ),
    Mutant(
        OPTIONS,
        "            if _value_of(value) == value:\n                return value\n",
        "            return value\n",
        "tests/test_config.py::test_a_text_that_looks_like_something_else_stays_a_text",
        "a folder named null is no folder",
    ),
]
