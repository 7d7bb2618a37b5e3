# Tests of: spectrafm/training/finetune.py, training/comparison.py, inference/fingerprint.py
"""Fine-tuning on a user's labelled spectra; the fingerprint; `attention` and `plot` of a file."""

import shutil
import types

import numpy as np
import pandas as pd
import pytest
import torch
from astropy import units as u
from astropy.table import QTable, Table

from making import toy_store
from making.toy_training import TINY, stage
from spectrafm import Spectra, SpectraFM, cli
from spectrafm.errors import SpectraFMError
from spectrafm.inference.fingerprint import FINGERPRINT, check_fingerprint
from spectrafm.inference.model import TrainedModel
from spectrafm.integrity import write_checksums
from spectrafm.labels import PAPER_LABELS, Label
from spectrafm.networks import saved
from spectrafm.networks.saved import read_weights, write_weights
from spectrafm.readers.labelled import read_labelled
from spectrafm.store.read import load_stars
from spectrafm.training import comparison
from spectrafm.training.finetune import COMPARISON
from spectrafm.training.labelled import labelled
from spectrafm.training.train import train

STARS = 40


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    stars = toy_store.toy_stars(200)
    return toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr", stars)


@pytest.fixture(scope="module")
def base(store, tmp_path_factory):
    made = tmp_path_factory.mktemp("models") / "base"
    train(store, name="base", output=made, stage=stage(epochs=1), model=TINY)
    return made


@pytest.fixture(scope="module")
def stars(store):
    return load_stars(store, "observed", None, toy_store.WINDOWS, errors=True)


def spectra_of(stars):
    return Spectra(
        stars.flux[:STARS], stars.wavelength * u.AA, np.full_like(stars.flux[:STARS], 0.003),
        medium="vacuum", frame="rest", normalisation="aspcap",
    )  # fmt: skip


@pytest.fixture(scope="module")
def tuned(base, stars, tmp_path_factory):
    """The base, fine-tuned on some stars with [Fe/H] and a label that it does not know."""
    output = tmp_path_factory.mktemp("tuned") / "mine"
    labels = {"FE_H": stars.label[:STARS, 4], "AGE": 5 + 2 * stars.label[:STARS, 4]}
    model = SpectraFM.from_pretrained(base)
    return model.finetune(
        spectra_of(stars), labels, output, units={"AGE": "Gyr"}, draws=2, steps=20
    )


def test_a_model_learns_a_users_labels_and_a_new_one(tuned, stars):
    assert tuned.labels == ["FE_H", "AGE"]
    table = tuned.predict(spectra_of(stars))
    assert table["AGE"].unit == u.Gyr
    assert np.isfinite(table["AGE"].value).all()
    assert tuned.trained.facts["started_from"] == "base"
    assert tuned.trained.mock, "its start has learned from mock stars"
    assert tuned.trained.domain.facts.labels["AGE"][0] >= 5 + 2 * np.nanmin(stars.label[:STARS, 4])
    assert tuned.trained.facts["training_star_count"] <= 0.8 * STARS


def test_every_score_of_the_comparison_is_kept(tuned):
    scores = pd.read_csv(tuned.trained.folder / COMPARISON)
    everyone = {
        comparison.FINETUNED,
        comparison.RIDGE,
        comparison.SCRATCH,
        comparison.MEAN,
        comparison.START,
    }
    assert set(scores["model"]) == everyone
    assert set(scores["label"]) == {"FE_H", "AGE"}
    counts = scores.groupby("stars")["draw"].nunique()
    assert counts.to_dict() == {"inside": 2, "outside": 1}
    unknown = (scores["model"] == comparison.START) & (scores["label"] == "AGE")
    assert np.isfinite(scores.loc[~unknown, "rmse"]).all()
    assert scores.loc[unknown, "rmse"].isna().all()
    assert (scores.loc[~unknown, "n"] >= 3).all()
    # Ridge regression reads the toy's lines well.
    inside = scores[scores["stars"] == "inside"].groupby("model")["relative"].max()
    assert inside[comparison.RIDGE] < 1
    # Their mean is as far from stars as these spread.
    assert inside[comparison.MEAN] == pytest.approx(1, abs=0.4)


def test_a_pre_trained_mlp_is_compared_where_it_reads_the_same_pixels(
    base, store, stars, tmp_path, capsys
):
    options = stage(architecture="mlp", sampling={"scheme": "all"}, epochs=1, labels=["FE_H"])
    train(store, name="mlp", output=tmp_path / "mlp", stage=options, model=TINY)
    table = Table({"FE_H": stars.label[:STARS, 4], "flux": np.nan_to_num(stars.flux[:STARS])})
    table["wavelength"] = np.tile(stars.wavelength, (STARS, 1)) * u.AA
    table.meta = {"medium": "vacuum", "frame": "rest", "normalisation": "aspcap"}
    table.write(tmp_path / "mine.fits")
    line = ["finetune", str(base), str(tmp_path / "mine.fits"), "-o", str(tmp_path / "mine")]
    line += ["--mlp", str(tmp_path / "mlp"), "--draws", "1", "--steps", "10"]
    assert cli.main(line) == 0
    shown = capsys.readouterr().out
    assert comparison.TUNED in shown
    scores = pd.read_csv(tmp_path / "mine" / COMPARISON)
    assert np.isfinite(scores.loc[scores["model"] == comparison.TUNED, "rmse"]).all()
    table["AGE"] = 5.0 * u.Gyr
    table.write(tmp_path / "aged.fits")
    line[2], line[4] = str(tmp_path / "aged.fits"), str(tmp_path / "aged")
    assert cli.main([*line, "--labels", "[AGE]"]) == cli.BAD_INPUT
    assert "reads other pixels or labels than the table's" in capsys.readouterr().err


def test_what_a_table_has_of_each_star_is_used(base, stars, tmp_path, caplog):
    """Fill values are no labels, velocities are removed, and a file that is not there left out."""
    for row in range(2):
        flux = np.nan_to_num(stars.flux[row])
        moved = Table({"wavelength": stars.wavelength * (1 + 30 / 299792.458) * u.AA, "flux": flux})
        moved.meta = {"medium": "vacuum", "frame": "barycentric", "normalisation": "aspcap"}
        moved.write(tmp_path / f"{row}.ecsv", format="ascii.ecsv")
    (tmp_path / "table.csv").write_text(
        "file,rv,FE_H,AGE\n0.ecsv,30,-0.1,4\ngone.ecsv,0,0,1\n1.ecsv,30,-9999,5\n"
    )
    table = read_labelled(tmp_path / "table.csv")
    trained = TrainedModel.load(base)
    with pytest.raises(SpectraFMError, match="AGE has no unit"):
        labelled(trained, table, ["AGE"], {})
    found = labelled(trained, table, ["FE_H", "AGE"], {"AGE": "Gyr"})
    assert found.names == ["0.ecsv", "1.ecsv"]
    assert "left out: gone.ecsv" in caplog.text
    np.testing.assert_allclose(found.label, [[-0.1, 4], [np.nan, 5]], rtol=1e-6)
    # At rest the pixels are the model's own again.
    own = trained.domain.components.wavelength
    np.testing.assert_allclose(found.wavelength, own, rtol=1e-7)


def test_a_comparison_says_which_it_would_use():
    rows = [
        ("good", "inside", 0.1), ("good", "outside", 0.3),
        (comparison.FINETUNED, "inside", 0.2), (comparison.FINETUNED, "outside", 0.4),
    ]  # fmt: skip
    summary = pd.DataFrame(
        [{"model": m, "label": "FE_H", "stars": s, "rmse": r, "relative": r} for m, s, r in rows]
    )
    labels = types.SimpleNamespace(labels=PAPER_LABELS[4:])
    text = comparison.as_text(summary, labels, 40, "out")
    assert "Of these it would use: good." in text
    assert "not the best one here" in text


def test_a_model_that_knows_some_labels_only_is_named_where_it_is_the_better_one():
    rows = [
        ("tuned", "FE_H", "inside", 0.1), ("tuned", "FE_H", "outside", 0.4),
        ("tuned", "AGE", "inside", 0.2), ("tuned", "AGE", "outside", 0.2),
        ("start", "FE_H", "inside", 0.2), ("start", "FE_H", "outside", 0.1),
    ]  # fmt: skip
    summary = pd.DataFrame(
        [{"model": m, "label": k, "stars": s, "rmse": r, "relative": r} for m, k, s, r in rows]
    )
    labels = types.SimpleNamespace(labels=[PAPER_LABELS[4], Label("AGE", "Gyr", "age")])
    text = comparison.as_text(summary, labels, 40, "out")
    assert "For FE_H alone start is better outside; it does not know every label." in text
    assert "alone start is better inside" not in text
    assert "Of these it would use: tuned." in text


def test_a_table_names_files_or_holds_spectra(stars, tmp_path):
    for row in range(3):
        table = Table(
            {"wavelength": stars.wavelength * u.AA, "flux": np.nan_to_num(stars.flux[row])}
        )
        table.write(tmp_path / f"{row}.ecsv", format="ascii.ecsv")
    (tmp_path / "table.csv").write_text("file,FE_H\n0.ecsv,-0.1\n1.ecsv,-0.2\n2.ecsv,-0.3\n")
    found = read_labelled(tmp_path / "table.csv")
    assert [one.name for one in found.each()] == ["0.ecsv", "1.ecsv", "2.ecsv"]
    assert list(found.table["FE_H"]) == [-0.1, -0.2, -0.3]
    rows = Table(
        {
            "wavelength": np.tile(stars.wavelength, (3, 1)) * u.AA,
            "flux": np.nan_to_num(stars.flux[:3]), "FE_H": [-0.1, -0.2, -0.3],
        }
    )  # fmt: skip
    rows.write(tmp_path / "rows.fits")
    found = read_labelled(tmp_path / "rows.fits")
    assert len(list(found.each())) == 3
    np.testing.assert_allclose(found.table["FE_H"], [-0.1, -0.2, -0.3])


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ({"FE_H": np.zeros(9)}, {}, r"FE_H has shape \(9,\), for 40 spectra"),
        ({"FE_H": ["x"] * STARS}, {}, "FE_H holds no numbers"),
        ({"FE_H": np.zeros(STARS)}, {"draws": 0}, "draws"),
        ({"FE_H": np.full(STARS, np.nan)}, {}, "0 spectra with a label"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(base, stars, tmp_path, labels, options, message):
    model = SpectraFM.from_pretrained(base)
    with pytest.raises(SpectraFMError, match=message):
        model.finetune(spectra_of(stars), labels, tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


# The fingerprint.


def test_a_model_is_verified_by_its_answer(base, tmp_path, capsys):
    assert cli.main(["verify", str(base)]) == 0
    assert "the answer to the stored spectrum differs by" in capsys.readouterr().out
    other = shutil.copytree(base, tmp_path / "other")
    weights = read_weights(other / saved.WEIGHTS)
    generator = torch.Generator().manual_seed(0)
    noise = {
        n: torch.randn(w.shape, generator=generator, dtype=w.dtype) for n, w in weights.items()
    }
    write_weights(other / saved.WEIGHTS, {n: w + 0.1 * noise[n] for n, w in weights.items()})
    write_checksums(other)
    assert cli.main(["verify", str(other)]) == cli.BAD_INPUT
    assert "when made" in capsys.readouterr().err
    (other / FINGERPRINT).unlink()
    assert cli.main(["verify", str(other)]) == cli.BAD_INPUT, "the list names a missing file"
    write_checksums(other)
    assert cli.main(["verify", str(other)]) == 0
    assert "no fingerprint" in capsys.readouterr().out


def test_a_hostile_fingerprint_is_refused(base, tmp_path):
    other = shutil.copytree(base, tmp_path / "other")
    found = read_weights(base / FINGERPRINT)
    for changed in (
        {"flux": found["flux"][1:]}, {"value": found["value"][1:]}, {"wavelength": torch.zeros(0)},
        {"value": found["value"] * torch.nan},
    ):  # fmt: skip
        write_weights(other / FINGERPRINT, {**found, **changed})
        write_checksums(other)
        with pytest.raises(SpectraFMError, match="fingerprint"):
            check_fingerprint(TrainedModel.load(other))


# Commands on one file.


def test_attention_and_plot_of_a_file(base, stars, tmp_path, capsys):
    table = Table({"wavelength": stars.wavelength * u.AA, "flux": np.nan_to_num(stars.flux[0])})
    table.meta = {"normalisation": "aspcap", "medium": "vacuum", "frame": "rest"}
    file = tmp_path / "star.ecsv"
    table.write(file, format="ascii.ecsv")
    assert cli.main(["attention", str(base), str(file)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == ["TEFF", "LOGG", "O_FE", "MG_FE", "FE_H"]
    assert cli.main(["attention", str(base), str(file), "-o", str(tmp_path / "a.ecsv")]) == 0
    found = QTable.read(tmp_path / "a.ecsv")
    assert found["TEFF_gradient"].unit == u.K
    assert len(found) == len(stars.wavelength)
    output = tmp_path / "plot.png"
    assert cli.main(["plot", str(file), "-o", str(output), "--model", str(base)]) == 0
    assert output.stat().st_size > 10_000
    optical = Table({"wavelength": np.linspace(4000, 5000, 99) * u.AA, "flux": np.ones(99)})
    optical.write(tmp_path / "optical.ecsv", format="ascii.ecsv")
    for command_line in (
        ["attention", str(base), str(tmp_path / "optical.ecsv")],
        ["plot", str(tmp_path / "optical.ecsv"), "-o", str(output), "--model", str(base)],
    ):
        assert cli.main(command_line) == cli.BAD_INPUT
        assert "no good pixel in the wavelengths" in capsys.readouterr().err
