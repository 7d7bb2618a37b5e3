# Tests of: spectrafm/surveys/apogee/check_selection.py
"""The authors' counts: how the funnel shows them, and how a user's own are held against them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from making.sas_tree import COLUMNS, aspcapstar_bytes, make_tree, row
from making.survey_run import Run, select
from spectrafm import cli
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet, write_parquet
from spectrafm.labels import LABELS, error_column
from spectrafm.surveys.apogee.bitmasks import mask_of
from spectrafm.surveys.apogee.check_selection import compare
from spectrafm.surveys.apogee.grid import N_GRID
from spectrafm.surveys.apogee.options import Selection

PUBLISHED = Path(__file__).parents[2] / "shared/data/labels_dr17"
NUMBERS = [*LABELS, *map(error_column, LABELS)]
NAN = float("nan")

#: Stars of each kind, as in the authors' selection: 128,428 with a label, 57 without any, and
#: 277 whose spectrum is zero, which a catalogue does not tell.
LABELLED, UNLABELLED, ZERO = 128_428, 57, 277


def published_labels() -> np.ndarray:
    """The authors' labels and errors, ten numbers a star."""
    if not PUBLISHED.exists():
        pytest.skip(f"no published labels: {PUBLISHED} is not there")
    kinds = [
        np.vstack([np.load(PUBLISHED / f"{kind}_{side}.npy") for side in ("train", "test")])
        for kind in ("labels", "label_errs")
    ]
    return np.hstack(kinds)


def random_labels(count: int, generator: np.random.Generator) -> np.ndarray:
    """As many other labels."""
    return generator.normal(1.0, 0.3, (count, len(NUMBERS))).astype(np.float32)


def catalogue(path: Path, published: np.ndarray, generator: np.random.Generator) -> None:
    """A catalogue from which the paper's cuts select those stars, and which holds many others."""
    stars = np.vstack(
        [
            published,
            np.full((UNLABELLED, len(NUMBERS)), NAN, np.float32),
            random_labels(ZERO, generator),
        ]
    )
    worse = random_labels(5000, generator)
    dropped = random_labels(4000, generator)
    kinds = [(name, f">{dict(D='f8', E='f4', K='i8')[code]}" if len(code) == 1 else f"S{code[:-1]}")
             for name, code, _ in COLUMNS]  # fmt: skip
    rows = np.empty(len(stars) + len(worse) + len(dropped), kinds)
    for name, _, value in COLUMNS:
        rows[name] = value
    names = [f"2M{number:08d}" for number in range(len(stars))]
    repeated = generator.choice(names, len(worse))
    rows["APOGEE_ID"] = [*names, *repeated, *(f"AP{number}" for number in range(len(dropped)))]
    for number, column in enumerate(NUMBERS):
        rows[column] = np.concatenate([stars, worse, dropped])[:, number]
    rows["SNR"][len(stars) : -len(dropped)] = 250.0
    fate = np.split(np.arange(len(rows) - len(dropped), len(rows)), 4)
    rows["SNR"][fate[0]] = 200.0
    rows["STARFLAG"][fate[1]] = mask_of("STARFLAG", ["PERSIST_LOW"])
    rows["ASPCAPFLAG"][fate[2]] = mask_of("ASPCAPFLAG", ["STAR_BAD", "CHI2_BAD"])
    rows["VSCATTER"][fate[3]] = 1.0
    generator.shuffle(rows)
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(rows)]).writeto(path)


def select_all(folder: Path) -> tuple[Path, pd.DataFrame]:
    outputs = select(folder / "allStar.fits", folder, selection=Selection(preset="paper"))
    return outputs[0], pd.read_csv(outputs[2])


def test_the_published_stars_are_found_among_those_selected(tmp_path, capsys):
    published = published_labels()
    generator = np.random.default_rng(8)
    catalogue(tmp_path / "allStar.fits", published, generator)
    selected, cuts = select_all(tmp_path)
    assert cuts.iloc[-1].tolist()[1:] == [LABELLED + UNLABELLED + ZERO] * 2 == [128_762] * 2
    files = {
        f"--{flag}": [str(PUBLISHED / f"{kind}_{side}.npy") for side in ("train", "test")]
        for flag, kind in (("labels", "labels"), ("errors", "label_errs"))
    }
    flags = [text for flag, paths in files.items() for text in (flag, *paths)]
    assert cli.main(["check-selection", str(selected), *flags]) == 0
    told = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    counts = {text: int(count.split()[0]) for text, count in told.items()}
    assert counts == {
        "ours, with a label": LABELLED + ZERO,
        "published": LABELLED,
        "in both": LABELLED,
        "published only": 0,
        "ours only": ZERO,
    }


@pytest.mark.parametrize("changed", ["SNR", "STARFLAG", "ASPCAPFLAG", "VSCATTER", "labels"])
def test_one_published_star_that_is_not_selected_is_told(tmp_path, changed, capsys):
    """No two runs of numbers are nearly equal: one bit of one label is another row."""
    generator = np.random.default_rng(9)
    published = random_labels(300, generator)
    catalogue(tmp_path / "allStar.fits", published, generator)
    with fits.open(tmp_path / "allStar.fits", mode="update") as hdus:
        rows = hdus[1].data
        star = np.flatnonzero(rows["TEFF"] == published[17, 0]).item()
        if changed == "labels":
            rows["LOGG"][star] = np.nextafter(rows["LOGG"][star], np.float32(9))
        else:
            value = {"SNR": 1.0, "STARFLAG": 2, "ASPCAPFLAG": 1 << 23, "VSCATTER": 5.0}[changed]
            rows[changed][star] = value
    selected, _ = select_all(tmp_path)
    np.save(tmp_path / "labels.npy", published[:, :5])
    np.save(tmp_path / "errors.npy", published[:, 5:])
    flags = ["--labels", f"{tmp_path}/labels.npy", "--errors", f"{tmp_path}/errors.npy"]
    assert cli.main(["check-selection", str(selected), *flags]) == cli.BAD_INPUT
    assert "1 of the 300 published stars of " in capsys.readouterr().err


def test_the_funnel_shows_both_counts_and_the_store_is_what_was_published(tmp_path):
    """Authors' order: zero spectra, best row of each star, and last the stars without a label."""
    rows = [row(f"2M{number}", TEFF=4000.0 + number) for number in range(8)]
    nothing = dict.fromkeys(NUMBERS, NAN)
    unlabelled = [row("2M8", **nothing), row("2M9", **nothing)]
    zero = row("AP1")
    # Its best row is zero: the authors took its next one, with other labels.
    first, second = row("2M20", FIELD="M67", SNR=900.0), row("2M20", TEFF=5000.0)
    # Its best row is without a label: the authors dropped the star, and so do we.
    blank = row("2M21", FIELD="M67", SNR=900.0, **nothing)
    tree = make_tree(
        tmp_path / "sas", [*rows, *unlabelled, zero, first, second, blank, row("2M21")]
    )
    for line in (zero, first):
        tree.write(line, aspcapstar_bytes(line, observed=np.zeros(N_GRID)))
    run = Run(tmp_path, tree).all()

    funnel = pd.read_csv(run.funnel).iloc[-4:-1]
    assert funnel.values.tolist() == [
        ["highest SNR of each star", 13, 13],
        ["spectrum stored (not missing, broken or zero)", 12, 12],
        ["at least one label", 9, 9],
    ]
    published = np.array([[line[name] for name in NUMBERS] for line in (*rows, second)], np.float32)
    files = [tmp_path / "labels.npy"], [tmp_path / "errors.npy"]
    np.save(files[0][0], published[:, :5])
    np.save(files[1][0], published[:, 5:])
    found = compare(run.store, *files)
    assert (found.ours, found.published, found.both, found.only_ours) == (9, 9, 9, [])
    found = compare(run.selected, *files)
    assert (found.ours, found.both, sorted(found.only_ours)) == (10, 8, ["2M20", "AP1"])


def test_what_cannot_be_compared_is_named(tmp_path):
    table = pd.DataFrame({"apogee_id": ["2M1"], **{name: [1.0] for name in NUMBERS}})
    selected, labels = tmp_path / "selected.parquet", tmp_path / "labels.npy"
    write_parquet(selected, table)
    assert len(read_parquet(selected)) == 1
    with pytest.raises(SpectraFMError, match=r"labels\.npy: no such file"):
        compare(selected, [labels], [labels])
    labels.write_bytes(b"\x93NUMPY broken")
    with pytest.raises(SpectraFMError, match=r"labels\.npy: not a readable \.npy array"):
        compare(selected, [labels], [labels])
    np.save(labels, np.zeros((3, 4)))
    with pytest.raises(SpectraFMError, match=r"labels\.npy: shape \(3, 4\), not \(stars, 5\)"):
        compare(selected, [labels], [labels])
    write_parquet(selected, table.drop(columns="TEFF_ERR"))
    with pytest.raises(SpectraFMError, match=r"selected\.parquet: no column TEFF_ERR"):
        compare(selected, [labels], [labels])
