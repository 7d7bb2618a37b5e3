"""The command ``plot``: one spectrum, its masked pixels, and where a model looks in it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from spectrafm.evaluation.wording import MOCK_SURVEY
from spectrafm.figures.style import FAINT, OBSERVED, check_output, new_figure, save, styled
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.pretrained import SpectraFM
from spectrafm.inference.saliency import saliency_of_file
from spectrafm.inference.sources import model_folder
from spectrafm.readers.read import join_stars, read_spectra
from spectrafm.spectra.spectrum import Spectrum

logger = logging.getLogger(__name__)

#: Largest number of labels that have a panel.
MOST_LABELS = 8


@styled()
def plot(file: Path, *, output: Path, model: Path | None = None) -> None:
    """Draw a spectrum with its masked pixels, and where a model's labels come from.

    With a model: the flux as the model reads it, its answer, and for each label the gradient with
    the flux of each pixel.

    Parameters
    ----------
    file : pathlib.Path
        File with a spectrum of any known format; of several the first is drawn.
    output : pathlib.Path
        Figure to write, .png or .pdf; the other is written beside it.
    model : pathlib.Path, optional
        Folder of a trained model; the name of a shipped one; or owner/name@commit.

    Raises
    ------
    SpectraFMError
        When the file cannot be read, or has no pixel in the model's wavelengths.

    Examples
    --------
    $ spectrafm plot aspcapStar-dr17-2M00000002+7417074.fits -o star.png \
--model results/demo/models/pretrain
    """
    check_output(output)
    spectrum = join_stars(read_spectra(file))[0]
    if model is None:
        figure = new_figure(12, 4, spectrum.source, _kind_of(spectrum), strip=0.3)
        _draw_spectrum(figure.subplots(), spectrum)
        save(figure, output, f"{spectrum.good_pixels} good pixels", [file])
        return
    trained = TrainedModel.load(model_folder(model))
    table = saliency_of_file(trained, spectrum, file)
    labels = trained.labels[:MOST_LABELS]
    answer = SpectraFM(trained).predict(spectrum)
    said = answer["flags"][0] or "no flag"
    note = f"{spectrum.name}, model {trained.facts['stage_name']}: {said}"
    figure = new_figure(12, 3 + 1.4 * len(labels), note, _kind_of(spectrum), strip=0.3)
    axes = figure.subplots(1 + len(labels), 1, sharex=True, height_ratios=[2, *(1 for _ in labels)])
    wavelength = table["wavelength"].value
    axes[0].plot(wavelength, table["flux"], color=OBSERVED, lw=0.8)
    _shade_missing(axes[0], wavelength, ~np.isfinite(table["flux"]))
    as_observed = trained.network.reads.normaliser is not None
    axes[0].set_ylabel(_flux_of(spectrum) if as_observed else "normalised flux")
    symbols = {label.name: label.symbol for label in trained.network.label_table}
    for panel, label in zip(axes[1:], labels, strict=True):
        gradient = table[f"{label}_gradient"]
        panel.plot(wavelength, gradient.value, color=OBSERVED, lw=0.8)
        panel.axhline(0, color=FAINT, lw=0.5)
        value, sigma = answer[label][0].value, answer[f"{label}_uncertainty"][0].value
        panel.set_ylabel(symbols[label])
        panel.set_title(f"{value:.4g} ± {sigma:.2g} {gradient.unit}", loc="right", fontsize=10)
    axes[-1].set_xlabel("wavelength, Angstrom (vacuum); panels: change of the label with the flux")
    shown = f"{spectrum.name}, {int(np.isfinite(table['flux']).sum())} pixels"
    save(figure, output, shown, [file, trained.folder])


def _draw_spectrum(axes: Axes, spectrum: Spectrum) -> None:
    flux = np.where(spectrum.good, spectrum.flux, np.nan)
    axes.plot(spectrum.wavelength, flux, color=OBSERVED, lw=0.8)
    _shade_missing(axes, spectrum.wavelength, spectrum.mask)
    axes.set_xlabel("wavelength, Angstrom (vacuum)")
    axes.set_ylabel(_flux_of(spectrum))


def _flux_of(spectrum: Spectrum) -> str:
    """What the flux of a spectrum is, in words."""
    if spectrum.normalisation:
        return f"flux, normalised by {spectrum.normalisation}"
    unit = str(spectrum.provenance.get("flux_unit", ""))
    return f"flux, {unit}" if unit else "flux"


def _kind_of(spectrum: Spectrum) -> str:
    """Where a spectrum comes from: its format, or that its star is simulated."""
    if spectrum.provenance.get("mock"):
        return MOCK_SURVEY
    return str(spectrum.provenance.get("format", "arrays"))


def _shade_missing(axes: Axes, wavelength: np.ndarray, missing: np.ndarray) -> None:
    """Shade each run of masked pixels."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.astype(int), [0]])))
    half = np.gradient(wavelength) / 2 if len(wavelength) > 1 else np.ones(1)
    for first, last in zip(edges[::2], edges[1::2] - 1, strict=True):
        axes.axvspan(
            wavelength[first] - half[first], wavelength[last] + half[last], color="0.85", lw=0
        )
