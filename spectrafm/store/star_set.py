"""Stars in memory, for training or prediction."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spectrafm.labels import Label
from spectrafm.spectra.spectrum import signal_to_noise

#: Normaliser of the stores that name none: that of APOGEE's aspcapStar files.
APOGEE_NORMALISER = "aspcap"


@dataclass(frozen=True)
class StarSet:
    """Stars in memory, for training or prediction.

    Attributes
    ----------
    apogee_id, split : numpy.ndarray
        Text, shape (stars,).
    wavelength : numpy.ndarray
        float64, shape (pixels,): Angstrom, vacuum, rest frame.
    flux : numpy.ndarray
        float32, shape (stars, pixels): normalised flux of one kind of spectra; NaN: missing.
    flux_error : numpy.ndarray or None
        float32, shape (stars, pixels): one-sigma error of ``flux``, NaN where ``flux`` is NaN;
        None if not wanted, and for synthetic spectra.
    label, label_error : numpy.ndarray
        float32, shape (stars, labels), in the order of ``labels``; NaN: unknown.
    labels : tuple of Label
        Name, unit and symbol of each label.
    mock : bool
        Whether the stars are from the mock survey.
    normalisation : str
        Name of the normaliser of the flux.
    columns : dict of str to numpy.ndarray
        Values per star of the wanted survey columns that the store has.
    survey, release : str
        Name of the survey, as in `spectrafm.surveys`, and of its release; empty: unknown.
    acknowledgement : str
        Thanks and citations that the data ask for.
    resolution : float or None
        Resolving power of the spectra; None: unknown, or not the same for all.
    """

    apogee_id: np.ndarray
    split: np.ndarray
    wavelength: np.ndarray
    flux: np.ndarray
    label: np.ndarray
    label_error: np.ndarray
    labels: tuple[Label, ...]
    mock: bool
    normalisation: str = APOGEE_NORMALISER
    flux_error: np.ndarray | None = None
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    resolution: float | None = None
    survey: str = ""
    release: str = ""
    acknowledgement: str = ""

    def __len__(self) -> int:
        return len(self.apogee_id)

    @property
    def signal_to_noise(self) -> np.ndarray:
        """Median of flux over error of each star's good pixels, shape (stars,).

        NaN where errors are not loaded. The column ``snr`` of a store is the survey's own number,
        which may be of other pixels, or of errors without a floor.
        """
        if self.flux_error is None:
            return np.full(len(self), np.nan)
        return signal_to_noise(self.flux, self.flux_error)
