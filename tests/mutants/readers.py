"""Readers of files of any origin, and the chain between them: what is believed of a file."""

from mutants import Mutant

SCHEMA = "spectrafm/store/schema.py"
CONTENTS = "spectrafm/store/contents.py"
PREDICTIONS = "spectrafm/inference/predictions.py"
STRANGERS = "tests/test_strangers.py"
SPOILT = f"{STRANGERS}::test_what_we_do_not_write_is_refused"
PARQUET = "tests/test_parquet_damage.py"
ROWS = f"{PARQUET}::test_rows_that_predict_never_writes"

MUTANTS = [
    Mutant(
        "spectrafm/report/report.html.j2",
        "<li>{{ reason }}: {{ n }}</li>",
        "<li>{{ reason | safe }}: {{ n }}</li>",
        "tests/test_report.py::test_every_text_of_a_run_is_escaped",
        "the reason for which a spectrum is missing runs in the browser",
    ),
    Mutant(
        "spectrafm/seal.py",
        "if recorded != _digest(path, place):",
        "if len(recorded) != len(_digest(path, place)):",
        f"{PARQUET}::test_no_flip_is_silent",
        "damage to a footer is silent",
    ),
    Mutant(
        "spectrafm/files.py",
        "if UNSEALED.keys() & entries.keys() and not sealed:",
        "if UNSEALED.keys() <= set() and not sealed:",
        f"{PARQUET}::test_tables_of_others_stay_readable_and_a_lost_seal_is_noticed",
        "a damaged seal makes a file one without a seal",
    ),
    Mutant(
        SCHEMA,
        "if math.prod(counts) != len(present):",
        "if present and math.prod(counts) != len(present):",
        SPOILT,
        "a lost chunk is read as fill values",
    ),
    Mutant(
        SCHEMA,
        "if size > max(SMALL, DENSEST * stored):",
        "if size > 1 << 60:",
        SPOILT,
        "a shape asks for terabytes",
    ),
    Mutant(
        SCHEMA,
        "rows = min(shard[0], shape[0] - number * shard[0])",
        "rows = 0",
        SPOILT,
        "a chunk lost within a shard is read as fill values",
    ),
    Mutant(
        SCHEMA,
        "codecs: _Plain | tuple[_ShardingCodec]",
        "codecs: list[Any]",
        SPOILT,
        "a store names any codec",
    ),
    Mutant(
        CONTENTS,
        "(np.diff(wavelength) > 0).all()",
        "(np.diff(wavelength) >= 0).all()",
        SPOILT,
        "a wavelength stands twice",
    ),
    Mutant(
        CONTENTS,
        "if (negative := (errors < 0)).any():",
        "if (negative := (errors < -1)).any():",
        SPOILT,
        "a negative error of a label is squared in the loss",
    ),
    Mutant(
        CONTENTS,
        "if (counts > 1).any():",
        "if (counts > 2).any():",
        SPOILT,
        "a star is on two sides of the split",
    ),
    Mutant(
        "spectrafm/store/read.py",
        "if SHARD in group.attrs:",
        "if SHARD in ():",
        f"{STRANGERS}::test_a_shard_is_no_store",
        "a shard passes for the store",
    ),
    Mutant(
        "spectrafm/integrity.py",
        'if PurePosixPath(name).is_absolute() or ".." in parts:',
        "if PurePosixPath(name).is_absolute():",
        f"{STRANGERS}::test_no_file_outside_a_store_is_read_for_its_list",
        "a stranger's list makes us read files of ours",
    ),
    Mutant(
        "spectrafm/report/chain.py",
        "elif hash_of(where) != digest:",
        "elif len(hash_of(where)) != len(digest):",
        "tests/test_chain.py",
        "an exchanged model goes unnoticed",
    ),
    Mutant(
        "spectrafm/evaluation/made_with.py",
        "if hash_of(path) != digest:",
        "if len(hash_of(path)) != len(digest):",
        "tests/test_report.py::test_a_figure_of_no_bytes_and_a_cut_table_are_named",
        "a table cut at a line's end is shown as whole",
    ),
    Mutant(
        PREDICTIONS,
        "if (twice := stars.duplicated()).any():",
        "if (twice := stars.duplicated()).all():",
        ROWS,
        "a star counts twice",
    ),
    Mutant(
        PREDICTIONS,
        'if side != "all" and (other := table["split"] != side).any():',
        'if side == "none" and (other := table["split"] != side).any():',
        ROWS,
        "training stars are scored as test stars",
    ),
    Mutant(
        PREDICTIONS,
        "(negative := table[name] < 0).any():",
        "(negative := table[name] < -1).any():",
        ROWS,
        "a negative uncertainty is believed",
    ),
    Mutant(
        PREDICTIONS,
        "if found.trained.mock and not found.mock:",
        "if found.trained.mock and found.mock is None:",
        f"{PARQUET}::test_a_prediction_that_contradicts_its_model",
        "an answer of a network of simulated stars passes for one of real stars",
    ),
    Mutant(
        "spectrafm/surveys/apogee/check_selection.py",
        'mmap_mode="r", allow_pickle=False',
        "allow_pickle=True",
        "tests/test_hostile_tables.py",
        "an array of the authors' runs code",
    ),
    Mutant(
        "spectrafm/inference/domain.py",
        "if any(name not in facts.labels for hull in facts.hulls for name in hull.labels):",
        "if False:",
        "tests/test_domain.py::test_a_hostile_file_is_refused_in_one_line",
        "a domain without the range of a label ends in a traceback",
    ),
    Mutant(
        PREDICTIONS,
        "list[tuple[FiniteFloat, FiniteFloat]]",
        "list[tuple[float, float]]",
        f"{PARQUET}::test_metadata_that_predict_never_writes",
        "a window that is no number ends in a traceback",
    ),
    Mutant(
        "spectrafm/config.py",
        "    require_text_keys(content)\n",
        "",
        "tests/test_shell.py::test_a_key_that_yaml_reads_as_no_text_is_named",
        "a stage named null ends in a traceback",
    ),
    Mutant(
        "spectrafm/readers/read.py",
        "        except SpectrumError as error:\n"
        '            raise SpectraFMError(f"{path}: {error}") from None',
        "        except SpectrumError:\n            raise",
        "tests/test_readers.py::test_a_table_without_units_or_names_is_refused_with_the_reason",
        "a refusal of a spectrum does not name its file",
    ),
    Mutant(
        "spectrafm/reading.py",
        "if values > MOST_VALUES:",
        "if False:",
        "tests/test_domain.py::test_a_hostile_file_is_refused_in_one_line "
        "tests/test_calibration.py::test_a_hostile_file_is_refused_in_one_line",
        "a few megabytes of empty lists take more than a gigabyte to be refused",
    ),
]
