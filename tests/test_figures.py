"""Figures 1-5: panels, titles, limits, what they say of the survey, same data same bytes."""

import itertools

import numpy as np
import pandas
import pytest
import xarray
from matplotlib.backends.backend_agg import FigureCanvasAgg

from making import fabricated
from making.fabricated import FIRST_HALF, FULL, IRON_WINDOW, STAGES
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.wording import (
    stars_text,
    training_details,
    training_name,
    windows_text,
)
from spectrafm.figures import figure1 as one
from spectrafm.figures import figure2 as two
from spectrafm.figures import figure3 as three
from spectrafm.figures import figure4 as four_panels
from spectrafm.figures import figure5 as five
from spectrafm.figures import style
from spectrafm.figures.figure2 import stage_title
from spectrafm.figures.figure5 import read_lines
from spectrafm.figures.models import training_iron
from spectrafm.figures.spectra import gaps, with_gaps
from spectrafm.inference.attention_maps import write_maps
from spectrafm.inference.predictions import read_predictions
from spectrafm.labels import LABELS
from spectrafm.store.star import read_star
from spectrafm.surveys.apogee.grid import WAVELENGTH

STARS = 40


@pytest.fixture(scope="module")
def actual():
    return fabricated.labels_of(STARS)


@pytest.fixture(scope="module")
def store(tmp_path_factory, actual):
    return fabricated.write_store(tmp_path_factory.mktemp("run"), actual)


@pytest.fixture(scope="module")
def star(store):
    return read_star(store)


def predicted(folder, actual, stage, labels=("FE_H",), windows=IRON_WINDOW, **trained):
    table = fabricated.prediction_table(actual, list(labels))
    return fabricated.write_prediction(folder, stage, "shown", windows, table, **trained)


def words(figure):
    """All text of a figure outside the axes, and its titles."""
    return [text.get_text() for text in figure.texts]


def panel_words(axes):
    return " ".join(text.get_text() for text in axes.texts)


# Spectra


def test_default_star_is_the_first_giant_of_the_test_split(store, actual):
    logg = actual[:, LABELS.index("LOGG")]
    first = next(number for number in range(STARS // 2, STARS) if logg[number] < 3)
    star = read_star(store)
    assert star.apogee_id == f"2M{first:08d}"
    assert star.stars == STARS
    assert star.mock is True
    assert star.observed.shape == star.synthetic.shape == (7514,)


def test_a_star_that_is_not_there(store, tmp_path):
    with pytest.raises(SpectraFMError, match=r"store\.zarr: no star '2Mx' \(figures\.star"):
        one.figure1(store, star="2Mx", output=tmp_path / "figure1.png")
    with pytest.raises(SpectraFMError, match=r"none\.zarr: no such store"):
        one.figure1(tmp_path / "none.zarr", output=tmp_path / "figure1.png")
    assert not list(tmp_path.iterdir())


def test_lines_stop_at_the_two_gaps():
    found = gaps(WAVELENGTH)
    assert [(round(lo), round(hi)) for lo, hi in found] == [(15799, 15868), (16424, 16484)]
    wavelength, flux = with_gaps(WAVELENGTH, np.ones(WAVELENGTH.size))
    assert wavelength.size == WAVELENGTH.size + 2
    assert np.all(np.diff(wavelength) > 0)
    assert [round(float(middle)) for middle in wavelength[np.isnan(flux)]] == [15833, 16454]


# Figure 1


def test_figure1(star):
    figure = one.draw(star, zoom=(16275.0, 16325.0))
    whole, close = figure.axes
    assert close.get_xlim() == (16275, 16325)
    assert whole.get_xlim()[0] < WAVELENGTH[0] < WAVELENGTH[-1] < whole.get_xlim()[1]
    assert [text.get_text() for text in close.get_legend().get_texts()] == [
        "Missing",
        "Observed",
        "Synthetic",
    ]
    missing = int(np.isnan(star.observed).sum())
    assert f"7514 ({missing} missing)" in panel_words(whole)
    assert panel_words(whole).count("Detector gap") == 2
    assert f"MOCK SURVEY · star {star.apogee_id}, one of {STARS}" in words(figure)
    drawn = whole.lines[0].get_ydata()
    assert np.isnan(drawn).sum() == missing + 2


def test_figure1_of_a_real_star_does_not_say_mock(star):
    assert not any("MOCK" in text for text in words(one.draw(star._replace(mock=False))))


def test_figure1_with_no_observed_pixel(star, tmp_path):
    blank = star._replace(observed=np.full(7514, np.nan, np.float32))
    style.save(one.draw(blank), tmp_path / "blank.png", "x", [])
    nothing = blank._replace(synthetic=blank.observed)
    assert one.draw(nothing).axes[0].get_ylim() == (0.5, 1.2)


# Figure 2


def test_figure2(star):
    stages = [STAGES[name] for name in ("pretrain", "finetune_observed", "finetune_iron")]
    figure = two.draw(star, stages)
    assert len(figure.axes) == 3
    ranges = ["1.515–1.694 µm", "1.515–1.603 µm", "1.611–1.622 µm"]
    assert [panel_words(axes) for axes in figure.axes] == ranges
    for axes, stage in zip(figure.axes, stages, strict=True):
        wavelength, flux = axes.lines[1].get_data()
        shown = wavelength[np.isfinite(flux)] * 1e4
        ((lowest, highest),) = stage["windows"]
        assert lowest <= shown.min() < lowest + 1
        assert highest - 1 < shown.max() <= highest
        assert axes.lines[1].get_color() == style.SPECTRA_COLOURS[stage["spectra"]]
    # The two iron lines, in the row that asks for iron alone.
    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 4]
    assert any("MOCK SURVEY" in text for text in words(figure))


@pytest.mark.parametrize(
    ("stage", "title"),
    [
        ("pretrain", r"Pre-training on $\mathbf{Synthetic}$ Spectra"),
        ("finetune_observed", r"Fine-tuning on $\mathbf{Observed}$ Spectra"),
        (
            "finetune_iron",
            r"Fine-tuning on 100 $\mathbf{Observed}$ $\mathbf{Iron‐Rich}$ Spectra",
        ),
        ("fcnn", r"Training on 100 $\mathbf{Observed}$ $\mathbf{Iron‐Rich}$ Spectra"),
    ],
)
def test_titles_of_stages(stage, title):
    assert stage_title(STAGES[stage]) == title


def test_figure2_needs_trained_stages(store, tmp_path):
    with pytest.raises(SpectraFMError, match=r"pretrain: no such model"):
        two.figure2(store, [tmp_path / "pretrain"], output=tmp_path / "figure2.png")


# Figure 3


def test_figure3(tmp_path, actual):
    path = predicted(tmp_path, actual, "finetune_observed", LABELS, FIRST_HALF)
    table = read_predictions(path)
    figure = three.draw(table, stars_text(table))
    panels = [axes for axes in figure.axes if axes.get_title()]
    bars = [axes for axes in figure.axes if not axes.get_title()]
    assert len(panels) == len(bars) == 5
    assert panels[0].get_title() == r"$T_\mathrm{eff}$ (K)"
    assert panels[4].get_title() == "[Fe/H]"
    assert [bar.get_ylabel() for bar in bars] == [
        f"Predicted Error ({unit})" for unit in ("K", "dex", "dex", "dex", "dex")
    ]
    for bar in bars:
        ticks = [text.get_text() for text in bar.get_yticklabels()]
        assert len(ticks) == 5
        assert ticks[-1].startswith(">")
    title = figure.get_suptitle()
    assert title.startswith("Predictions on Observed Spectra, 1.515–1.603 µm")
    assert "fine-tuned on observed" in title
    assert f"MOCK SURVEY · {STARS} test stars" in words(figure)
    # One star has no prediction, another no label.
    assert len(panels[0].collections[0].get_offsets()) == STARS - 2


def test_figure3_of_a_label_that_no_star_has(tmp_path, actual):
    blank = actual.copy()
    blank[:, LABELS.index("O_FE")] = np.nan
    path = predicted(tmp_path, blank, "finetune_observed", LABELS, FIRST_HALF)
    figure = three.draw(read_predictions(path))
    assert "no stars" in panel_words(figure.axes[4])
    style.save(figure, tmp_path / "figure3.png", "x", [])


def test_figure3_of_one_label(tmp_path, actual):
    figure = three.draw(read_predictions(predicted(tmp_path, actual, "fcnn")))
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["[Fe/H]"]
    assert "Neural network trained from scratch" in figure.get_suptitle()


# Figure 4


@pytest.fixture
def four(tmp_path, actual):
    stages = ("fcnn", "pretrain", "finetune_observed", "finetune_iron")
    return [read_predictions(predicted(tmp_path, actual, stage)) for stage in stages]


def test_figure4(four, actual):
    training = np.linspace(-0.9, 0.3, 100)
    figure = four_panels.draw(four, [training, None, None, training])
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [
        "Neural network\nTrained from scratch on observed\n100 stars\n1.611–1.622 µm",
        "SpectraFM\nPre-trained on synthetic\n1.515–1.694 µm",
        "SpectraFM\nFine-tuned on observed\n1.515–1.603 µm",
        "SpectraFM\nFine-tuned on observed\n100 stars, later layers frozen\n1.611–1.622 µm",
    ]
    for axes in panels:
        assert axes.get_xlim() == axes.get_ylim() == (-2.2, 0.6)
    residual = (four[0]["FE_H_predicted"] - four[0]["FE_H_actual"]).to_numpy(float)
    rmse = np.sqrt(np.nanmean(residual**2))
    poor = np.sqrt(np.nanmean(residual[actual[:, LABELS.index("FE_H")] < -1] ** 2))
    assert f"RMSE = {rmse:.3f}\niron-poor = {poor:.3f}" in panel_words(panels[0])
    assert figure.get_suptitle() == "[Fe/H] Predictions on Observed Spectra, 1.611–1.622 µm"
    # Two histograms of the training stars, one colour bar.
    twins = [axes for axes in figure.axes if "training set" in panel_words(axes)]
    assert len(twins) == 2
    assert len(figure.axes) == 4 + 2 + 1
    assert sum(bar.get_height() for bar in twins[0].patches) == 100
    assert panel_words(twins[0]) == "100 star\ntraining set"
    ticks = [text.get_text() for text in figure.axes[-1].get_yticklabels()]
    assert ticks == ["0.00", "0.10", "0.20", "> 0.30"]
    count = int((four[0]["FE_H_actual"] < -1).sum())
    assert f"MOCK SURVEY · {STARS} test stars, {count} iron-poor" in words(figure)


def test_figure4_without_iron_poor_stars(tmp_path, actual):
    rich = actual.copy()
    rich[:, LABELS.index("FE_H")] = -0.3
    figure = four_panels.draw([read_predictions(predicted(tmp_path, rich, "fcnn"))], [None])
    assert "iron-poor: no stars" in panel_words(figure.axes[0])
    assert f"MOCK SURVEY · {STARS} test stars, 0 iron-poor" in words(figure)


def test_figure4_without_any_prediction(four, tmp_path):
    for column in ("FE_H_predicted", "FE_H_uncertainty"):
        four[0][column] = np.float32(np.nan)
    figure = four_panels.draw(four[:1], [np.array([])])
    assert "RMSE: no stars" in panel_words(figure.axes[0])
    style.save(figure, tmp_path / "figure4.png", "x", [])


def test_figure4_counts_stars_outside_its_range(tmp_path, actual):
    far = actual.copy()
    far[2:5, LABELS.index("FE_H")] = -2.6
    figure = four_panels.draw([read_predictions(predicted(tmp_path, far, "fcnn"))], [None])
    assert "3 outside" in panel_words(figure.axes[0])


def test_figure4_tells_stages_of_the_same_kind_apart(four):
    figure = four_panels.draw([four[3], four[3]], [None, None])
    titles = [axes.get_title() for axes in figure.axes[:2]]
    assert all(title.endswith("\n(finetune_iron)") for title in titles)


def test_figure4_labels_a_choice_that_saw_iron_poor_stars(tmp_path, actual):
    path = predicted(tmp_path, actual, "finetune_iron", selection="paper")
    figure = four_panels.draw([read_predictions(path)], [None])
    assert "chosen on iron-poor stars" in figure.axes[0].get_title()


def test_training_stars_come_from_the_models_folder(tmp_path):
    stars = pandas.DataFrame({"apogee_id": ["a", "b", "c"], "FE_H": [-0.5, np.nan, 0.1]})
    model = fabricated.write_model(tmp_path, "fcnn", stars)
    np.testing.assert_array_equal(training_iron(model), [-0.5, 0.1])
    other = fabricated.write_model(tmp_path, "finetune_iron", stars.drop(columns="FE_H"))
    assert training_iron(other) is None
    assert training_iron(fabricated.write_model(tmp_path, "pretrain")) is None


def test_figure4_needs_no_store(tmp_path, actual):
    stars = pandas.DataFrame({"FE_H": np.linspace(-0.9, 0.3, 100)})
    stages = ("fcnn", "pretrain")
    models = [fabricated.write_model(tmp_path, s, stars if s == "fcnn" else None) for s in stages]
    paths = [predicted(tmp_path, actual, stage) for stage in stages]
    output = tmp_path / "figure4.png"
    four_panels.figure4(predictions=paths, models=models, output=output)
    assert output.exists()
    assert output.with_suffix(".pdf").exists()


def test_figure4_checks_the_models(tmp_path, actual):
    model = fabricated.write_model(tmp_path, "fcnn")
    (model / "config.json").write_text((model / "config.json").read_text().replace("100", "101"))
    with pytest.raises(SpectraFMError, match=r"config\.json: SHA-256 differs"):
        training_iron(model)


@pytest.mark.parametrize(("count", "rows"), [(4, 1), (5, 2), (7, 2), (8, 2)])
def test_figure4_takes_two_rows_for_many_models(four, count, rows):
    panels = (four * 2)[:count]
    figure = four_panels.draw(panels, [None] * count)
    shown = [axes for axes in figure.axes if axes.get_title()]
    assert len(shown) == count
    assert len({axes.get_subplotspec().rowspan.start for axes in shown}) == rows
    # No title is wider than its panel and the gap beside it.
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for left, right in itertools.pairwise(shown):
        if left.get_subplotspec().rowspan.start == right.get_subplotspec().rowspan.start:
            ends = [axes.title.get_window_extent(renderer) for axes in (left, right)]
            assert ends[0].x1 < ends[1].x0


def test_figure4_names_what_is_missing(tmp_path, actual):
    path = predicted(tmp_path, actual, "fcnn")
    output = tmp_path / "figure4.png"
    with pytest.raises(SpectraFMError, match="'fcnn' is not among the models"):
        four_panels.figure4(predictions=[path], models=[], output=output)
    model = fabricated.write_model(tmp_path, "fcnn")
    other = predicted(tmp_path, actual, "pretrain", ["TEFF"])
    with pytest.raises(SpectraFMError, match="no column 'FE_H_predicted'"):
        four_panels.figure4(predictions=[other], models=[model], output=output)
    assert not list(tmp_path.glob("figure4*"))


# Figure 5


def test_figure5():
    lines = read_lines()
    figure = five.draw(fabricated.attention_maps(), lines)
    dwarfs, giants = figure.axes
    titles = [axes.get_title(loc="right") for axes in figure.axes]
    assert titles == ["Dwarfs (80 stars)", "Giants (240 stars)"]
    assert dwarfs.get_xlim() == giants.get_xlim()
    assert dwarfs.get_xlim()[0] < WAVELENGTH[0] < WAVELENGTH[-1] < dwarfs.get_xlim()[1]
    for number, peak in enumerate(fabricated.PEAKS):
        attention, gradient, own = giants.lines[3 * number : 3 * number + 3]
        wavelength, curve = attention.get_data()
        deepest = np.nanargmin(curve)
        # Inverted: the peak of attention is the lowest point, below the label's line.
        assert wavelength[deepest] == pytest.approx(peak, abs=1)
        assert curve[deepest] == pytest.approx(number + 0.5 - five.DEPTH)
        assert np.isnan(curve).sum() == 2
        # The gradient's peak is the highest, twenty pixels further.
        assert gradient.get_ydata()[np.nanargmax(gradient.get_ydata())] == pytest.approx(
            number + 0.5 + five.HEIGHT
        )
        assert wavelength[np.nanargmax(gradient.get_ydata())] == pytest.approx(peak + 4.6, abs=1)
        assert abs(own.get_xdata() - peak).max() < 4
    names = [text.get_text() for text in dwarfs.texts]
    assert names[:2] == [r"$T_\mathrm{eff}$", r"$\log g$"]
    assert names[5] == "Spectrum"
    assert names[6:] == list(lines["element"])
    assert "MOCK SURVEY · 80 dwarfs, 240 giants" in words(figure)


def test_figure5_of_a_part_of_the_spectrum():
    maps = fabricated.attention_maps(windows=FIRST_HALF)
    maps["attention"][0, 2] = np.nan
    figure = five.draw(maps, read_lines())
    dwarfs, giants = figure.axes
    assert giants.get_xlim() == (15130, 16965)
    assert np.nanmax(giants.lines[0].get_xdata()) < 16028
    curves = [
        sum(line.get_color() == f"C{number}" for line in axes.lines)
        for axes in (dwarfs, giants)
        for number in range(5)
    ]
    assert curves == [3, 3, 2, 3, 3, 3, 3, 3, 3, 3], "one attention curve is absent"


def test_figure5_of_maps_without_gradients():
    figure = five.draw(fabricated.attention_maps().drop_vars(["gradient", "own"]), read_lines())
    curve = figure.axes[1].lines[0].get_ydata()
    assert np.nanmin(curve) == pytest.approx(0.5 - five.DEPTH_ALONE)
    assert "SpectraFM Attention (Inverted)" in words(figure)


def test_figure5_of_far_off_windows_breaks_the_axis():
    windows = [[15743.0, 15799.3], [16105.8, 16220.0], [16768.0, 16857.0]]
    figure = five.draw(fabricated.attention_maps(windows=windows), read_lines())
    assert len(figure.axes) == 6
    for axes, (low, high) in zip(figure.axes, windows * 2, strict=True):
        assert axes.get_xlim() == pytest.approx((low - 4, high + 4), abs=0.3)
    names = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert names[0] == ["Mg"]
    assert names[1] == ["Br13", "Fe", "Fe"]
    assert names[2][-1] == "Br11"
    assert len(names[5]) == 6, "the curves are named at the right"


def test_lines_are_the_papers_with_brackett_11_corrected():
    lines = read_lines()
    assert len(lines[lines["labels"].notna()]) == 14
    assert lines["wavelength"].is_monotonic_increasing
    assert lines.set_index("element").loc["Br11", "wavelength"] == 16811.18
    # Names in one row never touch: 30 Angstrom are about two letters.
    for _, row in lines.groupby("row"):
        assert row["wavelength"].diff().min() > 30


def test_figure5_marks_only_populations_that_exist():
    maps = fabricated.attention_maps().sel(population=["giants"])
    figure = five.draw(maps, read_lines())
    assert [axes.get_title(loc="right") for axes in figure.axes] == ["Giants (240 stars)"]
    assert "MOCK SURVEY · 240 giants" in words(figure)


def test_figure5_of_twelve_labels_gives_each_its_height_and_symbol():
    maps = fabricated.attention_maps()
    more = xarray.concat([maps, maps, maps.isel(request=slice(2))], "request", data_vars="minimal")
    more = more.assign_coords(symbol=("request", np.array([f"[{n}/Fe]" for n in range(12)])))
    more["spectrum"], more["count"] = maps["spectrum"], maps["count"]
    more["n_stars"] = maps["n_stars"]
    figure = five.draw(more.assign_coords(request=np.arange(12).astype(str)), read_lines())
    assert [text.get_text() for text in figure.axes[1].texts][:12] == [
        f"[{n}/Fe]" for n in range(12)
    ]
    assert figure.get_size_inches()[1] > 18


def test_figure5_of_a_store_is_one_line(store, tmp_path):
    with pytest.raises(SpectraFMError, match=r"store\.zarr: not attention maps of map-attention"):
        five.figure5(store, output=tmp_path / "figure5.png")


# Names and files


@pytest.mark.parametrize("name", ["f.jpg", "f", "f.v1"])
def test_an_output_that_is_not_written_is_refused(tmp_path, actual, name):
    path = predicted(tmp_path, actual, "fcnn")
    with pytest.raises(SpectraFMError, match=r"must end in \.png or \.pdf"):
        three.figure3([path], output=tmp_path / name)
    assert not list(tmp_path.glob("f*"))


@pytest.mark.parametrize(
    ("trained", "details"),
    [
        ({}, ""),
        ({"stars": {"count": None}, "freeze": []}, ""),
        ({"stars": {"count": 100}}, "100 stars"),
        ({"freeze": ["encoder.1", "decoder", "head"]}, "later layers frozen"),
        ({"stars": {"count": 100}, "freeze": ["embedding"]}, "100 stars, earlier layers frozen"),
        ({"freeze": ["dense.2", "dense.4", "mean"]}, "later layers frozen"),
        ({"freeze": ["embedding", "head"]}, "some layers frozen"),
    ],
)
def test_what_tells_fine_tunings_apart(trained, details):
    assert training_details(trained) == details


def test_windows_in_micron():
    assert windows_text(FULL) == "1.515–1.694 µm"
    assert windows_text([*FIRST_HALF, *IRON_WINDOW]) == "1.515–1.603 and 1.611–1.622 µm"


@pytest.mark.parametrize(
    ("trained", "name"),
    [
        ({"spectra": "observed", "start_from": None}, "trained from scratch on observed"),
        ({"spectra": "synthetic", "start_from": "pretrain"}, "fine-tuned on synthetic"),
        ({"spectra": "synthetic"}, "pre-trained on synthetic"),
        ({"spectra": "observed"}, "fine-tuned on observed"),
    ],
)
def test_how_a_model_learned(trained, name):
    assert training_name({"architecture": "spectrafm", **trained}) == name


def test_commands_write_the_same_bytes_twice(tmp_path, store, actual):
    stars = pandas.DataFrame({"FE_H": actual[:, LABELS.index("FE_H")]}).query("FE_H > -1")
    stages = ("pretrain", "finetune_observed", "finetune_iron")
    models = [
        fabricated.write_model(tmp_path, stage, stars if stage == "finetune_iron" else None)
        for stage in stages
    ]
    full = predicted(tmp_path, actual, "finetune_observed", LABELS, FIRST_HALF)
    attention = tmp_path / "attention.zarr"
    write_maps(attention, fabricated.attention_maps())
    written = []
    for run in ("first", "second"):
        folder = tmp_path / run
        one.figure1(store, output=folder / "figure1.png")
        two.figure2(store, models, output=folder / "figure2.pdf")
        three.figure3([full], output=folder / "figure3.png")
        four_panels.figure4(predictions=[full], models=models, output=folder / "figure4.png")
        five.figure5(attention, output=folder / "figure5.png")
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert sorted(written[0]) == [
        f"figure{n}.{kind}" for n in range(1, 6) for kind in ("pdf", "png")
    ]
    assert written[0] == written[1]
    assert all(content.startswith((b"\x89PNG", b"%PDF")) for content in written[0].values())


def test_nothing_is_left_of_a_figure_that_cannot_be_drawn(tmp_path, star):
    figure = one.draw(star)
    figure.axes[0].set_title("$\\broken$")
    with pytest.raises(SpectraFMError, match="broken"):
        style.save(figure, tmp_path / "figure1.png", "x", [])
    assert not list(tmp_path.iterdir())


def test_points_shrink_with_their_number():
    assert style.point_area(400) > style.point_area(25_681) >= 1.5
