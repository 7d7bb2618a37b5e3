# Tests of: spectrafm/evaluation/table_calibration.py, spectrafm/figures/calibration.py
"""The table and the figure of coverage, from predictions whose errors are known."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from making import fabricated
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.made_with import check_formats, inputs_of_table
from spectrafm.evaluation.table_calibration import table_calibration
from spectrafm.figures.calibration import calibration as figure
from spectrafm.figures.calibration import draw
from spectrafm.inference.calibration import (
    DOES_NOT_HOLD,
    GAUSSIAN,
    LEVELS,
    FittedOn,
)
from spectrafm.inference.conformal import fit_calibration
from spectrafm.inference.predictions import read_predictions, write_predictions
from spectrafm.labels import LABELS, PAPER_LABELS

STARS = 4000
SHOWN = ["LOGG", "FE_H"]


def predictions(folder, wrong_by=2.0, calibrated=True, split="test", flagged=0, symbols=None):
    """A prediction whose sigmas are too small by a factor, with intervals that make up for it."""
    rng = np.random.default_rng(0)
    actual = fabricated.labels_of(STARS)
    table = fabricated.prediction_table(actual, SHOWN)
    table["split"] = split
    table["flags"] = np.where(np.arange(STARS) < flagged, f"{DOES_NOT_HOLD}: FE_H", "")
    part = {}
    for label in SHOWN:
        truth = actual[:, LABELS.index(label)]
        sigma = rng.uniform(0.05, 0.2, STARS)
        table[f"{label}_actual"] = truth
        table[f"{label}_predicted"] = truth + wrong_by * sigma * rng.normal(size=STARS)
        table[f"{label}_uncertainty"] = sigma
        part[label] = (table[f"{label}_predicted"].to_numpy(), sigma, truth)
    table["snr"] = rng.uniform(50, 300, STARS)
    facts = {}
    if calibrated:
        on = FittedOn(kind="observed", spectra="observed", count=9, windows=[(16000.0, 16100.0)])
        columns = (np.stack(column, axis=1) for column in zip(*part.values(), strict=True))
        found = fit_calibration(SHOWN, *columns, table["snr"].to_numpy(), on)
        facts["calibration"] = found.model_dump(mode="json")
        features = {name: values[0] for name, values in part.items()} | {"snr": table["snr"]}
        for label in SHOWN:
            half = found.half_widths(label, part[label][1], features)
            for level, width in zip(LEVELS, half, strict=True):
                table[f"{label}_lower{level}"] = table[f"{label}_predicted"] - width
                table[f"{label}_upper{level}"] = table[f"{label}_predicted"] + width
    path = folder / "finetune_observed--y.parquet"
    trained = fabricated.STAGES["finetune_observed"]
    write_predictions(
        path, [table],
        [label._replace(symbol=(symbols or {}).get(label.name, label.symbol))
         for label in PAPER_LABELS if label.name in SHOWN],
        {"stage": "finetune_observed", "evaluation": "y", "mock": True, "spectra": "observed",
         "windows": trained["windows"], "split": split, "trained": trained, **facts},
    )  # fmt: skip
    read_predictions(path)
    return path


def tabulated(paths, folder):
    table_calibration(paths, output=folder / "tables" / "calibration.csv")
    rows = pd.read_csv(folder / "tables" / "calibration.csv")
    return rows, (folder / "tables" / "calibration.md").read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return folder, *tabulated([predictions(folder, flagged=500)], folder)


def test_gaussian_sigmas_that_are_half_too_small(made):
    """Errors are Gaussian of 2 sigma: within z sigma is P(abs(x) < z / 2)."""
    _, rows, _ = made
    everyone = rows[rows["group"] == "all"].set_index("label")
    assert list(everyone.index) == SHOWN
    for label in SHOWN:
        row = everyone.loc[label]
        assert row["n"] == STARS - 500
        np.testing.assert_allclose(
            [row[f"gaussian_{level}"] for level in LEVELS], [0.381, 0.589, 0.673], atol=0.03
        )
        np.testing.assert_allclose(
            [row[f"calibrated_{level}"] for level in LEVELS], [0.68, 0.90, 0.95], atol=0.02
        )
        assert row["pull_sd"] == pytest.approx(2.0, rel=0.05)
        assert row["pull_mean"] == pytest.approx(0.0, abs=0.12)
    assert GAUSSIAN[68] < 1


def test_the_groups_of_the_table(made):
    _, rows, text = made
    some = rows[rows["label"] == "FE_H"].set_index("group")["n"]
    iron = [name for name in some.index if "FE_H" in name]
    assert len(iron) == 6, "fifths, and iron-poor stars"
    assert some[iron].sum() == some["all"] == STARS - 500
    assert some[["LOGG < 3", "3 <= LOGG < 4", "LOGG >= 4"]].sum() == STARS - 500
    assert some["iron-poor"] + some["iron-rich"] == STARS - 500
    assert some["giants"] > some["dwarfs"] > 500
    # Flagged rows are apart.
    assert some[DOES_NOT_HOLD] == 500
    assert "MOCK SURVEY" in text
    assert "fitted on 9 observed spectra of the validation split" in text
    assert r"LOGG \< 3" in text


def test_its_formats_and_inputs_are_recorded(made):
    folder, _, _ = made
    markdown = folder / "tables" / "calibration.md"
    check_formats(markdown)
    assert list(inputs_of_table(markdown)) == ["../finetune_observed--y.parquet"]


def test_the_figure_is_drawn_from_the_table(made, tmp_path):
    folder, _, _ = made
    figure(folder / "tables" / "calibration.csv", output=tmp_path / "calibration.png")
    assert Image.open(tmp_path / "calibration.png").width > 800
    assert (tmp_path / "calibration.pdf").stat().st_size > 1000
    with pytest.raises(SpectraFMError, match="no column"):
        path = tmp_path / "x.csv"
        path.write_text("a,b\n1,2\n")
        figure(path, output=tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_a_panel_shows_the_symbol_of_the_configuration(tmp_path):
    rows, _ = tabulated([predictions(tmp_path, symbols={"FE_H": "my iron"})], tmp_path)
    titles = [axes.get_title() for axes in draw(rows).axes]
    assert "finetune_observed--y: my iron" in titles
    assert not any("FE_H" in title for title in titles)


def test_a_prediction_without_a_calibration_has_gaussian_sigmas_only(tmp_path):
    rows, text = tabulated([predictions(tmp_path, calibrated=False)], tmp_path)
    assert "calibrated_68" not in rows
    assert "Not calibrated." in text
    assert list(rows[rows["label"] == "FE_H"]["group"]) == [
        "all", "iron-poor", "iron-rich", "giants", "dwarfs",
    ]  # fmt: skip
    figure(tmp_path / "tables" / "calibration.csv", output=tmp_path / "calibration.png")


def test_stars_of_the_fit_are_left_out(tmp_path):
    with pytest.raises(SpectraFMError, match="no star has a predicted and a catalogue value"):
        tabulated([predictions(tmp_path, split="validation")], tmp_path)
    assert not (tmp_path / "tables").exists()
