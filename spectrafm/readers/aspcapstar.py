"""APOGEE aspcapStar (DR13 to DR17): normalised flux in vacuum and at rest."""

from __future__ import annotations

from pathlib import Path

from astropy import units as u

from spectrafm.readers.making import from_file
from spectrafm.readers.peek import Peek
from spectrafm.reading import reading
from spectrafm.spectra.spectra import Spectra
from spectrafm.surveys.apogee.aspcapstar import read_aspcapstar
from spectrafm.surveys.apogee.grid import LOG_WAVELENGTH_START, N_GRID, RESOLUTION, WAVELENGTH


def recognises(file: Peek) -> bool:
    """Three images on the APOGEE grid, of which none has the unit of a flux, and a table."""
    images = [file.header(number) for number in (1, 2, 3)]
    return (
        all(image.get("NAXIS") == 1 and image.get("NAXIS1") == N_GRID for image in images)
        and all(image.get("CRVAL1") == LOG_WAVELENGTH_START for image in images)
        and not str(images[0].get("BUNIT", "")).startswith("Flux")
        and file.header(4).get("XTENSION") == "BINTABLE"
    )


def read(path: Path) -> Spectra:
    """Read the observed spectrum, on the pixels of the detectors."""
    with reading(path, "aspcapStar file"):
        star = read_aspcapstar(path.read_bytes(), str(path))
    return Spectra.of(
        [
            from_file(
                path,
                "APOGEE aspcapStar",
                WAVELENGTH * u.AA,
                star.observed,
                star.observed_error,
                star.mask,
                name=star.apogee_id,
                medium="vacuum",
                frame="rest",
                resolution=RESOLUTION,
                normalisation="aspcap",
                provenance={"mock": star.simulated or None},
            )
        ]
    )
