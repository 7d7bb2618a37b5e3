"""Writing the mock survey as a tree of the SDSS Science Archive Server (SAS), in DR17's layout.

population -> observing -> aspcap -> atmosphere -> synthesis -> instrument -> aspcapStar files
                              `---> allstar -> allStar
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spectrafm.children import map_in_children
from spectrafm.files import atomic_path, crash_point
from spectrafm.outputs import LITTER, claims
from spectrafm.progress import track
from spectrafm.surveys.apogee import paths, simulated
from spectrafm.surveys.apogee.grid import N_GRID
from spectrafm.surveys.apogee.options import Release
from spectrafm.surveys.mock import atmosphere, instrument, synthesis
from spectrafm.surveys.mock.allstar import make_allstar
from spectrafm.surveys.mock.aspcap import Fit, fit, measure, true_global
from spectrafm.surveys.mock.aspcapstar_files import template, write_allstar
from spectrafm.surveys.mock.atmosphere import Parameters
from spectrafm.surveys.mock.lines import model_lines, sky_lines
from spectrafm.surveys.mock.observing import CUT_SHARES, Rows, observe_stars
from spectrafm.surveys.mock.options import Mock
from spectrafm.surveys.mock.population import Stars, draw_stars

# Rows synthesised together. Fixed, so that the result does not depend on the number of processes.
_BATCH = 50

# One in this many files is absent from its checksum list, as happens on the SAS.
_UNLISTED = 200

# Relative excess of the models' hydrogen lines over the stars' at gap 1.
_MODEL_BRACKETT = 0.4

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalogue:
    """Stars, observations, fits and allStar rows of the survey or of consecutive rows of it."""

    first: int  # position of the first row in the survey
    stars: Stars  # the star of each row
    rows: Rows
    best: Fit
    allstar: np.ndarray  # the rows of allStar

    def batches(self) -> list[Catalogue]:
        """The catalogue divided into the batches whose spectra are computed together."""
        return [self._part(first) for first in range(0, len(self.rows), _BATCH)]

    def _part(self, first: int) -> Catalogue:
        part = slice(first, first + _BATCH)
        columns = (table.take(part) for table in (self.stars, self.rows, self.best))
        return Catalogue(first, *columns, self.allstar[part])


def own_tree(path: Path) -> str | None:
    """Why what stands at a path is no mock survey to replace; see `spectrafm.files.Replaces`."""
    if not path.is_dir():
        return f"{path}: is a file; it is not replaced by a mock survey" if path.exists() else None
    files = [file for file in path.rglob("*") if not file.is_dir() and file.name not in LITTER]
    if files and not simulated.may_become_a_mock(path):
        return f"{path}: is a folder without {simulated.MARKER}; no mock survey replaces it"
    ours = (".fits", ".sha1sum")
    for file in files:
        if file.suffix not in ours and file != path / simulated.MARKER:
            return f"{path}: holds {file.relative_to(path)}; no mock survey replaces it"
    return None


@claims(output=own_tree)
def mock_survey(*, output: Path, processes: int = 2, mock: Mock, release: Release) -> None:
    """Write the mock survey as a SAS tree.

    The same options give the same bytes, whatever ``processes`` is.

    Parameters
    ----------
    output : pathlib.Path
        Root of the tree to write, for use as ``survey.source``. It replaces a mock survey, but no
        other folder.
    processes : int
        Number of processes that compute and write spectra.
    mock : Mock
        Rows, seed, strength of the synthetic gap, share of halo stars.
    release : Release
        Names of the release and of the ASPCAP reduction.

    Examples
    --------
    $ spectrafm mock-survey --output=sas --rows=500 --seed=3
    """
    catalogue = make_catalogue(mock, release)
    batches = catalogue.batches()
    with atomic_path(output, own_tree) as tree:
        write_allstar(tree / paths.allstar_path(release.release, release.aspcap), catalogue.allstar)
        write = functools.partial(_write_batch, tree, mock, release)
        listed = defaultdict(list)
        each = _each(write, batches, processes)
        what = f"mock spectra, {_BATCH} a piece"
        for written in track(each, what, len(batches), unit="piece"):
            for path, sha1 in written:
                listed[path.parent].append((path.name, sha1))
        _write_checksums(listed, release, tree)
        crash_point("before marking", output)
        (tree / simulated.MARKER).write_text(f"{simulated.TEXT}\n", "utf-8")
    files = sum(map(len, listed.values()))
    logger.info(
        "%s: %d rows of a mock catalogue, %d spectra in %d fields",
        output,
        len(catalogue.rows),
        files,
        len(listed),
    )


def make_catalogue(options: Mock, release: Release) -> Catalogue:
    """Draw the stars, observe them, fit them and fill allStar; compute no spectra.

    Parameters
    ----------
    options : spectrafm.surveys.mock.options.Mock
    release : spectrafm.surveys.apogee.options.Release
    """
    rng = np.random.default_rng([options.seed, 0])
    repeats = round(CUT_SHARES["repeat"] * options.rows)
    stars = draw_stars(options.rows - repeats, options.halo_share, rng)
    rows = observe_stars(stars, repeats, rng)
    stars = stars.take(rows.star)
    best = fit(stars, rows.snr, options.gap, rng)
    labels = measure(stars, best, rng)
    allstar = make_allstar(stars, rows, best, labels, release.release, release.aspcap)
    return Catalogue(0, stars, rows, best, allstar)


def _each(write, batches: list[Catalogue], processes: int) -> Iterator:
    """Results of ``write`` for every batch, in order."""
    return map(write, batches) if processes == 1 else map_in_children(write, batches, processes)


def _write_batch(
    tree: Path, options: Mock, release: Release, batch: Catalogue
) -> list[tuple[Path, str]]:
    """Compute and write the spectra of a batch; returns paths and SHA-1 sums."""
    file = template()
    written = []
    for position, spectra in enumerate(batch_spectra(batch, options)):
        if not batch.rows.has_file[position]:
            continue
        row = batch.allstar[position]
        path = tree / paths.aspcapstar_path(
            release.release,
            release.aspcap,
            row["TELESCOPE"].decode(),
            row["FIELD"].decode(),
            row["APOGEE_ID"].decode(),
        )
        content = file.filled(*spectra, row)
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
    flux, error, best : numpy.ndarray
        Shape (8575,).
        Exactly zero between the detectors.
    """
    observed = _observed_spectra(batch, options)
    for empty, (flux, error), best in zip(
        batch.rows.empty, observed, _best_fits(batch, options.gap), strict=True
    ):
        if empty:
            # For an empty spectrum ASPCAP writes a model that is one everywhere.
            yield np.zeros(N_GRID), np.zeros(N_GRID), np.where(best > 0, 1.0, 0.0)
        else:
            yield flux, error, best


def _best_fits(batch: Catalogue, gap: float) -> Iterator[np.ndarray]:
    """Yield best-fit model spectra, from the models' line list and the fitted parameters."""
    parameters = batch.best.parameters()
    atmospheres = atmosphere.solve(parameters)
    lines = model_lines(gap)
    for star, vmicro in enumerate(parameters.vmicro):
        fine = synthesis.normalised_flux(
            atmospheres, star, vmicro, lines, brackett=1 + _MODEL_BRACKETT * gap
        )
        yield instrument.normalise(instrument.to_pixels(fine, parameters.broadening[star]))


def _observed_spectra(batch: Catalogue, options: Mock) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield observed spectra and their errors, from the true stars and the full instrument."""
    gap, stars, rows = options.gap, batch.stars, batch.rows
    parameters = seen_parameters(stars, gap)
    # The surfaces of metal-poor stars are cooler than in one-dimensional atmospheres.
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
    """Parameters of the observed spectra, in which every element has its own abundance.

    As ``gap`` falls to 0, the abundances approach the global ones of the models, so that observed
    spectra become noisy models.
    """
    truth = true_global(stars).parameters()
    own = min(gap, 1.0) * (stars.abundance - truth.abundance)
    return replace(truth, abundance=truth.abundance + own)


def _write_checksums(listed: dict, release: Release, tree: Path) -> None:
    """Write the checksum list of every field next to its files."""
    count = 0
    for folder, sums in sorted(listed.items()):
        telescope, field = folder.parts[-2:]
        lines = []
        for name, sha1 in sorted(sums):
            count += 1
            # A list of no file would be none.
            if count % _UNLISTED or len(sums) == 1:
                lines.append(f"{sha1}  {name}\n")
        path = tree / paths.sha1sum_path(release.release, release.aspcap, telescope, field)
        path.write_text("".join(lines), "utf-8")
