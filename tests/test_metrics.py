# Tests of: spectrafm/evaluation/scores.py, evaluation/score.py, evaluation/collect_metrics.py
"""Scores against values worked out by hand, against astropy, and against the published ones."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from astropy.stats import mad_std
from astropy.table import Table

from making import fabricated
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.collect_metrics import collect_metrics
from spectrafm.evaluation.score import format_scores, score, score_table
from spectrafm.evaluation.scores import grouped_scores, scores
from spectrafm.labels import LABELS

DR17 = Path(__file__).parent / "../../shared/data/labels_dr17/labels_test.npy"

#: Published Figure 4 and what its authors' tables hold: RMSE of all, of the 594 iron-poor and of
#: the 24,922 other stars, mean residual of the iron-poor.
PUBLISHED = {
    "network from scratch": (0.1576, 0.7629, 0.108, 0.681),
    "pre-trained": (0.2541, 0.9023, 0.216, 0.769),
    "fine-tuned": (0.2099, 0.5098, 0.197, 0.454),
    "fine-tuned on 100 stars": (0.0936, 0.2323, 0.088, 0.115),
    "directly on 100 stars": (0.1000, 0.2559, 0.093, 0.103),
}


def test_by_hand():
    found = scores(np.zeros(5), np.array([1.0, 2.0, 3.0, 4.0, 10.0]))
    assert found["n"] == 5
    assert found["rmse"] == pytest.approx(np.sqrt(130 / 5))
    assert found["median_abs"] == 3
    assert found["mad_std"] == pytest.approx(1.4826, abs=1e-4)
    assert found["bias"] == 4
    assert found["median_bias"] == 3
    assert found["coverage_1sigma"] is None


def test_residual_is_predicted_minus_actual():
    assert scores([5.0], [3.0])["bias"] == -2


def test_mad_std_is_astropys():
    residual = np.random.default_rng(0).standard_t(2, 999)
    found = scores(np.zeros(999), residual)
    assert found["mad_std"] == pytest.approx(mad_std(residual), rel=1e-12)


def test_only_finite_pairs_count():
    actual = [0.0, np.nan, 0.0, np.inf]
    predicted = [1.0, 1.0, np.nan, 1.0]
    assert scores(actual, predicted)["n"] == 1
    nothing = scores(actual[1:], predicted[1:])
    assert nothing["n"] == 0
    assert all(value is None for key, value in nothing.items() if key != "n")


def test_coverage_counts_stars_with_an_uncertainty():
    found = scores(np.zeros(5), [0.5, 1.5, 2.5, 1.0, 9.0], [1.0, 1.0, 1.0, 1.0, np.nan])
    assert found["n"] == 5
    # A residual of exactly one uncertainty is not within it.
    assert found["coverage_1sigma"] == 0.25
    assert found["coverage_2sigma"] == 0.75


def test_single_precision_does_not_cost_digits():
    actual = np.full(100_000, 5000.25, dtype=np.float32)
    predicted = actual + np.float32(0.5)
    assert scores(actual, predicted)["rmse"] == pytest.approx(0.5, rel=1e-12)


def test_groups_part_at_minus_one():
    iron = np.array([-1.0, -1.0001, 0.0, np.nan])
    found = grouped_scores(np.zeros(4), np.arange(4.0), None, iron)
    assert [found[group]["n"] for group in ("all", "rich", "poor")] == [4, 2, 1]
    assert found["poor"]["bias"] == 1


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_groups_combine(model):
    """Residuals with the published scores of each group give the published score of all."""
    rmse, poor_rmse, rich_rmse, poor_bias = PUBLISHED[model]
    sign = np.tile([1.0, -1.0], 12_461)
    poor = poor_bias + np.sqrt(poor_rmse**2 - poor_bias**2) * sign[:594]
    iron = np.concatenate([np.full(594, -1.4), np.full(24_922, -0.1)])
    residual = np.concatenate([poor, rich_rmse * sign])
    found = grouped_scores(iron, iron + residual, None, iron)
    assert found["all"]["n"] == 25_516
    assert found["poor"]["rmse"] == pytest.approx(poor_rmse, abs=1e-9)
    assert found["poor"]["bias"] == pytest.approx(poor_bias, abs=1e-9)
    assert found["all"]["rmse"] == pytest.approx(rmse, abs=6e-4)


@pytest.mark.skipif(not DR17.exists(), reason="no real labels in ../shared/data/labels_dr17")
def test_real_stars_fall_into_the_published_groups(tmp_path):
    iron = np.load(DR17)[:, LABELS.index("FE_H")]
    table = tmp_path / "stars.csv"
    pandas.DataFrame({"FE_H_actual": iron, "FE_H_pred": np.float32(-0.746)}).to_csv(table)
    found = score_table(table, "FE_H_actual", "FE_H_pred")
    assert (found["all"]["n"], found["poor"]["n"], found["rich"]["n"]) == (25_516, 594, 24_922)
    # The published network from scratch sits on a floor near -0.75 there: its published bias is
    # the mean residual of such a floor; the median one would be 0.616.
    assert found["poor"]["bias"] == pytest.approx(0.681, abs=2e-3)
    assert found["poor"]["median_bias"] == pytest.approx(0.616, abs=2e-3)


@pytest.fixture
def table():
    """In the columns of the authors' own tables."""
    return pandas.DataFrame(
        {
            "FE_H_pred": [0.1, -0.4, -0.5, 0.0],
            "FE_H_err": [0.2, 0.05, 0.3, 0.1],
            "LOGG_actual": [2.0, 2.5, 1.0, 4.0],
            "FE_H_actual": [0.0, -0.2, -1.5, np.nan],
        }
    )


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_score_reads_csv_and_parquet(tmp_path, table, kind):
    path = tmp_path / f"table.{kind}"
    table.to_parquet(path) if kind == "parquet" else table.to_csv(path, index=False)
    found = score_table(path, "FE_H_actual", "FE_H_pred", "FE_H_err")
    assert {group: found[group]["n"] for group in found} == {"all": 3, "rich": 2, "poor": 1}
    assert found["poor"]["rmse"] == pytest.approx(1.0)
    assert found["rich"]["coverage_1sigma"] == 0.5
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_parquet_is_known_by_content(tmp_path, table):
    path = tmp_path / "table.dat"
    table.to_parquet(path)
    assert score_table(path, "FE_H_actual", "FE_H_pred")["all"]["n"] == 3


def test_other_labels_are_grouped_by_iron(tmp_path, table):
    path = tmp_path / "table.csv"
    table.assign(LOGG_pred=table["LOGG_actual"] + 1).to_csv(path)
    found = score_table(path, "LOGG_actual", "LOGG_pred", feh="FE_H_actual")
    assert [found[group]["n"] for group in ("all", "rich", "poor")] == [4, 2, 1]


def test_feh_names_the_grouping_column(tmp_path, table):
    path = tmp_path / "table.csv"
    table.rename(columns={"FE_H_actual": "iron"}).to_csv(path)
    assert score_table(path, "LOGG_actual", "FE_H_pred", feh="iron")["poor"]["n"] == 1
    ungrouped = score_table(path, "LOGG_actual", "FE_H_pred")
    assert (ungrouped["rich"]["n"], ungrouped["poor"]["n"]) == (0, 0)
    assert "--feh" in format_scores(ungrouped)


@pytest.mark.parametrize("actual", ["feh_true", "[Fe/H]", "TEFF_actual", "y_true", "true_o_fe"])
def test_no_column_is_guessed_to_hold_iron(tmp_path, table, actual):
    """Only FE_H... is taken for [Fe/H]; a temperature would put every star among the rich."""
    path = tmp_path / "table.csv"
    table.rename(columns={"LOGG_actual": actual}).to_csv(path)
    found = score_table(path, actual, "FE_H_pred")
    assert (found["all"]["n"], found["rich"]["n"], found["poor"]["n"]) == (4, 0, 0)
    assert "--feh" in format_scores(found)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("t.ecsv", "ascii.ecsv"), ("t.fits", "fits"), ("t.xml", "votable"), ("t.dat", "ascii.ecsv")],
)
def test_score_reads_what_astropy_writes(tmp_path, table, name, kind):
    units = Table.from_pandas(table)
    # The VOTables of astropy 7.0 know no dex.
    units["FE_H_pred"].unit = "K" if kind == "votable" else "dex"
    units["spectrum"] = np.zeros((4, 3))
    units.write(tmp_path / name, format=kind)
    found = score_table(tmp_path / name, "FE_H_actual", "FE_H_pred", "FE_H_err")
    assert {group: found[group]["n"] for group in found} == {"all": 3, "rich": 2, "poor": 1}
    assert found["poor"]["rmse"] == pytest.approx(1.0)


@pytest.mark.parametrize("rows", [slice(0), slice(None)])
def test_nothing_to_score_is_an_error(tmp_path, table, rows):
    path = tmp_path / "table.csv"
    table.assign(FE_H_pred=np.nan)[rows].to_csv(path)
    with pytest.raises(SpectraFMError, match=r"none of its \d rows has a number in both"):
        score_table(path, "FE_H_actual", "FE_H_pred")


def test_score_prints_a_table_or_json(tmp_path, table, capsys, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "table.csv"
    table.to_csv(path)
    score(path, actual="FE_H_actual", predicted="FE_H_pred")
    assert "within 1 sigma" in capsys.readouterr().out
    score(path, actual="FE_H_actual", predicted="FE_H_pred", json=True)
    assert json.loads(capsys.readouterr().out)["poor"]["n"] == 1
    assert "3 all, 2 rich, 1 poor stars" in caplog.text


def test_missing_table(tmp_path):
    with pytest.raises(SpectraFMError, match=r"none\.csv: no such file"):
        score_table(tmp_path / "none.csv", "a", "b")


def test_missing_column_lists_those_present(tmp_path, table):
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    with pytest.raises(SpectraFMError, match=r"table\.csv.*'FEH'.*FE_H_pred, FE_H_err"):
        score_table(path, "FEH", "FE_H_pred")


def test_text_in_a_column_is_named(tmp_path, table):
    path = tmp_path / "table.csv"
    table.astype({"FE_H_pred": object}).replace({"FE_H_pred": {-0.5: "bad"}}).to_csv(path)
    with pytest.raises(SpectraFMError, match="'FE_H_pred' is not numeric: data row 3 holds 'bad'"):
        score_table(path, "FE_H_actual", "FE_H_pred")


@pytest.mark.parametrize("content", [b"", b"PAR1 cut short", b"\xff\xfe\x00binary\x00\x81"])
def test_unreadable_tables(tmp_path, content):
    path = tmp_path / "table"
    path.write_bytes(content)
    with pytest.raises(SpectraFMError, match="table: "):
        score_table(path, "a", "b")


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(SpectraFMError, match="is a directory"):
        score_table(tmp_path, "a", "b")


def test_text_is_aligned(tmp_path, table):
    path = tmp_path / "table.csv"
    table.to_csv(path)
    lines = format_scores(score_table(path, "FE_H_actual", "FE_H_pred")).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert "RMSE" in lines[0]
    assert lines[3].startswith("poor ([Fe/H] < -1)")


def test_metrics_of_a_run(tmp_path):
    actual = fabricated.labels_of(60)
    table = fabricated.prediction_table(actual, list(LABELS))
    path = fabricated.write_prediction(
        tmp_path, "finetune_observed", "first_half", fabricated.FIRST_HALF, table
    )
    iron = fabricated.write_prediction(
        tmp_path,
        "fcnn",
        "iron_window",
        fabricated.IRON_WINDOW,
        fabricated.prediction_table(actual, ["FE_H"]),
    )
    collect_metrics([path, iron], output=tmp_path / "metrics.json")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["mock"] is True
    assert metrics["spectrafm"]
    found = metrics["predictions"]["finetune_observed--first_half"]
    assert found["asked"] == 60
    assert list(found["labels"]) == list(LABELS)
    teff = found["labels"]["TEFF"]
    # One star has no prediction, another no label.
    assert (teff["unit"], teff["predicted"], teff["all"]["n"]) == ("K", 59, 58)
    poor = (table["FE_H_actual"] < -1) & table["TEFF_predicted"].notna()
    assert teff["poor"]["n"] == poor.sum() > 0
    residual = (table["TEFF_predicted"] - table["TEFF_actual"])[poor].to_numpy(float)
    assert teff["poor"]["rmse"] == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-4)
    assert list(metrics["predictions"]["fcnn--iron_window"]["labels"]) == ["FE_H"]


def test_one_prediction_of_simulated_stars_marks_the_run(tmp_path):
    table = fabricated.prediction_table(fabricated.labels_of(20), ["FE_H"])
    window = fabricated.IRON_WINDOW
    paths = [
        fabricated.write_prediction(tmp_path, "fcnn", name, window, table, mock=mock)
        for name, mock in (("real", False), ("simulated", True))
    ]
    for predictions, marked in ((paths, True), (paths[:1], False)):
        collect_metrics(predictions, output=tmp_path / "metrics.json")
        assert json.loads((tmp_path / "metrics.json").read_text())["mock"] is marked


def test_a_foreign_parquet_is_no_prediction(tmp_path, table):
    path = tmp_path / "table.parquet"
    table.to_parquet(path)
    with pytest.raises(SpectraFMError, match=r"table\.parquet: not a prediction file"):
        collect_metrics([path], output=tmp_path / "metrics.json")
    assert not (tmp_path / "metrics.json").exists()
