"""Fast fabrication of many aspcapStar files: copies of one file with other spectra and name."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np

from making.sas_tree import ASPCAP, RELEASE, aspcapstar_bytes, row, spectra_of, write_allstar
from making.survey_run import select
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.options import Survey

#: Number of stars of a field, which share a folder and a list of SHA-1 sums.
FIELD_STARS = 250


def fabricate(folder: Path, stars: int, shards: int) -> tuple[Survey, Path, Path]:
    """Write a survey of a given number of stars and select all of them.

    Returns
    -------
    survey : Survey
        Options of a survey whose source is a folder; each file has a published SHA-1.
    selected, alternates : pathlib.Path
        Tables that `select_stars` writes.
    """
    root = folder / "sas"
    rows = [
        row(f"2M{number:016d}", FIELD=f"field{number // FIELD_STARS:04d}")
        for number in range(stars)
    ]
    write_allstar(root / paths.allstar_path(RELEASE, ASPCAP), rows)
    listed = defaultdict(list)
    fill = _Template()
    rng = np.random.default_rng(0)
    for line in rows:
        names = (line["TELESCOPE"], line["FIELD"], line["APOGEE_ID"])
        path = root / paths.aspcapstar_path(RELEASE, ASPCAP, *names)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = fill(line["APOGEE_ID"], rng)
        path.write_bytes(content)
        listed[names[:2]].append(f"{hashlib.sha1(content).hexdigest()}  {path.name}\n")
    for names, lines in listed.items():
        (root / paths.sha1sum_path(RELEASE, ASPCAP, *names)).write_text("".join(lines))

    survey = Survey(source=str(root), shards=shards)
    selected, alternates, _ = select(root / paths.allstar_path(RELEASE, ASPCAP), folder, survey)
    return survey, selected, alternates


class _Template:
    """An aspcapStar file whose spectra (float32 as in DR17) and APOGEE_ID are overwritten."""

    def __init__(self):
        self.name = "2M" + "x" * 16
        self.arrays = {name: a.astype(np.float32) for name, a in spectra_of(self.name).items()}
        self.content = aspcapstar_bytes(row(self.name), **self.arrays)
        self.name_at = self.content.rindex(self.name.encode())
        self.places = {
            name: self.content.index(array.astype(">f4").tobytes())
            for name, array in self.arrays.items()
        }

    def __call__(self, apogee_id: str, rng: np.random.Generator) -> bytes:
        content = bytearray(self.content)
        content[self.name_at : self.name_at + len(apogee_id)] = apogee_id.encode()
        noise = rng.normal(0, 0.01, self.arrays["observed"].size).astype(np.float32)
        observed = np.where(self.arrays["observed"] == 0, 0, self.arrays["synthetic"] + noise)
        array = observed.astype(">f4").tobytes()
        start = self.places["observed"]
        content[start : start + len(array)] = array
        return bytes(content)
