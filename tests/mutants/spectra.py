"""Spectra of users: units, media, masks, normalisers, formats, velocities, the store of a table."""

from mutants import Mutant

SPECTRUM = "spectrafm/spectra/spectrum.py"
UNITS = "spectrafm/spectra/units.py"
GIVEN = "spectrafm/spectra/spectra.py"
TABLES = "spectrafm/readers/tables.py"
GRID = "spectrafm/spectra/grid.py"
LABELLED = "spectrafm/readers/labelled.py"
IMPORT = "spectrafm/surveys/own/import_spectra.py"

USER = "tests/test_user_spectra.py"
READERS = "tests/test_readers.py"
OWN = "tests/test_own.py"

MUTANTS = [
    # Units and media.
    Mutant(
        UNITS,
        "ANGSTROM_RANGE = (3000.0,",
        "ANGSTROM_RANGE = (300.0,",
        USER,
        "nanometres without a unit are taken as Angstrom",
    ),
    Mutant(
        UNITS,
        'assumed.append("wavelength has no unit: taken as Angstrom")',
        "pass",
        USER,
        "numbers are taken as Angstrom without a word",
    ),
    Mutant(
        UNITS,
        "wavelength = air_to_vacuum(wavelength)",
        "pass",
        USER,
        "wavelengths in air are taken as in vacuum",
    ),
    Mutant(
        "spectrafm/spectra/medium.py",
        "vacuum = air * refractive_index(vacuum)",
        "vacuum = air / refractive_index(vacuum)",
        USER,
        "wavelengths in air move the wrong way",
    ),
    # Pixels.
    Mutant(
        SPECTRUM,
        "bad |= zero | ~np.isfinite(flux)",
        "bad |= ~np.isfinite(flux)",
        USER,
        "zeros left in as flux are used",
    ),
    Mutant(
        SPECTRUM,
        "if not zeros_are_bad:",
        "if False:",
        USER,
        "zeros are masked without a word",
    ),
    Mutant(
        SPECTRUM,
        "np.isfinite(error) & (error > 0)",
        "np.isfinite(error) & (error >= 0)",
        USER,
        "a pixel with an error of zero is used",
    ),
    Mutant(
        SPECTRUM,
        "wavelength, flux, bad = wavelength[order], flux[order], bad[order]",
        "wavelength, flux = wavelength[order], flux[order]",
        USER,
        "masks stay behind where pixels are sorted",
    ),
    Mutant(
        SPECTRUM,
        "np.sqrt((1 - beta) / (1 + beta))",
        "np.sqrt((1 + beta) / (1 - beta))",
        USER,
        "a radial velocity is added instead of removed",
    ),
    Mutant(
        GIVEN,
        "if given is not None and len(given.values) != pixels:",
        "if False:",
        USER,
        "arrays of unequal length are no error of their own",
    ),
    Mutant(
        GIVEN,
        'if normalisation != "none" and not (LEVEL[0]',
        "if False and not (LEVEL[0]",
        USER,
        "flux in physical units counts as normalised",
    ),
    # Continua.
    Mutant(
        "spectrafm/continuum/aspcap.py",
        "FITS = 2",
        "FITS = 10",
        "tests/test_continuum.py",
        "the continuum is 6 per cent above that of ASPCAP",
    ),
    Mutant(
        "spectrafm/continuum/dividing.py",
        "None if error is None else (error / safe)",
        "None if error is None else (error * safe)",
        "tests/test_continuum.py",
        "errors are multiplied by the continuum",
    ),
    # Formats.
    Mutant(
        "spectrafm/readers/making.py",
        "np.where(variance > 0, 1 / np.sqrt(variance), np.nan)",
        "np.where(variance > 0, 1 / variance, np.nan)",
        READERS,
        "variances are taken as errors",
    ),
    Mutant(
        "spectrafm/readers/apstar.py",
        "(0, 1, 2, 3, 4, 5, 6, 7, 14)",
        "(1, 2, 3, 4, 5, 6, 7, 14)",
        READERS,
        "bad pixels of an apStar are used",
    ),
    Mutant(
        "spectrafm/readers/lamost.py",
        "None if bad is None else bad != 0,",
        "None,",
        READERS,
        "pixels that LAMOST's and-mask calls bad are used",
    ),
    Mutant(
        TABLES,
        'values if key == "mask" else ~values',
        "values",
        READERS,
        "a column of good pixels counts as one of bad pixels",
    ),
    Mutant(
        TABLES,
        'order = np.argsort(group, kind="stable")',
        "order = np.arange(len(group))",
        READERS,
        "rows of pixels of one star get into the spectrum of another",
    ),
    Mutant(
        "spectrafm/readers/velocity.py",
        "offset = (best - most + shift) * step",
        "offset = (most - best + shift) * step",
        READERS,
        "velocities have the wrong sign",
    ),
    # The store of your own table.
    Mutant(
        GRID,
        "bad |= (one.mask[left] & (share < 1))",
        "bad |= (one.mask[left] & (share < 0))",
        OWN,
        "flux is interpolated from a bad pixel",
    ),
    Mutant(
        LABELLED,
        "return usual, self._factor(column, unit, u.Unit(usual))",
        "return usual, 1.0",
        OWN,
        "a temperature in kK is stored as one in K",
    ),
    Mutant(
        LABELLED,
        "unknown = ~np.isfinite(numbers) | (numbers <= FILL)",
        "unknown = ~np.isfinite(numbers) | (numbers <= -99999)",
        OWN,
        "a fill value becomes a label",
    ),
    Mutant(
        IMPORT,
        "one, velocity = self._stars.at_rest(row, one)",
        "velocity = 0.0",
        OWN,
        "radial velocities are not removed",
    ),
    Mutant(
        IMPORT,
        'attributes["normalisation"] = made.normalisation',
        "pass",
        OWN,
        "a store does not say how its flux is normalised",
    ),
]
