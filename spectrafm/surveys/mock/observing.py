"""Observing the mock stars: fields, fibres, signal-to-noise, flags, repeats, lost files.

Every reason for which the paper drops a row of allStar occurs in the mock survey, in the
proportions of `CUT_SHARES`, so that each cut removes some rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectrafm.surveys.apogee.bitmasks import mask_of
from spectrafm.surveys.mock.columns import Columns
from spectrafm.surveys.mock.population import Stars

#: Share of the rows with each reason to be dropped, other than S/N < 200.
CUT_SHARES = {
    "STARFLAG": 0.07,
    "STAR_BAD": 0.04,
    "VSCATTER": 0.05,
    "repeat": 0.06,
    "no_result": 0.003,
    "lost_file": 0.002,
    "empty": 0.002,
}

#: S/N per pixel of the stars' best rows: median, and scatter in dex.
SNR_MEDIAN = 280.0
SNR_SCATTER = 0.16

_STARS_PER_FIELD = 60
_FIELD_RADIUS = 1.4  # degrees

_ROW_FLAGS = (
    "PERSIST_HIGH", "PERSIST_MED", "PERSIST_LOW", "PERSIST_JUMP_NEG", "BRIGHT_NEIGHBOR",
    "VERY_BRIGHT_NEIGHBOR", "SUSPECT_RV_COMBINATION", "SUSPECT_BROAD_LINES", "MULTIPLE_SUSPECT",
    "SUSPECT_ROTATION",
)  # fmt: skip
_BAD_REASONS = ("TEFF_BAD", "LOGG_BAD", "COLORTE_BAD", "ROTATION_BAD", "SPEC_HOLE_BAD")

# Equatorial from galactic coordinates, J2000 (Hipparcos catalogue, vol. 1, section 1.5.3).
_GALACTIC_TO_EQUATORIAL = np.array(
    [
        [-0.0548755604, 0.4941094279, -0.8676661490],
        [-0.8734370902, -0.4448296300, -0.1980763734],
        [-0.4838350155, 0.7469822445, 0.4559837762],
    ]
)


@dataclass(frozen=True)
class Rows(Columns):
    """Observations in the order of allStar's rows, one for every star and field."""

    star: np.ndarray  # position in the table of stars
    apogee_id: np.ndarray
    telescope: np.ndarray
    field: np.ndarray
    location: np.ndarray
    ra: np.ndarray  # degrees, J2000
    dec: np.ndarray
    glon: np.ndarray
    glat: np.ndarray
    snr: np.ndarray
    visits: np.ndarray
    fibre: np.ndarray
    velocity_scatter: np.ndarray  # km/s
    starflag: np.ndarray
    aspcapflag: np.ndarray
    shift: np.ndarray  # km/s between observer and star
    persistence: np.ndarray  # bool
    duplicate: np.ndarray  # bool: not the best row of its star
    has_file: np.ndarray  # bool
    empty: np.ndarray  # bool: the file's spectrum is all zero, its model all one


def observe_stars(stars: Stars, repeats: int, rng: np.random.Generator) -> Rows:
    """Place stars on the sky and observe them, the stars of some fields twice.

    Parameters
    ----------
    stars : Stars
    repeats : int
        Number of stars that have a second row of lower S/N, in another field or telescope.
    rng : numpy.random.Generator

    Returns
    -------
    Rows
        Sorted by RA, declination and field, as allStar is.
    """
    count = len(stars)
    plates = _Fields(max(3, round(count / _STARS_PER_FIELD)), rng)
    plate = plates.assign(stars.halo, rng)
    glon, glat, ra, dec = plates.scatter(plate, rng)
    snr = SNR_MEDIAN * 10 ** (SNR_SCATTER * rng.normal(size=count))

    # Whole fields are observed twice, until there are enough repeats.
    second = np.argsort(plate, kind="stable")[:repeats]
    star = np.concatenate([np.arange(count), second])
    again = np.arange(len(star)) >= count
    row_plate = plate[star]
    row_snr = snr[star] * np.where(again, rng.uniform(0.45, 0.98, len(star)), 1.0)
    telescope, field = plates.names(row_plate, again)
    total = len(star)

    visits = 1 + rng.binomial(8, 0.3, total)
    scatter = np.where(visits > 1, 0.1 * 10 ** rng.normal(0, 0.25, total), 0.0)
    reasons = _draw_reasons(row_snr, visits, again, rng)
    scatter[reasons["VSCATTER"]] = 1.0 + 10 ** rng.normal(0.3, 0.5, reasons["VSCATTER"].sum())

    starflag = np.zeros(total, dtype=np.int64)
    bits = np.array([mask_of("STARFLAG", [name]) for name in _ROW_FLAGS])
    starflag[reasons["STARFLAG"]] = rng.choice(bits, reasons["STARFLAG"].sum())
    remembers = starflag & mask_of("STARFLAG", [f for f in _ROW_FLAGS if f.startswith("PERSIST")])

    rows = Rows(
        star,
        _apogee_ids(ra, dec)[star],
        telescope,
        field,
        plates.location(row_plate, again),
        ra[star],
        dec[star],
        glon[star],
        glat[star],
        row_snr,
        visits,
        rng.integers(1, 301, total),
        scatter,
        starflag,
        _aspcapflags(row_snr, stars.teff[star], reasons, rng),
        # The star's velocity plus that of the Earth.
        stars.velocity[star] + rng.normal(0, 18, total),
        (rng.random(total) < 0.12) | (remembers != 0),
        again,
        ~(reasons["no_result"] | reasons["lost_file"]),
        reasons["empty"],
    )
    return rows.take(np.lexsort((field, dec[star], ra[star])))


def _draw_reasons(
    snr: np.ndarray, visits: np.ndarray, again: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Choose the rows with each reason to be dropped; a row may have several.

    The last three reasons concern files and are drawn from rows without another reason. The files
    of stars without an ASPCAP result do not exist, but those rows are flagged as bad, as in DR17,
    so that no selection fetches them. Selections do fetch the lost and the empty files.
    """
    total = len(snr)
    reasons = {}
    # Faint stars are flagged more often.
    weight = {
        "STARFLAG": np.where(snr <= 200, 3.0, 1.0),
        "STAR_BAD": np.where(snr <= 200, 3.0, 1.0),
        "VSCATTER": np.where(visits > 1, 1.0, 0.0),
    }
    for name, likely in weight.items():
        reasons[name] = _chosen(total, CUT_SHARES[name], likely, rng)
    clean = (snr > 200) & ~again & ~np.any(list(reasons.values()), axis=0)
    for name in ("no_result", "lost_file", "empty"):
        reasons[name] = _chosen(total, CUT_SHARES[name], clean.astype(float), rng)
        clean &= ~reasons[name]
    return reasons


def _chosen(total: int, share: float, weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mask that is true for a share of the rows, at least one, drawn with the given weights."""
    rows = rng.choice(total, max(1, round(share * total)), replace=False, p=weight / weight.sum())
    mask = np.zeros(total, dtype=bool)
    mask[rows] = True
    return mask


def _aspcapflags(
    snr: np.ndarray, teff: np.ndarray, reasons: dict[str, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    flag = np.zeros(len(snr), dtype=np.int64)
    flag[snr < 100] |= mask_of("ASPCAPFLAG", ["SN_WARN", "STAR_WARN"])
    flag[teff < 3500] |= mask_of("ASPCAPFLAG", ["TEFF_WARN", "STAR_WARN"])
    causes = np.array([mask_of("ASPCAPFLAG", [name, "STAR_BAD"]) for name in _BAD_REASONS])
    flag[reasons["STAR_BAD"]] |= rng.choice(causes, reasons["STAR_BAD"].sum())
    flag[reasons["no_result"]] |= mask_of("ASPCAPFLAG", ["NO_ASPCAP_RESULT", "STAR_BAD"])
    return flag


class _Fields:
    """The fields of the survey: half of them in the disc, the others at high latitude."""

    def __init__(self, count: int, rng: np.random.Generator):
        self._high = np.arange(count) % 2 == 1
        self._glon = rng.choice(360, count, replace=count > 360).astype(float)
        latitude = np.where(self._high, rng.uniform(30, 75, count), rng.uniform(0, 14, count))
        self._glat = np.round(latitude) * rng.choice([-1, 1], count)
        _, dec = equatorial(self._glon, self._glat)
        telescopes = np.where(dec < -15, "lco25m", "apo25m").astype("U6")
        # The 1 m telescope took single bright stars under programme names.
        telescopes[count // 2] = "apo1m"
        self._telescope = telescopes
        suffix = np.array(["", "-C", "_btx"])[rng.integers(0, 3, count)]
        self._name = np.array(
            [
                f"{lon:03.0f}{lat:+03.0f}{ending}"
                for lon, lat, ending in zip(self._glon, self._glat, suffix, strict=True)
            ]
        )
        self._name[count // 2] = "hip"

    def assign(self, halo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw a field for every star; halo stars are mostly at high latitude."""
        disc = rng.choice(np.flatnonzero(~self._high), halo.size)
        high = rng.choice(np.flatnonzero(self._high), halo.size)
        return np.where(rng.random(halo.size) < np.where(halo, 0.85, 0.35), high, disc)

    def scatter(self, plate: np.ndarray, rng: np.random.Generator):
        """Galactic and equatorial coordinates (degrees) of stars within their fields."""
        radius = _FIELD_RADIUS * np.sqrt(rng.random(plate.size))
        angle = 2 * np.pi * rng.random(plate.size)
        glat = self._glat[plate] + radius * np.sin(angle)
        glon = self._glon[plate] + radius * np.cos(angle) / np.cos(np.radians(glat))
        return glon % 360, glat, *equatorial(glon, glat)

    def names(self, plate: np.ndarray, again: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Telescope and field of each row; second observations have field names of their own."""
        name = np.where(again, np.char.add(self._name[plate], "_MGA"), self._name[plate])
        # One field in four is repeated by the telescope of the other hemisphere.
        other = np.where(self._telescope[plate] == "lco25m", "apo25m", "lco25m")
        crossed = again & (plate % 4 == 0)
        return np.where(crossed, other, self._telescope[plate]), name

    def location(self, plate: np.ndarray, again: np.ndarray) -> np.ndarray:
        """LOCATION_ID of each row: one number per field, and 1 for the 1 m telescope."""
        number = 4100 + plate + np.where(again, 1000, 0)
        return np.where(self._telescope[plate] == "apo1m", 1, number)


def equatorial(glon: np.ndarray, glat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right ascension and declination (degrees, J2000) from galactic coordinates (degrees)."""
    lon, lat = np.radians(glon), np.radians(glat)
    galactic = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    x, y, z = np.einsum("ij,jn->in", _GALACTIC_TO_EQUATORIAL, galactic)
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(z))


def _apogee_ids(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Names after 2MASS: 2MHHMMSSss+DDMMSSs, truncated coordinates."""
    return np.array([_apogee_id(*position) for position in zip(ra, dec, strict=True)])


def _apogee_id(ra: float, dec: float) -> str:
    hundredths = int(ra / 15 * 3600 * 100)
    seconds, hundredths = divmod(hundredths, 100)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    tenths = int(abs(dec) * 3600 * 10)
    arcseconds, tenths = divmod(tenths, 10)
    arcminutes, arcseconds = divmod(arcseconds, 60)
    degrees, arcminutes = divmod(arcminutes, 60)
    sign = "-" if dec < 0 else "+"
    return (
        f"2M{hours:02d}{minutes:02d}{seconds:02d}{hundredths:02d}"
        f"{sign}{degrees:02d}{arcminutes:02d}{arcseconds:02d}{tenths}"
    )
