"""`Spectra`: any number of spectra, of any lengths, from arrays, files or specutils."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from astropy import units as u

from spectrafm.errors import SpectrumError
from spectrafm.plugs import load
from spectrafm.spectra.arrays import Given, one_for_each, rows_of
from spectrafm.spectra.spectrum import FRAMES, Frame, Spectrum, make_spectrum
from spectrafm.spectra.units import MEDIA, Medium, to_flux, to_vacuum_angstrom

#: Normalised flux is about one: its median lies in this range, also in the coolest stars.
LEVEL = (0.1, 5.0)


class Spectra(Sequence[Spectrum]):
    """Spectra of any lengths and wavelengths.

    Parameters
    ----------
    flux : array-like
        Shape (pixels,) or (spectra, pixels), or a list of arrays of any lengths; with or without
        an astropy unit. A flux with a unit other than a plain number is as observed.
    wavelength : array-like
        As ``flux``, or one array of shape (pixels,) for all spectra. An astropy Quantity: a
        wavelength, wavenumber, frequency or energy. Numbers without a unit are refused unless all
        lie between 3000 and 30000, which are taken as Angstrom; `Spectrum.assumed` says so.
    flux_error : array-like, optional
        As ``flux``: one-sigma error, in a unit of the flux.
    mask : array-like, optional
        As ``flux``: True or any bit for a bad pixel.
    medium : {"air", "vacuum"}, optional
        Where the wavelengths hold. Default: vacuum is assumed, and `Spectrum.assumed` says so.
    frame : {"rest", "barycentric"}, optional
        Frame of the wavelengths. Default: unknown, and `Spectrum.assumed` says so.
    resolution : float or sequence of float, optional
        Resolving power, of all or of each spectrum.
    normalisation : str, optional
        Name of the normaliser that was applied to the flux, or ``"none"`` for a flux that is as
        the model wants it. Default: the flux is as observed.
    names : str or sequence of str, optional
        Names of the spectra. Default: ``spectrum 1`` and so on.

    Raises
    ------
    SpectrumError
        Names the spectrum and the field that cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from spectrafm.spectra import Spectra
    >>> spectra = Spectra(np.ones((2, 3)), [1.6, 1.61, 1.62] * u.um, medium="vacuum", frame="rest")
    >>> len(spectra), spectra[0].wavelength.tolist()
    (2, [16000.0, 16100.0, 16200.0])
    """

    def __init__(
        self,
        flux: Any,
        wavelength: Any,
        flux_error: Any = None,
        mask: Any = None,
        *,
        medium: Medium | None = None,
        frame: Frame | None = None,
        resolution: float | Sequence[float] | None = None,
        normalisation: str | None = None,
        names: str | Sequence[str] | None = None,
    ):
        names = [names] if isinstance(names, str) else names and [str(name) for name in names]
        fluxes = rows_of(flux, "flux", names)
        fluxes = [fluxes] if isinstance(fluxes, Given) else fluxes
        count = len(fluxes)
        if not count:
            raise SpectrumError("spectra", "flux", "no spectrum")
        if names is None:
            names = ["spectrum"] if count == 1 else [f"spectrum {n + 1}" for n in range(count)]
        elif len(names) != count:
            raise SpectrumError("spectra", "names", f"{len(names)} names for {count} spectra")
        wavelengths = one_for_each(
            rows_of(wavelength, "wavelength", names), count, "wavelength", True
        )
        errors = None if flux_error is None else rows_of(flux_error, "flux_error", names)
        masks = None if mask is None else rows_of(mask, "mask", names)
        if medium is not None and medium not in MEDIA:
            raise SpectrumError(names[0], "medium", f"{medium!r}, expected 'air' or 'vacuum'")
        if frame is not None and frame not in FRAMES:
            raise SpectrumError(names[0], "frame", f"{frame!r}, expected 'rest' or 'barycentric'")
        if normalisation is not None and not (isinstance(normalisation, str) and normalisation):
            raise SpectrumError(
                names[0], "normalisation", f"{normalisation!r}, expected the name of a normaliser"
            )
        self._spectra = [
            _one(name, *arrays, medium, frame, power, normalisation)
            for name, power, *arrays in zip(
                names,
                _resolutions(resolution, names),
                fluxes,
                one_for_each(wavelengths, count, "wavelength", shared=True),
                one_for_each(errors, count, "flux_error", shared=False),
                one_for_each(masks, count, "mask", shared=False),
                strict=True,
            )
        ]

    @classmethod
    def of(cls, spectra: Iterable[Spectrum]) -> Spectra:
        """Spectra from `Spectrum` objects."""
        made = cls.__new__(cls)
        made._spectra = list(spectra)
        return made

    @classmethod
    def read(
        cls, paths: str | os.PathLike | Sequence[str | os.PathLike], format: str | None = None
    ) -> Spectra:
        """Read spectra from files; the arms of one star (GALAH) become one spectrum.

        Parameters
        ----------
        paths : path or sequence of paths
        format : str, optional
            Name of the format (`spectrafm.readers.READERS`). Default: recognised by the content.

        Raises
        ------
        SpectraFMError
            Names the file that cannot be read, or whose format is unknown.
        """
        several = [paths] if isinstance(paths, str | os.PathLike) else paths
        read_spectra = load("spectrafm.readers.read:read_spectra")
        join_stars = load("spectrafm.readers.read:join_stars")
        return join_stars(one for path in several for one in read_spectra(path, format))

    @classmethod
    def from_specutils(cls, spectra: Any, **about: Any) -> Spectra:
        """Spectra from one specutils ``Spectrum``, a ``SpectrumCollection`` or a list of them.

        Parameters
        ----------
        spectra : specutils.Spectrum or sequence
        **about
            ``medium``, ``frame``, ``resolution``, ``normalisation``, ``names``, as for arrays;
            specutils 2 itself holds none of them.

        Raises
        ------
        SpectrumError
            When an object is no spectrum of specutils, or its arrays cannot be used.
        """
        return load("spectrafm.spectra.exchange:from_specutils")(spectra, **about)

    def to_specutils(self) -> list[Any]:
        """Convert to a list of ``specutils.Spectrum`` (vacuum Angstrom).

        Raises
        ------
        SpectraFMError
            When specutils is not installed.
        """
        return load("spectrafm.spectra.exchange:to_specutils")(self)

    def __len__(self) -> int:
        return len(self._spectra)

    def __iter__(self) -> Iterator[Spectrum]:
        return iter(self._spectra)

    @overload
    def __getitem__(self, where: int) -> Spectrum: ...
    @overload
    def __getitem__(self, where: slice) -> Spectra: ...
    def __getitem__(self, where):
        if isinstance(where, slice):
            return Spectra.of(self._spectra[where])
        return self._spectra[where]

    def __repr__(self) -> str:
        pixels = sorted(len(one) for one in self)
        of = f"{pixels[0]} to {pixels[-1]} pixels" if pixels else "no pixel"
        return f"<Spectra: {len(self)} of {of}>"


def _resolutions(
    resolution: float | Sequence[float] | None, names: Sequence[str]
) -> list[float | None]:
    if resolution is None:
        return [None] * len(names)
    try:
        values = np.asarray(getattr(resolution, "value", resolution), np.float64)
    except (TypeError, ValueError):
        raise SpectrumError(names[0], "resolution", f"{resolution!r} is no number") from None
    if values.ndim and values.shape != (len(names),):
        raise SpectrumError(
            names[0], "resolution", f"shape {values.shape} for {len(names)} spectra"
        )
    values = np.broadcast_to(values, len(names))
    for name, value in zip(names, values, strict=True):
        if not 1 < value < 1e7:
            raise SpectrumError(name, "resolution", f"{value:g} is no resolving power")
    return [float(value) for value in values]


def _one(
    name: str,
    flux: Given,
    wavelength: Given,
    error: Given | None,
    mask: Given | None,
    medium: Medium | None,
    frame: Frame | None,
    resolution: float | None,
    normalisation: str | None,
) -> Spectrum:
    """One spectrum from its arrays, after all checks."""
    pixels = len(flux.values)
    for field, given in (("wavelength", wavelength), ("flux_error", error), ("mask", mask)):
        if given is not None and len(given.values) != pixels:
            raise SpectrumError(
                name, field, f"{len(given.values)} pixels, but flux has {pixels} pixels"
            )
    values, unit = to_flux(flux.values, flux.unit, name, "flux")
    bad = _masked(flux, error)
    if mask is not None:
        bad = mask.values | bad
    placed = np.isfinite(wavelength.values) & (wavelength.values > 0)
    if wavelength.mask is not None:
        placed &= ~wavelength.mask
    if not placed.any():
        raise SpectrumError(name, "wavelength", "no pixel has a finite, positive wavelength")
    angstrom = np.full(pixels, np.nan)
    angstrom[placed], assumed = to_vacuum_angstrom(
        wavelength.values[placed], wavelength.unit, medium, name
    )
    if frame is None:
        assumed += ("frame is not given: wavelengths are taken as they are",)
    if normalisation is not None:
        _check_normalised(values, bad, unit, normalisation, name)
    elif unit is None:
        level = _level(values, bad)
        assumed += (f"flux has no unit: taken as observed, not normalised (median {level:.3g})",)
    return make_spectrum(
        angstrom,
        values,
        None if error is None else _error(error, unit, name),
        bad,
        name=name,
        resolution=resolution,
        frame=frame,
        normalisation=normalisation,
        assumed=assumed,
        provenance={
            "wavelength_unit": str(wavelength.unit or "Angstrom (assumed)"),
            "flux_unit": str(unit or ""),
            "medium": medium or "vacuum (assumed)",
        },
    )


def _masked(*arrays: Given | None) -> np.ndarray:
    masks = [np.zeros(1, bool)]
    masks += [given.mask for given in arrays if given is not None and given.mask is not None]
    return np.logical_or.reduce(np.broadcast_arrays(*masks)) | np.zeros(len(arrays[0].values), bool)


def _error(error: Given, unit: u.UnitBase | None, name: str) -> np.ndarray:
    """Values of the error in the unit of the flux."""
    values, own = to_flux(error.values, error.unit, name, "flux_error")
    if own is None and unit is None:
        return values
    if own is None or unit is None:
        raise SpectrumError(
            name, "flux_error", f"its unit is {own or 'none'}, that of the flux {unit or 'none'}"
        )
    try:
        return values * own.to(unit)
    except u.UnitsError:
        raise SpectrumError(
            name, "flux_error", f"its unit {own} does not convert to that of the flux, {unit}"
        ) from None


def _check_normalised(
    values: np.ndarray, bad: np.ndarray, unit: u.UnitBase | None, normalisation: str, name: str
) -> None:
    """Refuse a flux that is said to be normalised, but has a unit or another level."""
    if unit is not None:
        raise SpectrumError(
            name, "normalisation", f"{normalisation!r}, but the flux has the unit {unit}"
        )
    level = _level(values, bad)
    if normalisation != "none" and not (LEVEL[0] <= level <= LEVEL[1] or np.isnan(level)):
        raise SpectrumError(
            name,
            "flux",
            f"its median is {level:.3g}, so it is not normalised to 1 (normalisation is "
            f"{normalisation!r}): leave normalisation out for a flux as observed",
        )


def _level(values: np.ndarray, bad: np.ndarray) -> float:
    """Median flux of the pixels that can be good; NaN if there is none."""
    known = values[~bad & np.isfinite(values) & (values != 0)]
    return float(np.median(known)) if known.size else float("nan")
