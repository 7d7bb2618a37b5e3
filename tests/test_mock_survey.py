# Tests of: spectrafm/surveys/mock/mock_survey.py
"""The files of the mock survey: DR17's layout, the same bytes for the same seed, the gap."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.grid import CHIP_PIXELS, N_GRID, WAVELENGTH
from spectrafm.surveys.apogee.options import Release
from spectrafm.surveys.mock import mock_survey as mock_sas
from spectrafm.surveys.mock.mock_survey import batch_spectra, make_catalogue, mock_survey
from spectrafm.surveys.mock.options import Mock

SURVEY = Release()
OPTIONS = Mock(rows=60, seed=5)
NAMES = (SURVEY.release, SURVEY.aspcap)
DR14 = Path(__file__).parent.parent.parent / "shared/data/apogee_dr14/apogee_dr14_example.npz"
OUTSIDE = np.setdiff1d(np.arange(N_GRID), CHIP_PIXELS)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mock") / "sas"
    mock_survey(output=folder, mock=OPTIONS, release=SURVEY, processes=1)
    return folder


@pytest.fixture(scope="module")
def catalogue():
    return make_catalogue(OPTIONS, SURVEY)


@pytest.fixture(scope="module")
def allstar(root):
    with fits.open(root / paths.allstar_path(*NAMES)) as file:
        return file[1].data.copy()


def spectrum_path(root: Path, row) -> Path:
    return root / paths.aspcapstar_path(*NAMES, row["TELESCOPE"], row["FIELD"], row["APOGEE_ID"])


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def spectra(options: Mock):
    """Observed spectra, errors and models on the chip pixels, and the rows of the catalogue."""
    made = make_catalogue(options, SURVEY)
    parts = [np.array(list(batch_spectra(batch, options))) for batch in made.batches()]
    flux, error, best = np.moveaxis(np.concatenate(parts)[:, :, CHIP_PIXELS], 1, 0)
    return flux, error, best, made


def test_allstar_has_the_layout_of_dr17(root):
    with fits.open(root / paths.allstar_path(*NAMES)) as file:
        assert len(file) == 5
        assert "VERSION" in file[0].header
        table, index = file[1].data, file[2].data
        assert len(table) == OPTIONS.rows
        formats = dict(zip(file[1].columns.names, file[1].columns.formats, strict=True))
        assert index.shape == (360,)
        for degree in (0, 90, 200, 359):
            assert index[degree] == np.sum(table["RA"] < degree)
        np.testing.assert_allclose(file[3].data["WAVE"][0], WAVELENGTH, rtol=1e-6)
        assert file[3].data["PARAM_SYMBOL"][0][0] == "TEFF"
        assert file[3].data["ELEM_SYMBOL"][0][17] == "Fe"
        named = {tuple(row) for row in file[4].data}
        assert {(r["TELESCOPE"], r["FIELD"], r["LOCATION_ID"]) for r in table} == named
    expected = {
        "APOGEE_ID": "30A", "TELESCOPE": "6A", "FIELD": "20A", "FILE": "64A", "LOCATION_ID": "J",
        "NVISITS": "J", "RA": "D", "SNR": "E", "STARFLAG": "K", "ANDFLAG": "K", "ASPCAPFLAG": "K",
        "EXTRATARG": "J", "VSCATTER": "E", "TEFF": "E", "TEFF_ERR": "E", "LOGG": "E",
        "FE_H": "E", "FE_H_ERR": "E", "FE_H_FLAG": "J", "O_FE": "E", "MG_FE_ERR": "E",
        "FPARAM": "9E", "PARAM_COV": "81E", "PARAMFLAG": "9K", "X_H": "27E", "ELEMFLAG": "27K",
        "VISIT_PK": "100J",
    }  # fmt: skip
    assert expected.items() <= formats.items()


def test_bit_31_survives(allstar):
    assert np.any(allstar["ASPCAPFLAG"] & (1 << 31))
    assert np.all(allstar["ASPCAPFLAG"] >= 0)


def test_spectra_have_the_layout_of_dr17(root, allstar, catalogue):
    position = np.flatnonzero(catalogue.rows.has_file & ~catalogue.rows.empty)[0]
    with fits.open(spectrum_path(root, allstar[position])) as file:
        file.verify("exception")
        assert len(file) == 5
        assert file[0].data is None
        assert "VERSION" in file[0].header
        for hdu in file[1:4]:
            assert hdu.data.shape == (N_GRID,)
            assert hdu.data.dtype == np.dtype(">f8")
            assert np.all(hdu.data[OUTSIDE] == 0)
            assert np.all(np.isfinite(hdu.data))
            header = hdu.header
            assert (header["CRVAL1"], header["CDELT1"], header["CRPIX1"]) == (4.179, 6e-6, 1)
            assert (header["CTYPE1"], header["DC-FLAG"]) == ("LOG-LINEAR", 1)
        flux, error, best = (hdu.data[CHIP_PIXELS] for hdu in file[1:4])
        assert np.all(best > 0)
        assert np.all(error > 0)
        assert 0.9 < np.median(flux) < 1.1
        assert np.asarray(file[4].data).tobytes() == catalogue.allstar[position].tobytes()


def test_rows_of_one_name_are_of_one_star(catalogue):
    names, first, twin = np.unique(catalogue.rows.apogee_id, return_index=True, return_inverse=True)
    assert len(names) < len(twin), "stars that were observed twice"
    for name in ("teff", "logg", "fe_h"):
        values = getattr(catalogue.stars, name)
        np.testing.assert_array_equal(values, values[first][twin])


def test_every_row_has_its_file_or_its_reason(root, allstar, catalogue):
    for row, has_file, empty in zip(
        allstar, catalogue.rows.has_file, catalogue.rows.empty, strict=True
    ):
        path = spectrum_path(root, row)
        assert path.exists() == has_file
        if has_file:
            with fits.open(path) as file:
                assert np.all(file[1].data == 0) == empty
                assert np.all(file[3].data[CHIP_PIXELS] == 1) == empty
                assert file[4].data["APOGEE_ID"][0] == row["APOGEE_ID"]
                assert file[4].data["SNR"][0] == row["SNR"]
    assert not catalogue.rows.has_file.all()
    assert catalogue.rows.empty.any()


def test_checksum_lists_are_right(root, allstar):
    listed = 0
    for telescope, field in {(row["TELESCOPE"], row["FIELD"]) for row in allstar}:
        path = root / paths.sha1sum_path(*NAMES, telescope, field)
        assert ("_rev1_" in path.name) == (telescope == "lco25m")
        for line in path.read_text().splitlines() if path.exists() else []:
            sha1, name = line.split()
            assert hashlib.sha1((path.parent / name).read_bytes()).hexdigest() == sha1
            listed += 1
    assert listed == len(list(root.rglob("aspcapStar-*.fits")))


def test_some_checksums_are_not_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(mock_sas, "_UNLISTED", 10)
    folder = tmp_path / paths.field_folder(*NAMES, "apo25m", "000+08")
    folder.mkdir(parents=True)
    files = [(f"aspcapStar-{number}.fits", "0" * 40) for number in range(25)]
    mock_sas._write_checksums({folder: files}, SURVEY, tmp_path)
    listed = (tmp_path / paths.sha1sum_path(*NAMES, "apo25m", "000+08")).read_text().splitlines()
    assert len(listed) == 23


def test_bytes_do_not_depend_on_processes_but_on_the_seed(root, tmp_path):
    mock_survey(output=tmp_path / "two", mock=OPTIONS, release=SURVEY, processes=2)
    assert digests(tmp_path / "two") == digests(root)
    other = make_catalogue(Mock(rows=60, seed=6), SURVEY)
    assert not np.array_equal(other.allstar["RA"], make_catalogue(OPTIONS, SURVEY).allstar["RA"])


def test_a_survey_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("disk full")

    monkeypatch.setattr("spectrafm.surveys.mock.mock_survey._write_checksums", fail)
    monkeypatch.setattr("spectrafm.surveys.mock.mock_survey.batch_spectra", lambda *_: iter([]))
    with pytest.raises(RuntimeError, match="disk full"):
        mock_survey(output=tmp_path / "sas", mock=OPTIONS, release=SURVEY, processes=1)
    assert list(tmp_path.iterdir()) == []


def test_without_a_gap_observed_spectra_are_noisy_models():
    flux, error, best, made = spectra(Mock(rows=50, gap=0))
    for row in np.flatnonzero(~made.rows.empty):
        good = error[row] < 1e9
        pull = (flux[row] - best[row])[good] / error[row][good]
        assert pull.std() == pytest.approx(1, abs=0.05)
        assert np.abs(pull).max() < 6
        assert good.mean() > 0.99


@pytest.fixture(scope="module")
def full_gap():
    return spectra(Mock(rows=150))


def test_gap_has_the_size_that_was_measured(full_gap):
    flux, error, best, made = full_gap
    used = (made.rows.snr > 200) & ~made.rows.empty
    used = used[:, None] & (error < 1e9) & (flux > 0.05) & (flux < 1.2)
    assert 0.017 < np.sqrt(np.mean((flux - best)[used] ** 2)) < 0.03


def test_levels_are_those_of_real_spectra(full_gap):
    flux, error, best, made = full_gap
    rich = (made.stars.logg < 3) & (made.stars.fe_h > -0.5) & ~made.rows.empty
    continuum = np.percentile(best[rich], 97, axis=1)
    assert 1.03 < np.median(continuum) < 1.09
    # The real mean over the paper's hundred fine-tuning stars: 0.857, 1.010, 1.067.
    chunk = np.where(error < 1e9, flux, np.nan)[rich][:, 4107:4619]
    percentiles = np.percentile(np.nanmean(chunk, axis=0), [5, 50, 95])
    np.testing.assert_allclose(percentiles, [0.857, 1.010, 1.067], atol=0.025)


def test_every_row_has_noise_of_its_own(full_gap):
    _, error, _, made = full_gap
    bad = error > 1e9
    whole = np.flatnonzero(~made.rows.empty)
    patterns = {bad[row].tobytes() for row in whole}
    assert len(patterns) == whole.size


@pytest.mark.skipif(not DR14.exists(), reason="needs the real DR14 spectrum of shared/data")
def test_some_model_resembles_a_real_red_giant(full_gap):
    with np.load(DR14) as file:
        real, good = file["normalized_flux"], file["good_pixel_mask"]
    _, _, best, made = full_gap
    alike = [np.corrcoef(model[good], real[good])[0, 1] for model in best[~made.rows.empty]]
    assert max(alike) > 0.9
    assert 2 < made.stars.logg[~made.rows.empty][np.argmax(alike)] < 3.3


def test_iron_poor_spectra_have_shallow_lines(full_gap):
    _, _, best, made = full_gap
    giant = (made.stars.logg < 2.5) & ~made.rows.empty
    poor = best[giant & (made.stars.fe_h < -1.2)].std(axis=1)
    rich = best[giant & (made.stars.fe_h > -0.3)].std(axis=1)
    assert np.median(poor) < 0.5 * np.median(rich)
