# Tests of: spectrafm/inference/domain.py, domain_fit.py, features.py, components.py, ranges.py,
# shift.py and flags.py
"""The domain of a model: wrong spectra are told from right ones, flags by name, untrusted files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from making.toy_store import WINDOWS, toy_stars, write_toy_store
from making.toy_training import MODEL, stage
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_json
from spectrafm.inference import flags
from spectrafm.inference.components import fit_components
from spectrafm.inference.domain import (
    COMPONENTS,
    DOMAIN,
    Domain,
    read_domain,
    write_domain,
)
from spectrafm.inference.domain_fit import Seen, fit_domain
from spectrafm.inference.features import Features, fit_features
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.inference.predictions import read_predictions
from spectrafm.inference.predictor import infer
from spectrafm.inference.ranges import Hull, beyond_hulls, convex_hull
from spectrafm.inference.shift import LIGHT
from spectrafm.models import shipped
from spectrafm.networks.saved import read_weights, write_weights
from spectrafm.readers.read import read_spectra
from spectrafm.spectra import FLUX_RANGE
from spectrafm.surveys.apogee.grid import CHIP_PIXELS, WAVELENGTH
from spectrafm.surveys.mock.aspcap import fit
from spectrafm.surveys.mock.mock_survey import Catalogue, batch_spectra
from spectrafm.surveys.mock.observing import observe_stars
from spectrafm.surveys.mock.options import Mock
from spectrafm.surveys.mock.population import draw_stars
from spectrafm.training.train import train

REAL = Path(__file__).parents[2] / "shared/data/aspcapstar_dr13"
ALL = [(15_152.2, 16_943.6)]


def auroc(right, wrong):
    """Probability that a wrong spectrum has a higher score than a right one."""
    return (wrong[:, None] > right).mean() + (wrong[:, None] == right).mean() / 2


def mock_spectra(count, seed, teff=None):
    """Observed spectra of the mock survey, NaN where missing: cool stars, or of a range of Teff."""
    rng = np.random.default_rng(seed)
    stars = draw_stars(count * 3, 0.1, rng)
    stars = stars.take(np.flatnonzero(stars.teff < 5500)[:count])
    if teff is not None:
        stars = replace(stars, teff=rng.uniform(*teff, count), logg=np.full(count, 4.2))
    rows = replace(observe_stars(stars, 0, rng), empty=np.zeros(count, bool))
    stars = stars.take(rows.star)
    options = Mock(rows=max(count, 50))
    catalogue = Catalogue(0, stars, rows, fit(stars, rows.snr, options.gap, rng), None)
    spectra = [flux for flux, _, _ in batch_spectra(catalogue, options)]
    flux = np.array(spectra, dtype=np.float32)[:, CHIP_PIXELS]
    low, high = FLUX_RANGE
    return np.where((flux >= low) & (flux <= high), flux, np.float32(np.nan))


@pytest.fixture(scope="module")
def mock() -> tuple[Domain, np.ndarray]:
    """A domain fitted on cool mock stars, and spectra of other cool ones."""
    spectra = mock_spectra(150, 0)
    return fit_domain(
        WAVELENGTH, Seen(spectra[:90]), Seen(spectra[90:120]), {}, ALL, "observed"
    ), spectra[120:]


def at_velocity(flux, velocity):
    """Spectra whose lines are shifted to longer wavelengths."""
    emitted = WAVELENGTH / (1 + velocity / LIGHT)
    return np.stack([np.interp(emitted, WAVELENGTH, np.nan_to_num(f, nan=1.0)) for f in flux])


def blurred(flux, pixels):
    """Spectra of an instrument whose resolution is lower."""
    kernel = np.exp(-0.5 * (np.arange(-3 * pixels, 3 * pixels + 1) / pixels) ** 2)
    filled = np.nan_to_num(flux, nan=1.0)
    return np.stack([np.convolve(row, kernel / kernel.sum(), "same") for row in filled])


WRONG = {
    "wrong instrument": lambda flux: blurred(flux, 6),
    "shuffled wavelengths": lambda flux: flux[:, np.random.default_rng(1).permutation(7514)],
    "hot stars": lambda flux: mock_spectra(20, 2, (8000, 9000)),
    "in air": lambda flux: at_velocity(flux, -82),
    "noise": lambda flux: 1 + 0.05 * np.random.default_rng(1).normal(size=flux.shape),
    "another continuum": lambda flux: flux * 0.93,
}


@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG)
def test_wrong_spectra_are_told_from_right_ones(mock, spoil):
    domain, right = mock
    wrong = spoil(right).astype(np.float32)
    scores, _ = domain.scores(WAVELENGTH, wrong)
    assert auroc(domain.scores(WAVELENGTH, right)[0], scores) >= 0.95
    named = [flags.names_in(flags.BETWEEN.join(row)) for row in domain.judge(
        WAVELENGTH, wrong, {}
    ).flags]  # fmt: skip
    assert np.mean([flags.OUT_OF_DISTRIBUTION in names for names in named]) > 0.95


def test_real_dwarfs_that_are_cooler_than_any_mock_star_are_flagged(mock):
    files = sorted(REAL.glob("aspcapStar-*.fits"))
    if not files:
        pytest.skip(f"no real aspcapStar files: {REAL} is not there")
    domain, _ = mock
    low, high = FLUX_RANGE
    for file in files:
        (star,) = read_spectra(file)
        good = star.good & (star.flux >= low) & (star.flux <= high)
        flux = np.where(good, star.flux, np.float32(np.nan))
        ((*found,),) = domain.judge(star.wavelength, flux[None], {}).flags
        assert any(text.startswith(flags.OUT_OF_DISTRIBUTION) for text in found), file.name


def test_right_spectra_are_seldom_flagged(mock):
    domain, right = mock
    judged = domain.judge(WAVELENGTH, right, {})
    assert np.mean([row == [] for row in judged.flags]) >= 0.85
    assert judged.coverage.min() > 0.95
    assert 0.3 < np.median(judged.score) < 1


def test_a_shift_is_measured(mock):
    domain, right = mock
    for velocity in (80, -40):
        found = domain.judge(WAVELENGTH, at_velocity(right[:10], velocity).astype(np.float32), {})
        assert all(f"SHIFTED: {velocity:+d} km/s" in row for row in found.flags)


def test_gaps_and_other_grids_change_little(mock):
    domain, right = mock
    whole, _ = domain.scores(WAVELENGTH, right)
    gappy = right.copy()
    gappy[:, 1000:1800] = np.nan
    assert np.abs(domain.scores(WAVELENGTH, gappy)[0] / whole - 1).max() < 0.3
    # Every pixel in another order.
    order = np.random.default_rng(0).permutation(len(WAVELENGTH))
    mixed, coverage = domain.scores(WAVELENGTH[order], right[:, order])
    np.testing.assert_allclose(mixed, whole, rtol=1e-4)
    assert coverage.min() > 0.95
    # A part of the spectrum, on pixels of their own.
    own = np.arange(15_900.0, 16_100.0, 0.2)
    part = np.stack([np.interp(own, WAVELENGTH, np.nan_to_num(f, nan=1.0)) for f in right])
    _, coverage = domain.scores(own, part.astype(np.float32))
    assert coverage == pytest.approx(len(WAVELENGTH[(WAVELENGTH > 15_900) & (WAVELENGTH < 16_100)])
                                     / len(WAVELENGTH), rel=0.02)  # fmt: skip
    found = domain.judge(own, part.astype(np.float32), {})
    assert all(any(text.startswith(flags.FEW_PIXELS) for text in row) for row in found.flags)


def test_a_spectrum_of_other_wavelengths_is_out_of_distribution(mock):
    domain, _ = mock
    optical = np.linspace(4000, 9000, 500)
    flux = np.ones((2, 500), np.float32)
    flux[1] = np.nan
    judged = domain.judge(optical, flux, {})
    assert judged.score[0] == np.inf
    assert np.isnan(judged.score[1])
    assert judged.flags == [["OUT_OF_DISTRIBUTION: inf"], []]


def test_low_signal_to_noise_is_flagged(mock):
    domain, right = mock
    facts = domain.facts.model_copy(update={"snr": (80.0, 300.0)})
    judged = replace(domain, facts=facts).judge(
        WAVELENGTH, right[:3], {}, np.array([79, 81, np.nan])
    )
    assert [("LOW_SNR: 79" in row) for row in judged.flags] == [True, False, False]


def test_components_of_spectra_with_gaps_are_those_of_whole_ones():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(2, 60)).astype(np.float32)
    flux = 1 + rng.normal(size=(300, 2)).astype(np.float32) @ true * 0.1
    wavelength = np.linspace(16_000, 16_010, 60)
    gappy = np.where(rng.random(flux.shape) < 0.2, np.float32(np.nan), flux)
    found = fit_components(gappy, wavelength)
    _, _, residual = next(iter(found.describe(gappy)))
    assert np.nanstd(residual) < 0.002 < 0.1 < np.nanstd(gappy)


# Features.


def test_a_distance_by_hand():
    features = Features(np.float32([1, 2]), np.float32([[1, 0], [0, 0.5]]))
    assert features.distance(np.array([[1, 2], [4, 10], [np.nan, 0]]))[:2].tolist() == [
        0.0,
        3.5355339059327378,
    ]
    assert np.isnan(features.distance(np.array([[np.nan, 0.0]]))).all()


@pytest.mark.parametrize("size", [1, 3])
def test_features_of_another_network_are_refused(size):
    features = Features(np.zeros(size, np.float32), np.eye(size, dtype=np.float32))
    with pytest.raises(SpectraFMError, match="but the network's have 2"):
        features.distance(np.zeros((4, 2)))


def test_axes_are_of_unit_variance_no_more_than_spectra_allow_and_alike_in_any_company():
    rng = np.random.default_rng(0)
    feature = (rng.normal(size=(400, 20)) * np.geomspace(1, 0.1, 20)).astype(np.float32)
    features = fit_features(feature)
    assert features.axes.shape == (20, 20)
    assert np.sqrt(np.square(features.distance(feature)).mean()) == pytest.approx(1, rel=1e-4)
    assert fit_features(feature[:40]).axes.shape == (5, 20)
    assert features.distance(feature[7:8]) == features.distance(feature)[7]


def test_the_feature_counts_where_the_spectrum_is_complete():
    rng = np.random.default_rng(0)
    flux = 1 + 0.01 * rng.normal(size=(400, 40)).astype(np.float32)
    feature = rng.normal(size=(400, 5))
    grid, seen = np.linspace(16_000, 16_010, 40), Seen(flux, feature)
    domain = fit_domain(grid, seen, seen, {}, [(16_000, 16_010)], "observed")
    alone, _ = domain.scores(grid, flux)
    both, _ = domain.scores(grid, flux, feature)
    assert np.mean(both > 1) == pytest.approx(0.01, abs=0.003)
    far, _ = domain.scores(grid, flux, feature + 10)
    assert (alone < 2).all()
    assert (far > 3).all()
    partial = np.where(np.arange(40) < 30, flux, np.float32(np.nan))
    score, coverage = domain.scores(grid, partial, feature + 10)
    np.testing.assert_array_equal(score, domain.scores(grid, partial)[0])
    assert (coverage == 0.75).all()
    unknown = domain.scores(grid, flux, np.full_like(feature, np.nan))[0]
    np.testing.assert_array_equal(unknown, alone)


def test_a_network_tells_stars_hotter_than_it_knows_from_warm_ones():
    """The components alone do not: such spectra have few lines, like those of iron-poor stars."""
    trained = TrainedModel.load(shipped()["apogee-mock"])
    ((low, high),) = trained.windows
    grid = WAVELENGTH[(low <= WAVELENGTH) & (high >= WAVELENGTH)]
    chunks = trained.contexts(grid, trained.windows)

    def scores(teff, seed):
        flux = mock_spectra(40, seed, teff)[:, np.isin(WAVELENGTH, grid)]
        error = np.where(np.isfinite(flux), np.float32(0.005), np.float32(np.nan))
        answer = infer(trained.network, flux, grid, trained.labels, chunks, error=error)
        return [trained.domain.scores(grid, flux, one)[0] for one in (None, answer.feature)]

    assert trained.domain.facts.labels["TEFF"][1] < 6700
    warm, hot = scores((5000, 6500), 3), scores((7500, 8500), 4)
    assert auroc(warm[1], hot[1]) >= 0.9
    assert auroc(warm[1], hot[1]) > auroc(warm[0], hot[0]) + 0.03


# Labels.


def test_a_hull_by_hand():
    points = np.array([[0, 0], [4, 0], [4, 2], [0, 2], [1, 1], [2, 0], [3, 1.5]])
    assert convex_hull(points).tolist() == [[0, 0], [4, 0], [4, 2], [0, 2]]
    hull = Hull(labels=("A", "B"), corners=[(0.0, 0.0), (4.0, 0.0), (0.0, 2.0)])
    values = {"A": np.array([1.0, 3.5, 2.1, np.nan]), "B": np.array([1.0, 1.5, 1.0, 1.0])}
    ranges = {"A": (0.0, 4.0), "B": (0.0, 2.0)}
    assert beyond_hulls(hull, values, ranges).tolist() == [False, True, False, False]


def test_labels_outside_the_training_stars_are_named():
    rng = np.random.default_rng(0)
    along = rng.uniform(0, 1, 200)
    labels = {"TEFF": 4000 + 1500 * along, "LOGG": 1 + 3 * along + rng.normal(0, 0.05, 200)}
    flux = np.ones((200, 30), np.float32) + 0.01 * rng.normal(size=(200, 30)).astype(np.float32)
    wavelength = np.linspace(16_000, 16_010, 30)
    domain = fit_domain(
        wavelength, Seen(flux), Seen(flux[:50]), labels, [(16_000, 16_010)], "observed"
    )
    predicted = {"TEFF": np.array([4700.0, 5600, 4100]), "LOGG": np.array([2.4, 3.9, 3.8])}
    assert domain.outside(predicted) == [[], ["TEFF"], ["TEFF with LOGG"]]
    assert domain.judge(wavelength, flux[:3], predicted).flags[2][0] == (
        "OUT_OF_LABEL_RANGE: TEFF with LOGG"
    )
    assert flags.names_in("OUT_OF_DISTRIBUTION: 3; OUT_OF_LABEL_RANGE: TEFF; no good pixel") == [
        flags.OUT_OF_LABEL_RANGE, flags.OUT_OF_DISTRIBUTION,
    ]  # fmt: skip


# The files.


@pytest.fixture(scope="module")
def small() -> Domain:
    rng = np.random.default_rng(0)
    flux = 1 + 0.01 * rng.normal(size=(60, 40)).astype(np.float32)
    labels = {"TEFF": rng.uniform(4000, 5000, 60), "LOGG": rng.uniform(1, 4, 60)}
    grid, seen = np.linspace(16_000, 16_010, 40), Seen(flux, rng.normal(size=(60, 5)))
    return fit_domain(grid, seen, seen, labels, [(16_000, 16_010)], "observed", np.full(60, 99.0))


def test_the_files_are_read_as_they_were_written(tmp_path, small):
    write_domain(tmp_path, small)
    found = read_domain(tmp_path)
    assert found.facts == small.facts
    for name in ("wavelength", "mean", "components"):
        np.testing.assert_array_equal(
            getattr(found.components, name), getattr(small.components, name)
        )
    np.testing.assert_array_equal(found.features.mean, small.features.mean)
    np.testing.assert_array_equal(found.features.axes, small.features.axes)
    assert read_domain(tmp_path / "elsewhere") is None


HOSTILE = {
    "not JSON": lambda content: "{",
    "a list": lambda content: "[]",
    "nested": lambda content: "[" * 40_000,
    "7 MB of lists": lambda content: "[" + "[]," * (7 << 20 >> 2) + "[]]",
    "an infinite range": lambda content: content | {"labels": {"TEFF": [0.0, float("inf")]}},
    "a name of a path": lambda content: content | {"labels": {"../../x": [0.0, 1.0]}},
    "a hull of two": lambda content: _hull(content, [[0.0, 0.0], [1.0, 1.0]]),
    "a hull of a label without a range": lambda content: content | {"labels": {}},
    "a huge hull": lambda content: _hull(content, [[0.0, 0.0]] * 20_000),
    "a scale of 0": lambda content: _score(content, distance=0.0),
    "parts that do not fit": lambda content: _score(content, residual=[1.0, 1.0]),
    "a huge file": lambda content: json.dumps(content) + " " * (9 << 20),
}  # fmt: skip


def _hull(content, corners):
    content["hulls"][0]["corners"] = corners
    return content


def _score(content, **changes):
    content["score"] |= changes
    return content


@pytest.mark.parametrize("spoil", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(tmp_path, small, spoil):
    write_domain(tmp_path, small)
    spoiled = spoil(read_json(tmp_path / DOMAIN))
    (tmp_path / DOMAIN).write_text(spoiled if isinstance(spoiled, str) else json.dumps(spoiled))
    with pytest.raises(SpectraFMError, match=r"domain\.json") as error:
        read_domain(tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 600
    # pydantic would keep 2 million values in memory before it refused the first.
    assert spoil is not HOSTILE["7 MB of lists"] or "values are more than" in str(error.value)


ARRAYS = {
    "another type": lambda found: found | {"mean": found["mean"].double()},
    "another length": lambda found: found | {"mean": found["mean"][1:]},
    "no components": lambda found: found | {"components": found["components"][:0]},
    "many components": lambda found: found | {"components": torch.zeros(100, 40)},
    "falling": lambda found: found | {"wavelength": found["wavelength"].flip(0)},
    "NaN": lambda found: found | {"mean": found["mean"] * torch.nan},
    "one missing": lambda found: {name: found[name] for name in ("wavelength", "mean")},
    "one scalar": lambda found: found | {"wavelength": found["wavelength"][0]},
    "no axes": lambda found: found | {"feature_axes": found["feature_axes"][:0]},
    "axes of others": lambda found: found | {"feature_axes": found["feature_axes"][:, 1:]},
    "a feature's NaN": lambda found: found | {"feature_mean": found["feature_mean"] * torch.nan},
    "no features": lambda found: {k: v for k, v in found.items() if "feature" not in k},
}


@pytest.mark.parametrize("spoil", ARRAYS.values(), ids=ARRAYS)
def test_hostile_arrays_are_refused(tmp_path, small, spoil):
    write_domain(tmp_path, small)
    write_weights(tmp_path / COMPONENTS, spoil(read_weights(tmp_path / COMPONENTS)))
    with pytest.raises(SpectraFMError, match=r"domain\.safetensors"):
        read_domain(tmp_path)


def test_an_absent_file_of_arrays_is_named(tmp_path, small):
    write_domain(tmp_path, small)
    (tmp_path / COMPONENTS).unlink()
    with pytest.raises(SpectraFMError, match=r"not a domain"):
        read_domain(tmp_path)


# Training and prediction.


def test_a_training_leaves_a_domain_and_predict_flags_by_it(tmp_path):
    """Trained on the upper half of [Fe/H], the toy model flags the lower half by label or score."""
    rng = np.random.default_rng(0)
    stars = toy_stars(500)
    stars.table["snr"] = rng.uniform(50, 300, 500)
    store = write_toy_store(tmp_path / "store.zarr", stars)
    options = stage(
        spectra="observed", architecture="ridge", sampling={"scheme": "all"}, epochs=1,
        labels=["LOGG", "FE_H"], stars={"where": "FE_H > -0.6"},
    )  # fmt: skip
    model = tmp_path / "x"
    train(store, name="x", output=model, stage=options, model=MODEL)
    facts = read_domain(model).facts
    assert facts.labels["FE_H"][0] > -0.6
    assert set(facts.labels) == {"LOGG", "FE_H"}
    assert [list(window) for window in facts.windows] == WINDOWS
    assert facts.snr[0] > 300, "flux over error, not the store's own number"
    assert DOMAIN in (model / "SHA256SUMS").read_text()
    predict(model, store, name="y", output=tmp_path / "x--y.parquet", options=Predict())
    table = read_predictions(tmp_path / "x--y.parquet")
    low = table["FE_H_predicted"] < facts.labels["FE_H"][0]
    named = table["flags"].str.contains("OUT_OF_LABEL_RANGE: .*FE_H")
    assert low.sum() > 20
    assert named[low].all()
    assert not table["flags"].str.contains(flags.MOCK_TRAINED).any()
    inside = (table["FE_H_actual"] > -0.4) & ~table["flags"].str.contains("no good pixel")
    assert (table["ood_score"][inside] < 1).mean() > 0.9
    assert np.array_equal(
        table["flags"].str.contains(flags.OUT_OF_DISTRIBUTION), table["ood_score"] > 1
    )
