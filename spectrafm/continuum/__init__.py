"""Registry of the normalisers, which divide a spectrum by its continuum.

A normaliser is a file here, a line below, and a function of a `spectrafm.spectra.Spectrum` that
returns a normalised one. It masks pixels whose continuum it cannot find, and may add channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrafm.errors import SpectraFMError
from spectrafm.plugs import load

if TYPE_CHECKING:
    from spectrafm.spectra.spectrum import Spectrum

#: Name, as a model records it -> module:function.
NORMALISERS = {
    "aspcap": "spectrafm.continuum.aspcap:aspcap",
    "running": "spectrafm.continuum.running:running",
    "xp": "spectrafm.continuum.xp:xp",
    "none": "spectrafm.continuum.none:none",
}


def normalise(spectrum: Spectrum, name: str) -> Spectrum:
    """Normalise a spectrum with the normaliser of a name, unless it is so already.

    Parameters
    ----------
    spectrum : spectrafm.spectra.Spectrum
    name : str
        A key of `NORMALISERS`.

    Returns
    -------
    spectrafm.spectra.Spectrum
        With ``normalisation`` set to the name. If another normaliser was applied before,
        ``assumed`` says so.

    Raises
    ------
    SpectraFMError
        When no normaliser has this name.
    """
    before = spectrum.normalisation
    if before == name:
        return spectrum
    if name not in NORMALISERS:
        raise SpectraFMError(f"no normaliser {name!r}; known: {', '.join(NORMALISERS)}")
    made = load(NORMALISERS[name])(spectrum)
    if before not in (None, "none") and name != "none":
        again = f"flux was normalised with {before!r} before: normalised again with {name!r}"
        made = made.replace(assumed=(*made.assumed, again))
    return made
