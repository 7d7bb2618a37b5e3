# Tests of: spectrafm/surveys/mock/population.py, surveys/mock/observing.py, surveys/mock/aspcap.py
"""The stars, their catalogue and the reasons to drop rows, against DR17's numbers."""

import re

import numpy as np
import pytest

from spectrafm.surveys.apogee.options import Release
from spectrafm.surveys.mock import aspcap
from spectrafm.surveys.mock.mock_survey import make_catalogue
from spectrafm.surveys.mock.observing import CUT_SHARES, equatorial
from spectrafm.surveys.mock.options import Mock
from spectrafm.surveys.mock.population import draw_stars, macroturbulence, microturbulence

ROWS = 2600
STAR_BAD, NO_RESULT = 1 << 23, 1 << 31


@pytest.fixture(scope="module")
def stars():
    """A population with DR17's own share of halo stars."""
    return draw_stars(30_000, 0.025, np.random.default_rng(3))


@pytest.fixture(scope="module")
def catalogue():
    return make_catalogue(Mock(rows=ROWS), Release())


def test_iron_has_the_percentiles_of_dr17(stars):
    percentiles = np.percentile(stars.fe_h, [1, 5, 25, 50, 75, 95, 99])
    expected = [-1.46, -0.73, -0.38, -0.16, 0.02, 0.23, 0.34]
    np.testing.assert_allclose(percentiles, expected, atol=0.06)
    assert np.mean(stars.fe_h < -1) == pytest.approx(0.025, abs=0.004)
    assert stars.fe_h.min() > -2.5


def test_gravities_have_the_shares_of_dr17(stars):
    shares = np.histogram(stars.logg, [0, 3, 4, 5])[0] / len(stars)
    np.testing.assert_allclose(shares, [0.669, 0.116, 0.215], atol=0.02)
    clump = np.mean((stars.logg > 2.25) & (stars.logg < 2.5))
    assert clump == pytest.approx(0.166, abs=0.015)


def test_giant_branch_and_main_sequence_lie_where_dr17_has_them(stars):
    clump = (np.abs(stars.logg - 2.4) < 0.1) & (np.abs(stars.fe_h) < 0.1)
    assert np.median(stars.teff[clump]) == pytest.approx(4662, abs=25)
    poor = (np.abs(stars.logg - 2.4) < 0.1) & (np.abs(stars.fe_h + 0.5) < 0.1)
    assert np.median(stars.teff[poor]) - np.median(stars.teff[clump]) == pytest.approx(202, abs=40)
    dwarf = (stars.logg > 4) & (np.abs(stars.teff - 5300) < 100)
    assert np.median(stars.logg[dwarf]) == pytest.approx(4.49, abs=0.03)


@pytest.mark.parametrize(
    ("logg", "slope"), [(0.75, -386), (1.25, -401), (1.75, -386), (2.15, -360), (2.4, -404)]
)
def test_poor_giants_are_hotter(stars, logg, slope):
    near = np.abs(stars.logg - logg) < 0.08
    teff = stars.teff[near] - 620 * (stars.logg[near] - logg)
    found, _ = np.polyfit(stars.fe_h[near], teff, 1)
    assert found == pytest.approx(slope, abs=45)


def test_giants_have_turned_carbon_into_nitrogen(stars):
    giant, dwarf = (stars.logg < 2.8) & ~stars.halo, stars.logg > 4
    carbon, nitrogen = stars.over_iron("C"), stars.over_iron("N")
    assert np.median((carbon - nitrogen)[dwarf]) - np.median((carbon - nitrogen)[giant]) > 0.2
    assert np.all(np.abs(np.percentile(carbon, [1, 99])) < 0.5)


def test_disc_has_two_alpha_sequences(stars):
    middle = (stars.fe_h > -0.6) & (stars.fe_h < -0.3) & ~stars.halo
    share, edges = np.histogram(stars.over_iron("Mg")[middle], np.arange(-0.1, 0.5, 0.06))
    share = dict(zip(np.round(edges[:-1] + 0.03, 2), share / middle.sum(), strict=True))
    low, valley, high = share[0.05] + share[0.11], share[0.17], share[0.23] + share[0.29]
    assert low > 2 * valley
    assert high > 1.5 * valley


def test_oxygen_follows_magnesium(stars):
    oxygen, magnesium = stars.over_iron("O"), stars.over_iron("Mg")
    assert np.median(oxygen - magnesium) == pytest.approx(0.015, abs=0.015)
    poor = stars.fe_h < -1
    assert np.corrcoef(oxygen[poor], magnesium[poor])[0, 1] > 0.6
    assert np.median(magnesium[poor]) == pytest.approx(0.25, abs=0.04)


def test_halo_share_is_a_knob_and_halo_stars_are_poor_giants():
    stars = draw_stars(5000, 0.14, np.random.default_rng(4))
    assert stars.halo.mean() == pytest.approx(0.14, abs=0.02)
    assert np.all(stars.fe_h[stars.halo] <= -1)
    assert np.all(stars.logg[stars.halo] < 3)
    assert not draw_stars(500, 0.0, np.random.default_rng(4)).halo.any()
    assert draw_stars(500, 1.0, np.random.default_rng(4)).halo.all()


def test_turbulence_relations():
    assert microturbulence(np.array(2.5)) == pytest.approx(1.51, abs=0.02)
    assert microturbulence(np.array(4.6)) == 0.9
    assert macroturbulence(np.array(2.5), np.array(0.0)) == pytest.approx(3.1, abs=0.1)


def test_galactic_coordinates():
    ra, dec = equatorial(np.array([0.0, 0.0]), np.array([0.0, 90.0]))
    np.testing.assert_allclose(ra, [266.405, 192.859], atol=0.01)
    np.testing.assert_allclose(dec, [-28.936, 27.128], atol=0.01)


def test_rows_are_dropped_for_every_reason_in_proportion(catalogue):
    table = catalogue.allstar
    assert len(table) == ROWS
    bad = (table["ASPCAPFLAG"] & STAR_BAD) != 0
    no_result = (table["ASPCAPFLAG"] & NO_RESULT) != 0
    assert no_result.sum() == round(CUT_SHARES["no_result"] * ROWS)
    assert (bad & ~no_result).sum() == round(0.04 * ROWS)
    assert np.all(bad[no_result])
    assert (table["STARFLAG"] != 0).sum() == round(0.07 * ROWS)
    assert (table["VSCATTER"] > 1).sum() == round(0.05 * ROWS)
    assert (table["EXTRATARG"] == 16).sum() == round(0.06 * ROWS)
    primary = table["EXTRATARG"] == 0
    assert np.mean(table["SNR"][primary] <= 200) == pytest.approx(0.18, abs=0.03)
    lost = ~catalogue.rows.has_file & ~no_result
    assert lost.sum() == round(CUT_SHARES["lost_file"] * ROWS)
    assert catalogue.rows.empty.sum() == round(CUT_SHARES["empty"] * ROWS)


def test_about_seventy_per_cent_pass_the_cuts(catalogue):
    table = catalogue.allstar
    passed = (table["SNR"] > 200) & (table["STARFLAG"] == 0) & (table["VSCATTER"] < 1)
    passed &= (table["ASPCAPFLAG"] & STAR_BAD) == 0
    assert 0.64 < passed.mean() < 0.74
    # The files that are lost or empty are among those that a selection asks for.
    assert passed[catalogue.rows.empty].all()
    kept = np.unique(table["APOGEE_ID"][passed])
    assert 0.6 * ROWS < kept.size < passed.sum()
    assert np.mean(table["FE_H"][passed] < -1) > 0.1


def test_repeats_are_the_same_star_elsewhere_and_fainter(catalogue):
    table, stars = catalogue.allstar, catalogue.stars
    for second in np.flatnonzero(table["EXTRATARG"] == 16):
        both = np.flatnonzero(table["APOGEE_ID"] == table["APOGEE_ID"][second])
        (first,) = both[both != second]
        assert table["SNR"][first] > table["SNR"][second]
        assert table["FIELD"][first] != table["FIELD"][second]
        assert stars.teff[first] == stars.teff[second]
        # Two observations, two fits.
        assert table["TEFF_SPEC"][first] != table["TEFF_SPEC"][second]
    assert len(np.unique(table[["TELESCOPE", "FIELD", "APOGEE_ID"]])) == ROWS


def test_rows_are_sorted_and_named_as_on_the_sas(catalogue):
    table = catalogue.allstar
    assert np.all(np.diff(table["RA"]) >= 0)
    assert {b"apo25m", b"lco25m", b"apo1m"} == set(table["TELESCOPE"].tolist())
    for row in table[::50]:
        name = row["APOGEE_ID"].decode()
        hours, sign, degrees = re.fullmatch(r"2M(\d\d)\d{6}([+-])(\d\d)\d{5}", name).groups()
        assert int(hours) == int(row["RA"] / 15)
        assert int(degrees) == int(abs(row["DEC"]))
        assert sign == ("-" if row["DEC"] < 0 else "+")
        prefix = "as" if row["TELESCOPE"] == b"lco25m" else "ap"
        assert row["FILE"].decode() == f"{prefix}Star-dr17-{name}.fits"
    assert np.all(table["DEC"][table["TELESCOPE"] == b"lco25m"] < 20)


def test_missing_labels_are_those_of_dr17(catalogue):
    table = catalogue.allstar
    good = (table["ASPCAPFLAG"] & STAR_BAD) == 0
    assert np.all(np.isfinite(table["TEFF"][good]) & np.isfinite(table["LOGG"][good]))
    assert np.all(np.isnan(table["TEFF"][~good]))
    missing = np.isnan(table["FE_H"]) & good
    assert 0.002 < missing.sum() / good.sum() < 0.015
    np.testing.assert_array_equal(missing, np.isnan(table["MG_FE"]) & good)
    np.testing.assert_array_equal(missing, np.isnan(table["O_FE"]) & good)
    assert np.all((catalogue.stars.teff[missing] < 3700) | (catalogue.stars.teff[missing] > 6600))
    # The uncalibrated values stay, except where there was no fit at all.
    assert np.all(np.isfinite(table["FE_H_SPEC"][good]))
    no_result = (table["ASPCAPFLAG"] & NO_RESULT) != 0
    assert np.all(np.isnan(table["FPARAM"][no_result]))


def test_labels_scatter_about_the_truth_as_little_as_quoted(catalogue):
    table, stars = catalogue.allstar, catalogue.stars
    giant = (stars.logg < 3) & np.isfinite(table["FE_H"]) & (table["SNR"] > 200)
    for column, truth, low, high in (
        ("TEFF", stars.teff, 5, 12),
        ("LOGG", stars.logg, 0.012, 0.04),
        ("FE_H", stars.fe_h, 0.004, 0.012),
        ("O_FE", stars.over_iron("O"), 0.009, 0.016),
        ("MG_FE", stars.over_iron("Mg"), 0.008, 0.015),
    ):
        scatter = np.std((table[column] - truth)[giant])
        assert low < scatter < high, column
        ratio = scatter / np.median(table[f"{column}_ERR"][giant])
        assert 0.5 < ratio < 2, column


def test_quoted_errors_have_the_percentiles_of_dr17(catalogue):
    table = catalogue.allstar
    giant = table["LOGG"] < 3
    np.testing.assert_allclose(
        np.percentile(table["TEFF_ERR"][giant], [5, 50, 95]), [4, 7.2, 10.7], rtol=0.1
    )
    dwarf = (table["LOGG"] > 4) & np.isfinite(table["O_FE"])
    np.testing.assert_allclose(
        np.percentile(table["O_FE_ERR"][dwarf], [5, 50, 95]), [0.009, 0.046, 0.147], rtol=0.25
    )


def test_models_know_single_elements_through_alpha_only(catalogue):
    abundance = catalogue.best.parameters().abundance
    relative = abundance - aspcap.SOLAR - catalogue.best.m_h[:, None]
    index = aspcap.INDEX
    for symbol in ("Mg", "O", "Si"):
        np.testing.assert_allclose(relative[:, index[symbol]], catalogue.best.alpha, atol=1e-9)
    np.testing.assert_allclose(relative[:, index["Fe"]], 0, atol=1e-9)
    own = catalogue.stars.over_iron("O") - catalogue.best.alpha
    assert 0.015 < np.std(own) < 0.08


def test_without_a_gap_models_are_made_from_the_truth():
    catalogue = make_catalogue(Mock(rows=60, gap=0), Release())
    np.testing.assert_array_equal(catalogue.best.teff, catalogue.stars.teff)
    np.testing.assert_array_equal(catalogue.best.m_h, catalogue.stars.fe_h)
