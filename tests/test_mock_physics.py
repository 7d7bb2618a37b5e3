# Tests of: spectrafm/surveys/mock/
"""Gray atmospheres, molecules and line formation against textbook and published values."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from spectrafm.surveys.apogee.grid import CHIP_PIXELS, GRID_WAVELENGTH
from spectrafm.surveys.mock import chemistry, instrument, opacity, synthesis
from spectrafm.surveys.mock.atmosphere import (
    OPTICAL_DEPTH,
    Parameters,
    solve,
    temperature_structure,
)
from spectrafm.surveys.mock.chemistry import ALPHA_ELEMENTS, BOLTZMANN, INDEX, SOLAR
from spectrafm.surveys.mock.lines import model_lines, read_lines, sky_lines
from spectrafm.surveys.mock.population import microturbulence

DR13 = Path(__file__).parent.parent.parent / "shared/data/aspcapstar_dr13"


def star(teff, logg, m_h=0.0, **over_iron):
    """Parameters of one star; ``O=0.3`` sets [O/Fe]."""
    abundance = SOLAR.copy()
    abundance[2:] += m_h
    for symbol, value in over_iron.items():
        abundance[INDEX[symbol]] += value
    return Parameters(
        np.array([teff], float),
        np.array([logg]),
        abundance[None],
        microturbulence(np.array([logg])),
        np.array([5.0]),
    )


def fine_spectrum(parameters, **options):
    """Emergent flux over continuum of one star."""
    return synthesis.normalised_flux(
        solve(parameters), 0, parameters.vmicro[0], read_lines(), **options
    )


def depth_at(flux, wavelength):
    """How much is absorbed at a wavelength, Angstrom."""
    return 1 - flux[np.argmin(np.abs(synthesis.FINE_WAVELENGTH - wavelength))]


def equivalent_width(flux, centre, reach):
    """Equivalent width within ``reach`` Angstrom, Angstrom."""
    inside = np.abs(synthesis.FINE_WAVELENGTH - centre) < reach
    return np.trapezoid(1 - flux[inside], synthesis.FINE_WAVELENGTH[inside])


def test_rosseland_weight_is_the_temperature_derivative_of_planck():
    wavelength, temperature, step = np.geomspace(0.4, 3, 12), 5000.0, 0.5

    def planck_per_log_wavelength(t):
        # B_nu times nu, for d nu = nu d ln lambda.
        return wavelength**-4 / np.expm1(14390.0 / (wavelength * t))

    derivative = planck_per_log_wavelength(temperature + step) - planck_per_log_wavelength(
        temperature - step
    )
    ratio = opacity.rosseland_weight(wavelength, temperature) / derivative
    np.testing.assert_allclose(ratio / ratio[0], 1, rtol=1e-3)


def test_hminus_bound_free_peaks_where_it_should_and_ends_at_its_threshold():
    temperature = np.array(5040.0)
    wavelength = np.linspace(0.4, 1.64, 125)
    saha_factor = 0.750 * temperature**-2.5 * np.exp(1.439e4 / (1.6419 * temperature))
    cross_section = [
        opacity.hminus_bound_free(w, temperature) / saha_factor / opacity.stimulated(w, temperature)
        for w in wavelength
    ]
    # 3.9 to 4.0 x 10^-17 cm^2 near 8500 A (Wishart 1979; Gray, Stellar Photospheres, ch. 8).
    assert 1e17 * max(cross_section) == pytest.approx(3.95, rel=0.03)
    assert wavelength[np.argmax(cross_section)] == pytest.approx(0.85, abs=0.03)
    assert opacity.hminus_bound_free(1.65, temperature) == 0


def test_hminus_free_free_grows_as_wavelength_squared():
    temperature = np.array(5040.0)
    ratio = opacity.hminus_free_free(10.0, temperature) / opacity.hminus_free_free(5.0, temperature)
    assert ratio == pytest.approx(4, rel=0.05)


def test_hminus_opacity_is_least_near_its_threshold():
    temperature = np.array(6000.0)
    wavelength = np.linspace(0.5, 2.5, 201)
    total = [
        opacity.hminus_bound_free(w, temperature) + opacity.hminus_free_free(w, temperature)
        for w in wavelength
    ]
    assert wavelength[np.argmin(total)] == pytest.approx(1.64, abs=0.03)


@pytest.mark.parametrize(
    ("molecule", "expected"),
    [("CO", -1.88), ("OH", 5.11), ("CN", 1.66), ("H2", 5.39), ("N2", -0.50)],
)
def test_dissociation_constants_agree_with_barklem_and_collet(molecule, expected):
    temperature = np.array(4000.0)
    pressure = chemistry.dissociation_constant(molecule, temperature) * BOLTZMANN * temperature
    assert np.log10(0.1 * pressure) == pytest.approx(expected, abs=0.1)  # Pa


def test_molecules_conserve_nuclei_and_obey_mass_action():
    temperature = np.array([2500.0, 3500.0, 5000.0])
    hydrogen = np.full(3, 1e16)
    nuclei = {"C": np.full(3, 3e12), "N": np.full(3, 1e12), "O": np.full(3, 5e12)}
    formed = chemistry.Molecules(temperature).densities(hydrogen, nuclei)
    oxygen = formed["O"] + formed["CO"] + formed["OH"] + formed["H2O"]
    np.testing.assert_allclose(oxygen, nuclei["O"], rtol=1e-6)
    np.testing.assert_allclose(formed["C"] + formed["CO"], nuclei["C"], rtol=1e-6)
    product = formed["C"] * formed["O"] / formed["CO"]
    np.testing.assert_allclose(product, chemistry.dissociation_constant("CO", temperature))
    # Water in M dwarfs, not in K dwarfs.
    assert formed["H2O"][0] > 0.3 * nuclei["O"][0]
    assert formed["H2O"][2] < 1e-3 * nuclei["O"][2]


def test_sun_has_textbook_pressures():
    sun = solve(star(5777, 4.44))
    at = np.log10(0.9), np.log10(OPTICAL_DEPTH)
    pressure = np.interp(*at, np.log10(sun.pressure[0]))
    electron = np.interp(*at, np.log10(sun.electrons * BOLTZMANN * sun.temperature)[0])
    assert pressure == pytest.approx(5.12, abs=0.05)
    assert electron == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize("stellar", [(5777, 4.44, 0), (3300, 4.7, 0), (4200, 0.8, -2)])
def test_atmospheres_are_in_hydrostatic_equilibrium(stellar):
    parameters = star(*stellar)
    found = solve(parameters)
    abundance = 10 ** (parameters.abundance[0] - 12)
    mass = abundance @ chemistry.MASS * chemistry.ATOMIC_MASS
    # Density from the pressure, with the particles per nucleus that atoms and H2 make.
    h2 = found.hydrogen**2 / chemistry.dissociation_constant("H2", found.temperature)
    protons = chemistry.saha("H", found.temperature) / found.electrons * found.hydrogen
    density = (found.hydrogen + protons + 2 * h2) * mass
    expected = 10 ** parameters.logg[0] / (found.rosseland / density)[0]
    # Integrate g/kappa between the layers on a much finer grid.
    fine = np.linspace(np.log(OPTICAL_DEPTH[0]), np.log(OPTICAL_DEPTH[-1]), 20_001)
    integrand = np.exp(fine + np.interp(fine, np.log(OPTICAL_DEPTH), np.log(expected)))
    carried = np.trapezoid(integrand[fine <= 0], fine[fine <= 0])
    rise = np.interp(0, np.log(OPTICAL_DEPTH), found.pressure[0]) - found.pressure[0, 0]
    assert rise == pytest.approx(carried, rel=0.05)
    # The boundary condition fits the layers below it: no kink in log P against log tau.
    slope = np.diff(np.log(found.pressure[0])) / np.diff(np.log(OPTICAL_DEPTH))
    assert slope[0] == pytest.approx(slope[1], rel=0.2)
    particles = found.hydrogen + protons + h2 + found.electrons
    particles = particles + (found.hydrogen + protons + 2 * h2) * abundance[1:].sum()
    np.testing.assert_allclose(particles * BOLTZMANN * found.temperature, found.pressure, rtol=1e-4)


def test_surface_change_cools_the_surface_only():
    cooled = solve(star(4500, 1.5, -1.5), surface_change=-0.03)
    plain = solve(star(4500, 1.5, -1.5))
    ratio = cooled.temperature / plain.temperature
    assert ratio[0, 0] == pytest.approx(0.97, abs=1e-3)
    assert ratio[0, -1] == pytest.approx(1.0, abs=1e-6)


def test_lines_cool_the_surface_of_rich_stars_more():
    temperature = temperature_structure(np.full(3, 4500.0), np.array([0.0, -1.0, -2.0]))
    surface, deep = temperature[:, 0], temperature[:, -1]
    # (3/4 q)^(1/4) with Hopf's q = 0.577: 0.811 Teff without lines; 3.5 % less at [M/H] = 0.
    np.testing.assert_allclose(surface / 4500, 0.811 * np.array([0.965, 0.974, 0.9825]), rtol=1e-3)
    np.testing.assert_allclose(deep, deep[0])


def test_abundances_are_those_of_grevesse_asplund_and_sauval():
    mass = 10 ** (SOLAR - 12) * chemistry.MASS
    metals = mass[2:].sum() / mass.sum()
    # Z = 0.0122, of which 0.0010 is neon, which has no part here.
    assert metals == pytest.approx(0.0112, rel=0.02)


def test_pseudo_voigt_has_the_width_of_a_voigt_profile():
    gauss, lorentz = np.array([1.0, 1.0, 1.0, 1.0]), np.array([1e-6, 0.5, 1.0, 20.0])
    width, share = synthesis._pseudo_voigt_of(gauss, lorentz)
    # Olivero & Longbothum 1977.
    expected = 0.5346 * lorentz + np.sqrt(0.2166 * lorentz**2 + gauss**2)
    np.testing.assert_allclose(width, expected, rtol=5e-3)
    assert share[0] == pytest.approx(0, abs=1e-5)
    assert share[3] == pytest.approx(1, abs=0.01)


def test_pseudo_voigt_has_unit_area():
    offset = np.arange(-20_000, 20_001)
    for share in (0.0, 0.5, 1.0):
        profile = synthesis._pseudo_voigt(offset, 4.0, share)
        assert profile.sum() == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("wavelength", [15298.74, 15625.92, 16491.17, 16157.66, 16169.45])
def test_iron_lines_lie_at_their_vacuum_wavelengths_and_deepen_with_iron(wavelength):
    poor, rich = (fine_spectrum(star(4800, 2.5, m)) for m in (-1.0, 0.0))
    near = np.flatnonzero(np.abs(synthesis.FINE_WAVELENGTH - wavelength) < 0.4)
    deepest = synthesis.FINE_WAVELENGTH[near[np.argmin(rich[near])]]
    assert deepest == pytest.approx(wavelength, abs=0.1)
    in_poor, in_rich = (equivalent_width(f, wavelength, 0.6) for f in (poor, rich))
    assert in_rich > 1.25 * in_poor


def test_lines_answer_to_their_own_element():
    solar = fine_spectrum(star(4500, 2.0))
    magnesium = fine_spectrum(star(4500, 2.0, Mg=0.3))
    oxygen = fine_spectrum(star(4500, 2.0, O=0.3))
    width = {
        f: [equivalent_width(s, w, 0.6) for s in (solar, magnesium, oxygen)]
        for f, w in (("Mg", 15745.02), ("OH", 15282.70))
    }
    assert width["Mg"][1] > 1.05 * width["Mg"][0]
    assert width["Mg"][2] == pytest.approx(width["Mg"][0], rel=0.02)
    assert width["OH"][2] > 1.1 * width["OH"][0]
    # Magnesium gives electrons, hence H-, which veils all other lines.
    assert width["OH"][1] < 0.95 * width["OH"][0]


def test_molecular_lines_fade_in_hot_stars():
    cool, hot = (fine_spectrum(star(teff, 2.0)) for teff in (4000, 5200))
    for line in (15282.70, 16206.0):  # OH, a row of CO
        assert equivalent_width(cool, line, 0.6) > 2 * equivalent_width(hot, line, 0.6)


def test_brackett_eleven_answers_to_gravity():
    cores, wings = [], []
    for logg in (1.5, 2.5, 3.5, 4.4):
        fine = fine_spectrum(star(6000, logg))
        pixels = instrument.to_pixels(fine, 5.0)
        core, wing = np.searchsorted(GRID_WAVELENGTH, [16811.18, 16801.18])
        cores.append(1 - pixels[core - 1 : core + 1].min())
        wings.append(1 - pixels[wing])
    # Sharp and deep in giants, shallow and as broad as ever in dwarfs.
    assert np.all(np.diff(cores) < -0.03)
    assert wings[3] / cores[3] > 2 * wings[0] / cores[0]


def test_brackett_lines_lie_at_their_vacuum_wavelengths():
    flux = fine_spectrum(star(6500, 3.5, -2.4))
    for wavelength in (16811.18, 16411.74, 16113.78, 15705.01):
        near = np.flatnonzero(np.abs(synthesis.FINE_WAVELENGTH - wavelength) < 3)
        deepest = synthesis.FINE_WAVELENGTH[near[np.argmin(flux[near])]]
        assert deepest == pytest.approx(wavelength, abs=0.15)


def test_brackett_factor_deepens_hydrogen_and_nothing_else():
    parameters = star(6200, 4.2, -1.0)
    plain, strong = fine_spectrum(parameters), fine_spectrum(parameters, brackett=1.4)
    assert depth_at(strong, 16811.18) > 1.15 * depth_at(plain, 16811.18)
    assert depth_at(strong, 15298.74) == pytest.approx(depth_at(plain, 15298.74), abs=2e-3)


def test_flux_never_exceeds_the_continuum():
    for stellar in ((3300, 4.7, 0.2), (6500, 4.2, 0), (4200, 1, -2)):
        flux = fine_spectrum(star(*stellar))
        assert flux.max() <= 1 + 1e-5
        assert flux.min() > 0.1


def test_steam_veils_m_dwarfs_and_spares_k_giants(monkeypatch):
    def al_depths():
        return [depth_at(fine_spectrum(star(*s)), 16755.14) for s in ((3300, 4.7), (4500, 2.0))]

    veiled_dwarf, veiled_giant = al_depths()
    monkeypatch.setattr(opacity, "STEAM", 0.0)
    bare_dwarf, bare_giant = al_depths()
    assert veiled_dwarf < bare_dwarf - 0.05
    assert veiled_giant == pytest.approx(bare_giant, abs=0.01)


@pytest.mark.skipif(not DR13.exists(), reason="needs the real DR13 files of shared/data")
def test_m_dwarf_matches_a_real_best_fit():
    with fits.open(next(DR13.glob("*2M08501918+1056436.fits"))) as file:
        fitted = file[4].data["FPARAM"][0].astype(float)
        real = file[3].data[CHIP_PIXELS]
    parameters = star(fitted[0], fitted[1], fitted[3], **dict.fromkeys(ALPHA_ELEMENTS, fitted[6]))
    fine = fine_spectrum(parameters)
    mock = instrument.normalise(instrument.to_pixels(fine, 10 ** fitted[7]))[CHIP_PIXELS]
    assert np.corrcoef(mock, real)[0, 1] > 0.6
    assert 0.7 < mock.std() / real.std() < 1.4
    al = np.argmin(np.abs(GRID_WAVELENGTH[CHIP_PIXELS] - 16755.14))
    assert 1 - mock[al] == pytest.approx(1 - real[al], abs=0.1)


def test_line_list_is_complete_and_in_order():
    lines = read_lines()
    assert len(lines) == 1500
    assert np.all(np.diff(lines.wavelength) >= 0)
    assert {"Fe", "CO", "CN", "OH", "Mg", "Si", "Al", "Ca", "Ti2"} <= set(lines.by_species)


def test_sky_and_models_differ_with_the_gap_only():
    lines = read_lines()
    np.testing.assert_array_equal(sky_lines(4500, 2.0, -1.0, 0.0).loggf, lines.loggf)
    np.testing.assert_array_equal(model_lines(0.0).loggf, lines.loggf)
    change = model_lines(1.0).loggf - lines.loggf
    absent = change < -5
    assert 0.08 < absent.mean() < 0.17  # a quarter of the weaker half
    assert np.all(lines.giant[absent] < np.median(lines.giant))
    assert change[~absent].std() == pytest.approx(0.10, abs=0.01)
    iron = lines.species == "Fe"
    poor, solar = (sky_lines(4800, 2.5, fe_h, 1.0).loggf for fe_h in (-2.0, 0.0))
    np.testing.assert_allclose((poor - solar)[iron], -0.1)
    np.testing.assert_allclose((poor - solar)[~iron], 0)
