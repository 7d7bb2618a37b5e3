# Tests of: spectrafm/training/repeats.py, spectrafm/layers.py, spectrafm/evaluation/paired.py
"""Repeats of stages over draws, seeds and numbers of stars, and what comes of their predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from making import fabricated
from spectrafm.config import read_config
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.collect_metrics import collect_metrics
from spectrafm.evaluation.paired import Bootstrap
from spectrafm.evaluation.table1 import table1
from spectrafm.evaluation.table_calibration import table_calibration
from spectrafm.evaluation.table_draws import table_draws
from spectrafm.evaluation.table_learning_curve import table_learning_curve
from spectrafm.figures import calibration
from spectrafm.figures import figure3 as three
from spectrafm.figures import figure4 as panels
from spectrafm.figures import learning_curve as curves
from spectrafm.figures.one_prediction import draw_first
from spectrafm.files import read_json
from spectrafm.inference.predictions import read_predictions
from spectrafm.labels import Label
from spectrafm.layers import merged
from spectrafm.networks import NETWORKS
from spectrafm.networks.cannon import Cannon
from spectrafm.training.repeats import family_of

REPOSITORY = Path(__file__).parents[1]


def run_with(**changes):
    paper = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    demo = yaml.safe_load((REPOSITORY / "configs/demo.yaml").read_text())
    return read_config(merged(merged(paper, demo), changes))


@pytest.fixture(scope="module")
def demo():
    return run_with()


def test_one_draw_and_seed_is_what_the_demo_trains(demo):
    assert all(family_of(name.split("--")[0]) == name.split("--")[0] for name in demo.predictions)
    assert demo.repeated(["twin--iron_window"]) == ["twin--iron_window"]


def test_a_stage_with_draws_and_seeds_is_a_stage_for_each():
    changed = {"finetune_painted": {"draws": 2, "seeds": 3}}
    run = run_with(stages=changed, evaluations={"iron_window": {"stages": ["finetune_painted"]}},
                   figures={"figure4": ["finetune_painted--iron_window"],
                            "calibration": None})  # fmt: skip
    own = run.stages["finetune_painted"]
    names = ["", "_seed4", "_seed5", "_draw78", "_draw78_seed4", "_draw78_seed5"]
    names = [f"finetune_painted{ending}" for ending in names]
    assert [n for n in run.predictions if n.endswith("--iron_window")] == [
        f"{name}--iron_window" for name in names
    ]
    last = run.stages[names[-1]]
    assert (last.stars.seed, last.seed) == (own.stars.seed + 1, own.seed + 2)
    assert last.model_copy(update={"stars": own.stars, "seed": own.seed, "draws": 2, "seeds": 3}) \
        == own  # fmt: skip
    assert run.resources_of(names[-1]) == run.resources_of("finetune_painted")


def test_a_repeat_starts_from_the_repeat_of_its_base():
    seeds = {name: {"seeds": 3} for name in ("pretrain", "finetune_observed", "finetune_iron")}
    seeds["finetune_iron"] |= {"draws": 2}
    stages = run_with(stages=seeds).stages
    assert stages["finetune_observed_seed4"].start_from == "pretrain_seed3"
    assert stages["finetune_iron_seed5"].start_from == "finetune_observed_seed4"
    assert stages["finetune_iron_draw78_seed5"].start_from == "finetune_observed_seed4"
    assert stages["finetune_iron_draw78"].start_from == "finetune_observed"
    # A stage without seeds of its own has but the first of its base.
    assert stages["finetune_iron_direct_draw78"].start_from == "pretrain"


def test_the_comparison_lists_every_draw_first_of_the_stage_to_compare_with():
    few = {"stages": ["twin", "finetune_iron", "mlp_observed"], "draws": 3, "against": None}
    run = run_with(fewshot={**few, "against": "finetune_iron"})
    stages = [name.removesuffix("--iron_window") for name in run.fewshot_predictions]
    assert stages == [
        "finetune_iron", "finetune_iron_draw78", "finetune_iron_draw79", "twin", "twin_draw78",
        "twin_draw79", "mlp_observed",
    ]  # fmt: skip
    assert set(stages) <= set(run.stages)


def test_the_learning_curve_keeps_the_number_of_steps(demo):
    def steps(name):
        stage = demo.stages[name]
        return stage.epochs * -(-stage.stars.count // stage.batch)

    for count in (10, 30, 300, 1000):
        name = f"finetune_painted_n{count}"
        assert demo.stages[name].stars.count == count
        assert steps(name) == pytest.approx(steps("finetune_painted"), rel=0.02)
        schedule = demo.stages[name].schedule
        assert schedule.warmup_epochs + schedule.restart_epochs == pytest.approx(
            demo.stages[name].epochs, rel=0.02
        )
    curve = [name.removesuffix("--iron_window") for name in demo.curve_predictions]
    assert "finetune_painted" in curve
    assert "finetune_painted_n100" not in curve
    assert "finetune_observed" in curve, "no star: the model that finetune_iron starts from"
    assert set(curve) <= set(demo.stages)
    assert "cannon_scratch_n30" in curve
    assert "cannon_scratch_n10" not in curve, "its polynomial of five labels has 21 terms"


def test_the_smallest_number_of_stars_is_what_the_cannon_says():
    labels = [Label(name, "dex", name) for name in ("FE_H", "MG_FE", "O_FE")]
    network = Cannon(torch.linspace(16105.0, 16110.0, 4), labels)
    assert NETWORKS["cannon"].fewest(3) == network.coefficient.shape[1] + 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stages": {"pretrain": {"draws": 2}}}, r"stages\.pretrain\.draws: it draws no stars"),
        ({"stages": {"my_draw3": {"like": "fcnn"}}}, r"as that of a repeat of 'my'"),
        ({"fewshot": {"stages": ["finetune"]}}, r"fewshot\.stages: no stage 'finetune'"),
        ({"fewshot": {"against": "pretrain"}}, r"fewshot\.against"),
        ({"learning_curve": {"stages": ["pretrain"]}}, r"learning_curve\.stages: pretrain draws"),
        ({"learning_curve": {"counts": ["a"]}}, r"learning_curve\.counts"),
    ],
)
def test_what_cannot_be_repeated_is_refused(changes, said):
    with pytest.raises(SpectraFMError, match=said):
        run_with(**changes)


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    """Three draws of two stages for the same stars; the errors of fcnn are half as large again."""
    folder, actual = tmp_path_factory.mktemp("draws"), fabricated.labels_of(400)
    paths = []
    for stage, larger in (("finetune_iron", 1.0), ("fcnn", 1.5)):
        for draw in (77, 78, 79):
            table = fabricated.prediction_table(actual, ["FE_H"], seed=draw)
            residual = table["FE_H_predicted"] - table["FE_H_actual"]
            table["FE_H_predicted"] += (larger * (1 + 0.1 * (draw - 78)) - 1) * residual
            name = stage if draw == 77 else f"{stage}_draw{draw}"
            stars = {"where": "FE_H > -1", "count": 100, "seed": draw}
            paths.append(
                fabricated.write_prediction(
                    folder, name, "iron_window", fabricated.IRON_WINDOW, table, stars=stars
                )
            )
    return paths


def test_the_table_has_median_range_and_paired_difference(predictions, tmp_path):
    table_draws(predictions, output=tmp_path / "draws.csv")
    rows = pd.read_csv(tmp_path / "draws.csv")
    assert rows["stage"].tolist() == 3 * ["finetune_iron"] + 3 * ["fcnn"]
    assert rows["draw"].tolist() == 2 * [77, 78, 79]
    text = (tmp_path / "draws.md").read_text()
    assert "MOCK SURVEY" in text
    line = next(line for line in text.splitlines() if line.startswith("| fcnn"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    one = rows[rows["stage"] == "fcnn"]["rmse_all"]
    low, middle, high = (f"{value:.3f}".lstrip("0") for value in one.quantile([0, 0.5, 1]))
    assert cells[1] == "3"
    assert cells[3] == f"{middle} [{low}-{high}]"
    difference = one.median() - rows[rows["stage"] == "finetune_iron"]["rmse_all"].median()
    assert cells[-3].startswith(f"+{difference:.3f}".replace("0.", ".")), cells
    ends = [float(end) for end in cells[-3].split("[")[1].rstrip("]").split()]
    assert 0 < ends[0] < difference < ends[1], "the difference is significant"
    table_draws(predictions, against="fcnn", output=tmp_path / "other.csv")
    assert "minus that of fcnn" in (tmp_path / "other.md").read_text()
    with pytest.raises(SpectraFMError, match="no prediction of a stage 'twin'"):
        table_draws(predictions, against="twin", output=tmp_path / "x.csv")


def test_bootstrap_intervals_hold_the_truth_as_often_as_they_say():
    rng, held = np.random.default_rng(5), 0
    everyone = np.ones(80, dtype=bool)
    for _ in range(200):
        found = Bootstrap(80).rmse(rng.normal(size=(1, 80)), everyone)
        held += found.low < 1 < found.high
    assert 0.85 < held / 200 < 0.99
    # Residuals that two models share leave no doubt about the sign of a small difference.
    residual = rng.normal(size=(1, 80))
    found = Bootstrap(80).difference(1.02 * residual, residual, everyone)
    assert 0 < found.low < found.value < found.high < 0.05
    assert Bootstrap(80).rmse(residual, ~everyone) is None


def test_metrics_and_figure4_show_the_spread(predictions, tmp_path):
    collect_metrics(predictions, output=tmp_path / "metrics.json")
    found = read_json(tmp_path / "metrics.json")
    spread = found["repeats"]["fcnn--iron_window"]["labels"]["FE_H"]["all"]
    each = [
        found["predictions"][f"fcnn{ending}--iron_window"]["labels"]["FE_H"]["all"]["rmse"]
        for ending in ("", "_draw78", "_draw79")
    ]
    assert list(spread.values()) == pytest.approx(sorted(each))
    tables = [read_predictions(path) for path in predictions[3:]]
    figure = panels.draw(tables[:1], [None], [tables[1:]])
    text = " ".join(text.get_text() for text in figure.axes[0].texts)
    low, middle, high = (f"{value:.3f}".lstrip("0") for value in sorted(each))
    assert f"RMSE = {middle} [{low}-{high}] of 3" in text
    assert "[" not in " ".join(t.get_text() for t in panels.draw(tables[:1], [None]).axes[0].texts)


def test_tables_and_figures_of_one_model_show_the_median_or_say_which_repeat(predictions, tmp_path):
    folder, actual, paths = tmp_path, fabricated.labels_of(400), []
    for number, name in enumerate(("fcnn", "fcnn_draw78", "fcnn_draw79")):
        table = fabricated.prediction_table(actual, ["LOGG", "FE_H"], seed=number)
        residual = table["FE_H_predicted"] - table["FE_H_actual"]
        table["FE_H_predicted"] += number * residual
        window = fabricated.IRON_WINDOW
        paths.append(fabricated.write_prediction(folder, name, "iron_window", window, table))
    table1(paths, logg=(-1, 6), output=folder / "table1.csv")
    column = pd.read_csv(folder / "table1.csv").set_index("label")["fcnn--iron_window:mad_std"]
    table1(paths[1:2], logg=(-1, 6), output=folder / "alone.csv")
    alone = pd.read_csv(folder / "alone.csv").set_index("label")
    assert column["FE_H"] == alone["fcnn_draw78--iron_window:mad_std"]["FE_H"], "the median"
    assert "median of 3 trainings" in (folder / "table1.md").read_text()
    assert "trainings" not in (folder / "alone.md").read_text()

    table_calibration(paths, output=folder / "calibration.csv")
    rows = pd.read_csv(folder / "calibration.csv")
    assert set(rows["prediction"]) == {"fcnn--iron_window"}
    assert (rows["repeats"] == 3).all()
    table_calibration(paths[1:2], output=folder / "one.csv")
    one = pd.read_csv(folder / "one.csv")
    iron = [part[part["label"] == "FE_H"].set_index("group") for part in (rows, one)]
    assert iron[0]["pull_sd"]["all"] == iron[1]["pull_sd"]["all"]
    assert "median of each figure" in (folder / "calibration.md").read_text()
    drawn = calibration.draw(calibration.read_coverage(folder / "calibration.csv"))
    assert "(median of 3 trainings)" in drawn.axes[0].get_title()

    notes = []
    draw_first(paths, lambda table, note: notes.append(note) or three.draw(table, note),
               folder / "figure3.png")  # fmt: skip
    assert notes[0].endswith("test stars, the first of 3 trainings of fcnn")
    with pytest.raises(SpectraFMError, match="is no repeat of the prediction"):
        three.figure3([paths[0], predictions[0]], output=folder / "x.png")


def test_the_learning_curve_is_a_table_and_a_figure(tmp_path):
    actual, paths = fabricated.labels_of(300), []

    def add(stage, scatter, count=None, **trained):
        table = fabricated.prediction_table(actual, ["FE_H"])
        residual = table["FE_H_predicted"] - table["FE_H_actual"]
        table["FE_H_predicted"] += (scatter / 0.05 - 1) * residual
        stars = {"where": None, "count": count}
        window = fabricated.IRON_WINDOW
        paths.append(
            fabricated.write_prediction(
                tmp_path, stage, "iron_window", window, table, stars=stars, **trained
            )
        )

    add("pretrain", 0.3, start_from=None)
    for count, scatter in ((10, 0.2), (30, 0.15), (100, 0.1)):
        stage = "finetune_iron" if count == 100 else f"finetune_iron_n{count}"
        add(stage, scatter, count, start_from="pretrain")
        add(stage.replace("finetune_iron", "fcnn"), 4 * scatter, count, start_from=None)
    add("cannon_scratch", 0.3, 100, start_from=None)
    table_learning_curve(paths, output=tmp_path / "curve.csv")
    rows = curves.read_curve(tmp_path / "curve.csv")
    own = rows[rows["stage"] == "finetune_iron"]
    assert own["stars"].tolist() == [0, 10, 30, 100]
    assert own["rmse_rich"].tolist() == pytest.approx([0.3, 0.2, 0.15, 0.1], rel=0.15)
    assert ((own["low_poor"] < own["rmse_poor"]) & (own["rmse_poor"] < own["high_poor"])).all()
    assert rows[rows["stage"] == "fcnn"]["stars"].tolist() == [10, 30, 100], "from scratch: no 0"
    text = (tmp_path / "curve.md").read_text()
    assert "MOCK SURVEY" in text
    assert all(f"| {stage} " in text for stage in ("finetune_iron", "fcnn"))
    assert "\ncannon_scratch is not trained on fewer than 22 stars" in text
    assert "fcnn is not trained" not in text
    figure = curves.draw(rows)
    assert [axes.get_title() for axes in figure.axes] == list(curves.PANELS.values())
    drawn = {bars.get_label() for bars in figure.axes[0].containers}
    assert drawn == {"finetune_iron", "fcnn", "cannon_scratch"}
    assert figure.axes[0].get_ylabel() == "RMSE in [Fe/H] (dex)"
    own = rows.assign(label="TEFF", symbol="$T$", unit="K")
    assert curves.draw(own).axes[0].get_ylabel() == "RMSE in $T$ (K)"
    assert "MOCK SURVEY" in figure.texts[0].get_text()
