# Tests of: spectrafm/surveys/apogee/fetch_astronn.py
"""astroNN's labels: of the selected stars, one row each, or a note where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from making.loopback import forbidden, running
from making.sas_tree import row, write_allstar
from spectrafm.errors import SpectraFMError, Unfinished
from spectrafm.files import read_parquet, write_parquet
from spectrafm.labels import LABELS
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.fetch_astronn import fetch_astronn
from spectrafm.surveys.apogee.options import Survey

NAN = float("nan")
COLUMNS = ("TEFF", "TEFF_ERR", "LOGG", "O_H", "MG_H", "FE_H")
ROWS = {
    "APOGEE_ID": ["2M2  ", "2M1", "2M1", "2M1", "2Mnot_selected"],
    "TEFF": [5000.0, 4000.0, 4100.0, 4200.0, 3000.0],
    "TEFF_ERR": [NAN, 20.0, 10.0, -9999.0, 1.0],
    "LOGG": [4.5, 2.0, 2.1, 2.2, 1.0],
    "O_H": [0.1, -0.2, -0.1, 0.0, 0.0],
    "MG_H": [-9999.0, 0.0, 0.05, 0.0, 0.0],
    "FE_H": [0.3, -0.5, -0.4, 0.0, 0.0],
}


@pytest.fixture
def survey(tmp_path) -> Survey:
    stars = pd.DataFrame({"apogee_id": ["2M1", "2M2", "2M3"]})
    release = {"release": "dr17", "aspcap": "synspec_rev1"}
    write_parquet(tmp_path / "selected.parquet", stars, release)
    return Survey(source=str(tmp_path / "sas"))


def fetch(folder: Path, output: Path, survey: Survey) -> None:
    fetch_astronn(
        selected=folder / "selected.parquet", output=output, archive=survey, limits=survey
    )


def catalogue_of(survey: Survey, leave_out: tuple[str, ...] = ()) -> Path:
    path = Path(survey.source) / paths.astronn_path(survey.release)
    path.parent.mkdir(parents=True)
    columns = [
        fits.Column(name, "20A" if name == "APOGEE_ID" else "E", array=values)
        for name, values in ROWS.items()
        if name not in leave_out
    ]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)
    return path


def test_the_row_with_the_smallest_error_of_each_selected_star(survey, tmp_path):
    catalogue_of(survey)
    output = tmp_path / "catalogue/astronn.parquet"
    fetch(tmp_path, output, survey)
    table = read_parquet(output)
    assert list(table.columns) == ["apogee_id", *LABELS]
    assert table["apogee_id"].tolist() == ["2M1", "2M2"]
    expected = [[4100, 2.1, 0.3, 0.45, -0.4], [5000, 4.5, -0.2, NAN, 0.3]]
    np.testing.assert_allclose(table[list(LABELS)].to_numpy(), expected, rtol=1e-5)
    assert "note" not in table.attrs
    assert [path.name for path in output.parent.iterdir()] == ["astronn.parquet"]


def test_without_the_catalogue_an_empty_table_says_so(survey, tmp_path):
    write_allstar(Path(survey.source) / paths.allstar_path("dr17", "synspec_rev1"), [row("2M1")])
    fetch(tmp_path, tmp_path / "astronn.parquet", survey)
    table = read_parquet(tmp_path / "astronn.parquet")
    assert table.empty
    assert list(table.columns) == ["apogee_id", *LABELS]
    assert table.attrs["note"] == f"the source has no {paths.astronn_path('dr17')}"


def test_a_source_that_has_nothing_at_all_has_an_outage(survey, tmp_path):
    with pytest.raises(Unfinished, match=r"neither this file nor .*allStar-dr17"):
        fetch(tmp_path, tmp_path / "astronn.parquet", survey)
    with running() as server:
        elsewhere = Survey(source=server.url, tries=2, first_wait=0.001)
        with pytest.raises(Unfinished, match=r"neither this file nor .*\(absent \(404\)\)"):
            fetch(tmp_path, tmp_path / "astronn.parquet", elsewhere)
        server.faults[paths.astronn_path("dr17")] = [forbidden] * 2
        with pytest.raises(Unfinished, match=r"refused \(403\)"):
            fetch(tmp_path, tmp_path / "astronn.parquet", elsewhere)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["selected.parquet"]


@pytest.mark.parametrize("column", ROWS)
def test_a_missing_column_is_named(survey, tmp_path, column):
    catalogue_of(survey, leave_out=(column,))
    with pytest.raises(SpectraFMError, match=rf"astroNN-DR17\.fits: no column {column}$"):
        fetch(tmp_path, tmp_path / "astronn.parquet", survey)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sas", "selected.parquet"]


def test_labels_are_those_of_the_selection(survey, tmp_path):
    catalogue_of(survey)
    labels = {name: {"unit": "dex", "symbol": name} for name in ("FE_H", "MG_FE", "CE_FE")}
    table = read_parquet(tmp_path / "selected.parquet")
    write_parquet(tmp_path / "selected.parquet", table, table.attrs | {"labels": labels})
    fetch(tmp_path, tmp_path / "astronn.parquet", survey)
    table = read_parquet(tmp_path / "astronn.parquet")
    assert list(table.columns) == ["apogee_id", "FE_H", "MG_FE", "CE_FE"]
    np.testing.assert_allclose(table["MG_FE"], [0.45, NAN], rtol=1e-5)
    assert table["CE_FE"].isna().all(), "astroNN has no cerium"


def test_a_truncated_catalogue_is_named(survey, tmp_path):
    path = catalogue_of(survey)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SpectraFMError, match=r"astroNN-DR17\.fits: not a whole FITS file"):
        fetch(tmp_path, tmp_path / "astronn.parquet", survey)


def test_a_source_that_does_not_answer_is_an_error(survey, tmp_path):
    silent = survey.model_copy(update={"source": "http://127.0.0.1:9", "tries": 1})
    with pytest.raises(SpectraFMError, match=r"astroNN-DR17\.fits: no answer"):
        fetch(tmp_path, tmp_path / "astronn.parquet", silent)
