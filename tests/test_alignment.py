# Tests of: spectrafm/surveys/apogee/fetch_spectra.py, store/build_store.py, store/read.py
"""No star gets another star's labels or flux, whichever files are missing or broken."""

from __future__ import annotations

import numpy as np
import pytest

from making.sas_tree import make_tree, row, write_allstar
from making.survey_run import Run
from spectrafm.archive.failures import Failure
from spectrafm.archive.source import Fetched
from spectrafm.errors import SpectraFMError
from spectrafm.labels import LABELS
from spectrafm.surveys.apogee.aspcapstar import AspcapStar
from spectrafm.surveys.apogee.grid import N_PIXELS
from spectrafm.surveys.apogee.selected import read_selected
from spectrafm.surveys.apogee.spectra_files import FolderList

STARS = 30
MODULE = "spectrafm.surveys.apogee.fetch_spectra"
FILES = "spectrafm.surveys.apogee.spectra_files"


def code_of(apogee_id: str, visit: int = 0) -> float:
    """A number that is a star's own, and its row's, which a flux or label can hold exactly."""
    return (int(apogee_id[2:]) * 4 + visit + 1) / 1024


ROWS = [
    row(
        f"2M{number:08d}", FIELD=f"field{visit}", SNR=400.0 - visit,
        **{label: code_of(f"2M{number:08d}", visit) for label in LABELS},
    )
    for number in range(STARS)
    for visit in range(1 + number % 3)
]  # fmt: skip


@pytest.mark.parametrize("patterns", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_whatever_is_missing_or_broken_no_star_has_another_ones_labels_or_flux(
    tmp_path, monkeypatch, patterns
):
    """Flux and labels both hold the number of the row that they belong to."""
    run = Run(tmp_path, make_tree(tmp_path / "sas", [ROWS[0]]))
    write_allstar(run.tree.allstar, ROWS)
    run.survey = run.tree.survey(shards=1)
    run.select()
    visits = {run.tree.path_of(line).relative_to(run.tree.root).as_posix(): line for line in ROWS}
    rng = np.random.default_rng(0)
    state: dict[str, str] = {}

    def fetch(paths, sha1s, archive, limits, tape):
        for index in rng.permutation(len(paths)):
            path = paths[index]
            absent = state[path] == "missing"
            yield Fetched(path, Failure("absent", settled=True) if absent else path.encode())

    def usable_spectra(content, path, apogee_id):
        line = visits[content.decode()]
        assert line["APOGEE_ID"] == apogee_id
        if state[path] == "broken":
            raise SpectraFMError(f"{path}: broken")
        flux = np.full(N_PIXELS, line["TEFF"], np.float32)
        return AspcapStar(flux, flux, flux, apogee_id)

    written = []
    monkeypatch.setattr(f"{MODULE}.simulated.marks_its_tree", lambda archive, limits: False)
    monkeypatch.setattr(f"{FILES}.SpectraFiles._fetch_lists", lambda files, paths: None)
    monkeypatch.setattr(f"{FILES}.SpectraFiles._list_of", lambda files, path: FolderList())
    monkeypatch.setattr(f"{FILES}.SpectraFiles._renew_lists", lambda files, paths: None)
    monkeypatch.setattr(f"{FILES}.fetch", fetch)
    monkeypatch.setattr(f"{FILES}.usable_spectra", usable_spectra)
    monkeypatch.setattr(
        f"{MODULE}.write_store",
        lambda _, stars, *__, **___: written.extend(stars),
    )
    monkeypatch.setattr(
        f"{MODULE}.write_parquet",
        lambda _, table, __: written.append(table),
    )
    tables = {path: read_selected(path) for path in (run.selected, run.alternates)}
    monkeypatch.setattr(f"{MODULE}.read_selected", tables.get)
    monkeypatch.setattr(f"{MODULE}.open_store", lambda path: written[0].table)
    monkeypatch.setattr(
        f"{MODULE}.read",
        lambda table, name: table[name].to_numpy(bool),
    )

    stored = lost = replaced = 0
    for _ in range(patterns):
        share = rng.uniform(0, 0.7)
        state |= {
            path: ("good", "missing", "broken")[0 if rng.random() > share else rng.integers(1, 3)]
            for path in visits
        }
        run.fetch(0)
        missing, stars = written.pop(), written.pop()
        assert len(stars) + (~missing["replaced"]).sum() == STARS
        codes = stars.table["TEFF"].to_numpy(np.float32)
        assert (stars.table[list(LABELS)].to_numpy(np.float32) == codes[:, None]).all()
        for name in ("observed", "observed_error", "synthetic"):
            assert (stars.spectra[name] == codes[:, None]).all()
        for star, path, code in zip(
            stars.table["apogee_id"], stars.table["path"], stars.table["TEFF"], strict=True
        ):
            assert state[path] == "good"
            assert code_of(star) <= code < code_of(star, 3)
        stored += len(stars)
        lost += int((~missing["replaced"]).sum())
        replaced += int(missing["replaced"].sum())
    assert stored + lost == patterns * STARS
    assert lost > patterns
    assert replaced > patterns
