"""Fabricating a small SAS tree in the layout of DR17."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits

from spectrafm.labels import LABELS, error_column
from spectrafm.surveys.apogee import paths, simulated
from spectrafm.surveys.apogee.grid import CHIP_PIXELS, N_GRID
from spectrafm.surveys.apogee.options import Survey

RELEASE, ASPCAP = "dr17", "synspec_rev1"

#: Columns of allStar with DR17's types: name, FITS format, default value.
COLUMNS = (
    ("APOGEE_ID", "30A", ""),
    ("TELESCOPE", "6A", "apo25m"),
    ("FIELD", "20A", "000+02"),
    ("RA", "D", 10.0),
    ("DEC", "D", -5.0),
    ("SNR", "E", 300.0),
    ("STARFLAG", "K", 0),
    ("ASPCAPFLAG", "K", 0),
    ("VSCATTER", "E", 0.1),
    ("TEFF", "E", 4700.0),
    ("LOGG", "E", 2.5),
    ("O_FE", "E", 0.1),
    ("MG_FE", "E", 0.05),
    ("FE_H", "E", -0.2),
    *((error_column(label), "E", 0.01) for label in LABELS),
)


def row(apogee_id: str, **values) -> dict:
    """One row of allStar."""
    return {name: default for name, _, default in COLUMNS} | {"APOGEE_ID": apogee_id} | values


def write_allstar(path: Path, rows: list[dict], leave_out: tuple[str, ...] = ()) -> None:
    """Write allStar with these rows, without the columns in ``leave_out``."""
    columns = [
        fits.Column(name, code, array=np.array([line[name] for line in rows]))
        for name, code, _ in COLUMNS
        if name not in leave_out
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    table = fits.BinTableHDU.from_columns(columns)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)


def spectra_of(apogee_id: str) -> dict[str, np.ndarray]:
    """Observed flux, error and best fit on the 8575-pixel grid, different for every star."""
    rng = np.random.default_rng(list(apogee_id.encode()))
    arrays = {name: np.zeros(N_GRID) for name in ("observed", "observed_error", "synthetic")}
    synthetic = 1 - 0.5 * rng.random(CHIP_PIXELS.size) ** 4
    arrays["synthetic"][CHIP_PIXELS] = synthetic
    arrays["observed"][CHIP_PIXELS] = synthetic + 0.01 * rng.standard_normal(CHIP_PIXELS.size)
    arrays["observed_error"][CHIP_PIXELS] = 0.01
    return arrays


def aspcapstar_bytes(line: dict, **arrays: np.ndarray) -> bytes:
    """Bytes of the aspcapStar file of a row of allStar; ``arrays`` replace its spectra."""
    content = spectra_of(line["APOGEE_ID"]) | arrays
    hdus = [fits.PrimaryHDU()]
    for name in ("observed", "observed_error", "synthetic"):
        hdu = fits.ImageHDU(content[name])
        hdu.header["CRVAL1"], hdu.header["CDELT1"] = 4.179, 6e-6
        hdus.append(hdu)
    columns = [fits.Column(name, code, array=[line[name]]) for name, code, _ in COLUMNS]
    hdus.append(fits.BinTableHDU.from_columns(columns))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()


@dataclass
class SasTree:
    """A SAS tree on disk whose files may be changed before they are fetched."""

    root: Path
    rows: list[dict]
    files: dict[str, Path] = field(default_factory=dict)

    def survey(self, **options) -> Survey:
        """Options of a survey that reads this tree."""
        return Survey(
            **{
                "source": str(self.root),
                "shards": 2,
                "tries": 1,
                "runs": 1,
                "most_missing": 1,
                **options,
            }
        )

    @property
    def allstar(self) -> Path:
        return self.root / paths.allstar_path(RELEASE, ASPCAP)

    def path_of(self, line: dict) -> Path:
        """Path of a row's aspcapStar file."""
        names = (line["TELESCOPE"], line["FIELD"], line["APOGEE_ID"])
        return self.root / paths.aspcapstar_path(RELEASE, ASPCAP, *names)

    def write(self, line: dict, content: bytes) -> None:
        """Write a row's file and append its SHA-1 to the field's checksum list."""
        path = self.path_of(line)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        names = (line["TELESCOPE"], line["FIELD"])
        with open(self.root / paths.sha1sum_path(RELEASE, ASPCAP, *names), "a") as listed:
            listed.write(f"{hashlib.sha1(content).hexdigest()}  {path.name}\n")


def make_tree(root: Path, rows: list[dict], mock: bool = False) -> SasTree:
    """Write allStar and the file of each row."""
    tree = SasTree(root, rows)
    write_allstar(tree.allstar, rows)
    for line in rows:
        tree.write(line, aspcapstar_bytes(line))
    if mock:
        (root / simulated.MARKER).write_text(f"{simulated.TEXT}\n")
    return tree
