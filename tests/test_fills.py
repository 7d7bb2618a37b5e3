# Tests of: spectrafm/archive/fits.py, surveys/apogee/allstar.py, training/stars.py
"""Every fill value of DR13 to DR19 becomes missing, whatever the type of its column."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from making.sas_tree import COLUMNS, row, write_allstar
from making.survey_run import select
from making.toy_store import WINDOWS, toy_stars, write_toy_store
from making.toy_training import MODEL
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.labels import LABELS, PAPER_LABELS, Labels, error_column
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.read import load_stars
from spectrafm.surveys.apogee.allstar import read_allstar
from spectrafm.training.stars import to_device

MEASURED = ("SNR", "VSCATTER", "RA", *LABELS, *map(error_column, LABELS))

#: Letter of a column, the type of its array, TZERO, the fill values that the type can hold.
FLOAT_FILLS = (-9999.0, -9999.99, -999.99, -999.0, np.nan, np.inf, -np.inf)
TYPES = {
    "float32": ("E", np.float32, None, FLOAT_FILLS),
    "float64": ("D", np.float64, None, FLOAT_FILLS),
    "int16": ("I", np.int16, None, (-9999, -999)),
    "int32": ("J", np.int32, None, (-9999, -999)),
    "int64": ("K", np.int64, None, (-9999, -999)),
    # A fill of which the sign was lost.
    "uint16": ("I", np.uint16, 1 << 15, ((1 << 16) - 9999, (1 << 16) - 999)),
    "uint32": ("J", np.uint32, 1 << 31, ((1 << 32) - 9999, (1 << 32) - 999)),
    "uint64": ("K", np.uint64, 1 << 63, ((1 << 64) - 9999, (1 << 64) - 999)),
}
CASES = [(kind, fill) for kind, (*_, fills) in TYPES.items() for fill in fills]


def write(path: Path, changed: dict[str, fits.Column], rows: int = 3) -> Path:
    """allStar of ``rows`` rows, with other columns in place of those of these names."""
    write_allstar(path, [row(f"2M{number}") for number in range(rows)])
    with fits.open(path) as hdus:
        columns = [column for column in hdus[1].columns if column.name not in changed]
        table = fits.BinTableHDU.from_columns(fits.ColDefs([*columns, *changed.values()]))
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    return path


def column(name: str, kind: str, values: list) -> fits.Column:
    code, dtype, zero, _ = TYPES[kind]
    extra = {} if zero is None else {"bzero": zero}
    return fits.Column(name, code, array=np.array(values, dtype), **extra)


@pytest.mark.parametrize(("kind", "fill"), CASES)
def test_a_fill_is_missing_in_every_column_that_is_measured(tmp_path, kind, fill):
    changed = {name: column(name, kind, [fill, 250, 1]) for name in MEASURED}
    table = read_allstar(write(tmp_path / "allStar.fits", changed))
    found = table[list(MEASURED)].to_numpy(float)
    assert np.isnan(found[0]).all()
    assert (found[1] == 250).all()
    assert (found[2] == 1).all()


def test_every_kind_of_number_that_fits_has_is_tried():
    assert len(CASES) == 2 * 7 + 6 * 2
    codes = {code for code, *_ in TYPES.values()}
    assert codes == {"E", "D", "I", "J", "K"}, "all but bytes, which hold no fill"


@pytest.mark.parametrize("kind", [kind for kind in TYPES if "int" in kind])
def test_an_integer_label_is_not_taken_for_flags_and_never_becomes_large(tmp_path, kind):
    """-9999 read as 32 bits without a sign is 4294957297, which passes every cut on S/N."""
    fill = TYPES[kind][3][0]
    changed = {name: column(name, kind, [fill, 300, 300]) for name in ("SNR", "TEFF", "VSCATTER")}
    changed["VSCATTER"] = column("VSCATTER", kind, [0, 0, 0])
    path = write(tmp_path / "allStar.fits", changed)
    selected = read_parquet(select(path, tmp_path)[0])
    assert sorted(selected["apogee_id"]) == ["2M1", "2M2"]
    assert selected["TEFF"].tolist() == [300, 300]
    assert selected["snr"].max() < 1000


@pytest.mark.parametrize("kind", ["int16", "int32", "int64", "uint16", "uint32"])
def test_what_the_header_calls_null_is_missing(tmp_path, kind):
    code, dtype, zero, _ = TYPES[kind]
    null = 77 if zero is None else 77 - zero
    extra = {} if zero is None else {"bzero": zero}
    masked = fits.Column("TEFF", code, array=np.array([77, 76, 78], dtype), null=null, **extra)
    found = read_allstar(write(tmp_path / "allStar.fits", {"TEFF": masked}))["TEFF"]
    assert np.isnan(found[0])
    assert found.tolist()[1:] == [76, 78]


@pytest.mark.parametrize("fill", [-9999, -999])
@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_an_unknown_flag_of_a_star_passes_no_cut(tmp_path, kind, fill):
    for name in ("STARFLAG", "ASPCAPFLAG"):
        path = write(tmp_path / "allStar.fits", {name: column(name, kind, [fill, 0, 0])})
        assert read_allstar(path)[name].tolist() == [-1, 0, 0]
        selected = read_parquet(select(path, tmp_path)[0])
        assert sorted(selected["apogee_id"]) == ["2M1", "2M2"]


@pytest.mark.parametrize("name", ["FE_H_FLAG", "GAIAEDR3_SOURCE_ID"])
@pytest.mark.parametrize(("kind", "fill"), [case for case in CASES if "int16" not in case[0]])
def test_an_unknown_flag_of_a_label_and_an_unknown_identifier_are_0(tmp_path, name, kind, fill):
    path = write(tmp_path / "allStar.fits", {name: column(name, kind, [fill, 5, 0])})
    assert read_allstar(path)[name].tolist() == [0, 5, 0]


def test_flags_keep_all_their_bits(tmp_path):
    """Bit 31 of 32 is not a sign; int64 and uint32 hold more."""
    bits = [1 << 31, (1 << 31) | 1, (1 << 32) - 2]
    as_int32 = np.array(bits, np.uint32).view(np.int32).tolist()
    for kind, values in (("int32", as_int32), ("int64", bits), ("uint32", bits)):
        path = write(tmp_path / "allStar.fits", {"STARFLAG": column("STARFLAG", kind, values)})
        assert read_allstar(path)["STARFLAG"].tolist() == bits


@pytest.mark.parametrize("error", [-1e-6, -0.01, -1.0, -500.0, -999.99, -9999.0])
def test_a_negative_error_is_missing_and_counted(tmp_path, caplog, error):
    lines = [row("2M1", FE_H_ERR=error, TEFF_ERR=error), row("2M2")]
    write_allstar(tmp_path / "allStar.fits", lines)
    with caplog.at_level("INFO"):
        table = read_allstar(tmp_path / "allStar.fits")
    assert table.loc[0, ["FE_H_ERR", "TEFF_ERR"]].isna().all()
    assert table.loc[0, ["FE_H", "TEFF"]].notna().all()
    fill = error in (-999.99, -9999.0)
    assert ("2 negative errors of labels taken for unknown" in caplog.text) == (not fill)


# Columns that hold something else.

OTHERS = {
    "a vector": lambda name: fits.Column(name, "5E", array=np.zeros((3, 5), np.float32)),
    "a matrix": lambda name: fits.Column(
        name, "4E", dim="(2,2)", array=np.zeros((3, 2, 2), np.float32)
    ),
    "text": lambda name: fits.Column(name, "8A", array=np.array(["4700"] * 3)),
    "true or false": lambda name: fits.Column(name, "L", array=np.array([True] * 3)),
    "bits": lambda name: fits.Column(name, "3X", array=np.zeros((3, 3), bool)),
    "complex": lambda name: fits.Column(name, "C", array=np.zeros(3, np.complex64)),
    "of variable length": lambda name: fits.Column(
        name, "PJ()", array=np.array([np.array([1]), np.array([2, 3]), np.array([4])], object)
    ),
    "scaled": lambda name: fits.Column(name, "I", array=np.zeros(3, np.int16)),
}


def write_other(path: Path, name: str, other: str) -> Path:
    """allStar with a column of another kind; astropy cannot write the scaled one by itself."""
    write(path, {name: OTHERS[other](name)})
    if other == "scaled":
        number = fits.getheader(path, 1)["TFIELDS"]
        assert fits.getval(path, f"TTYPE{number}", 1) == name
        fits.setval(path, f"TSCAL{number}", value=0.5, ext=1)
    return path


@pytest.mark.parametrize("name", ["SNR", "TEFF", "FE_H_ERR", "STARFLAG", "APOGEE_ID", "FIELD"])
@pytest.mark.parametrize("other", OTHERS)
def test_a_column_that_holds_something_else_is_named_in_one_line(tmp_path, name, other):
    if other == "text" and name in ("APOGEE_ID", "FIELD"):
        pytest.skip("they are text")
    path = write_other(tmp_path / "allStar.fits", name, other)
    with pytest.raises(SpectraFMError, match=rf"column {name} holds .* a row, expected") as raised:
        read_allstar(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_column_of_one_number_in_brackets_is_a_column_of_one_number(tmp_path):
    one = fits.Column("TEFF", "1E", dim="(1)", array=np.array([[1.0], [2.0], [3.0]], np.float32))
    found = read_allstar(write(tmp_path / "allStar.fits", {"TEFF": one}))["TEFF"]
    assert found.tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["APOGEE_ID", "STARFLAG", "FPARAM", "FIELD"])
def test_what_is_not_measured_is_no_label(tmp_path, name):
    path = write(tmp_path / "allStar.fits", {})
    for labels in ({name: {}}, {"FE_H": {"error": name}}):
        with pytest.raises(SpectraFMError, match=f"{name} is no measured quantity"):
            read_allstar(path, Labels(labels=labels))


def test_arrays_of_other_lengths_are_named(tmp_path):
    """A catalogue without named labels, whose PARAM and X_H are not those of a release."""
    path = tmp_path / "allStar.fits"
    write_allstar(path, [row("2M1")], leave_out=[*LABELS, *map(error_column, LABELS)])
    lengths = {"PARAM": 7, "PARAM_COV": 49, "X_H": 26, "X_H_ERR": 26}
    for short in lengths:
        changed = lengths | {short: 3}
        with fits.open(path) as hdus:
            columns = [column for column in hdus[1].columns if column.name not in lengths]
            columns += [
                fits.Column(name, f"{n}E", array=np.zeros((1, n), np.float32))
                for name, n in changed.items()
            ]
            table = fits.BinTableHDU.from_columns(columns)
        table.writeto(tmp_path / "other.fits", overwrite=True)
        with pytest.raises(SpectraFMError, match=r"PARAM, PARAM_COV, X_H, X_H_ERR have not"):
            read_allstar(tmp_path / "other.fits")


def test_odd_columns_of_all_kinds_end_in_one_line_or_in_a_table(tmp_path):
    """Every column that is read, in every type that FITS has."""
    tried = refused = 0
    for (name, *_), other in itertools.product(COLUMNS, OTHERS):
        path = write_other(tmp_path / "allStar.fits", name, other)
        tried += 1
        try:
            read_allstar(path)
        except SpectraFMError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017
    assert tried == len(COLUMNS) * len(OTHERS)
    assert refused == tried - 3, "the three names may be text"


# Training.


@pytest.mark.parametrize("label", range(len(LABELS)))
def test_a_negative_error_ends_a_training_with_the_star_and_the_column(tmp_path, label):
    store = write_toy_store(tmp_path / "store.zarr", toy_stars(20))
    stars = load_stars(store, "observed", split="train", windows=WINDOWS)
    network = SpectraFM(MODEL, PAPER_LABELS)
    request, device = network.request_of(LABELS), torch.device("cpu")
    assert len(to_device(stars, network, request, WINDOWS, device)) == len(stars.apogee_id)
    stars.label_error[3, label] = -0.25
    name, star = LABELS[label], stars.apogee_id[3]
    with pytest.raises(SpectraFMError, match=rf"^{name}_ERR of star {star} is -0\.25 \(1 such"):
        to_device(stars, network, request, WINDOWS, device)
