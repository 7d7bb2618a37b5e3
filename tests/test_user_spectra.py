# Tests of: spectrafm/spectra/
"""Spectra that users give: any unit, order, byte order and damage; an answer or a SpectrumError."""

from __future__ import annotations

import contextlib
import sys
import types

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import InverseVariance, StdDevUncertainty

from making.drawn_spectra import Drawn
from spectrafm.errors import SpectraFMError, SpectrumError
from spectrafm.spectra import Spectra, Spectrum, join_arms
from spectrafm.spectra.medium import air_to_vacuum, vacuum_to_air

UNITS = (u.AA, u.nm, u.um, u.cm**-1, u.Hz, u.eV)
SAID = {"medium": "vacuum", "frame": "rest"}

WAVELENGTH = np.linspace(15150.0, 16950.0, 60)
FLUX = 1 - 0.3 * np.random.default_rng(1).random(60)


def check_usable(one: Spectrum) -> None:
    """What every reader of a `Spectrum` may rely on."""
    pixels = one.wavelength.shape
    assert one.flux.shape == one.mask.shape == pixels
    assert one.wavelength.dtype == np.float64
    assert one.flux.dtype == np.float32
    assert one.flux.dtype.isnative
    assert one.mask.dtype == bool
    assert (np.diff(one.wavelength) > 0).all()
    assert np.isfinite(one.flux).all()
    if one.flux_error is not None:
        assert one.flux_error.dtype == np.float32
        assert np.isfinite(one.flux_error).all()
        assert (one.flux_error[one.good] > 0).all()
    assert (one.flux[one.good] != 0).all()


def check_same(one: Spectrum, other: Spectrum) -> None:
    np.testing.assert_allclose(one.wavelength, other.wavelength, rtol=1e-9)
    np.testing.assert_array_equal(one.mask, other.mask)
    scale = np.abs(one.flux).max() or 1
    np.testing.assert_allclose(one.flux, other.flux, rtol=1e-6, atol=1e-6 * scale)
    assert (one.flux_error is None) == (other.flux_error is None)
    if one.flux_error is not None:
        np.testing.assert_allclose(one.flux_error, other.flux_error, rtol=2e-6)


def check_drawn(seed: int) -> None:
    drawn = Drawn(seed)
    one = drawn.made()
    check_usable(one)
    pixels = len(drawn.flux)
    order = drawn.draw.permutation(pixels)
    unit = UNITS[seed % len(UNITS)]
    check_same(one, drawn.made(order))
    check_same(one, drawn.made(slice(None, None, -1), unit))
    check_same(one, drawn.made(dtype=">f8"))
    # Arms may share no wavelength here, since pixels of the same one are joined in each arm.
    edge = np.sort(drawn.wavelength)[pixels // 2]
    sides = [np.flatnonzero(drawn.wavelength < edge), np.flatnonzero(drawn.wavelength >= edge)]
    check_same(one, join_arms([drawn.made(side) for side in sides if side.size][::-1]))


@pytest.mark.parametrize("start", [0])
def test_drawn_spectra_are_usable_and_the_way_they_are_given_leaves_no_trace(start):
    for seed in range(start, start + 150):
        check_drawn(seed)


@pytest.mark.slow
def test_a_thousand_drawn_spectra_are_usable():
    for seed in range(1000, 2000):
        check_drawn(seed)


def test_what_no_spectrum_can_be_is_an_error_that_names_spectrum_and_field():
    """Random objects in every place: a spectrum or a SpectrumError, no other exception."""
    draw = np.random.default_rng(0)
    odd = [
        None, 3.0, "x", [], [[]], np.zeros((2, 2, 2)), FLUX, FLUX[:3], FLUX[:1] * u.AA, FLUX * u.K,
        [FLUX, FLUX[:4]], [FLUX * u.AA, 3], FLUX * 1j, FLUX > 0, np.array([FLUX, "x"], object),
        np.full(60, np.nan), np.zeros(60), WAVELENGTH, WAVELENGTH * u.AA, -WAVELENGTH * u.nm,
        WAVELENGTH * u.mag, FLUX * 1e300, FLUX * 1e-300, FLUX * 1e300 * u.Jy, {"a": 1}, object(),
        [FLUX.tolist(), FLUX[:2].tolist()], np.ma.masked_invalid(FLUX), WAVELENGTH * u.km / u.s,
        np.full(60, np.inf), WAVELENGTH.astype(int), [1 * u.AA, 2 * u.nm], [1 * u.AA, 1 * u.K],
    ]  # fmt: skip
    answers = 0
    for _ in range(1500):
        flux, wavelength, error, mask = (odd[n] for n in draw.integers(len(odd), size=4))
        medium = [None, "air", "vacuum", "water"][draw.integers(4)]
        given = {"medium": medium, "frame": [None, "rest", 3][draw.integers(3)]}
        given["resolution"] = [None, 2000, -1, "x", [1, 2]][draw.integers(5)]
        given["normalisation"] = [None, "aspcap", "", 7][draw.integers(4)]
        flux = FLUX if draw.random() < 0.5 else flux
        wavelength = WAVELENGTH * u.AA if draw.random() < 0.5 else wavelength
        error = None if draw.random() < 0.6 else error
        mask = None if draw.random() < 0.6 else mask
        with contextlib.suppress(SpectrumError):
            for one in Spectra(flux, wavelength, error, mask, **given):
                check_usable(one)
            answers += 1
    assert answers > 20


def test_zeros_left_in_as_flux_are_masked_and_said():
    flux = FLUX.copy()
    flux[10:20] = 0
    (one,) = Spectra(flux, WAVELENGTH * u.AA, **SAID, normalisation="aspcap")
    assert one.mask.nonzero()[0].tolist() == list(range(10, 20))
    assert one.assumed == ("10 pixels have a flux of exactly zero: taken as missing",)


def test_flux_in_physical_units_is_as_observed_and_cannot_be_called_normalised():
    unit = u.erg / u.s / u.cm**2 / u.AA
    (one,) = Spectra(FLUX * 1e-17 * unit, WAVELENGTH * u.AA, FLUX * 1e-19 * unit, **SAID)
    assert one.normalisation is None
    assert one.assumed == ()
    np.testing.assert_allclose(one.flux, FLUX * 1e-17, rtol=1e-6)
    assert one.signal_to_noise == pytest.approx(100)
    with pytest.raises(SpectrumError, match=r"spectrum: flux: its median is 8.*e-18, so it is not"):
        Spectra(FLUX * 1e-17, WAVELENGTH * u.AA, **SAID, normalisation="aspcap")
    with pytest.raises(SpectrumError, match="normalisation: 'aspcap', but the flux has the unit"):
        Spectra(FLUX * unit, WAVELENGTH * u.AA, **SAID, normalisation="aspcap")
    (one,) = Spectra(FLUX * 1e4, WAVELENGTH * u.AA, **SAID)
    assert "flux has no unit: taken as observed, not normalised" in one.assumed[0]


@pytest.mark.parametrize(
    ("factor", "unit", "code"), [(0.1, "nm", "u.nm"), (1e-4, "micrometre", "u.um")]
)
def test_wavelengths_in_another_unit_are_refused_with_that_unit(factor, unit, code):
    with pytest.raises(SpectrumError, match=f"look like {unit}: give wavelength \\* {code}"):
        Spectra(FLUX, WAVELENGTH * factor, **SAID)


def test_numbers_that_can_only_be_angstrom_are_taken_and_said():
    (one,) = Spectra(FLUX, WAVELENGTH, **SAID, normalisation="aspcap")
    np.testing.assert_array_equal(one.wavelength, WAVELENGTH)
    assert one.assumed == ("wavelength has no unit: taken as Angstrom",)
    (one,) = Spectra(FLUX, WAVELENGTH * u.AA, normalisation="aspcap")
    assert [said.split()[0] for said in one.assumed] == ["medium", "frame"]


@pytest.mark.parametrize("field", ["wavelength", "flux_error", "mask"])
def test_arrays_of_unequal_length_are_refused(field):
    arrays = {"wavelength": WAVELENGTH * u.AA, field: np.ones(59) * (u.AA if "w" in field else 1)}
    if field == "mask":
        arrays["mask"] = np.zeros(59, bool)
    with pytest.raises(SpectrumError, match=f"my star: {field}: 59 pixels, but flux has 60"):
        Spectra(FLUX, **arrays, **SAID, names="my star")


def test_one_many_and_ragged_spectra():
    assert len(Spectra(FLUX, WAVELENGTH * u.AA)) == 1
    both = Spectra(np.stack([FLUX, FLUX]), WAVELENGTH * u.AA, names=["a", "b"])
    assert [one.name for one in both] == ["a", "b"]
    assert isinstance(both[1:], Spectra)
    ragged = Spectra([FLUX, FLUX[:7]], [WAVELENGTH * u.AA, WAVELENGTH[:7] / 10 * u.nm])
    assert [len(one) for one in ragged] == [60, 7]
    np.testing.assert_allclose(ragged[1].wavelength, WAVELENGTH[:7])
    with pytest.raises(SpectrumError, match="flux_error: one array for 2 spectra"):
        Spectra([FLUX, FLUX], WAVELENGTH * u.AA, FLUX)
    with pytest.raises(SpectrumError, match="wavelength: 1 arrays for 2 spectra"):
        Spectra([FLUX, FLUX], [WAVELENGTH * u.AA])


def test_pixels_of_the_same_wavelength_become_their_weighted_mean():
    (one,) = Spectra(
        [1.0, 0.8, 0.5, 9.0], [16000, 16000, 16001, 16000] * u.AA, [0.1, 0.2, 0.1, 0.1],
        [False, False, False, True], **SAID,
    )  # fmt: skip
    np.testing.assert_allclose(one.flux, [0.96, 0.5], rtol=1e-6)
    np.testing.assert_allclose(one.flux_error, [0.1 / np.sqrt(1.25), 0.1], rtol=1e-6)
    assert one.provenance["pixels_of_the_same_wavelength"] == 2


def test_masks_of_every_kind_are_kept():
    masked = np.ma.array(FLUX, mask=WAVELENGTH > 16000)
    (one,) = Spectra(masked, WAVELENGTH * u.AA, mask=(WAVELENGTH < 15500) * 4, **SAID)
    np.testing.assert_array_equal(one.mask, (WAVELENGTH > 16000) | (WAVELENGTH < 15500))


def test_air_wavelengths_become_those_in_vacuum():
    """Lines measured in both: H alpha, the Na D2 line and the Ca II triplet (NIST)."""
    vacuum, air = np.array([6564.66, 5891.583, 8544.438]), np.array([6562.85, 5889.951, 8542.09])
    (one,) = Spectra(np.ones(3), air * u.AA, medium="air")
    np.testing.assert_allclose(one.wavelength, np.sort(vacuum), atol=0.04)
    grid = np.geomspace(2000, 55000, 500)
    np.testing.assert_allclose(air_to_vacuum(vacuum_to_air(grid)), grid, rtol=1e-12)
    with pytest.raises(SpectrumError, match="medium: Hz is the same in air and vacuum"):
        Spectra(FLUX, (WAVELENGTH * u.AA).to(u.Hz, u.spectral()), medium="air")


def test_air_and_vacuum_are_as_in_specutils():
    wcs_utils = pytest.importorskip("specutils.utils.wcs_utils")
    grid = np.geomspace(3000, 25000, 50)
    theirs = wcs_utils.vac_to_air(grid * u.AA, method="Ciddor1996").value
    np.testing.assert_allclose(vacuum_to_air(grid), theirs, rtol=1e-12)


def test_a_spectrum_at_rest_has_its_lines_where_they_are():
    (one,) = Spectra(FLUX, WAVELENGTH * u.AA, medium="vacuum", frame="barycentric")
    rest = one.at_rest(100.0)
    np.testing.assert_allclose(one.wavelength / rest.wavelength - 1, 100 / 299792.458, rtol=1e-3)
    assert rest.frame == "rest"
    with pytest.raises(SpectrumError, match="radial velocity"):
        one.at_rest(float("nan"))


def test_arms_that_differ_in_kind_are_not_joined():
    one = Spectra(FLUX, WAVELENGTH * u.AA, **SAID, normalisation="aspcap")[0]
    other = Spectra(FLUX, WAVELENGTH * u.AA, **SAID)[0]
    with pytest.raises(SpectrumError, match="normalisation: differs between the arms"):
        join_arms([one, other])


class Standin:
    """The attributes of a specutils spectrum that are read and written."""

    def __init__(self, spectral_axis, flux, uncertainty=None, mask=None, meta=None):
        self.spectral_axis, self.flux, self.uncertainty = spectral_axis, flux, uncertainty
        self.mask, self.meta = mask, meta


def specutils_of(monkeypatch):
    """The real specutils where it is installed; a module with a stand-in elsewhere."""
    try:
        import specutils
    except ImportError:
        specutils = types.ModuleType("specutils")
        specutils.Spectrum = Standin
        monkeypatch.setitem(sys.modules, "specutils", specutils)
    return getattr(specutils, "Spectrum", None) or specutils.Spectrum1D


def test_there_and_back_through_specutils(monkeypatch):
    make = specutils_of(monkeypatch)
    ivar = np.full(60, 1e4)
    ivar[5] = 0
    theirs = make(
        spectral_axis=WAVELENGTH / 10 * u.nm, flux=FLUX * u.Jy, uncertainty=InverseVariance(ivar)
    )
    ours = Spectra.from_specutils(theirs, **SAID)
    assert ours[0].mask.nonzero()[0].tolist() == [5]
    np.testing.assert_allclose(ours[0].flux_error[ours[0].good], 0.01, rtol=1e-6)
    (back,) = ours.to_specutils()
    assert isinstance(back.uncertainty, StdDevUncertainty)
    np.testing.assert_allclose(back.spectral_axis.to_value(u.AA), WAVELENGTH)
    check_same(ours[0], Spectra.from_specutils([back], **SAID)[0])


def test_specutils_is_asked_for_only_where_it_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "specutils", None)
    ours = Spectra(FLUX, WAVELENGTH * u.AA)
    with pytest.raises(SpectraFMError, match="specutils is not installed: pip install specutils"):
        ours.to_specutils()
    with pytest.raises(SpectrumError, match="int is no spectrum"):
        Spectra.from_specutils([3])
