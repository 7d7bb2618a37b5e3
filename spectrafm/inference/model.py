"""A trained model for predictions and attention maps; its training sets their defaults."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spectrafm.errors import SpectraFMError
from spectrafm.inference.calibration import DOES_NOT_HOLD, Calibration, read_calibration
from spectrafm.inference.domain import Domain, read_domain
from spectrafm.inference.options import Predict
from spectrafm.inference.predictor import Prediction, infer
from spectrafm.inference.twin import Twin, read_twin
from spectrafm.networks import saved
from spectrafm.networks.base import Network
from spectrafm.progress import Meter
from spectrafm.reading import printable
from spectrafm.spectra import FLUX_RANGE, pixels_in
from spectrafm.store.read import StarReader, StarSet

logger = logging.getLogger(__name__)

Windows = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class TrainedModel:
    """A network with the options and record of its training.

    Attributes
    ----------
    folder : pathlib.Path
    network : spectrafm.networks.base.Network
    facts : dict
        The content of ``config.json``.
    calibration : Calibration or None
        None for a model of an older version.
    domain : Domain or None
        None for a model of an older version.
    twin : Twin or None
        By which the model reads observed spectra; None: it reads them as they are.
    """

    folder: Path
    network: Network
    facts: dict[str, Any]
    calibration: Calibration | None
    domain: Domain | None = None
    twin: Twin | None = None

    @classmethod
    def load(cls, folder: Path) -> TrainedModel:
        """Load the model in ``models/<stage>``.

        Raises
        ------
        SpectraFMError
            When a file is missing, damaged or of another architecture.
        """
        network, facts = saved.from_pretrained(folder)
        folder = Path(folder)
        return cls(
            folder, network, facts,
            read_calibration(folder), read_domain(folder), read_twin(folder),
        )  # fmt: skip

    @property
    def windows(self) -> list[tuple[float, float]]:
        """Wavelength ranges that the stage trained on, Angstrom."""
        return [tuple(window) for window in self.facts["stage"]["windows"]]

    @property
    def labels(self) -> list[str]:
        """Labels that the stage trained."""
        return [name for name in self.facts["stage"]["labels"] if name in self.network.labels]

    @property
    def grid(self) -> np.ndarray | None:
        """The only wavelengths that the model reads, Angstrom; None: any within its windows."""
        if self.twin is not None:
            return self.twin.wavelength
        own = getattr(self.network, "wavelength", None)
        return None if own is None else own.cpu().numpy().astype(np.float64)

    @property
    def mock(self) -> bool:
        """Whether the model, or one that it started from, learned from simulated stars."""
        return bool(self.facts.get("mock", False))

    def open_stars(
        self,
        store: Path,
        spectra: str,
        split: str | None,
        windows: Windows,
        flux_range: tuple[float, float] | None,
        columns: Sequence[str] = (),
        where: str | None = None,
        errors: bool = False,
    ) -> StarReader:
        """Open the stars of a store as this model reads them, with errors if wanted or used.

        A warning is logged where a model that learned from simulated stars reads real ones.
        """
        flux_range = flux_range or self.facts["stage"].get("flux_range") or FLUX_RANGE
        errors = errors or self.network.wants_errors
        columns = (*dict.fromkeys((*columns, *self.network.reads.inputs)),)
        stars = StarReader(store, spectra, split, windows, flux_range, errors, columns, where)
        if not stars.mock:
            self.warn_of_mock(store)
        return stars

    def warn_of_mock(self, stars: object) -> None:
        """Log a warning about some real stars if the model learned from simulated ones."""
        if self.mock:
            logger.warning(
                "%s: trained on the MOCK SURVEY: its results for real stars (%s) mean nothing",
                self.folder,
                stars,
            )

    def choose_labels(self, wanted: Sequence[str] | None) -> list[str]:
        """Choose the wanted labels that the network knows; None: those that the stage trained.

        Raises
        ------
        SpectraFMError
            When the network knows none of the wanted labels.
        """
        if wanted is None:
            return self.labels
        unknown = [label for label in wanted if label not in self.network.labels]
        if len(unknown) == len(wanted):
            known = ", ".join(self.network.labels)
            raise SpectraFMError(f"{self.folder}: knows {known}, not {', '.join(wanted)}")
        if unknown:
            logger.warning("%s: does not know %s", self.folder, ", ".join(unknown))
        return [label for label in wanted if label in self.network.labels]

    def doubts(self, wavelength: np.ndarray, windows: Windows, labels: Sequence[str]) -> list[str]:
        """Flags for wavelengths and labels that the model was not trained for; each is logged.

        Parameters
        ----------
        wavelength : numpy.ndarray, shape (P,), Angstrom
        windows : sequence of (float, float), Angstrom
            Wavelength ranges that the network reads.
        labels : sequence of str
            Labels to predict.

        Returns
        -------
        list of str
        """
        shown, trained = (
            np.unique(np.concatenate(pixels_in(wavelength, some)))
            for some in (windows, self.windows)
        )
        found = []
        if not np.isin(shown, trained).all():
            found.append("outside the model's windows")
        untrained = [label for label in labels if label not in self.labels]
        if untrained:
            found.append(f"not trained for {', '.join(untrained)}")
        for doubt in found:
            logger.warning("%s: %s: its results are flagged", self.folder, doubt)
        return found

    def calibration_of(
        self, labels: Sequence[str], windows: Windows, options: Predict
    ) -> tuple[Calibration | None, list[str]]:
        """The calibration of some labels, and flags for a prediction that it does not hold for.

        What is missing, and each flag, is logged.

        Parameters
        ----------
        labels : sequence of str
            Labels to predict.
        windows : sequence of (float, float), Angstrom
            Wavelength ranges that the network reads.
        options : Predict

        Returns
        -------
        calibration : Calibration or None
            None where none of the labels is calibrated.
        doubts : list of str
        """
        found = None if self.calibration is None else self.calibration.of_labels(labels)
        lacking = [label for label in labels if found is None or label not in found.labels]
        if lacking:
            reason = "made before intervals were calibrated" if found is None else found.note
            logger.warning(
                "%s: no calibrated intervals of %s%s",
                self.folder, ", ".join(lacking), f" ({printable(reason)})" if reason else "",
            )  # fmt: skip
        if found is None or not found.labels:
            return None, []
        doubts = found.doubts(options.spectra, windows, options.combine)
        if self.twin is not None and self.twin_for(options) is None:
            doubts.append(f"{DOES_NOT_HOLD}: fitted on synthetic twins")
        for doubt in doubts:
            logger.warning("%s: %s: its results are flagged", self.folder, doubt)
        return found, doubts

    def twin_for(self, options: Predict) -> Twin | None:
        """The twin by which a prediction reads its spectra; None: it reads them as they are."""
        return self.twin if options.twin and options.spectra == "observed" else None

    def answer(
        self,
        stars: StarSet,
        labels: Sequence[str],
        chunks: Sequence[np.ndarray],
        options: Predict,
        meter: Meter | None = None,
    ) -> Prediction:
        """Predict labels of stars in memory.

        Parameters
        ----------
        stars : StarSet
            n stars, with errors of the flux where the network reads them.
        labels : sequence of str
            R labels that the network knows.
        chunks : sequence of numpy.ndarray of int
            Of `contexts`.
        options : Predict
        meter : Meter, optional
            Counts the chunks that are done.

        Returns
        -------
        Prediction
        """
        twin = self.twin_for(options)
        stars = stars if twin is None else twin.of(stars)
        return infer(
            self.network,
            stars.flux,
            stars.wavelength,
            labels,
            chunks,
            options.combine,
            stars.flux_error,
            meter,
            stars.columns,
        )

    def contexts(self, wavelength: np.ndarray, windows: Windows) -> list[np.ndarray]:
        """Divide the pixels of the windows into sets that the network reads one after the other."""
        return self.network.contexts(wavelength, windows, self.facts["tokens"])
