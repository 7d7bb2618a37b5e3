"""Division by the median flux: for spectra so short that they have no slope."""

import numpy as np

from spectrafm.continuum.dividing import divided
from spectrafm.spectra.spectrum import Spectrum


def median(spectrum: Spectrum) -> Spectrum:
    """Divide by the median flux of the good pixels."""
    good = spectrum.flux[spectrum.good]
    level = np.median(good) if good.size else np.nan
    return divided(spectrum, np.full(len(spectrum), level), "median")
