# Tests of: spectrafm/evaluation/paper_comparison.py
"""The comparison with the published numbers: what is compared, and what a mock may say."""

import numpy as np
import pandas as pd
import pytest

from making import fabricated
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation import paired
from spectrafm.evaluation.paper_comparison import paper_comparison
from spectrafm.evaluation.published import FIGURE4, FIGURE4_BY_IRON, TABLE1
from spectrafm.files import write_parquet
from spectrafm.labels import LABELS

#: Errors of the stages, in units of those of the fine-tuned one.
LARGER = {"pretrain": 4.0, "finetune_observed": 1.0, "finetune_iron": 0.5}


@pytest.fixture(scope="module", autouse=True)
def few_samples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paired, "SAMPLES", 100)
        yield


@pytest.fixture(scope="module")
def actual():
    return fabricated.labels_of(500)


def predictions(folder, actual, mock, larger=LARGER, **trained):
    """Predictions whose residuals are multiples of each other, so that ratios are exact."""
    paths = []
    for stage, factor in larger.items():
        for evaluation, windows, labels in (
            ("first_half", fabricated.FIRST_HALF, LABELS),
            ("iron_window", fabricated.IRON_WINDOW, ["FE_H"]),
        ):
            table = fabricated.prediction_table(actual, list(labels))
            for label in labels:
                residual = table[f"{label}_predicted"] - table[f"{label}_actual"]
                table[f"{label}_predicted"] += (factor - 1) * residual
            if evaluation == "first_half":
                table["logg"] = actual[:, LABELS.index("LOGG")]
            args = (folder, stage, evaluation, windows, table, mock)
            paths.append(fabricated.write_prediction(*args, **trained))
    return paths


@pytest.fixture(scope="module")
def of_mock(tmp_path_factory, actual):
    folder = tmp_path_factory.mktemp("mock")
    paper_comparison(predictions(folder, actual, True), output=folder / "paper_comparison.csv")
    return pd.read_csv(folder / "paper_comparison.csv"), (
        folder / "paper_comparison.md"
    ).read_text()


def test_every_published_number_is_in_the_table(of_mock):
    rows, _ = of_mock
    assert len(rows) == 15 + 10 + 30
    published = [value for row in TABLE1.values() for value in row.values()]
    published += [value for row in (*FIGURE4.values(), *FIGURE4_BY_IRON.values()) for value in row]
    assert sorted(rows["published"]) == pytest.approx(sorted(published))


def test_a_mock_shows_ratios_only(of_mock):
    rows, text = of_mock
    assert "MOCK SURVEY" in text
    assert rows["honest"].isna().all()
    assert "ours (" not in text
    own = rows[(rows["prediction"] == "finetune_iron--iron_window") & (rows["stars"] == "all")]
    assert own["honest_ratio"].item() == pytest.approx(0.5 / 4, rel=1e-4)
    assert own["published_ratio"].item() == pytest.approx(0.094 / 0.254)
    assert rows[rows["prediction"] == "fcnn--iron_window"]["honest_ratio"].isna().all()
    tuned = rows[rows["prediction"] == "finetune_observed--first_half"]
    assert tuned["honest_ratio"].tolist() == pytest.approx([0.25] * 5, rel=1e-4)
    assert "| finetune_iron--iron_window " in text
    assert "| pretrain--iron_window " not in text, "its ratio to itself says nothing"


def test_real_stars_show_numbers_differences_and_the_protocol(tmp_path, actual):
    honest = predictions(tmp_path / "a", actual, False, {"pretrain": 4.0, "finetune_observed": 1.0})
    paper = predictions(
        tmp_path / "b", actual, False, {"finetune_observed": 2.0}, selection="paper"
    )
    labels = pd.DataFrame(actual + np.float32(0.5), columns=list(LABELS))
    labels.insert(0, "apogee_id", fabricated.names_of(len(actual)))
    write_parquet(tmp_path / "astronn.parquet", labels.iloc[::-1], {})
    paper_comparison(
        [*honest, *paper], astronn=tmp_path / "astronn.parquet", output=tmp_path / "c.csv"
    )
    rows = pd.read_csv(tmp_path / "c.csv")
    rows = rows[(rows["source"] == "Table 1") & (rows["label"] == "FE_H")].set_index("prediction")
    own = rows.loc["finetune_observed--first_half"]
    assert own["honest"] == pytest.approx(fabricated.SCATTER["FE_H"], rel=0.15)
    assert own["paper"] == pytest.approx(2 * own["honest"], rel=1e-4)
    assert own["honest_low"] < own["honest"] < own["honest_high"]
    # A constant offset has no scatter.
    assert rows.loc["astronn", "honest"] == pytest.approx(0, abs=1e-6)
    giants = (actual[:, 1] > 1) & (actual[:, 1] < 3.5)
    assert own["n"] == giants[2:].sum()
    text = (tmp_path / "c.md").read_text()
    assert "MOCK" not in text
    assert f"{own['honest'] - 0.019:+.3g}" in text
    assert "ours (paper)" in text


def test_mock_and_real_stars_are_never_in_one_table(tmp_path, actual):
    table = fabricated.prediction_table(actual, ["FE_H"])
    window = fabricated.IRON_WINDOW
    real = fabricated.write_prediction(tmp_path, "fcnn", "iron_window", window, table, False)
    mock = fabricated.write_prediction(tmp_path, "pretrain", "iron_window", window, table)
    with pytest.raises(SpectraFMError, match="mock and of real"):
        paper_comparison([real, mock], output=tmp_path / "x.csv")
