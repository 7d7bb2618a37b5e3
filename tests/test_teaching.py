# Tests of: spectrafm/training/teaching.py, conditions on columns of the store (spectrafm/labels.py)
"""Pseudo-labels: a model of one arm of a spectrograph teaches a network of the other arm."""

import numpy as np
import pytest

from making.toy_store import WINDOWS, toy_stars, write_toy_store
from making.toy_training import MODEL, stage
from spectrafm.config import read_config
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_json
from spectrafm.inference.calibration import read_calibration
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.inference.predictions import read_predictions, values_of
from spectrafm.store.read import load_stars
from spectrafm.training.choice import stars_of
from spectrafm.training.train import train

TEACHER = {
    "spectra": "observed", "architecture": "ridge", "sampling": {"scheme": "all"}, "epochs": 1,
    "labels": ["LOGG", "FE_H"], "windows": WINDOWS[:1],
}  # fmt: skip
STUDENT = {**TEACHER, "windows": WINDOWS[1:], "pseudo_labels": {"teacher": "blue"}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    stars = toy_stars(900)
    stars.table["snr"] = np.random.default_rng(0).uniform(50, 300, 900)
    return write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr", stars)


@pytest.fixture(scope="module")
def teacher(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "blue"
    options = stage(**{**TEACHER, "stars": {"count": 250, "seed": 1}})
    train(store, name="blue", output=folder, stage=options, model=MODEL)
    return folder


def test_the_stars_of_a_student_have_the_teachers_labels_and_none_of_its_stars(store, teacher):
    trained = TrainedModel.load(teacher)
    found = stars_of(store, stage(**STUDENT), errors=False, teacher=trained)
    everyone = load_stars(store, "observed", "train")
    assert len(found.training) == len(everyone) - 250
    assert not set(found.training.apogee_id) & set(trained.facts["training_stars"])
    names = [label.name for label in everyone.labels]
    place = [everyone.apogee_id.tolist().index(star) for star in found.training.apogee_id]
    for number, name in enumerate(names):
        said, known = found.training.label[:, number], everyone.label[place, number]
        if name not in ("LOGG", "FE_H"):
            assert np.isnan(said).all(), f"{name} of the catalogue is not read"
            continue
        assert np.isfinite(said).all()
        assert not np.array_equal(said, known)
        assert np.corrcoef(said[np.isfinite(known)], known[np.isfinite(known)])[0, 1] > 0.5
        assert (found.training.label_error[:, number] > 0).all()
    assert np.isfinite(found.validation.label[:, names.index("FE_H")]).all()


def test_a_student_learns_labels_of_windows_of_which_it_saw_no_label(store, teacher, tmp_path):
    train(
        store, name="red", output=tmp_path / "red", teacher=teacher, stage=stage(**STUDENT),
        model=MODEL,
    )  # fmt: skip
    predict(
        tmp_path / "red", store, name="y", output=tmp_path / "red--y.parquet", options=Predict()
    )
    table = read_predictions(tmp_path / "red--y.parquet")
    actual, predicted, _ = values_of(table, "FE_H")
    known = np.isfinite(actual)
    assert np.std((predicted - actual)[known]) < 0.8 * np.std(actual[known])
    # The intervals of a student would leave out its teacher's errors.
    assert read_calibration(tmp_path / "red").labels == {}
    assert "a teacher" in read_calibration(tmp_path / "red").note
    assert "labels: those that blue predicts" in (tmp_path / "red" / "README.md").read_text()
    facts = read_json(tmp_path / "red" / "config.json")
    assert any(path.endswith("blue") for path in facts["made_with"])
    assert table.attrs["trained"]["pseudo_labels"] == {"teacher": "blue"}


def test_a_teacher_that_is_not_the_stages_is_refused(store, teacher, tmp_path):
    def tried(folder, **changes):
        train(
            store, name="red", output=tmp_path / "red", teacher=folder,
            stage=stage(**{**STUDENT, **changes}), model=MODEL,
        )  # fmt: skip

    with pytest.raises(SpectraFMError, match=r"--teacher and --pseudo_labels\.teacher go together"):
        tried(None)
    with pytest.raises(SpectraFMError, match="of stage 'blue', not of 'green'"):
        tried(teacher, pseudo_labels={"teacher": "green"})
    with pytest.raises(SpectraFMError, match="the teacher does not know TEFF"):
        tried(teacher, labels=["TEFF"])
    assert not (tmp_path / "red").exists()


def run_of(stages, **further):
    base = {"spectra": "observed", "windows": [[16105.8, 16220.0]], "epochs": 1}
    content = {name: {**base, **options} for name, options in stages.items()}
    figures = {"table1": ["blue--x"], "figure2": None, "figure3": None, "figure4": None}
    return read_config(
        {"stages": content, "evaluations": {"x": {"stages": ["blue"], "spectra": "observed"}},
         "figures": figures, "attention": {"stage": "blue"}, **further}
    )  # fmt: skip


def test_a_repeat_learns_from_the_repeat_of_its_teacher():
    run = run_of({"blue": {"seeds": 2, "seed": 5},
                  "red": {"seeds": 2, "pseudo_labels": {"teacher": "blue"}}})  # fmt: skip
    assert run.stages["red"].pseudo_labels.teacher == "blue"
    assert run.stages["red_seed1"].pseudo_labels.teacher == "blue_seed6"


def test_a_circle_of_teachers_and_starts_is_refused():
    with pytest.raises(SpectraFMError, match=r"pseudo_labels\.teacher: a circle"):
        run_of({"blue": {"start_from": "red"}, "red": {"pseudo_labels": {"teacher": "blue"}}})
    with pytest.raises(SpectraFMError, match=r"pseudo_labels\.teacher: no stage 'green'"):
        run_of({"blue": {"pseudo_labels": {"teacher": "green"}}})


def test_a_condition_may_name_a_column_of_the_store(store):
    every = load_stars(store, "observed", "train", columns=("snr",))
    chosen = stars_of(store, stage(stars={"where": "snr > 200 and LOGG < 3"}), errors=False)
    logg = every.label[:, [label.name for label in every.labels].index("LOGG")]
    wanted = (every.columns["snr"] > 200) & (logg < 3)
    assert set(chosen.training.apogee_id) == set(every.apogee_id[wanted])
    assert (chosen.validation.columns["snr"] > 200).all()
    with pytest.raises(SpectraFMError, match="no label a_k"):
        stars_of(store, stage(stars={"where": "a_k < 1"}), errors=False)


def test_a_condition_of_an_evaluation_may_name_a_column(store, teacher, tmp_path):
    path = tmp_path / "blue--y.parquet"
    predict(teacher, store, name="y", output=path, options=Predict(where="snr > 200"))
    assert (read_predictions(path)["snr"] > 200).all()


def test_a_label_is_learned_only_from_stars_that_may_have_it(store):
    stars = {"labelled": {"FE_H": "LOGG >= 3 and snr > 100"}}
    chosen = stars_of(store, stage(stars=stars), errors=False)
    every = load_stars(store, "observed", "train", columns=("snr",))
    names = [label.name for label in every.labels]
    dwarf = (every.label[:, names.index("LOGG")] >= 3) & (every.columns["snr"] > 100)
    assert 0 < dwarf.sum() < len(every)
    for number, name in enumerate(names):
        expected = every.label[:, number]
        if name == "FE_H":
            expected = np.where(dwarf, expected, np.nan)
        assert np.array_equal(chosen.training.label[:, number], expected, equal_nan=True)
    validation = chosen.validation
    giant = validation.label[:, names.index("LOGG")] < 3
    assert np.isnan(validation.label[giant, names.index("FE_H")]).all()
    # What a stage may not read cannot choose its stars either.
    stars["where"] = "FE_H > -9"
    chosen = stars_of(store, stage(stars=stars), errors=False)
    assert (chosen.training.label[:, names.index("LOGG")] >= 3).all()


def test_the_card_says_which_stars_have_a_label(store, tmp_path):
    stars = {"labelled": {"FE_H": "LOGG >= 3"}}
    options = stage(**{**TEACHER, "stars": stars})
    train(store, name="one", output=tmp_path / "one", stage=options, model=MODEL)
    card = (tmp_path / "one" / "README.md").read_text()
    assert "FE_H only of stars with LOGG >= 3" in card


MLP = {**TEACHER, "architecture": "mlp", "epochs": 2, "batch": 64}
DWARFS = {**MLP, "stars": {"where": "LOGG >= 3"}}
FEW = {
    **MLP, "start_from": "blue", "labels": ["FE_H"], "epochs": 3, "batch": 8,
    "stars": {"where": "FE_H > -0.6 and LOGG < 3", "count": 30},
    "replay": {"spectra": "start", "ratio": 2},
}  # fmt: skip


def trained_on_a_few(store, folder, start, **changes):
    """A model of the few stars, with its answers for all test stars."""
    options = stage(**{**FEW, **changes})
    train(store, name="few", output=folder / "few", start=start, stage=options, model=MODEL)
    output = folder / "few--y.parquet"
    predict(folder / "few", store, name="y", output=output, options=Predict(spectra="observed"))
    return read_predictions(output)


@pytest.fixture(scope="module")
def dwarfs(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "blue"
    train(store, name="blue", output=folder, stage=stage(**DWARFS), model=MODEL)
    return folder


def test_the_stars_of_the_start_are_replayed_with_its_own_answers(store, dwarfs):
    start = TrainedModel.load(dwarfs)
    chosen = stars_of(store, stage(**FEW), errors=False, start=start)
    every = load_stars(store, "observed", "train")
    names = [label.name for label in every.labels]
    logg, fe_h = (every.label[:, names.index(name)] for name in ("LOGG", "FE_H"))
    assert set(chosen.replayed.apogee_id) == set(every.apogee_id[logg >= 3])
    place = [every.apogee_id.tolist().index(star) for star in chosen.replayed.apogee_id]
    said = chosen.replayed.label[:, names.index("FE_H")]
    assert np.isfinite(said).all()
    assert not np.isclose(said, fe_h[place]).any(), "no label of the catalogue is replayed"
    # The domain holds what the stage has seen.
    assert chosen.lessons[0] is chosen.training
    assert chosen.lessons[1] is chosen.replayed


def test_replay_of_the_start_keeps_what_it_says_of_its_stars(store, dwarfs, tmp_path):
    output = tmp_path / "start--y.parquet"
    predict(dwarfs, store, name="y", output=output, options=Predict(spectra="observed"))
    table = read_predictions(output)
    dwarf = table["LOGG_actual"] >= 3
    away = {}
    for spectra in ("start", None):
        folder = tmp_path / str(spectra)
        folder.mkdir()
        found = trained_on_a_few(store, folder, dwarfs, replay={"spectra": spectra, "ratio": 4})
        difference = found["FE_H_predicted"] - table["FE_H_predicted"]
        away[spectra] = np.sqrt(np.mean(difference[dwarf] ** 2))
    assert away["start"] < 0.8 * away[None]
    card = (tmp_path / "start" / "few" / "README.md").read_text()
    assert "replay: stars of the kind that blue learned from" in card


def test_replay_of_the_start_needs_one():
    with pytest.raises(ValueError, match=r"replay\.spectra: start needs start_from"):
        stage(**{**FEW, "start_from": None})
