# Tests of: spectrafm/inference/calibration.py, spectrafm/inference/calibrate.py
"""Calibrated intervals: the untrusted file, training, predictions."""

import json
import shutil

import numpy as np
import pytest

from making.calibrated_stars import ON, fitted
from making.toy_store import WINDOWS, toy_stars, write_toy_store
from making.toy_training import MODEL, stage
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_json
from spectrafm.inference.calibration import (
    CALIBRATION,
    GAUSSIAN,
    LEVELS,
    Calibration,
    read_calibration,
    write_calibration,
)
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.inference.predictions import (
    calibration_holds,
    calibration_of,
    intervals_of,
    read_predictions,
    values_of,
)
from spectrafm.integrity import write_checksums
from spectrafm.training.choice import stars_of
from spectrafm.training.train import train

# The file.


def test_the_file_is_read_as_it_was_written(tmp_path):
    found, _ = fitted(900)
    write_calibration(tmp_path, found)
    assert read_calibration(tmp_path) == found
    assert read_calibration(tmp_path / "elsewhere") is None


HOSTILE = {
    "not JSON": lambda content: "{",
    "a list": lambda content: "[]",
    "nested": lambda content: "[" * 40_000,
    "7 MB of lists": lambda content: "[" + "[]," * (7 << 20 >> 2) + "[]]",
    "an infinite quantile": lambda content: _set(content, float("inf")),
    "NaN": lambda content: _set(content, float("nan")),
    "a negative quantile": lambda content: _set(content, -1.0),
    "a quantile of text": lambda content: _set(content, "1"),
    "a huge quantile": lambda content: _set(content, 1e300),
    "two quantiles": lambda content: _change(content, quantiles=[1.0, 2.0]),
    "no quantiles": lambda content: _change(content, quantiles=None),
    "no factors": lambda content: _change(content, factors=[]),
    "factors of other groups": lambda content: _change(content, factors=[[[1.0] * 3] * 2] * 3),
    "a negative factor": lambda content: _change(content, factors=[[[-1.0] * 3] * 4]),
    "many factors": lambda content: _change(content, factors=[[[1.0] * 3] * 99]),
    "the groups of an older version": lambda content: _older(content),
    "falling edges": lambda content: _edges(content, [1.0, 0.0]),
    "no edge": lambda content: _edges(content, []),
    "many edges": lambda content: _edges(content, list(range(100))),
    "a name of a path": lambda content: _label(content, "../../x"),
    "a long name": lambda content: _label(content, "X" * 100),
    "other levels": lambda content: {**content, "levels": [50, 90, 95]},
    "a temperature of 0": lambda content: _temperature(content, 0.0),
    "a temperature that is true": lambda content: _temperature(content, True),
    "a long note": lambda content: {**content, "note": "x" * 10_000},
}


def _first(content):
    return content["labels"]["FE_H"]


def _set(content, value):
    _first(content)["quantiles"][0] = value
    return content


def _change(content, **changes):
    _first(content).update(changes)
    return content


def _older(content):
    _first(content)["groups"] = [{"place": [], "count": 9, "quantiles": [1.0] * 3}]
    del _first(content)["quantiles"], _first(content)["factors"]
    return content


def _edges(content, edges):
    content["groupings"][0]["edges"] = edges
    return content


def _label(content, name):
    content["labels"][name] = _first(content)
    return content


def _temperature(content, value):
    _first(content)["temperature"] = value
    return content


@pytest.mark.parametrize("spoil", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(tmp_path, spoil):
    write_calibration(tmp_path, fitted(300)[0])
    path = tmp_path / CALIBRATION
    spoiled = spoil(read_json(path))
    path.write_text(spoiled if isinstance(spoiled, str) else json.dumps(spoiled))
    with pytest.raises(SpectraFMError, match=CALIBRATION) as error:
        read_calibration(tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 600
    # pydantic would keep 2 million values in memory before it refused the first.
    assert spoil is not HOSTILE["7 MB of lists"] or "values are more than" in str(error.value)


# Training and prediction.


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    stars = toy_stars(900)
    stars.table["snr"] = np.random.default_rng(0).uniform(50, 300, 900)
    return write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr", stars)


def trained(store, folder, **changes):
    options = {
        "spectra": "observed", "architecture": "ridge", "sampling": {"scheme": "all"}, "epochs": 1,
        "labels": ["LOGG", "FE_H"],
    }  # fmt: skip
    train(store, name="x", output=folder, stage=stage(**{**options, **changes}), model=MODEL)
    return folder


@pytest.fixture(scope="module")
def model(store, tmp_path_factory):
    return trained(store, tmp_path_factory.mktemp("models") / "x")


def predicted(model, store, folder, **options):
    path = folder / "x--y.parquet"
    predict(model, store, name="y", output=path, options=Predict(**options))
    return read_predictions(path)


def test_a_training_leaves_a_calibration(model, store):
    found = read_calibration(model)
    assert list(found.labels) == ["LOGG", "FE_H"]
    assert found.fitted_on.count == 180
    assert found.fitted_on.kind == found.fitted_on.spectra == "observed"
    assert found.fitted_on.split == "validation"
    assert "LOGG" in [grouping.by for grouping in found.groupings]
    assert CALIBRATION in (model / "SHA256SUMS").read_text()
    assert "fitted on 180 observed spectra of the validation split" in (
        (model / "README.md").read_text()
    )


def test_the_card_names_the_coverage_of_stars_that_intervals_were_not_fitted_on(model):
    coverage = read_calibration(model).labels["FE_H"].coverage
    # 180 stars: one sigma is 3.5 % at 68 %.
    for share, level in zip(coverage, (0.68, 0.90, 0.95), strict=True):
        assert abs(share - level) < 0.1
    shares = ", ".join(f"{100 * share:.1f} %" for share in coverage)
    assert f"| {shares} |" in (model / "README.md").read_text()


def test_intervals_hold_their_share_of_test_stars(model, store, tmp_path):
    table = predicted(model, store, tmp_path)
    assert table.attrs["units"]["LOGG_lower68"] == "dex(cm s-2)"
    assert calibration_of(table) == read_calibration(model)
    for label in ("LOGG", "FE_H"):
        actual, value, _ = values_of(table, label)
        low, high = np.moveaxis(intervals_of(table, label), 1, 0)
        np.testing.assert_allclose((low + high) / 2, np.broadcast_to(value, low.shape), atol=1e-5)
        known = np.isfinite(actual)
        assert known.sum() > 160
        shares = ((low <= actual) & (actual <= high))[:, known].mean(axis=1)
        # Of 170 test stars, with quantiles from as many: 5 % is one standard deviation at 68 %.
        np.testing.assert_allclose(shares, np.array(LEVELS) / 100, atol=0.12)


def test_without_a_calibration_nothing_else_changes(model, store, tmp_path, caplog):
    old = shutil.copytree(model, tmp_path / "old")
    (old / CALIBRATION).unlink()
    write_checksums(old)
    new, found = (predicted(folder, store, tmp_path) for folder in (model, old))
    assert "no calibrated intervals of LOGG, FE_H (made before" in caplog.text
    assert intervals_of(found, "FE_H") is None
    assert calibration_of(found) is None
    same = [name for name in found if name != "flags"]
    assert same == [name for name in new if "lower" not in name and "upper" not in name][:-1]
    assert new[same].equals(found[same])
    assert calibration_holds(found).all()


def test_rows_beyond_the_calibration_are_flagged(model, store, tmp_path):
    narrow = shutil.copytree(model, tmp_path / "narrow")
    found = read_calibration(narrow)
    label = found.labels["FE_H"].model_copy(update={"range": (-0.8, -0.2)})
    write_calibration(narrow, found.model_copy(update={"labels": found.labels | {"FE_H": label}}))
    write_checksums(narrow)
    table = predicted(narrow, store, tmp_path)
    outside = ((table["FE_H_predicted"] < -0.8) | (table["FE_H_predicted"] > -0.2)).to_numpy()
    assert 30 < outside.sum() < 150
    only = table["flags"].str.contains("calibration does not hold: (?:LOGG, )?FE_H")
    assert np.array_equal(only, outside)
    assert not calibration_holds(table)[outside].any()
    assert only.sum() > 20


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"spectra": "synthetic"}, "fitted on observed spectra"),
        ({"combine": "mean"}, "fitted with chunks combined by inverse_variance"),
    ],
)
def test_another_kind_of_prediction_is_flagged_in_every_row(
    model, store, tmp_path, caplog, options, reason
):
    table = predicted(model, store, tmp_path, **options)
    assert table["flags"].str.endswith(f"calibration does not hold: {reason}").all()
    assert not calibration_holds(table).any()
    assert reason in caplog.text


def test_a_label_alone_groups_by_what_it_knows(model, store, tmp_path):
    table = predicted(model, store, tmp_path, labels=["LOGG"])
    assert intervals_of(table, "LOGG") is not None
    assert list(calibration_of(table).labels) == ["LOGG"]
    assert np.isfinite(intervals_of(table, "LOGG")).all()


def test_a_training_of_few_validation_stars_says_that_it_is_not_calibrated(tmp_path, caplog):
    store = write_toy_store(tmp_path / "store.zarr", toy_stars(60))
    model = trained(store, tmp_path / "x")
    assert read_calibration(model).labels == {}
    assert "calibration: not calibrated, fewer than 20 stars: LOGG, FE_H" in caplog.text
    caplog.clear()
    table = predicted(model, store, tmp_path)
    assert "no calibrated intervals of LOGG, FE_H (not calibrated, fewer" in caplog.text
    assert not [name for name in table if "lower" in name]


def test_painted_selection_is_calibrated_on_painted_spectra_of_all_stars(store):
    options = stage(
        spectra="observed", stars={"where": "FE_H > -0.6", "count": 100},
        replay={"spectra": "painted"}, selection="painted", labels=["FE_H"],
        sampling={"scheme": "window"}, windows=WINDOWS[1:],
    )  # fmt: skip
    chosen = stars_of(store, options, errors=False)
    assert chosen.calibration is chosen.validation
    assert len(chosen.calibration) == 180, "also those that the condition leaves out"


def test_the_papers_selection_is_not_calibrated_on_the_stars_that_it_trains_on(store):
    options = stage(spectra="observed", selection="paper")
    chosen = stars_of(store, options, errors=False)
    assert set(chosen.validation.split) == {"train"}
    assert set(chosen.calibration.split) == {"validation"}
    assert not set(chosen.calibration.apogee_id) & set(chosen.training.apogee_id)


def test_gaussian_levels():
    assert list(GAUSSIAN.values()) == pytest.approx([0.9945, 1.6449, 1.9600], abs=1e-4)
    assert list(Calibration(fitted_on=ON).levels) == list(LEVELS)
