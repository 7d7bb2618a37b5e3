"""Spectra and labels: masks, windows, alignment, the store's reading and writing, the split."""

from mutants import Mutant

READ = "spectrafm/store/read.py"
LAYOUT = "spectrafm/store/layout.py"
BUILD = "spectrafm/store/build_store.py"
FETCH = "spectrafm/surveys/apogee/fetch_spectra.py"
SELECT = "spectrafm/surveys/apogee/select_stars.py"
DIVIDE = "spectrafm/surveys/split.py"
ASPCAP = "spectrafm/surveys/apogee/aspcapstar.py"
MODELS = "tests/test_mock_survey.py"
MOCK = "spectrafm/surveys/mock/mock_survey.py"

STREAMED = "tests/test_streaming.py::test_blocks_of_any_size_are_the_stars_of_the_whole"
MASKED = (
    "tests/test_store.py::test_the_flux_range_gives_bit_for_bit_what_was_masked_when_fetched "
    "tests/test_store.py::test_without_a_flux_range_only_bad_pixels_are_missing"
)
SIDES = "tests/test_store.py::test_load_stars_gives_a_side_of_the_split_and_the_pixels_of_windows"
BLOCKS = "tests/test_store.py::test_each_block_of_a_shard_keeps_its_own_labels_and_columns"
HELD = "tests/test_store.py::test_the_store_holds_what_the_files_hold"
SPLIT = "tests/test_selection.py::test_the_split_has_the_shares_and_depends_on_star_and_seed_alone"
SHARDS = "tests/test_store.py::test_stars_are_written_in_whole_shards_whatever_blocks_they_come_in"

MUTANTS = [
    # Masks.
    Mutant(
        READ,
        "bad |= mask[part]",
        "pass",
        MASKED,
        "bad pixels of observed spectra are read as good",
    ),
    Mutant(
        READ,
        "np.isfinite(some) & (some >= low)",
        "(some >= low)",
        MASKED,
        "an infinite flux is good where there is no flux range",
    ),
    Mutant(
        READ,
        "(some <= high)",
        "(some < high)",
        MASKED,
        "a flux equal to the upper end of the range is missing",
    ),
    Mutant(
        READ,
        "flux_error[part][bad] = np.nan",
        "pass",
        MASKED,
        "a missing pixel keeps its error, which networks that read errors see",
    ),
    Mutant(
        ASPCAP,
        "(error > 0) & ",
        "(error >= 0) & ",
        "tests/test_aspcapstar.py",
        "a pixel without an error counts as good",
    ),
    Mutant(
        ASPCAP,
        "HUGE_ERROR = 1e9",
        "HUGE_ERROR = 1e11",
        "tests/test_aspcapstar.py",
        "the pixels that the pipeline gave up count as good",
    ),
    # Windows and units.
    Mutant(
        "spectrafm/spectra/windows.py",
        "(wavelength <= longest)",
        "(wavelength < longest)",
        "tests/test_spectra.py "
        "tests/test_store.py::test_windows_include_their_ends_and_must_hold_a_pixel",
        "a window loses the pixel at its end",
    ),
    Mutant(
        "spectrafm/spectra/windows.py",
        '"nm": 10.0',
        '"nm": 100.0',
        "tests/test_spectra.py",
        "of a window in nm it is told that another one in Angstrom is meant",
    ),
    Mutant(
        READ,
        "self.wavelength = wavelength[self._pixels]",
        "self.wavelength = wavelength[: self._pixels.sum()]",
        SIDES,
        "a window's pixels get the wavelengths of the grid's beginning",
    ),
    # Alignment of spectra, labels and columns with stars.
    Mutant(
        READ,
        "self._group, self._rows[stars]",
        "self._group, self._rows[: len(self._rows[stars])]",
        STREAMED,
        "every block has the spectra of the first",
    ),
    Mutant(
        READ,
        "{name: values[stars] for name, values in self._of_stars.items()}",
        "{name: values[: len(rows)] for name, values in self._of_stars.items()}",
        STREAMED,
        "every block has the labels of the first",
    ),
    Mutant(
        READ,
        "values[rows] for name, values in found.items()",
        "values[: len(rows)] for name, values in found.items()",
        "tests/test_store.py::test_columns_come_with_the_stars",
        "columns such as SNR are those of the store's first stars, not of the split's",
    ),
    Mutant(
        READ,
        "chosen - first, axis=0",
        "chosen - first - 1, axis=0",
        STREAMED,
        "spectra are those of the star before",
    ),
    Mutant(
        FETCH,
        "keep = [place[star] for star in kept]",
        "keep = list(range(len(kept)))",
        "tests/test_alignment.py",
        "after a missing file every star has its neighbour's flux",
    ),
    Mutant(
        FETCH,
        "flux[place[name]] = getattr(star, kind)",
        "flux[len(delivered) - 1] = getattr(star, kind)",
        "tests/test_alignment.py",
        "spectra stand in the order in which their files arrive",
    ),
    Mutant(
        BUILD,
        'zip(labels, read(group, "label", rows).T, strict=True)',
        'zip(labels, read(group, "label")[: rows.stop - rows.start].T, strict=True)',
        BLOCKS,
        "labels of a later block are those of the first",
    ),
    Mutant(
        BUILD,
        "zip(errors, read(group",
        "zip(errors[::-1], read(group",
        HELD,
        "the errors of the labels are exchanged",
    ),
    Mutant(
        BUILD,
        "if accounted != sorted(selected):",
        "if len(accounted) != len(selected):",
        "tests/test_store.py::test_shards_of_another_selection_are_refused",
        "a store is built of another selection's stars",
    ),
    # Writing the store.
    Mutant(
        LAYOUT,
        "waiting = [together[SHARD_STARS:]]",
        "waiting = []",
        SHARDS,
        "stars beyond a whole shard are lost",
    ),
    Mutant(
        LAYOUT,
        "yield together[:SHARD_STARS]",
        "yield together[len(together) - SHARD_STARS :]",
        SHARDS,
        "the last stars are written in place of the first",
    ),
    Mutant(
        LAYOUT,
        "{name: flux[rows] for name, flux in self.spectra.items()}",
        "{name: flux[: len(self.table.iloc[rows])] for name, flux in self.spectra.items()}",
        SHARDS,
        "a part of the stars gets the spectra of the first ones",
    ),
    Mutant(
        LAYOUT,
        '("label_error", [*map(error_column, names)],',
        '("label_error", names,',
        HELD,
        "the labels are stored as their own errors",
    ),
    Mutant(
        "spectrafm/store/arrays.py",
        'shuffle="shuffle"), Crc32cCodec())',
        'shuffle="shuffle"),)',
        "tests/test_store.py::test_every_array_is_chunked_named_and_checksummed_as_designed",
        "a flipped bit of a chunk is read as a flux",
    ),
    # Selection and split.
    Mutant(
        SELECT,
        "ascending=[True, False, True]",
        "ascending=[True, True, True]",
        "tests/test_selection.py::"
        "test_a_star_is_given_by_its_row_of_highest_snr_among_those_that_passed",
        "each star's worst observation is taken",
    ),
    Mutant(
        DIVIDE,
        'f"{shares.seed}:{apogee_id}"',
        'f"{apogee_id}"',
        SPLIT,
        "the seed does not change the split",
    ),
    Mutant(
        SELECT,
        'for star in chosen["APOGEE_ID"]]',
        'for star in chosen["FIELD"] + chosen["APOGEE_ID"]]',
        "tests/test_selection.py::test_no_star_is_on_two_sides_whatever_the_seed",
        "a star's side of the split depends on the field in which it was observed",
    ),
    Mutant(
        DIVIDE,
        "if position < shares.train:",
        "if position < shares.train + shares.validation / 2:",
        SPLIT,
        "validation stars are trained on",
    ),
    Mutant(
        READ,
        "(splits == split) | (split is None)",
        '(splits == split) | (split in (None, "train"))',
        SIDES,
        "validation and test stars are trained on",
    ),
    # The mock survey.
    Mutant(
        MOCK,
        "(self.stars, self.rows, self.best)",
        "(self.stars, self.rows, self.best.take(slice(None, None, -1)))",
        f"{MODELS}::test_without_a_gap_observed_spectra_are_noisy_models",
        "synthetic spectra are those of other stars",
    ),
    Mutant(
        MOCK,
        "stars = stars.take(rows.star)",
        "stars = stars.take(np.sort(rows.star))",
        f"{MODELS}::test_rows_of_one_name_are_of_one_star",
        "two rows of one name have the spectra and labels of two stars",
    ),
]
