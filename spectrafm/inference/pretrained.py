"""`SpectraFM`: a trained model in Python, from spectra to a table of labels."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Column, QTable

from spectrafm.errors import SpectraFMError
from spectrafm.inference.answers import Inputs, about, answers, joined, normaliser_of, units_of
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.saliency import saliency
from spectrafm.inference.sources import model_folder
from spectrafm.networks import NETWORKS
from spectrafm.plugs import load
from spectrafm.spectra.spectra import Spectra
from spectrafm.spectra.spectrum import Spectrum

#: How numbers of a table are shown and written as text: all digits of a float32.
FORMAT = ".7g"

#: Spectra that are predicted at once.
AT_ONCE = 256


class SpectraFM:
    """A trained model.

    Parameters
    ----------
    trained : TrainedModel

    Examples
    --------
    >>> from spectrafm import SpectraFM, Spectra
    >>> model = SpectraFM.from_pretrained("results/demo/models/pretrain")  # doctest: +SKIP
    >>> table = model.predict(Spectra.read("aspcapStar-....fits"))  # doctest: +SKIP
    >>> table["TEFF"], table["flags"]  # doctest: +SKIP
    """

    def __init__(self, trained: TrainedModel):
        self.trained = trained

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike, revision: str | None = None) -> SpectraFM:
        """Load a model.

        Parameters
        ----------
        name : str or path
            A model's folder, such as ``results/<run>/models/<stage>``; the name of a model that is
            shipped with the package; or a repository of the Hugging Face Hub, ``owner/name``, which
            needs its client. From there only safetensors, JSON, CSV, Parquet and Markdown are
            fetched, and compared with the model's checksum list.
        revision : str, optional
            Commit of the repository, 40 hexadecimal digits; required for one.

        Raises
        ------
        SpectraFMError
            When there is no such model, or a file of it is missing or damaged.
        """
        return cls(TrainedModel.load(model_folder(name, revision)))

    @property
    def labels(self) -> list[str]:
        """Labels that the model was trained for."""
        return self.trained.labels

    @property
    def windows(self) -> list[tuple[float, float]]:
        """Wavelength ranges that the model reads, Angstrom, vacuum."""
        return self.trained.windows

    def predict(
        self,
        spectra: Spectra | Spectrum | Any,
        labels: Sequence[str] | None = None,
        inputs: Inputs = None,
    ) -> QTable:
        """Predict labels of spectra.

        A spectrum that is not continuum-normalised is normalised as the model's training spectra
        were, and the column ``notes`` says so.

        Parameters
        ----------
        spectra : Spectra, Spectrum, specutils.Spectrum, or a sequence of them
            Any number, each with wavelengths of its own.
        labels : sequence of str, optional
            Labels to predict. Default: those that the model was trained for.
        inputs : mapping of str to array-like, optional
            Further numbers that the model reads, such as colours, one for each spectrum, by name.

        Returns
        -------
        astropy.table.QTable
            One row a spectrum: name; value, one-sigma uncertainty and intervals of 68 and 95 % of
            each label, with units; signal-to-noise ratio, good pixels, ``ood_score`` (above 1:
            unlike the training spectra), ``flags`` by name and ``notes``. ``meta`` names the
            model, its hash and what each flag means.

        Raises
        ------
        SpectraFMError
            When the model knows none of the labels.
        """
        spectra = as_spectra(spectra)
        labels = self.trained.choose_labels(labels)
        several = range(0, len(spectra), AT_ONCE)
        parts = (
            answers(self.trained, spectra[at : at + AT_ONCE], labels, _rows(inputs, at))
            for at in several
        )
        return as_qtable(joined(parts), self.trained, labels)

    def attention(self, spectra: Spectra | Spectrum | Any) -> list[QTable]:
        """Where in its spectrum the model looks for each label.

        Parameters
        ----------
        spectra : as for `predict`

        Returns
        -------
        list of astropy.table.QTable
            One a spectrum, one row a pixel: ``wavelength``, ``flux`` as the model reads it (NaN
            where missing); for each label ``<label>_gradient``, the change of the label with the
            flux of the pixel, and for a model with attention ``<label>_attention``, relative to
            equal attention to all good pixels.
        """
        return [saliency(self.trained, one) for one in as_spectra(spectra)]

    def finetune(self, spectra: Spectra, labels: Any, output: str | os.PathLike, **options: Any):
        """Fine-tune the model on labelled spectra; see `spectrafm.training.finetune`.

        Parameters
        ----------
        spectra : Spectra
        labels : mapping of str to array-like, or table
            One value a spectrum for each label to learn; a column ``<label>_ERR`` holds its
            one-sigma errors. A label that the model does not know yet is added.
        output : path
            Folder of the new model.
        **options
            Those of `spectrafm.training.finetune.finetune_spectra`, such as ``draws`` and ``units``
            of new labels.

        Returns
        -------
        SpectraFM
            The new model; ``comparison.csv`` in its folder holds how it compares with others.
        """
        finetune = load("spectrafm.training.finetune:finetune_spectra")
        finetune(self.trained, as_spectra(spectra), labels, Path(output), **options)
        return SpectraFM.from_pretrained(output)

    def __repr__(self) -> str:
        facts = self.trained.facts
        mock = " (MOCK SURVEY)" if self.trained.mock else ""
        return f"<SpectraFM {facts['stage_name']}{mock}: {', '.join(self.labels)}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self.summary().items()
        )
        return f"<table><caption>{html.escape(repr(self))}</caption>{rows}</table>"

    def summary(self) -> dict[str, str]:
        """What the model is, what it learned from and where it may be trusted."""
        trained, facts = self.trained, self.trained.facts
        stage = facts["stage"]
        where = f" with {stage['stars']['where']}" if stage["stars"].get("where") else ""
        found = {
            "model": f"{facts['stage_name']}, {NETWORKS[facts['architecture']].title}",
            "labels": ", ".join(f"{x.name} ({x.unit})" for x in trained.network.label_table
                                if x.name in self.labels),
            "wavelengths": ", ".join(f"{low:.1f}-{high:.1f}" for low, high in self.windows)
            + " Angstrom, vacuum, rest frame",
            "normalisation": normaliser_of(trained),
            "learned from": f"{facts['training_star_count']} {stage['spectra']} spectra{where}",
            "trusted for": "unknown: the model has no domain"
            if trained.domain is None
            else str(trained.domain),
            "intervals": "none" if trained.calibration is None else str(trained.calibration),
        }  # fmt: skip
        if trained.mock:
            found["warning"] = "trained on the MOCK SURVEY: not for use on real spectra"
        return found


def as_spectra(spectra: Any) -> Spectra:
    """`Spectra` of what a user has: one or several of them, or objects of specutils.

    Raises
    ------
    SpectraFMError
        When it is something else, such as bare arrays.
    """
    if isinstance(spectra, Spectra):
        return spectra
    if isinstance(spectra, Spectrum):
        return Spectra.of([spectra])
    if hasattr(spectra, "spectral_axis"):
        return Spectra.from_specutils(spectra)
    if isinstance(spectra, str | os.PathLike):
        return Spectra.read(spectra)
    several = list(spectra) if isinstance(spectra, Sequence) else []
    if several and all(isinstance(one, Spectrum) for one in several):
        return Spectra.of(several)
    if several and all(hasattr(one, "spectral_axis") for one in several):
        return Spectra.from_specutils(several)
    raise SpectraFMError(
        f"spectra: {type(spectra).__name__} is no spectrum: make one with "
        "spectrafm.Spectra(flux, wavelength, flux_error), which takes units"
    )


def _rows(inputs: Inputs, start: int) -> Inputs:
    """The inputs of some spectra."""
    if not isinstance(inputs, Mapping):
        return None
    return {
        name: np.asarray(values)[start : start + AT_ONCE] if np.ndim(values) else values
        for name, values in inputs.items()
    }


def as_qtable(table: Any, trained: TrainedModel, labels: Sequence[str]) -> QTable:
    """A `QTable` with units and metadata from a data frame of `answers`."""
    units = units_of(trained, labels)
    found = QTable(meta=about(trained, labels))
    for name in table:
        values = table[name].to_numpy()
        if values.dtype.kind not in "iuf":
            found[name] = Column(values.astype(str))
        elif name in units:
            unit = u.Unit(units[name])
            logarithmic = isinstance(unit, u.function.FunctionUnitBase)
            found[name] = u.Dex(values, unit) if logarithmic else u.Quantity(values, unit)
        else:
            found[name] = values
        if values.dtype.kind == "f":
            found[name].info.format = FORMAT
    return found
