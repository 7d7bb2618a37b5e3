# Tests of: spectrafm/evaluation/table1.py
"""Table 1: its numbers, what it says of the survey, and its three formats."""

import re

import numpy as np
import pandas
import pytest

from making import fabricated
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.table1 import table1
from spectrafm.files import write_parquet
from spectrafm.inference.predictions import write_predictions
from spectrafm.labels import LABELS, Label

LOGG = (1.0, 3.5)


@pytest.fixture
def actual():
    return fabricated.labels_of(200)


def predictions(folder, actual, mock=True, **trained):
    """A biased pre-trained and an unbiased fine-tuned model."""
    biased = fabricated.prediction_table(actual, list(LABELS), seed=8)
    for label in LABELS:
        biased[f"{label}_predicted"] += 5 * fabricated.SCATTER[label]
    fine = fabricated.prediction_table(actual, list(LABELS))
    where = ("first_half", fabricated.FIRST_HALF)
    return [
        fabricated.write_prediction(folder, "pretrain", *where, biased, mock),
        fabricated.write_prediction(folder, "finetune_observed", *where, fine, mock, **trained),
    ]


def astronn(folder, actual, stars=True):
    path = folder / "astronn.parquet"
    table = pandas.DataFrame(actual + np.float32(0.5), columns=list(LABELS))
    table.insert(0, "apogee_id", fabricated.names_of(len(actual)))
    # In another order than the predictions.
    table = table.iloc[::-1] if stars else table.iloc[:0]
    note = {} if stars else {"note": "the source has no catalogue"}
    write_parquet(path, table, {"release": "dr17", **note})
    return path


def tabulate(paths, catalogue, logg, stem):
    """Write Table 1 under a name without suffix."""
    table1(paths, astronn=catalogue, logg=logg, output=stem.with_suffix(".csv"))


def written(stem):
    return {kind: stem.with_suffix(f".{kind}").read_text() for kind in ("csv", "md", "tex")}


def test_numbers_of_the_giants(tmp_path, actual):
    paths = predictions(tmp_path, actual)
    tabulate(paths, astronn(tmp_path, actual, stars=False), LOGG, tmp_path / "table1")
    table = pandas.read_csv(tmp_path / "table1.csv", index_col="label")
    assert list(table.index) == list(LABELS)

    stars = pandas.read_parquet(paths[0])
    stars = stars[(stars["LOGG_actual"] > 1.0) & (stars["LOGG_actual"] < 3.5)]
    residual = (stars["TEFF_predicted"] - stars["TEFF_actual"]).dropna().to_numpy(float)
    row = table.loc["TEFF"]
    assert row["unit"] == "K"
    assert row["pretrain--first_half:n"] == residual.size < 200
    assert row["pretrain--first_half:rmse"] == pytest.approx(np.sqrt(np.mean(residual**2)), 1e-4)
    # The bias is outside mad_std but inside median abs(r).
    assert row["pretrain--first_half:mad_std"] < 0.4 * row["pretrain--first_half:median_abs"]
    assert row["pretrain--first_half:bias"] == pytest.approx(residual.mean(), 1e-4)
    assert abs(row["finetune_observed--first_half:bias"]) < 15


def test_the_interval_of_logg_is_open(tmp_path, actual):
    actual[:, LABELS.index("LOGG")] = 1.0
    actual[2:5, LABELS.index("LOGG")] = [1.5, 3.5, 3.4]
    catalogue = astronn(tmp_path, actual, stars=False)
    tabulate(predictions(tmp_path, actual), catalogue, LOGG, tmp_path / "table1")
    table = pandas.read_csv(tmp_path / "table1.csv")
    assert set(table["pretrain--first_half:n"]) == {2}


def test_mock_says_so_and_shows_nothing_published(tmp_path, actual):
    tabulate(
        predictions(tmp_path, actual),
        astronn(tmp_path, actual, stars=False),
        LOGG,
        tmp_path / "table1",
    )
    texts = written(tmp_path / "table1")
    for text in texts.values():
        assert "MOCK SURVEY" in text
        assert "published:" not in text
    assert "AstroNN left out: the source has no catalogue" in texts["md"]
    assert "published" not in texts["csv"]
    assert "0.326" not in texts["md"]


def test_dr17_has_astronn_first_and_the_published_apart(tmp_path, actual):
    tabulate(
        predictions(tmp_path, actual, mock=False),
        astronn(tmp_path, actual),
        LOGG,
        tmp_path / "table1",
    )
    texts = written(tmp_path / "table1")
    assert not any("MOCK" in text for text in texts.values())
    table = pandas.read_csv(tmp_path / "table1.csv", index_col="label")
    assert table.columns[2] == "astronn:mad_std"
    # Each star is compared with its own row of the catalogue.
    assert table.loc["TEFF", "astronn:rmse"] == pytest.approx(0.5, abs=1e-3)
    assert table.loc["TEFF", "astronn:mad_std"] == pytest.approx(0, abs=1e-3)
    assert table.loc["TEFF", "published fine-tuned:mad_std"] == 19
    assert table.loc["FE_H", "published synthetic only:mad_std"] == 0.048
    header = next(line for line in texts["md"].splitlines() if line.startswith("| label"))
    assert header.index("AstroNN") < header.index("pre-trained") < header.index("published: Astro")
    assert "mad_std = 1.4826" in texts["md"]


def test_another_release_shows_nothing_published(tmp_path, actual):
    catalogue = astronn(tmp_path, actual)
    write_parquet(catalogue, pandas.read_parquet(catalogue), {"release": "dr19"})
    tabulate(predictions(tmp_path, actual, mock=False), catalogue, LOGG, tmp_path / "table1")
    assert "published:" not in written(tmp_path / "table1")["md"]


def test_markdown_rows_have_equal_cells(tmp_path, actual):
    catalogue = astronn(tmp_path, actual)
    tabulate(predictions(tmp_path, actual, mock=False), catalogue, LOGG, tmp_path / "table1")
    text = written(tmp_path / "table1")["md"]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert len(rows) == 2 + 5 * 6


def test_latex_is_well_formed(tmp_path, actual):
    catalogue = astronn(tmp_path, actual)
    tabulate(predictions(tmp_path, actual, mock=False), catalogue, LOGG, tmp_path / "table1")
    text = written(tmp_path / "table1")["tex"]
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({row.count("&") for row in rows}) == 1
    # An [O/Fe] right after a line break would be its optional argument.
    assert not any(row.startswith("[") for row in rows)
    assert not re.search(r"(?<![\\{$T])_", text.replace(r"\mathrm", ""))
    assert text.count("{") == text.count("}")
    assert not set(text) - set(map(chr, range(128)))


def test_a_choice_that_saw_iron_poor_stars_is_labelled(tmp_path, actual):
    catalogue = astronn(tmp_path, actual, stars=False)
    tabulate(predictions(tmp_path, actual, selection="paper"), catalogue, LOGG, tmp_path / "table1")
    assert "chosen on iron-poor stars" in written(tmp_path / "table1")["md"]


def test_models_of_the_same_kind_are_told_apart(tmp_path, actual):
    path = predictions(tmp_path, actual)[0]
    table = fabricated.prediction_table(actual, list(LABELS))
    window = fabricated.FIRST_HALF
    other = fabricated.write_prediction(tmp_path, "pretrain", "again", window, table)
    tabulate([path, other], astronn(tmp_path, actual, stars=False), LOGG, tmp_path / "table1")
    assert "(pretrain)" in written(tmp_path / "table1")["md"]


def test_bad_input_leaves_nothing(tmp_path, actual):
    catalogue = astronn(tmp_path, actual)
    iron = fabricated.write_prediction(
        tmp_path,
        "fcnn",
        "iron_window",
        fabricated.IRON_WINDOW,
        fabricated.prediction_table(actual, ["FE_H"]),
    )
    with pytest.raises(
        SpectraFMError, match=r"iron_window\.parquet: no column 'LOGG_actual' or 'logg'"
    ):
        tabulate([iron], catalogue, LOGG, tmp_path / "table1")
    mock = predictions(tmp_path / "mock", actual)
    real = predictions(tmp_path / "real", actual, mock=False)
    with pytest.raises(SpectraFMError, match="mock and of real"):
        tabulate([mock[0], real[1]], catalogue, LOGG, tmp_path / "table1")
    twice = pandas.read_parquet(catalogue)
    write_parquet(catalogue, pandas.concat([twice, twice.iloc[:1]]))
    with pytest.raises(SpectraFMError, match=r"astronn\.parquet: star 2M00000199"):
        tabulate(real, catalogue, LOGG, tmp_path / "table1")
    with pytest.raises(SpectraFMError, match="no such file"):
        tabulate(real, tmp_path / "none.parquet", LOGG, tmp_path / "table1")
    assert not list(tmp_path.glob("table1*"))


def test_no_star_in_the_range_is_an_error(tmp_path, actual):
    """Until 0.1 it was a table of dashes."""
    catalogue = astronn(tmp_path, actual, stars=False)
    with pytest.raises(SpectraFMError, match=r"none of its 200 stars has 5 < log g < 6"):
        tabulate(predictions(tmp_path, actual), catalogue, (5.0, 6.0), tmp_path / "table1")
    assert not list(tmp_path.glob("table1*"))


def test_log_g_may_be_a_column_of_the_store(tmp_path, actual):
    """A model that knows no log g is predicted beside the catalogue's."""
    table = fabricated.prediction_table(actual, ["FE_H"])
    table["logg"] = actual[:, LABELS.index("LOGG")]
    iron = fabricated.write_prediction(
        tmp_path, "fcnn", "iron_window", fabricated.IRON_WINDOW, table
    )
    tabulate([iron], astronn(tmp_path, actual, stars=False), LOGG, tmp_path / "table1")
    found = pandas.read_csv(tmp_path / "table1.csv")
    assert found["label"].tolist() == ["FE_H"]
    logg = table["logg"]
    giants = (logg > 1) & (logg < 3.5) & table["FE_H_predicted"].notna()
    assert found["fcnn--iron_window:n"].item() == (giants & table["FE_H_actual"].notna()).sum()


def test_labels_units_and_symbols_come_from_the_predictions(tmp_path, actual):
    table = fabricated.prediction_table(actual, ["LOGG", "FE_H"])
    table = table.rename(columns=lambda name: name.replace("FE_H", "AGE"))
    path = tmp_path / "p.parquet"
    facts = {"stage": "a", "evaluation": "b", "mock": True, "windows": [[15000.0, 16000.0]]}
    facts |= {"spectra": "observed", "trained": fabricated.STAGES["finetune_observed"]}
    labels = [Label("LOGG", "dex(cm s-2)", r"$\log g$"), Label("AGE", "Gyr", "age")]
    write_predictions(path, [table], labels, facts)
    tabulate([path], astronn(tmp_path, actual, stars=False), LOGG, tmp_path / "table1")
    texts = written(tmp_path / "table1")
    assert re.search(r"\| age +\| Gyr ", texts["md"])
    assert "{age} & Gyr" in texts["tex"]
    assert pandas.read_csv(tmp_path / "table1.csv")["label"].tolist() == ["LOGG", "AGE"]


def test_an_output_that_is_not_written_is_refused(tmp_path, actual):
    catalogue = astronn(tmp_path, actual, stars=False)
    with pytest.raises(SpectraFMError, match=r"must end in \.csv or \.md or \.tex"):
        table1(predictions(tmp_path, actual), astronn=catalogue, output=tmp_path / "table1.txt")
