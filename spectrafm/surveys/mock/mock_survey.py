"""Writing the mock survey as a piece of the SDSS Science Archive Server (SAS), in DR17's layout.

population -> observing -> aspcap -> atmosphere -> synthesis -> instrument -> aspcapStar files
                              `---> allstar -> allStar
"""

from __future__ import annotations

import functools
import hashlib
import io
import multiprocessing
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from spectrafm.files import atomic_path
from spectrafm.progress import track
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.grid import (
    CHIP_PIXELS,
    LOG_WAVELENGTH_START,
    LOG_WAVELENGTH_STEP,
    N_GRID,
    WAVELENGTH,
)
from spectrafm.surveys.apogee.options import Release, Survey, joined
from spectrafm.surveys.mock import atmosphere, instrument, synthesis
from spectrafm.surveys.mock.allstar import (
    COLUMNS,
    ELEMENT_ORDER,
    OVER_METALS,
    PARAMETER_ORDER,
    make_allstar,
)
from spectrafm.surveys.mock.aspcap import Fit, fit, measure, true_global
from spectrafm.surveys.mock.atmosphere import Parameters
from spectrafm.surveys.mock.lines import model_lines, sky_lines
from spectrafm.surveys.mock.observing import CUT_SHARES, Rows, observe_stars
from spectrafm.surveys.mock.options import Mock
from spectrafm.surveys.mock.population import Stars, draw_stars

# Rows synthesised together. Fixed, so that the result does not depend on the number of processes.
_BATCH = 50

# DR17's writer (sdss/apogee, aspcap.py) fills numpy arrays of double precision, and so are the
# images of real DR17 apStar files; DR13 was single precision.
_SPECTRUM = np.dtype(">f8")

# One checksum in so many is absent from its list, as happens on the SAS.
_UNLISTED = 200

# The hydrogen lines of the models are stronger than those of the stars by this at gap 1.
_MODEL_BRACKETT = 0.4


@dataclass(frozen=True)
class Catalogue:
    """Everything about the survey, or about consecutive rows of it, but its spectra."""

    first: int  # position of the first row in the survey
    stars: Stars  # the star of each row
    rows: Rows
    best: Fit
    allstar: np.ndarray  # the rows of allStar

    def batches(self) -> list[Catalogue]:
        """The catalogue cut into the pieces that are computed together."""
        return [self._part(first) for first in range(0, len(self.rows), _BATCH)]

    def _part(self, first: int) -> Catalogue:
        part = slice(first, first + _BATCH)
        columns = (table.take(part) for table in (self.stars, self.rows, self.best))
        return Catalogue(first, *columns, self.allstar[part])


def mock_survey(*, output: Path, processes: int = 2, mock: Mock, release: Release) -> None:
    """Write the mock survey as a SAS tree, whole or not at all.

    Parameters
    ----------
    output : pathlib.Path
        Root of the SAS tree: where ``survey.source`` will point. Replaced when it exists.
    processes : int
        Processes that compute and write spectra; their number changes no byte.

    Examples
    --------
    $ spectrafm mock-survey --output=mock --rows=500
    """
    root, options, survey = output, mock, joined(release)
    catalogue = make_catalogue(options, survey)
    batches = catalogue.batches()
    with atomic_path(root) as tree:
        write_allstar(tree / paths.allstar_path(survey.release, survey.aspcap), catalogue.allstar)
        write = functools.partial(_write_batch, tree, options, survey)
        listed = defaultdict(list)
        for written in track(_each(write, batches, processes), "mock spectra", len(batches)):
            for path, sha1 in written:
                listed[path.parent].append((path.name, sha1))
        _write_checksums(listed, survey, tree)
        (tree / paths.MOCK_MARKER).write_text("Simulated stars of SpectraFM's mock survey.\n")


def make_catalogue(options: Mock, survey: Survey) -> Catalogue:
    """Draw the stars, observe them, fit them and fill allStar; compute no spectra.

    Parameters
    ----------
    options : spectrafm.surveys.mock.options.Mock
    survey : spectrafm.surveys.apogee.options.Survey
    """
    rng = np.random.default_rng([options.seed, 0])
    repeats = round(CUT_SHARES["repeat"] * options.rows)
    stars = draw_stars(options.rows - repeats, options.halo_share, rng)
    rows = observe_stars(stars, repeats, rng)
    stars = stars.take(rows.star)
    best = fit(stars, rows.snr, options.gap, rng)
    labels = measure(stars, best, rng)
    allstar = make_allstar(stars, rows, best, labels, survey.release, survey.aspcap)
    return Catalogue(0, stars, rows, best, allstar)


def _each(write, batches: list[Catalogue], processes: int) -> Iterator:
    """Results of ``write`` for every batch, in order."""
    if processes == 1:
        yield from map(write, batches)
        return
    # Fresh processes: a fork of one that runs threads (torch, OpenBLAS) may hang.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        yield from pool.map(write, batches)


def _write_batch(
    tree: Path, options: Mock, survey: Survey, batch: Catalogue
) -> list[tuple[Path, str]]:
    """Compute and write the spectra of a batch; returns paths and SHA-1 sums."""
    template = _template()
    written = []
    for position, spectra in enumerate(batch_spectra(batch, options)):
        if not batch.rows.has_file[position]:
            continue
        row = batch.allstar[position]
        path = tree / paths.aspcapstar_path(
            survey.release,
            survey.aspcap,
            row["TELESCOPE"].decode(),
            row["FIELD"].decode(),
            row["APOGEE_ID"].decode(),
        )
        content = template.filled(*spectra, row)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written.append((path, hashlib.sha1(content).hexdigest()))
    return written


def batch_spectra(
    batch: Catalogue, options: Mock
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Observed spectrum, error and best-fit model of each row, on the grid of 8575 pixels.

    Parameters
    ----------
    batch : Catalogue
    options : spectrafm.surveys.mock.options.Mock

    Yields
    ------
    flux, error, best : array (8575,)
        Exactly zero between the detectors.
    """
    observed = _observed_spectra(batch, options)
    for empty, (flux, error), best in zip(
        batch.rows.empty, observed, _best_fits(batch, options.gap), strict=True
    ):
        if empty:
            # ASPCAP's answer to an empty spectrum is a model of one everywhere.
            yield np.zeros(N_GRID), np.zeros(N_GRID), np.where(best > 0, 1.0, 0.0)
        else:
            yield flux, error, best


def _best_fits(batch: Catalogue, gap: float) -> Iterator[np.ndarray]:
    """ASPCAP's best-fit model spectra: its own line list, the fitted global parameters."""
    parameters = batch.best.parameters()
    atmospheres = atmosphere.solve(parameters)
    lines = model_lines(gap)
    for star, vmicro in enumerate(parameters.vmicro):
        fine = synthesis.normalised_flux(
            atmospheres, star, vmicro, lines, brackett=1 + _MODEL_BRACKETT * gap
        )
        yield instrument.normalise(instrument.to_pixels(fine, parameters.broadening[star]))


def _observed_spectra(batch: Catalogue, options: Mock) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Observed spectra and their errors: the true stars through the true instrument."""
    gap, stars, rows = options.gap, batch.stars, batch.rows
    parameters = seen_parameters(stars, gap)
    # The surfaces of line-poor stars are cooler than one-dimensional atmospheres say.
    surface_change = -0.012 * gap * np.clip(-stars.fe_h, 0, None)
    atmospheres = atmosphere.solve(parameters, surface_change)
    for star in range(len(rows)):
        rng = np.random.default_rng([options.seed, 1, batch.first + star])
        vmicro = parameters.vmicro[star] * np.exp(0.07 * gap * rng.normal())
        lines = sky_lines(stars.teff[star], stars.logg[star], stars.fe_h[star], gap)
        fine = synthesis.normalised_flux(atmospheres, star, vmicro, lines)
        exposure = instrument.Exposure(
            rows.snr[star], rows.fibre[star], rows.shift[star], rows.persistence[star]
        )
        yield instrument.observe(fine, parameters.broadening[star], exposure, gap, rng)


def seen_parameters(stars: Stars, gap: float) -> Parameters:
    """What the observed spectra are made from: every element with its own abundance.

    Towards ``gap`` 0 the single elements approach the global abundances, which are all that the
    models know, so that observed spectra become noisy models.
    """
    truth = true_global(stars).parameters()
    own = min(gap, 1.0) * (stars.abundance - truth.abundance)
    return replace(truth, abundance=truth.abundance + own)


@functools.cache
def _template() -> Template:
    """The one template of a process: astropy takes 0.1 s to write it."""
    return Template()


class Template:
    """An aspcapStar file whose headers astropy wrote once: they are the same for every star."""

    def __init__(self):
        file = io.BytesIO()
        hdus = fits.HDUList([_primary()])
        for _ in ("flux", "error", "best fit"):
            hdus.append(fits.ImageHDU(np.zeros(N_GRID, _SPECTRUM), _spectrum_header()))
        hdus.append(fits.BinTableHDU(np.zeros(1, COLUMNS)))
        hdus.writeto(file)
        self._content = file.getvalue()
        with fits.open(io.BytesIO(self._content)) as read:
            self._data = [hdu.fileinfo()["datLoc"] for hdu in read[1:]]

    def filled(self, flux: np.ndarray, error: np.ndarray, best: np.ndarray, row: np.void) -> bytes:
        """Bytes of the file of one star: its spectra and its row of allStar."""
        content = bytearray(self._content)
        images = (image.astype(_SPECTRUM) for image in (flux, error, best))
        for start, data in zip(self._data, (*images, row), strict=True):
            content[start : start + data.nbytes] = data.tobytes()
        return bytes(content)


def _primary() -> fits.PrimaryHDU:
    header = fits.Header()
    header["VERSION"] = ("spectrafm mock survey", "not observed: computed")
    return fits.PrimaryHDU(header=header)


def _spectrum_header() -> fits.Header:
    header = fits.Header()
    header["CRVAL1"] = LOG_WAVELENGTH_START
    header["CDELT1"] = LOG_WAVELENGTH_STEP
    header["CRPIX1"] = 1
    header["CTYPE1"] = "LOG-LINEAR"
    header["DC-FLAG"] = 1
    return header


def write_allstar(path: Path, table: np.ndarray) -> None:
    """Write the catalogue: the table, the index by right ascension, what its arrays hold, fields.

    Parameters
    ----------
    path : path-like
    table : structured array
        Sorted by right ascension.
    """
    # Row of the first star beyond each degree of right ascension.
    index = np.searchsorted(table["RA"], np.arange(360)).astype(">i4")
    fields = np.unique(table[["TELESCOPE", "FIELD", "LOCATION_ID"]])
    hdus = fits.HDUList(
        [
            _primary(),
            fits.BinTableHDU(table),
            fits.ImageHDU(index),
            fits.BinTableHDU(_array_meanings()),
            fits.BinTableHDU(np.array(fields)),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    hdus.writeto(path)


def _array_meanings() -> np.ndarray:
    """One row that says what the array columns hold."""
    count = len(ELEMENT_ORDER)
    meanings = np.zeros(
        1,
        [
            ("WAVE", ">f4", (CHIP_PIXELS.size,)),
            ("PARAM_SYMBOL", "S16", (len(PARAMETER_ORDER),)),
            ("ELEM_SYMBOL", "S5", (count,)),
            ("ELEMTOH", ">i4", (count,)),
            ("ELEM_VALUE", "S8", (count,)),
        ],
    )
    meanings["WAVE"] = WAVELENGTH
    meanings["PARAM_SYMBOL"] = PARAMETER_ORDER
    meanings["ELEM_SYMBOL"] = ELEMENT_ORDER
    meanings["ELEMTOH"] = [element not in OVER_METALS for element in ELEMENT_ORDER]
    meanings["ELEM_VALUE"] = [
        f"[{element}/{'M' if element in OVER_METALS else 'H'}]" for element in ELEMENT_ORDER
    ]
    return meanings


def _write_checksums(listed: dict, survey: Survey, tree: Path) -> None:
    """Write the list of SHA-1 sums beside the files of every field."""
    count = 0
    for folder, sums in sorted(listed.items()):
        telescope, field = folder.parts[-2:]
        lines = []
        for name, sha1 in sorted(sums):
            count += 1
            if count % _UNLISTED:
                lines.append(f"{sha1}  {name}\n")
        path = tree / paths.sha1sum_path(survey.release, survey.aspcap, telescope, field)
        path.write_text("".join(lines))
