"""APOGEE's wavelength grid and the pixels its three detectors cover.

Source: SDSS DR17 data model (CRVAL1 = 4.179, CDELT1 = 6e-6) and the chip windows of the
ASPCAP pipeline (3028 + 2495 + 1991 pixels).
"""

from __future__ import annotations

import numpy as np

N_GRID = 8575
LOG_WAVELENGTH_START = 4.179
LOG_WAVELENGTH_STEP = 6e-6

#: Resolving power of the APOGEE spectrographs.
RESOLUTION = 22500.0

#: Vacuum rest-frame wavelength of each of the 8575 pixels, Angstrom.
GRID_WAVELENGTH = 10.0 ** (LOG_WAVELENGTH_START + LOG_WAVELENGTH_STEP * np.arange(N_GRID))

#: Half-open pixel ranges of the blue, green and red detectors.
CHIPS = ((246, 3274), (3585, 6080), (6344, 8335))

#: Grid indices of the 7514 pixels that ASPCAP uses.
CHIP_PIXELS = np.concatenate([np.arange(start, stop) for start, stop in CHIPS])
N_PIXELS = CHIP_PIXELS.size

#: Vacuum rest-frame wavelength of the 7514 chip pixels, Angstrom.
WAVELENGTH = GRID_WAVELENGTH[CHIP_PIXELS]

#: First and last wavelength of the chip pixels, Angstrom.
RANGE = (float(WAVELENGTH[0]), float(WAVELENGTH[-1]))
