"""One spectrum as a network takes it: increasing vacuum wavelengths, flux, error and mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from spectrafm.errors import SpectrumError

#: Frame of the wavelengths: the star's own, or the solar system's barycentre. As specutils, a
#: heliocentric correction counts as barycentric (they differ by less than 0.02 km/s).
Frame = Literal["rest", "barycentric"]
FRAMES = ("rest", "barycentric")

#: Speed of light, km/s.
LIGHT = 299792.458

#: Largest ratio of resolutions that count as the same.
SAME_RESOLUTION = 1.2

#: A pixel whose error exceeds the median flux by this factor carries no information; pipelines
#: write errors such as 1e10 for pixels that they gave up.
HUGE_ERROR = 1e6

#: Largest and smallest level of flux that is kept as it is; any other is scaled by a power of ten,
#: since float32 ends at 1e38 and 1e-38.
_LEVELS = (1e-20, 1e20)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """One spectrum.

    Attributes
    ----------
    wavelength : numpy.ndarray
        float64, shape (pixels,): Angstrom, vacuum, strictly increasing.
    flux : numpy.ndarray
        float32, shape (pixels,); finite, also where masked.
    flux_error : numpy.ndarray or None
        float32, shape (pixels,): one-sigma error, positive where not masked.
    mask : numpy.ndarray
        bool, shape (pixels,): whether the pixel is bad, and so is never used.
    resolution : float or None
        Resolving power, wavelength over FWHM.
    frame : {"rest", "barycentric"} or None
        Frame of the wavelengths; None: unknown.
    normalisation : str or None
        Name of the normaliser that was applied; None: flux as observed.
    name : str
        Name of the spectrum or star.
    source : str
        File that it was read from, or ``arrays``.
    assumed : tuple of str
        What was assumed of it, one sentence each.
    inputs : dict of str to float
        Known numbers of the star, such as colours.
    channels : dict of str to numpy.ndarray
        Further values of each pixel that a normaliser gives, shape (pixels,).
    provenance : dict
        Format, unit of the flux, radial velocity and other facts of the file.
    """

    wavelength: np.ndarray
    flux: np.ndarray
    flux_error: np.ndarray | None
    mask: np.ndarray
    resolution: float | None = None
    frame: Frame | None = None
    normalisation: str | None = None
    name: str = "spectrum"
    source: str = "arrays"
    assumed: tuple[str, ...] = ()
    inputs: Mapping[str, float] = field(default_factory=dict)
    channels: Mapping[str, np.ndarray] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.wavelength)

    @property
    def good(self) -> np.ndarray:
        """Whether each pixel can be used: bool, shape (pixels,)."""
        return ~self.mask

    @property
    def good_pixels(self) -> int:
        """Number of pixels that can be used."""
        return int(np.count_nonzero(~self.mask))

    @property
    def wavelength_range(self) -> tuple[float, float]:
        """First and last wavelength, Angstrom, vacuum."""
        return float(self.wavelength[0]), float(self.wavelength[-1])

    @property
    def signal_to_noise(self) -> float:
        """Median of flux over error of the good pixels; NaN without errors or good pixels."""
        if self.flux_error is None:
            return float("nan")
        flux = np.where(self.good, self.flux, np.nan)
        return float(signal_to_noise(flux[None], self.flux_error[None])[0])

    def replace(self, **changes: Any) -> Spectrum:
        """Return a copy with other values of the attributes named."""
        return dataclasses.replace(self, **changes)

    def at_rest(self, radial_velocity: float) -> Spectrum:
        """Return the spectrum with wavelengths in the star's rest frame.

        Parameters
        ----------
        radial_velocity : float
            Velocity of the star in the frame of the spectrum, km/s, positive when it recedes.

        Raises
        ------
        SpectrumError
            When the velocity is not finite or not below that of light.
        """
        if not abs(radial_velocity) < LIGHT:
            raise SpectrumError(self.name, "radial velocity", f"{radial_velocity} km/s")
        beta = radial_velocity / LIGHT
        wavelength = self.wavelength * np.sqrt((1 - beta) / (1 + beta))
        shifted = {**self.provenance, "shifted_km_s": float(radial_velocity)}
        return self.replace(wavelength=wavelength, frame="rest", provenance=shifted)


def signal_to_noise(flux: np.ndarray, flux_error: np.ndarray) -> np.ndarray:
    """Signal-to-noise ratios of spectra: the median of flux over error of their good pixels.

    Parameters
    ----------
    flux, flux_error : numpy.ndarray, shape (n, P)
        NaN where a pixel is missing; a pixel whose error is not positive does not count.

    Returns
    -------
    numpy.ndarray, shape (n,)
        NaN for a spectrum without a good pixel.
    """
    found = np.full(len(flux), np.nan)
    for row, (one, error) in enumerate(zip(flux, flux_error, strict=True)):
        good = np.isfinite(one) & (error > 0)
        if good.any():
            found[row] = np.median(one[good].astype(np.float64) / error[good])
    return found


def common_resolution(each: Sequence[float | None]) -> float | None:
    """Median of resolving powers; None where one is unknown, or they are not the same."""
    if not each or None in each or max(each) > SAME_RESOLUTION * min(each):
        return None
    return float(np.median(each))


def make_spectrum(
    wavelength: np.ndarray,
    flux: np.ndarray,
    flux_error: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    *,
    name: str = "spectrum",
    zeros_are_bad: bool = False,
    **about: Any,
) -> Spectrum:
    """Make a spectrum: sort its pixels, mask bad ones, and join those of the same wavelength.

    Bad are pixels whose flux or error is not finite, whose error is not positive or exceeds the
    median flux a million times, and whose flux is exactly zero, which is how missing flux is
    written. Pixels without a finite, positive wavelength are left out. Good pixels of the same
    wavelength become one, with the mean weighted by inverse variance.

    Parameters
    ----------
    wavelength : numpy.ndarray
        float64, shape (pixels,): Angstrom, vacuum, in any order.
    flux : numpy.ndarray
        Shape (pixels,).
    flux_error : numpy.ndarray, optional
        Shape (pixels,): one-sigma error.
    mask : numpy.ndarray, optional
        bool, shape (pixels,): bad pixels.
    name : str
    zeros_are_bad : bool
        Whether the format says that zero means missing; if not, a sentence says what was assumed.
    **about
        The other attributes of `Spectrum`.

    Raises
    ------
    SpectrumError
        When no pixel has a wavelength.
    """
    placed = np.isfinite(wavelength) & (wavelength > 0)
    if not placed.any():
        raise SpectrumError(name, "wavelength", "no pixel has a finite, positive wavelength")
    provenance = dict(about.pop("provenance", {}))
    assumed = list(about.pop("assumed", ()))
    if not placed.all():
        provenance["pixels_without_wavelength"] = int(np.count_nonzero(~placed))
    wavelength = np.asarray(wavelength, np.float64)[placed]
    flux = np.asarray(flux, np.float64)[placed]
    error = None if flux_error is None else np.asarray(flux_error, np.float64)[placed]
    bad = np.zeros(len(flux), bool) if mask is None else np.array(mask, bool)[placed]

    zero = (flux == 0) & ~bad
    if zero.any():
        provenance["zeros"] = int(zero.sum())
        if not zeros_are_bad:
            assumed.append(f"{zero.sum()} pixels have a flux of exactly zero: taken as missing")
    bad |= zero | ~np.isfinite(flux)
    flux, error, scale = _scaled(flux, error, bad)
    if scale != 1:
        provenance["flux_divided_by"] = scale
    if error is not None:
        level = np.median(np.abs(flux[~bad])) if not bad.all() else 1.0
        bad |= ~(np.isfinite(error) & (error > 0) & (error < HUGE_ERROR * level))
        error = np.where(bad, 0.0, error)
    flux = np.where(bad, 0.0, flux)

    wavelength, flux, error, bad = _increasing(wavelength, flux, error, bad)
    if len(wavelength) < placed.sum():
        provenance["pixels_of_the_same_wavelength"] = int(placed.sum()) - len(wavelength)
    return Spectrum(
        wavelength,
        flux.astype(np.float32),
        None if error is None else error.astype(np.float32),
        bad,
        name=name,
        assumed=tuple(assumed),
        provenance=provenance,
        **about,
    )


def _scaled(
    flux: np.ndarray, error: np.ndarray | None, bad: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Divide flux and error by a power of ten if float32 could not hold them."""
    level = float(np.median(np.abs(flux[~bad]))) if not bad.all() else 1.0
    if _LEVELS[0] <= level <= _LEVELS[1]:
        scale = 1.0
    else:
        scale = float(10.0 ** np.clip(np.floor(np.log10(level)), -307, 307))
    with np.errstate(all="ignore"):
        # What is still beyond float32 is no flux: it becomes infinite, and so bad.
        flux = np.where(bad, 0.0, flux / scale)
        bad |= ~(np.abs(flux) < np.finfo(np.float32).max)
        if error is not None:
            error = error / scale
            error = np.where(error < np.finfo(np.float32).max, error, np.inf)
            error = np.where(error > np.finfo(np.float32).tiny, error, 0.0)
    return flux, error, scale


def _increasing(
    wavelength: np.ndarray, flux: np.ndarray, error: np.ndarray | None, bad: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
    """Sort by wavelength, and join pixels of the same one."""
    # Ties are sorted by all else too, so that the order given leaves no trace in a sum.
    keys = (flux, bad, wavelength) if error is None else (error, flux, bad, wavelength)
    order = np.lexsort(keys)
    wavelength, flux, bad = wavelength[order], flux[order], bad[order]
    error = None if error is None else error[order]
    first = np.flatnonzero(np.concatenate([[True], wavelength[1:] > wavelength[:-1]]))
    if len(first) == len(wavelength):
        return wavelength, flux, error, bad
    weight = np.where(bad, 0.0, 1.0)
    if error is not None:
        # Relative to the smallest error, so that the weights neither overflow nor vanish.
        smallest = error[~bad].min() if not bad.all() else 1.0
        weight = np.where(bad, 0.0, (smallest / np.where(bad, 1.0, error)) ** 2)
    total = np.add.reduceat(weight, first)
    none = np.add.reduceat(np.where(bad, 0, 1), first) == 0
    safe = np.where(total > 0, total, 1.0)
    joined = np.where(none, 0.0, np.add.reduceat(weight * flux, first) / safe)
    joined_error = None if error is None else np.where(none, 0.0, smallest / np.sqrt(safe))
    return wavelength[first], joined, joined_error, none


def join_arms(arms: Sequence[Spectrum], name: str | None = None) -> Spectrum:
    """Join the arms of one star's spectrum to one spectrum.

    Parameters
    ----------
    arms : sequence of Spectrum
        Parts of one spectrum, which may overlap; all or none have errors.
    name : str, optional
        Name of the whole. Default: that of the first arm.

    Returns
    -------
    Spectrum
        The resolution is that of the arms, if it is the same in all.

    Raises
    ------
    SpectrumError
        When there is no arm, or the arms differ in frame, normalisation, unit of the flux or in
        whether they have errors.
    """
    if not arms:
        raise SpectrumError(name or "spectrum", "flux", "no arm to join")
    first = arms[0]
    name = first.name if name is None else name
    for what, of in (
        ("frame", lambda arm: arm.frame),
        ("normalisation", lambda arm: arm.normalisation),
        ("flux_error", lambda arm: arm.flux_error is not None),
        ("flux", lambda arm: arm.provenance.get("flux_unit")),
    ):
        if len({of(arm) for arm in arms}) > 1:
            raise SpectrumError(name, what, "differs between the arms of the spectrum")
    resolutions = {arm.resolution for arm in arms}
    scales = [np.float64(arm.provenance.get("flux_divided_by", 1.0)) for arm in arms]
    errors = None
    if first.flux_error is not None:
        errors = np.concatenate([arm.flux_error * s for arm, s in zip(arms, scales, strict=True)])
    return make_spectrum(
        np.concatenate([arm.wavelength for arm in arms]),
        np.concatenate([arm.flux * scale for arm, scale in zip(arms, scales, strict=True)]),
        errors,
        np.concatenate([arm.mask for arm in arms]),
        name=name,
        zeros_are_bad=True,
        resolution=first.resolution if len(resolutions) == 1 else None,
        frame=first.frame,
        normalisation=first.normalisation,
        source="; ".join(dict.fromkeys(arm.source for arm in arms)),
        assumed=tuple(dict.fromkeys(said for arm in arms for said in arm.assumed)),
        inputs={key: value for arm in arms for key, value in arm.inputs.items()},
        provenance={
            **{key: said for key, said in first.provenance.items() if key != "flux_divided_by"},
            "arms": len(arms),
        },
    )
