"""The command ``inspect``: what was understood of files of spectra."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from spectrafm.errors import SpectraFMError
from spectrafm.inference.answers import as_stars
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.shift import measurable
from spectrafm.inference.sources import model_folder
from spectrafm.readers.read import join_stars, read_spectra
from spectrafm.readers.velocity import meaning_of, measure_velocity
from spectrafm.reading import printable
from spectrafm.spectra.spectrum import SAME_RESOLUTION, Spectrum

#: Spectra of one file that are described; of more, the number only.
MOST = 20

#: A gap is longer than so many typical steps between good pixels.
GAP = 20

#: Gaps that are listed.
MOST_GAPS = 4

#: Share of a window with good pixels from which a spectrum covers it.
COVERS = 0.5

logger = logging.getLogger(__name__)


def inspect(files: Sequence[Path], *, model: Path | None = None, format: str | None = None) -> str:
    """Print what was understood of files of spectra, and whether a model covers them.

    For each spectrum: its format, wavelengths, medium, frame, resolution, good pixels,
    signal-to-noise ratio and normalisation, what was assumed, and its velocity offset, measured
    from strong lines: about -83 km/s shows wavelengths in air that were taken for vacuum, any
    other offset a star whose radial velocity was not removed.

    Parameters
    ----------
    files : sequence of pathlib.Path
        Files of spectra; those of the arms of one star become one spectrum.
    model : pathlib.Path, optional
        Folder of a model, whose windows are compared with the spectrum.
    format : str, optional
        Format of the files, such as ``lamost`` or ``table``. Default: recognised by their content.

    Raises
    ------
    SpectraFMError
        When no file can be read, or the model cannot.

    Examples
    --------
    $ spectrafm inspect my_spectrum.fits another.ecsv --model results/demo/models/pretrain
    """
    trained = None if model is None else TrainedModel.load(model_folder(model))
    texts, found, problems = [], [], []
    for path in files:
        try:
            found.extend(_some(path, format, texts))
        except SpectraFMError as problem:
            problems.append(str(problem))
    texts[:0] = ["\n".join(describe(one, trained)) for one in join_stars(found)]
    if not found:
        raise SpectraFMError("; ".join(problems))
    for problem in problems:
        logger.warning("not read: %s", problem)
    return "\n\n".join(texts)


def _some(path: Path, format: str | None, texts: list[str]) -> Sequence[Spectrum]:
    """The first spectra of a file; a line of text counts the others."""
    spectra = read_spectra(path, format)
    if len(spectra) > MOST:
        texts.append(f"{path}: {len(spectra) - MOST:,} more spectra are not described")
    return spectra[:MOST]


def describe(one: Spectrum, trained: TrainedModel | None = None) -> list[str]:
    """Lines of text that say what is known of a spectrum.

    Parameters
    ----------
    one : spectrafm.spectra.Spectrum
    trained : TrainedModel, optional
        A model whose windows are compared with the spectrum.
    """
    about = one.provenance
    first, last = one.wavelength_range
    medium = about.get("medium", "vacuum")
    made = "" if medium == "vacuum" else f" (given: {medium})"
    share = one.good_pixels / len(one)
    rows = [
        ("format", about.get("format", "arrays")),
        ("wavelengths", f"{first:.1f} to {last:.1f} Angstrom in vacuum{made}"),
        ("pixels", f"{len(one):,}, of which {one.good_pixels:,} are good ({share:.0%})"),
        ("gaps", _gaps(one)),
        ("resolution", "unknown" if one.resolution is None else f"{one.resolution:.0f}"),
        ("frame", one.frame or "unknown"),
        ("normalisation", one.normalisation or f"none: flux as observed{_unit(one)}"),
        ("signal/noise", _signal_to_noise(one)),
        *(("note", note) for note in _notes(one)),
        *(("assumed", said) for said in one.assumed or ["nothing"]),
        ("velocity", _velocity(one)),
    ]
    if trained is not None:
        rows += [("model", text) for text in covers(one, trained)]
    title = printable(f"{one.name} ({one.source})")
    return [title, *(f"  {name:14}{printable(str(text))}" for name, text in rows)]


def _unit(one: Spectrum) -> str:
    unit = one.provenance.get("flux_unit")
    return f" in {unit}" if unit else ""


def _signal_to_noise(one: Spectrum) -> str:
    value = one.signal_to_noise
    return "unknown (no errors)" if np.isnan(value) else f"{value:.0f} per pixel (median)"


def _notes(one: Spectrum) -> Iterator[str]:
    """What was done to pixels, and that stars are simulated."""
    said = {
        "zeros": "pixels with a flux of exactly zero are masked",
        "pixels_without_wavelength": "pixels without a wavelength are left out",
        "pixels_of_the_same_wavelength": "pixels are joined to one of the same wavelength",
    }
    for key, text in said.items():
        if key in one.provenance:
            yield f"{one.provenance[key]:,} {text}"
    if one.provenance.get("mock"):
        yield "a simulated star of the MOCK SURVEY"


def _gaps(one: Spectrum) -> str:
    """The longest gaps between good pixels."""
    place = one.wavelength[one.good]
    if len(place) < 2:
        return "no two good pixels"
    steps = np.diff(np.log(place))
    wide = np.flatnonzero(steps > GAP * np.median(steps))
    if not wide.size:
        return "none"
    longest = np.sort(wide[np.argsort(-steps[wide])[:MOST_GAPS]])
    text = ", ".join(f"{place[n]:.1f}-{place[n + 1]:.1f}" for n in longest)
    return text if wide.size <= MOST_GAPS else f"{text} and {wide.size - MOST_GAPS} more"


def _velocity(one: Spectrum) -> str:
    measured = measure_velocity(one)
    if measured is None:
        return "not measured: too few lines that stand out"
    text = f"{measured.offset:+.1f} +- {measured.uncertainty:.1f} km/s: "
    text += meaning_of(measured, one.frame)
    known = one.provenance.get("radial_velocity")
    return text if known is None else f"{text} (the file says {known:+.1f} km/s)"


def covers(one: Spectrum, trained: TrainedModel) -> list[str]:
    """Sentences on whether a spectrum has the wavelengths that a model reads.

    Parameters
    ----------
    one : spectrafm.spectra.Spectrum
    trained : TrainedModel
    """
    name = trained.folder.name
    shares = [covered_share(one, window) for window in trained.windows]
    texts = [
        f"{name} reads {low:.1f} to {high:.1f} Angstrom: good pixels in {share:.0%} of it"
        for (low, high), share in zip(trained.windows, shares, strict=True)
    ]
    if not any(shares):
        verdict = f"{name} does not cover this spectrum"
    elif min(shares) < COVERS:
        verdict = f"{name} covers this spectrum in part"
    else:
        verdict = f"{name} covers this spectrum"
    texts.append(verdict)
    texts += _unlike(one, trained)
    shows_velocity = trained.domain is None or measurable(trained.domain.components)
    if one.frame == "barycentric" and shows_velocity:
        texts.append(f"{name} reads spectra at rest: remove the star's radial velocity first")
    return texts


def _unlike(one: Spectrum, trained: TrainedModel) -> Iterator[str]:
    """In what the spectrum is unlike those that the model learned from."""
    if trained.domain is None:
        return
    facts, name = trained.domain.facts, trained.folder.name
    if facts.snr is not None and as_stars(trained, one).signal_to_noise[0] < facts.snr[0]:
        yield f"{name} learned from a signal-to-noise ratio of {facts.snr[0]:.0f} and more"
    if facts.resolution and one.resolution:
        ratio = one.resolution / facts.resolution
        if max(ratio, 1 / ratio) > SAME_RESOLUTION:
            yield f"{name} learned from a resolution of {facts.resolution:.0f}"


def covered_share(one: Spectrum, window: tuple[float, float]) -> float:
    """Share of a window near which the spectrum has a good pixel.

    Parameters
    ----------
    one : spectrafm.spectra.Spectrum
    window : (float, float)
        Shortest and longest wavelength, Angstrom.
    """
    place = one.wavelength[one.good]
    if not place.size:
        return 0.0
    near = 3 * float(np.median(np.diff(place))) if place.size > 1 else 0.0
    points = np.linspace(*window, 400)
    right = np.searchsorted(place, points).clip(0, len(place) - 1)
    left = (right - 1).clip(0)
    away = np.minimum(np.abs(points - place[right]), np.abs(points - place[left]))
    return float(np.mean(away <= near))
