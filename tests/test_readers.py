# Tests of: spectrafm/readers/
"""Readers of spectra: real files of surveys, and files in the published layouts of others."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from making import spectra_files as made
from making.spectra_files import PIXELS, flux_of
from spectrafm.errors import SpectraFMError
from spectrafm.plugs import load
from spectrafm.readers import READERS
from spectrafm.readers.peek import peek
from spectrafm.readers.read import format_of, read_spectra
from spectrafm.readers.velocity import meaning_of, measure_velocity
from spectrafm.spectra import Spectra
from spectrafm.spectra.medium import vacuum_to_air

DATA = Path(__file__).parents[2] / "shared" / "data"
OTHER = DATA / "other_instruments"


def real(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no real file: {path} is not there")
    return path


def test_a_real_aspcapstar():
    path = next(iter(sorted(real("aspcapstar_dr13").glob("*2M08501918*"))))
    (one,) = read_spectra(path)
    assert format_of(peek(path)) == "aspcapstar"
    assert (one.name, one.frame, one.normalisation) == ("2M08501918+1056436", "rest", "aspcap")
    with fits.open(path) as hdus:
        flux = hdus[1].data[246:3274]
    np.testing.assert_array_equal(one.flux[:3028], np.where(one.mask[:3028], 0, flux))
    assert one.wavelength_range == pytest.approx((15152.211, 16943.534), abs=1e-3)
    assert one.assumed == ()
    assert 150 < one.signal_to_noise < 250


def test_a_real_aspcapstar_with_bad_pixels_has_them_masked():
    path = next(iter(sorted(real("aspcapstar_dr13").glob("*2M12132318*"))))
    (one,) = read_spectra(path)
    with fits.open(path) as hdus:
        zeros = (hdus[1].data[246:3274] == 0).sum()
    assert zeros > 100
    assert (one.mask[:3028]).sum() >= zeros


def test_a_real_apstar_is_as_observed_at_rest():
    path = real("apstar_dr17", "apStar-dr17-2M19485057+5005279.fits")
    (one,) = read_spectra(path)
    assert format_of(peek(path)) == "apstar"
    assert one.normalisation is None
    assert one.provenance["flux_unit"] == "1e-17 erg / (Angstrom s cm2)"
    assert abs(one.signal_to_noise - 137.5) < 15, "header: SNR 137.5"
    assert abs(measure_velocity(one).offset) < 5


def test_real_lamost_spectra_of_two_layouts():
    files = sorted(real("other_instruments", "lamost").glob("spec-*"))
    assert len(files) == 4
    for path in files:
        (one,) = read_spectra(path)
        assert format_of(peek(path)) == "lamost"
        assert (one.frame, one.resolution, one.normalisation) == ("barycentric", 1800.0, None)
        assert one.wavelength[0] == pytest.approx(3699.985, abs=0.01)
        assert one.assumed == ()
    rows = fits.getdata(files[3])
    np.testing.assert_allclose(one.wavelength, rows[2], rtol=5e-7)
    np.testing.assert_allclose(one.flux[one.good], rows[0][one.good], rtol=1e-6)
    # The redshift of the pipeline is in the header.
    assert one.provenance["radial_velocity"] == pytest.approx(-51.45, abs=0.01)
    assert abs(measure_velocity(one).offset - -51.45) < 20


def test_a_real_boss_spectrum():
    path = real("other_instruments", "boss", "spec-3586-55181-0500.fits")
    (one,) = read_spectra(path)
    assert format_of(peek(path)) == "boss"
    assert one.name == "3586-55181-0500"
    assert abs(one.signal_to_noise - 55) < 2, "SPALL: SN_MEDIAN_ALL 54.98"
    assert one.provenance["radial_velocity"] == pytest.approx(-30.35, abs=0.01)
    assert 1500 < one.resolution < 2500


def test_real_galah_arms_are_at_rest_in_vacuum_and_joined():
    files = sorted(real("other_instruments", "galah").glob("*.fits"))
    for path in files:
        (one,) = read_spectra(path)
        assert format_of(peek(path)) == "galah"
        # Lines of mu Leo stand at rest, so air was converted to vacuum rightly.
        assert abs(measure_velocity(one).offset) < 5
    (star,) = Spectra.read(files)
    assert len(star) == 2 * 4096
    assert star.name == "131216002601003"
    assert star.frame == "rest"


@pytest.mark.parametrize("rows", [1, 3])
def test_apstar_of_one_visit_and_of_more(tmp_path, rows):
    (one,) = read_spectra(made.write_apstar(tmp_path / "apStar.fits", rows))
    assert one.mask.sum() == 1
    np.testing.assert_allclose(one.flux[one.good], 100 * flux_of(one.wavelength)[one.good], 1e-6)
    assert one.signal_to_noise == pytest.approx(50, rel=1e-4)


@pytest.mark.parametrize("kind", ["mwmStar", "astraStar"])
def test_mwm_files_give_every_spectrum_that_they_have(tmp_path, kind):
    path = made.write_mwm(tmp_path / f"{kind}.fits", kind)
    boss, apogee = read_spectra(path)
    assert format_of(peek(path)) == "mwm"
    assert [boss.name, apogee.name] == ["12345 BOSS/APO", "12345 APOGEE/LCO"]
    level = 50 if kind == "mwmStar" else 1
    assert apogee.normalisation == (None if kind == "mwmStar" else "astra")
    assert apogee.mask.nonzero()[0].tolist() == [3]
    for one in (boss, apogee):
        expected = level * flux_of(one.wavelength)
        np.testing.assert_allclose(one.flux[one.good], expected[one.good], rtol=1e-5)
        np.testing.assert_allclose(one.signal_to_noise, 50, rtol=1e-4)
        assert one.frame == "rest"


@pytest.mark.parametrize("kind", ["lrs", "mrs rows", "mrs"])
def test_lamost_tables_and_their_arms(tmp_path, kind):
    path = made.write_lamost_table(tmp_path / "med.fits", kind)
    (one,) = read_spectra(path)
    assert format_of(peek(path)) == "lamost"
    assert len(one) == PIXELS * (1 if kind == "lrs" else 2)
    assert one.mask.sum() == (1 if kind == "lrs" else 2)
    assert one.resolution == (1800 if kind == "lrs" else 7500)
    np.testing.assert_allclose(one.flux[one.good], 1000 * flux_of(one.wavelength)[one.good], 1e-6)
    np.testing.assert_allclose(one.flux_error[one.good], 10, rtol=1e-6)
    assert one.provenance["radial_velocity"] == pytest.approx(29.979, abs=1e-3)


def test_desi_targets_with_their_arms_joined(tmp_path):
    path = made.write_desi(tmp_path / "coadd.fits")
    first, second = read_spectra(path)
    assert format_of(peek(path)) == "desi"
    assert [first.name, second.name] == ["11", "22"]
    assert (np.diff(second.wavelength) > 0).all()
    assert second.mask.sum() == 3
    np.testing.assert_allclose(
        second.flux[second.good], 2 * flux_of(second.wavelength)[second.good], 1e-6
    )
    assert first.signal_to_noise == pytest.approx(100 * np.median(first.flux), rel=1e-3)


def test_jwst_in_micrometre_and_jansky(tmp_path):
    path = made.write_jwst(tmp_path / "x1d.fits")
    (one,) = read_spectra(path)
    assert format_of(peek(path)) == "jwst"
    assert one.name == "HD 1"
    assert one.wavelength_range == pytest.approx((15000, 18000))
    assert one.mask.nonzero()[0].tolist() == [4]
    assert one.frame == "barycentric"
    assert one.provenance["flux_unit"] == "Jy"


@pytest.mark.parametrize("product", ["XP", "RVS"])
@pytest.mark.parametrize("kind", ["csv", "ecsv", "vot", "RAW csv"])
def test_gaia_products_of_every_datalink_format(tmp_path, product, kind):
    table = made.gaia_table(product, 3 if kind == "RAW csv" else 1)
    path = tmp_path / f"{product}-Gaia DR3 4295806720.{kind.split()[-1]}"
    if kind == "RAW csv":
        made.write_texts(path, table)
    else:
        formats = {"csv": "ascii.csv", "ecsv": "ascii.ecsv", "vot": "votable"}
        table.write(path, format=formats[kind])
    spectra = read_spectra(path)
    assert format_of(peek(path)) == "gaia"
    assert len(spectra) == (3 if kind == "RAW csv" else 1)
    one = spectra[0]
    assert one.name == "4295806720"
    scale = 1e-16 if product == "XP" else 1
    np.testing.assert_allclose(one.flux, scale * flux_of(one.wavelength), rtol=1e-6)
    assert one.signal_to_noise == pytest.approx(100, rel=1e-4)
    ends, frame, normaliser = {
        "XP": ((3360, 10200), "barycentric", None),
        "RVS": ((8460, 8700), "rest", "gaia-rvs"),
    }[product]
    assert one.wavelength_range == pytest.approx(ends)
    assert (one.frame, one.normalisation) == (frame, normaliser)
    assert one.assumed == ()


GRID = np.linspace(15150.0, 16950.0, 60)


def tables() -> dict[str, Table]:
    """The same three spectra as rows of pixels and as rows of arrays."""
    flux = np.stack([flux_of(GRID) * level for level in (1.0, 0.9, 0.8)])
    return {
        "pixels": Table(
            {
                "star": np.repeat(["b", "a", "c"], 60),
                "wavelength": np.tile(GRID / 10, 3) * u.nm,
                "flux": flux.ravel(),
                "flux_error": 0.01 * flux.ravel(),
            },
            meta={"medium": "vacuum", "frame": "rest", "normalisation": "running"},
        ),
        "arrays": Table(
            {
                "star": ["b", "a", "c"],
                "wavelength": np.tile(GRID / 10, (3, 1)) * u.nm,
                "flux": flux,
                "flux_error": 0.01 * flux,
            },
            meta={"medium": "vacuum", "frame": "rest", "normalisation": "running"},
        ),
    }


@pytest.mark.parametrize("layout", ["pixels", "arrays"])
@pytest.mark.parametrize("kind", ["ecsv", "vot", "parquet", "fits", "csv"])
def test_tables_of_every_format(tmp_path, layout, kind):
    table = tables()[layout]
    path = tmp_path / f"mine.{kind}"
    formats = {"ecsv": "ascii.ecsv", "vot": "votable"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "csv":
            table.rename_column("wavelength", "wavelength [nm]")
            made.write_texts(path, table)
        else:
            table.write(path, format=formats.get(kind, kind))
    spectra = read_spectra(path)
    assert format_of(peek(path)) == "table"
    assert [one.name for one in spectra] == ["b", "a", "c"]
    for one, level in zip(spectra, (1.0, 0.9, 0.8), strict=True):
        np.testing.assert_allclose(one.wavelength, GRID, rtol=1e-9)
        np.testing.assert_allclose(one.flux, level * flux_of(GRID), rtol=1e-6)
        np.testing.assert_allclose(one.signal_to_noise, 100, rtol=1e-4)
        assert one.source == str(path)
        if kind in ("ecsv", "parquet"):
            assert (one.frame, one.normalisation, one.assumed) == ("rest", "running", ())


def test_a_table_without_units_or_names_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("wavelength,flux\n" + "".join(f"{w / 1e4},1.0\n" for w in GRID))
    with pytest.raises(SpectraFMError, match=rf"{path}: .*wavelength: has no unit.*u\.um"):
        read_spectra(path)
    path.write_text("".join(f"{w} 1.0\n" for w in GRID))
    with pytest.raises(SpectraFMError, match="the first line has no names of columns"):
        read_spectra(path)
    path.write_text("wavelength,depth\n15000,1\n")
    with pytest.raises(SpectraFMError, match="no column flux; columns: wavelength, depth"):
        read_spectra(path)
    path.write_text("# a comment\n wave  flux\n" + "".join(f"{w} 1.0\n" for w in GRID))
    (one,) = read_spectra(path)
    assert "wavelength has no unit: taken as Angstrom" in one.assumed


@pytest.mark.parametrize(("column", "bad"), [("mask", 1), ("good", 0)])
def test_a_column_of_bad_or_of_good_pixels_masks_them(tmp_path, column, bad):
    flags = np.full(60, 1 - bad)
    flags[7] = bad
    path = tmp_path / "mine.ecsv"
    Table({"wavelength": GRID * u.AA, "flux": flux_of(GRID), column: flags}).write(path)
    (one,) = read_spectra(path)
    assert one.mask.nonzero()[0].tolist() == [7]


def test_what_is_no_spectrum_is_an_error_that_names_the_file(tmp_path):
    fits.PrimaryHDU(np.ones((3, 3))).writeto(tmp_path / "image.fits")
    with pytest.raises(SpectraFMError, match=r"image.fits: a FITS file of no known format"):
        read_spectra(tmp_path / "image.fits")
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    with pytest.raises(SpectraFMError, match=r"noise: neither a FITS or Parquet file nor text"):
        read_spectra(tmp_path / "noise")
    (tmp_path / "empty").touch()
    with pytest.raises(SpectraFMError, match="empty: the file is empty"):
        read_spectra(tmp_path / "empty")
    with pytest.raises(SpectraFMError, match=r"gone.fits: no such file"):
        read_spectra(tmp_path / "gone.fits")
    with pytest.raises(SpectraFMError, match="no format 'x'; known: aspcapstar"):
        read_spectra(tmp_path / "empty", "x")


@pytest.fixture(scope="module")
def small_files(tmp_path_factory) -> dict[str, Path]:
    """Small files of several formats."""
    folder = tmp_path_factory.mktemp("small")
    paths = [
        made.write_mwm(folder / "mwm.fits", "mwmStar"),
        made.write_lamost_table(folder / "lamost.fits", "mrs"),
        made.write_desi(folder / "desi.fits"),
        made.write_jwst(folder / "jwst.fits"),
        made.write_texts(folder / "gaia.csv", made.gaia_table("XP", 2)),
    ]
    formats = {"ecsv": "ascii.ecsv", "vot": "votable", "parquet": "parquet"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, format in formats.items():
            paths.append(folder / f"table.{kind}")
            tables()["arrays"].write(paths[-1], format=format)
    return {path.name: path for path in paths}


def test_damaged_files_are_read_or_refused_by_name(small_files, tmp_path):
    """Truncated, and with bytes changed, mostly in headers."""
    draw = random.Random(3)
    refused = 0
    for path in small_files.values():
        content = path.read_bytes()
        for _ in range(12):
            length = draw.choice([len(content), draw.randrange(len(content))])
            damaged = bytearray(content[:length])
            for _ in range(draw.choice([0, 3, 30])):
                where = draw.randrange(min(length, draw.choice([400, 6000, length])) or 1)
                damaged[where : where + 1] = bytes([draw.randrange(256)])
            changed = tmp_path / f"damaged{path.suffix}"
            changed.write_bytes(bytes(damaged))
            try:
                read_spectra(changed)
            except SpectraFMError as error:
                refused += 1
                assert str(error).startswith(str(changed))  # noqa: PT017
    assert refused > 30


def test_no_reader_takes_a_file_of_another(small_files):
    for file, path in small_files.items():
        seen = peek(path)
        takers = [name for name, module in READERS.items() if load(f"{module}:recognises")(seen)]
        assert takers[0] == file.split(".")[0]
        assert set(takers[1:]) <= {"table"}


def template_star(medium: str, velocity: float, low: float, high: float) -> Spectra:
    """A spectrum with the strong lines of late-type stars, at rest or not."""
    from spectrafm.readers.velocity import _lines

    grid = np.exp(np.arange(np.log(low), np.log(high), 2e-5))
    lines, weights = _lines()
    flux = np.ones(len(grid)) + np.random.default_rng(5).normal(0, 0.01, len(grid))
    for line, weight in zip(lines * (1 + velocity / 299792.458), weights, strict=True):
        near = np.abs(grid / line - 1) < 4e-4
        flux[near] -= 0.6 * weight * np.exp(-0.5 * ((grid[near] / line - 1) / 4e-5) ** 2)
    if medium == "air":
        grid = vacuum_to_air(grid)
    said = {"medium": "vacuum", "frame": "rest", "normalisation": "aspcap"}
    return Spectra(flux, grid * u.AA, np.full(len(grid), 0.01), **said)


@pytest.mark.parametrize("ends", [(4700, 6800), (15150, 16950)])
def test_velocities_show_air_for_vacuum_and_a_star_that_is_not_at_rest(ends):
    at_rest = measure_velocity(template_star("vacuum", 0, *ends)[0])
    assert abs(at_rest.offset) < 2
    assert meaning_of(at_rest, "rest") == "at rest within its uncertainty"
    air = measure_velocity(template_star("air", 0, *ends)[0])
    assert -86 < air.offset < -79
    assert "in air that were taken for vacuum" in meaning_of(air, "rest")
    moving = measure_velocity(template_star("vacuum", 140, *ends)[0])
    assert abs(moving.offset - 140) < 2
    assert "radial velocity was not removed" in meaning_of(moving, "rest")


def test_a_spectrum_without_lines_has_no_velocity():
    wavelength = np.linspace(15150, 16950, 5000)
    flux = np.random.default_rng(0).normal(1, 0.01, 5000)
    one = Spectra(flux, wavelength * u.AA, medium="vacuum", normalisation="aspcap")[0]
    assert measure_velocity(one) is None
    assert measure_velocity(Spectra(flux[:40], wavelength[:40] * u.AA)[0]) is None


def test_files_that_others_tests_write_are_read(tmp_path):
    """DESI, SDSS-V and JWST files as the tests of specutils have them, written by those surveys."""
    folder = pytest.importorskip(
        "specutils.io.default_loaders.tests", reason="the extra specutils is not installed"
    ).__path__[0]
    for path in sorted(Path(folder, "desi_test_data").glob("*.fits")):
        found = read_spectra(path)
        assert found[0].provenance["format"] == "DESI coadd"
        assert found[0].wavelength_range == pytest.approx((3600, 9824), abs=0.1)
    sdss = load("specutils.io.default_loaders.tests.test_sdss_v:mwm_HDUList")
    for with_wavelength in (True, False):
        path = tmp_path / f"mwm-{with_wavelength}.fits"
        sdss([1, 1, 1, 1], with_wavelength).writeto(path)
        arms = [(one.name.split()[1], len(one)) for one in read_spectra(path)]
        assert arms == [
            ("BOSS/APO", 4648), ("BOSS/LCO", 4648), ("APOGEE/APO", 8575), ("APOGEE/LCO", 8575),
        ]  # fmt: skip
    jwst = "specutils.io.default_loaders.tests.test_jwst_reader"
    primary = fits.PrimaryHDU()
    primary.header["TELESCOP"] = "JWST"
    one, several = load(f"{jwst}:create_spectrum_hdu"), load(f"{jwst}:create_wfss_hdu")
    fits.HDUList([primary, one(100, "POINT")]).writeto(tmp_path / "x1d.fits")
    (found,) = read_spectra(tmp_path / "x1d.fits")
    assert found.good_pixels == 100
    fits.HDUList([primary, several()]).writeto(tmp_path / "wfss.fits")
    rows = len(fits.getdata(tmp_path / "wfss.fits", 1))
    assert len(read_spectra(tmp_path / "wfss.fits")) == rows > 1
