"""Benchmark of `SpectraFM.predict`: many spectra at once beside a loop over them, on the CPU.

python benchmarks/predicting.py [--stars 512] [--rounds 5] [--threads 2]

Both ways give the same labels, with all flags and intervals, of the shipped models apogee-mock and
gaia-xp.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from astropy import units as u
from sidebyside import ratio, sidebyside, table

import spectrafm.models
from spectrafm import Spectra, SpectraFM
from spectrafm.surveys.apogee.grid import WAVELENGTH

XP = Path(spectrafm.models.__file__).with_name("gaia_xp_hundred.parquet")


def apogee(stars: int) -> Spectra:
    """Spectra on APOGEE's grid: noise about the continuum, since only time is measured."""
    rng = np.random.default_rng(0)
    flux = rng.normal(1, 0.02, (stars, len(WAVELENGTH))).astype("f4")
    return Spectra(
        flux, WAVELENGTH * u.AA, np.full_like(flux, 0.02),
        medium="vacuum", frame="rest", normalisation="aspcap",
    )  # fmt: skip


def xp(stars: int) -> Spectra:
    """The hundred real XP spectra, again and again."""
    hundred = Spectra.read(XP)
    return Spectra.of(hundred[number % len(hundred)] for number in range(stars))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stars", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name, spectra in (
        ("apogee-mock", apogee(arguments.stars)),
        ("gaia-xp", xp(arguments.stars)),
    ):
        model = SpectraFM.from_pretrained(name)
        few = max(1, arguments.stars // 16)

        def one_by_one(model=model, spectra=spectra, few=few):
            return [model.predict(one)["TEFF"].value[0] for one in spectra[:few]]

        def at_once(model=model, spectra=spectra):
            return model.predict(spectra)["TEFF"].value

        np.testing.assert_allclose(at_once()[:few], one_by_one(), rtol=1e-4)
        timings = sidebyside({"predict": at_once, "loop": one_by_one}, arguments.rounds)
        amounts = {"predict": len(spectra), "loop": few}
        print(f"{name}, {arguments.threads} threads")
        print(table(timings, "predict", amounts, "stars"))
        for clock in ("wall", "cpu"):
            print(f"{clock}: {ratio(timings, 'predict', 'loop', clock, amounts):.1f} x the loop")


if __name__ == "__main__":
    main()
