# Tests of: spectrafm/inference/inspect.py
"""The command ``inspect``: everything that was understood of a file, in words."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from making.model_folder import write_model
from making.spectra_files import write_desi
from making.toy_training import TINY
from spectrafm.cli import main
from spectrafm.errors import SpectraFMError
from spectrafm.inference.inspect import covered_share, inspect
from spectrafm.labels import PAPER_LABELS
from spectrafm.models import shipped
from spectrafm.networks.transformer import SpectraFM
from spectrafm.spectra import Spectra
from spectrafm.spectra.medium import vacuum_to_air
from spectrafm.surveys.apogee.grid import WAVELENGTH
from spectrafm.surveys.mock.lines import read_lines


def star() -> np.ndarray:
    """Normalised flux with the lines of the mock survey, on APOGEE's pixels."""
    lines = read_lines()
    flux = np.ones(len(WAVELENGTH)) + np.random.default_rng(2).normal(0, 0.01, len(WAVELENGTH))
    for line, strength in zip(lines.wavelength, lines.giant / (1 + lines.giant), strict=True):
        first, last = np.searchsorted(WAVELENGTH, [line - 3, line + 3])
        near = WAVELENGTH[first:last]
        flux[first:last] -= 0.3 * strength * np.exp(-0.5 * ((near - line) / 0.35) ** 2)
    return flux


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A right spectrum, one in air that is not said, and a model of two windows."""
    folder = tmp_path_factory.mktemp("inspect")
    flux = star()
    flux[100:110] = 0
    about = {"medium": "vacuum", "frame": "rest", "normalisation": "aspcap", "resolution": 22500}
    columns = {"flux": flux, "flux_error": np.full(len(flux), 0.01)}
    Table({"wavelength": WAVELENGTH / 10 * u.nm, **columns}, meta=about).write(
        folder / "right.ecsv", format="ascii.ecsv"
    )
    Table({"wavelength": vacuum_to_air(WAVELENGTH), **columns}).write(
        folder / "air.csv", format="ascii.csv"
    )
    write_model(
        folder / "model", SpectraFM(TINY, PAPER_LABELS), [(16105.8, 16220.0), (17000.0, 17050.0)]
    )
    return folder


def test_it_says_what_was_understood(files):
    text = inspect([files / "right.ecsv"], model=files / "model")
    said = {line[:16].strip(): line[16:] for line in text.splitlines()[1:]}
    assert text.startswith(f"right.ecsv ({files / 'right.ecsv'})")
    assert said["format"] == "table"
    assert said["wavelengths"] == "15152.2 to 16943.5 Angstrom in vacuum"
    assert said["pixels"] == "7,514, of which 7,504 are good (100%)"
    assert said["gaps"] == "15799.3-15867.6, 16423.8-16484.1"
    assert (said["resolution"], said["frame"], said["normalisation"]) == ("22500", "rest", "aspcap")
    assert said["signal/noise"].startswith(("9", "100"))
    assert said["assumed"] == "10 pixels have a flux of exactly zero: taken as missing"
    assert said["velocity"].endswith("km/s: at rest within its uncertainty")
    assert "model reads 16105.8 to 16220.0 Angstrom: good pixels in 100% of it" in text
    assert "model reads 17000.0 to 17050.0 Angstrom: good pixels in 0% of it" in text
    assert said["model"] == "model covers this spectrum in part"


def test_air_taken_for_vacuum_and_every_assumption_is_said(files):
    text = inspect([files / "air.csv"])
    for assumed in ("wavelength has no unit", "medium is not given", "frame is not given"):
        assert f"assumed       {assumed}" in text
    assert "flux has no unit: taken as observed, not normalised" in text
    (velocity,) = [line for line in text.splitlines() if "velocity" in line]
    assert -86 < float(velocity.split()[1]) < -77
    assert "as of wavelengths in air that were taken for vacuum: give medium='air'" in velocity


def test_files_that_cannot_be_read_do_not_stop_the_others(files, caplog):
    (files / "bad.csv").write_text("a,b\n1,2\n")
    text = inspect([files / "bad.csv", files / "right.ecsv"])
    assert "right.ecsv" in text
    assert "bad.csv: no column flux" in caplog.text
    with pytest.raises(SpectraFMError, match=r"bad.csv: no column flux"):
        inspect([files / "bad.csv"])


def test_the_command_prints_it(tmp_path, capsys):
    path = write_desi(tmp_path / "coadd.fits")
    assert main(["inspect", str(path), "--format=desi"]) == 0
    assert capsys.readouterr().out.count("  format        DESI coadd") == 2


def test_a_window_is_covered_where_good_pixels_are_near():
    mask = WAVELENGTH > 16160
    one = Spectra(np.ones(7514), WAVELENGTH * u.AA, mask=mask, medium="vacuum")[0]
    assert covered_share(one, (16110.0, 16150.0)) == 1
    assert covered_share(one, (16110.0, 16210.0)) == pytest.approx(0.5, abs=0.02)
    assert covered_share(one, (15800.0, 15866.0)) < 0.05
    assert covered_share(one.replace(mask=np.ones(7514, bool)), (16110.0, 16150.0)) == 0


def test_a_velocity_is_asked_for_where_pixels_can_show_it(files, tmp_path):
    """A pixel of an XP spectrum is wider than the velocity of any star."""
    about = {"medium": "vacuum", "frame": "barycentric", "normalisation": "aspcap"}
    Table({"wavelength": WAVELENGTH * u.AA, "flux": star()}, meta=about).write(
        tmp_path / "moving.ecsv", format="ascii.ecsv"
    )
    wanted = "remove the star's radial velocity first"
    assert wanted in inspect([tmp_path / "moving.ecsv"], model=files / "model")
    real = shipped()["gaia-xp"]
    assert wanted not in inspect([real.parent / "gaia_xp_example.csv"], model=real)
