"""aspcapStar files: what is read, what is masked, what is refused."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from astropy.io import fits

from making.sas_tree import aspcapstar_bytes, row, spectra_of
from spectrafm.errors import SpectraFMError
from spectrafm.surveys.apogee.aspcapstar import (
    AspcapStar,
    read_aspcapstar,
    usable_spectra,
)
from spectrafm.surveys.apogee.grid import CHIP_PIXELS, N_GRID, N_PIXELS

LINE = row("2M00000001+0000001")


def changed(change) -> bytes:
    """A good file after ``change(hdus)``."""
    hdus = fits.open(io.BytesIO(aspcapstar_bytes(LINE)))
    hdus = change(hdus) or hdus
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


def test_reads_the_chip_pixels_of_all_three_spectra():
    star = read_aspcapstar(aspcapstar_bytes(LINE), "file", LINE["APOGEE_ID"])
    assert star.apogee_id == LINE["APOGEE_ID"]
    for name, expected in spectra_of(LINE["APOGEE_ID"]).items():
        found = getattr(star, name)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected[CHIP_PIXELS].astype(np.float32))


def test_a_star_that_begins_with_zeros_keeps_all_chip_pixels():
    # The paper took the pixels that are not zero in the first spectrum: one bad star shifts all.
    observed = spectra_of(LINE["APOGEE_ID"])["observed"]
    observed[CHIP_PIXELS[:100]] = 0
    star = read_aspcapstar(aspcapstar_bytes(LINE, observed=observed), "file")
    assert star.observed.shape == (N_PIXELS,)
    assert not star.observed[:100].any()
    assert star.observed[100:].all()


def test_float32_images_are_read_too():
    arrays = {name: array.astype(np.float32) for name, array in spectra_of("2M").items()}
    star = read_aspcapstar(aspcapstar_bytes(LINE, **arrays), "file")
    np.testing.assert_array_equal(star.observed, arrays["observed"][CHIP_PIXELS])


def set_card(key, value):
    return lambda hdus: hdus[2].header.set(key, value)


def as_integers(hdus):
    hdus[3].data = hdus[3].data.astype(np.int16)


def shorter(hdus):
    hdus[1].data = hdus[1].data[:-1]


def no_id_column(hdus):
    hdus[4] = fits.BinTableHDU.from_columns([fits.Column("OTHER", "E", array=[1.0])])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hdus: fits.HDUList(hdus[:3]), "3 HDUs, expected at least 5"),
        (lambda hdus: fits.HDUList(hdus[:4]), "4 HDUs, expected at least 5"),
        (shorter, rf"HDU1 has shape \({N_GRID - 1},\), expected \({N_GRID},\)"),
        (lambda hdus: fits.HDUList([hdus[i] for i in (0, 4, 1, 2, 3)]), "HDU1 has shape None"),
        (set_card("CRVAL1", 4.18), "HDU2 has CRVAL1 = 4.18, expected 4.179"),
        (set_card("CDELT1", 6.1e-6), "HDU2 has CDELT1 = 6.1e-06, expected 6e-06"),
        (set_card("CRVAL1", "4.179"), "HDU2 has CRVAL1"),
        (as_integers, "HDU3 holds int16, expected floats"),
        (no_id_column, "HDU4 has no column APOGEE_ID"),
    ],
)
def test_a_file_of_another_make_is_refused(change, message):
    with pytest.raises(SpectraFMError, match=f"^a/file: {message}"):
        read_aspcapstar(changed(change), "a/file", LINE["APOGEE_ID"])


def test_a_file_of_another_star_is_refused():
    with pytest.raises(SpectraFMError, match=r"a/file: HDU4 is of '2M00000001\+0000001', not of"):
        read_aspcapstar(aspcapstar_bytes(LINE), "a/file", "2M00000001+000000")


def test_every_truncation_and_any_garbage_is_an_error_that_names_the_file():
    content = aspcapstar_bytes(LINE)
    random.seed(1)
    ends = [0, 1, 2879, 2880, len(content) - 1, *random.sample(range(len(content)), 100)]
    for end in ends:
        with pytest.raises(SpectraFMError, match=r"^a/file: "):
            read_aspcapstar(content[:end], "a/file")
    for garbage in (b"<html>404</html>", bytes(20_000), random.randbytes(20_000)):
        with pytest.raises(SpectraFMError, match=r"^a/file: not a whole FITS file"):
            read_aspcapstar(garbage, "a/file")


def test_damaged_headers_raise_no_other_error():
    content = aspcapstar_bytes(LINE)
    random.seed(2)
    header_bytes = [i for i, byte in enumerate(content) if 32 < byte < 127]
    refused = 0
    for position in random.sample(header_bytes, 300):
        damaged = bytearray(content)
        damaged[position] ^= 1 << random.randrange(8)
        try:
            read_aspcapstar(bytes(damaged), "a/file", LINE["APOGEE_ID"])
        except SpectraFMError:
            refused += 1
    assert refused > 0


def test_a_header_that_promises_the_moon_is_refused_at_once():
    content = aspcapstar_bytes(LINE)
    card, bomb = b"NAXIS1  =                 8575", b"NAXIS1  =        8575000000000"
    assert card in content
    with pytest.raises(SpectraFMError, match="not a whole FITS file"):
        read_aspcapstar(content.replace(card, bomb, 1), "a/file")


# Masks.


def star_of(**changes) -> AspcapStar:
    arrays = {
        "observed": np.full(N_PIXELS, 0.9, np.float32),
        "observed_error": np.full(N_PIXELS, 0.01, np.float32),
        "synthetic": np.full(N_PIXELS, 0.95, np.float32),
    }
    for name, values in changes.items():
        arrays[name][: len(values)] = values
    return AspcapStar(**arrays, apogee_id="2M")


def test_pixels_of_which_nothing_is_known_are_masked():
    error = [0, -0.01, np.nan, np.inf, 1e10, 1e9, 1e8, 0.005]
    star = star_of(observed_error=error)
    assert star.mask[:8].tolist() == [True] * 6 + [False] * 2
    assert not star.mask[8:].any()
    flux = star_of(observed=[np.nan, np.inf, -np.inf, 0, -1, 7.0])
    assert flux.mask[:6].tolist() == [True] * 3 + [False] * 3, "the range is applied on loading"


ZEROS, ONES = np.zeros(N_GRID), np.ones(N_GRID)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"observed": ZEROS, "synthetic": ONES}, "all-zero spectrum"),
        ({"synthetic": ONES}, "synthetic spectrum of ones"),
        ({"observed": np.full(N_GRID, np.nan)}, r"no good pixel \(observed\)"),
        ({"observed_error": np.full(N_GRID, 1e10)}, r"no good pixel \(observed\)"),
        ({"synthetic": np.full(N_GRID, np.inf)}, r"no good pixel \(synthetic\)"),
    ],
)
def test_a_star_with_nothing_to_show_is_refused(arrays, reason):
    content = aspcapstar_bytes(LINE, **arrays)
    with pytest.raises(SpectraFMError, match=f"^a/file: {reason}$"):
        usable_spectra(content, "a/file", LINE["APOGEE_ID"])


def test_good_spectra_come_as_they_are():
    observed = spectra_of(LINE["APOGEE_ID"])["observed"]
    observed[CHIP_PIXELS[7]] = 0
    observed[CHIP_PIXELS[9]] = 1.7
    content = aspcapstar_bytes(LINE, observed=observed)
    star = usable_spectra(content, "a/file", LINE["APOGEE_ID"])
    np.testing.assert_array_equal(star.observed, observed[CHIP_PIXELS].astype(np.float32))
    assert not star.mask.any()
