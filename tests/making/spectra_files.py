"""Small files of spectra in the published layouts of surveys and instruments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

PIXELS = 120


def flux_of(wavelength: np.ndarray) -> np.ndarray:
    """A flux near one that is a function of wavelength only."""
    return 1 - 0.3 * np.sin(wavelength / 7.0) ** 8


def write_apstar(path: Path, rows: int) -> Path:
    """An apStar of one visit (1-D images) or of more (the combination first)."""
    wavelength = 10 ** (4.179 + 6e-6 * np.arange(8575))
    flux = 100 * flux_of(wavelength)
    mask = np.zeros(8575, np.int64)
    mask[1000] = 1 << 0
    mask[1001] = 1 << 12  # a significant sky line is no bad pixel
    images = [flux, flux * 0.02, mask]
    if rows > 1:
        images = [np.stack([image, *[0 * image] * (rows - 1)]) for image in images]
    hdus = [fits.PrimaryHDU()]
    hdus[0].header["OBJID"] = "2M00000000+0000000"
    for image, unit in zip(
        images,
        ("Flux (10^-17 erg/s/cm^2/Ang)", "Err (10^-17 erg/s/cm^2/Ang)", "Pixel bitmask"),
        strict=True,
    ):
        hdu = fits.ImageHDU(image)
        hdu.header.update({"CRVAL1": 4.179, "CDELT1": 6e-6, "CTYPE1": "LOG-LINEAR"})
        hdu.header["BUNIT"] = unit
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


def write_mwm(path: Path, kind: str) -> Path:
    """An mwmStar or astraStar with a BOSS spectrum of APO and an APOGEE spectrum of LCO."""
    primary = fits.PrimaryHDU()
    primary.header.update({"V_ASTRA": "0.6.0", "SDSS_ID": 12345})
    hdus = [primary]
    for number in range(1, 5):
        start, step = (3.5523, 1e-4) if number <= 2 else (4.179, 6e-6)
        wavelength = 10 ** (start + step * np.arange(PIXELS))
        rows = 1 if number in (1, 4) else 0
        flux = 50 * flux_of(wavelength)
        flags = np.zeros(PIXELS, np.int64)
        flags[3] = 1
        content = {
            "sdss_id": np.full(rows, 12345),
            "flux": np.tile(flux, (rows, 1)).astype(np.float32),
            "ivar": np.tile((50 / flux) ** 2, (rows, 1)).astype(np.float32),
            "pixel_flags": np.tile(flags, (rows, 1)),
        }
        if kind == "mwmStar":
            content["wavelength"] = np.tile(wavelength, (rows, 1))
        else:
            content["model_flux"] = np.ones((rows, PIXELS), np.float32)
            content["continuum"] = np.full((rows, PIXELS), 50, np.float32)
        hdu = fits.BinTableHDU(Table(content))
        if kind != "mwmStar":
            hdu.header.update({"CRVAL": start, "CDELT": step, "NPIXELS": PIXELS})
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


def write_lamost_table(path: Path, kind: str) -> Path:
    """LAMOST's tables: LRS of DR8 and later (one row), MRS with a row for each pixel or one row."""
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "LAMOST", "HELIO": True, "VACUUM": True, "Z": 1e-4})
    primary.header["DESIG"] = "LAMOST J000000.00+000000.0"
    hdus = [primary]
    for name, first, last in (
        [("COADD", 3700, 9000)]
        if kind == "lrs"
        else [("COADD_B", 4950, 5350), ("COADD_R", 6300, 6800)]
    ):
        wavelength = np.linspace(first, last, PIXELS)
        content = {
            "FLUX": 1000 * flux_of(wavelength),
            "IVAR": np.full(PIXELS, 1e-2),
            "WAVELENGTH" if kind != "mrs rows" else "LOGLAM": (
                wavelength if kind != "mrs rows" else np.log10(wavelength)
            ),
            "ANDMASK": (np.arange(PIXELS) == 7).astype(np.int16),
        }
        if kind != "mrs rows":
            content = {key: values[None] for key, values in content.items()}
        hdus.append(fits.BinTableHDU(Table(content), name=name))
        if kind != "lrs":
            hdus.append(fits.BinTableHDU(Table(content), name=f"{name[-1]}-84000001"))
    fits.HDUList(hdus).writeto(path)
    return path


def write_galah(path: Path) -> Path:
    """One arm of a HERMES spectrum: flux, relative error, and the normalised flux at rest."""
    wavelength = 4713 + 0.05 * np.arange(PIXELS)
    hdus = [fits.PrimaryHDU(100 * flux_of(wavelength)), fits.ImageHDU(np.full(PIXELS, 0.01))]
    hdus += [fits.ImageHDU(np.ones(PIXELS)) for _ in range(2)]
    hdus.append(fits.ImageHDU(flux_of(wavelength)))
    hdus[0].header["INSTRUME"] = "HERMES-1"
    hdus[0].header["OBJECT"] = "10000000"
    for hdu in hdus:
        hdu.header.update({"CRVAL1": 4713.0, "CDELT1": 0.05, "CRPIX1": 1})
    fits.HDUList(hdus).writeto(path)
    return path


def write_boss(path: Path) -> Path:
    """The sum of the exposures of a star, and what the pipeline makes of it."""
    primary = fits.PrimaryHDU()
    primary.header.update({"PLATEID": 1234, "MJD": 55555, "FIBERID": 7})
    logarithm = 3.58 + 1e-4 * np.arange(PIXELS)
    pixels = {
        "flux": flux_of(10**logarithm),
        "loglam": logarithm,
        "ivar": np.where(np.arange(PIXELS) == 3, 0.0, 1e4),
        "wdisp": np.full(PIXELS, 1.1),
    }
    star = {"Z": [1e-4], "CLASS": ["STAR"]}
    tables = [fits.BinTableHDU(Table(pixels), name="COADD"), fits.BinTableHDU(Table(star))]
    fits.HDUList([primary, *tables]).writeto(path)
    return path


def write_desi(path: Path) -> Path:
    """A coadd of two targets, with arms that overlap."""
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(Table({"TARGETID": [11, 22]}), name="FIBERMAP")]
    for arm, first, last in (("B", 3600, 5800), ("R", 5760, 7620), ("Z", 7520, 9824)):
        wavelength = np.linspace(first, last, PIXELS)
        flux = np.stack([flux_of(wavelength), 2 * flux_of(wavelength)])
        # Unsigned, as the published files have it: FITS writes an offset for that.
        mask = np.zeros((2, PIXELS), np.uint32)
        mask[1, 5] = 4
        for name, values in (
            ("WAVELENGTH", wavelength),
            ("FLUX", flux.astype(np.float32)),
            ("IVAR", np.full((2, PIXELS), 1e4, np.float32)),
            ("MASK", mask),
        ):
            hdus.append(fits.ImageHDU(values, name=f"{arm}_{name}"))
    fits.HDUList(hdus).writeto(path)
    return path


def write_jwst(path: Path) -> Path:
    """A NIRSpec x1d of one target."""
    wavelength = np.linspace(1.5, 1.8, PIXELS)
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "JWST", "INSTRUME": "NIRSPEC", "TARGNAME": "HD 1"})
    flux = 1e-3 * flux_of(wavelength * 1e4)
    table = Table(
        {
            "WAVELENGTH": wavelength * u.um,
            "FLUX": flux * u.Jy,
            "FLUX_ERROR": 0.01 * flux * u.Jy,
            "DQ": ((np.arange(PIXELS) == 4) * 1).astype(np.uint32),
        }
    )
    hdu = fits.BinTableHDU(table, name="EXTRACT1D")
    hdu.header["VELOSYS"] = 1234.0
    fits.HDUList([primary, hdu]).writeto(path)
    return path


def gaia_table(product: str, stars: int) -> Table:
    """A row for each wavelength of one star, or a row of arrays for each of several."""
    if product == "XP":
        nm, unit, scale = np.linspace(336, 1020, 343), u.W / u.m**2 / u.nm, 1e-16
    else:
        nm, unit, scale = np.linspace(846, 870, 2401), u.one, 1.0
    flux = scale * flux_of(nm * 10)
    if stars == 1:
        return Table(
            {"wavelength": nm * u.nm, "flux": flux * unit, "flux_error": 0.01 * flux * unit}
        )
    return Table(
        {
            "source_id": np.arange(stars) + 4295806720,
            "flux": np.tile(flux, (stars, 1)),
            "flux_error": np.tile(0.01 * flux, (stars, 1)),
        }
    )


def write_texts(path: Path, table: Table) -> Path:
    """A CSV whose arrays are texts that list numbers, as DataLink and GaiaXPy write them."""
    lines = [",".join(table.colnames)]
    for row in table:
        cells = [f'"[{", ".join(map(str, cell))}]"' if np.ndim(cell) else str(cell) for cell in row]
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n")
    return path
