# Tests of: spectrafm/reading.py and every reader of files
"""Every reader of files, given damaged ones: a line that names the file or an answer, nothing else.

`make test` runs some 1,000 damages, `make test-slow` 1,000 a reader. Where a checksum covers a
file, no damage gives another answer either.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from astropy import units as u
from astropy.table import Table

from making import fabricated, fuzz, spectra_files
from making.model_folder import write_model
from making.sas_tree import aspcapstar_bytes, make_tree, row
from making.toy_store import toy_stars, write_part
from spectrafm import files
from spectrafm.config import read_config
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.score import score_table
from spectrafm.evaluation.table1 import table1
from spectrafm.evaluation.table_calibration import table_calibration
from spectrafm.evaluation.table_learning_curve import table_learning_curve
from spectrafm.figures.calibration import read_coverage
from spectrafm.figures.learning_curve import read_curve
from spectrafm.figures.models import facts_of
from spectrafm.inference.attention_maps import read_maps, write_maps
from spectrafm.inference.calibration import (
    FittedOn,
    read_calibration,
    write_calibration,
)
from spectrafm.inference.conformal import fit_calibration
from spectrafm.inference.domain import read_domain, write_domain
from spectrafm.inference.domain_fit import Seen, fit_domain
from spectrafm.inference.predictions import read_predictions
from spectrafm.integrity import write_checksums
from spectrafm.labels import LABELS, PAPER_LABELS
from spectrafm.readers.labelled import read_labelled
from spectrafm.readers.read import read_spectra
from spectrafm.report.chain import inputs_of_table
from spectrafm.report.images import check_figure, inputs_of_figure
from spectrafm.report.report import report
from spectrafm.report.stages import read_stages
from spectrafm.report.sums import faults_of_run, write_run_checksums
from spectrafm.store.read import columns_of, load_stars, open_store
from spectrafm.strict_yaml import check_file, read_yaml
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.allstar import read_allstar
from spectrafm.surveys.apogee.check_selection import compare
from spectrafm.surveys.apogee.fetch_astronn import fetch_astronn
from spectrafm.surveys.apogee.options import Survey
from spectrafm.surveys.apogee.selected import read_selected
from spectrafm.training.checkpoint import Checkpoints, State

REPOSITORY = Path(__file__).parents[1]


#: Damages of each reader in `make test-slow`, and in `make test`: fewer where a reading takes long,
#: such as a page of a run.
DAMAGES, QUICK, FEW = 1000, 40, 10


class Case(NamedTuple):
    """A file, how it is damaged, and how it is read."""

    path: Path
    damage: Callable[[bytes, np.random.Generator], bytes]
    read: Callable[[], Any]
    covered: bool = False  # by a checksum, so that no damage may give another answer
    after: Callable[[], None] = lambda: None


READERS: dict[str, Callable[[Path], Case]] = {}

#: Readers of which one reading takes more than 20 ms.
LONG = {
    "metrics_json", "funnel_csv", "flags_csv", "table1_csv", "table1_csv_of_before",
    "benchmark_tsv", "model_of_a_stranger", "weights_of_a_stranger", "prediction_of_a_stranger",
    "store_of_a_stranger", "array_of_a_stranger", "spectra_of_a_stranger", "labels_of_a_stranger",
    "checksums_of_a_store", "config_yaml",
}  # fmt: skip


def reader(make: Callable[[Path], Case]) -> Callable[[Path], Case]:
    READERS[make.__name__] = make
    return make


def frame_of(read: Callable[[], pd.DataFrame]) -> Callable[[], Any]:
    """A reader of a table, whose results can be compared."""

    def values() -> dict[str, Any]:
        table = read()
        columns = {f"column {name}": table[name].to_numpy() for name in table}
        return columns | {"facts": repr(table.attrs)}

    return values


# Reports of a run of a few files.


def page_of(run: Path) -> Callable[[], str]:
    def page() -> str:
        report(run / "report.html")
        text = (run / "report.html").read_text("utf-8")
        assert "<script" not in text
        return re.sub(r"Made \d{4}-[^<]*", "", text)

    return page


def on_page(folder: Path, name: str, damage=fuzz.damaged_text, covered: bool = False) -> Case:
    """A file of a run that the page is made from."""
    run = fabricated.write_run(folder / "run")
    return Case(run / name, damage, page_of(run), covered)


@reader
def metrics_json(folder: Path) -> Case:
    return on_page(folder, "metrics.json", fuzz.damaged_json)


@reader
def funnel_csv(folder: Path) -> Case:
    return on_page(folder, "catalogue/funnel.csv")


@reader
def flags_csv(folder: Path) -> Case:
    return on_page(folder, "catalogue/flags.csv")


@reader
def table1_csv(folder: Path) -> Case:
    return on_page(folder, "tables/table1.csv", covered=True)


@reader
def table1_csv_of_before(folder: Path) -> Case:
    case = on_page(folder, "tables/table1.csv")
    case.path.with_suffix(".md").unlink()
    return case


@reader
def table1_md(folder: Path) -> Case:
    run = fabricated.write_run(folder / "run")
    path = run / "tables/table1.md"
    return Case(path, fuzz.damaged_text, lambda: inputs_of_table(path))


@reader
def benchmark_tsv(folder: Path) -> Case:
    run = fabricated.write_run(folder / "run")
    path = run / "benchmarks/build_store.tsv"
    files.write_text(path, "s\th:m:s\tmax_rss\n3.2\t0:00:03\t500\n")
    return Case(path, fuzz.damaged_text, page_of(run))


def network_folder(folder: Path, name: str = "pretrain") -> Path:
    from making.toy_training import MODEL
    from spectrafm.networks.transformer import SpectraFM

    torch.manual_seed(0)
    network = SpectraFM.start(MODEL, toy_labels(), [label.name for label in PAPER_LABELS])
    return write_model(folder / "models" / name, network, fabricated.FIRST_HALF)


def toy_labels():
    """Stars of whose labels a network takes its units."""

    class Stars:
        labels = PAPER_LABELS
        label = fabricated.labels_of(40)
        columns: ClassVar = {}

    return Stars


@reader
def config_json(folder: Path) -> Case:
    run = fabricated.write_run(folder / "run")
    model = fabricated.write_model(run, "pretrain")
    (model / "metrics.csv").write_text(
        "epoch,training_loss,validation_loss\n1,1.5,1.4\n2,1.0,\n3,0.9,1.1\n"
    )

    def renew() -> None:
        write_checksums(model)

    renew()

    def read() -> Any:
        return [stage._asdict() for stage in read_stages(run)], facts_of(model)

    return Case(model / "config.json", fuzz.damaged_json, read, after=renew)


@reader
def metrics_csv(folder: Path) -> Case:
    case = config_json(folder)
    path = case.path.with_name("metrics.csv")
    return Case(path, fuzz.damaged_text, lambda: case.read()[0], after=case.after)


@reader
def model_of_a_stranger(folder: Path) -> Case:
    from spectrafm.networks.saved import from_pretrained

    model = network_folder(folder)

    def read() -> Any:
        network, facts = from_pretrained(model)
        return {name: value.numpy() for name, value in network.state_dict().items()}, facts

    return Case(
        model / "config.json", fuzz.damaged_json, read, after=lambda: write_checksums(model)
    )


@reader
def weights_of_a_stranger(folder: Path) -> Case:
    case = model_of_a_stranger(folder)
    path = case.path.with_name("model.safetensors")
    return Case(path, fuzz.damaged_bytes, lambda: case.read()[0], after=case.after)


@reader
def calibration_json(folder: Path) -> Case:
    rng = np.random.default_rng(0)
    actual, labels = fabricated.labels_of(300), list(LABELS)
    predicted = actual + rng.normal(0, 0.1, actual.shape)
    snr = rng.uniform(100, 500, 300)
    on = FittedOn(kind="observed", spectra="observed", count=300, windows=fabricated.FIRST_HALF)
    sigma = np.full(actual.shape, 0.1)
    folder.mkdir(exist_ok=True)
    write_calibration(folder, fit_calibration(labels, predicted, sigma, actual, snr, on))
    features = {"snr": snr} | {name: predicted[:, i] for i, name in enumerate(labels)}

    def read() -> Any:
        found = read_calibration(folder)
        return str(found), {
            name: found.half_widths(name, sigma[:, 0], features) for name in found.labels
        }

    return Case(folder / "calibration.json", fuzz.damaged_json, read)


@reader
def checksums_of_a_run(folder: Path) -> Case:
    run = fabricated.write_run(folder / "run")
    write_run_checksums(run)
    path = run / "SHA256SUMS"

    def read() -> Any:
        count, faults = faults_of_run(path)
        if faults:
            raise SpectraFMError(f"{path}: {faults[0]}")
        return count

    return Case(path, fuzz.damaged_text, read)


@reader
def coverage_csv(folder: Path) -> Case:
    path = folder / "calibration.csv"
    prediction = fabricated.write_run(folder / "run") / "predictions/pretrain--first_half.parquet"
    table_calibration([prediction], output=path)
    return Case(path, fuzz.damaged_text, lambda: read_coverage(path).to_csv())


@reader
def curve_csv(folder: Path) -> Case:
    path = folder / "learning_curve.csv"
    prediction = fabricated.write_run(folder / "run") / "predictions/pretrain--first_half.parquet"
    table_learning_curve([prediction], output=path)
    return Case(path, fuzz.damaged_text, lambda: read_curve(path).to_csv())


@reader
def png(folder: Path) -> Case:
    from matplotlib.figure import Figure

    from spectrafm.figures.style import save

    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 3, 2])
    path = folder / "figure1.png"
    given = folder / "given"
    given.write_text("x")
    save(figure, path, "x", [given])
    return Case(
        path, fuzz.damaged_bytes, lambda: (check_figure(path), inputs_of_figure(path)), covered=True
    )


# Parquet.


@reader
def prediction(folder: Path) -> Case:
    path = fabricated.write_run(folder / "run") / "predictions/pretrain--first_half.parquet"
    return Case(path, fuzz.damaged_bytes, frame_of(lambda: read_predictions(path)), covered=True)


@reader
def selected(folder: Path) -> Case:
    path = folder / "selected.parquet"
    table = pd.DataFrame({"apogee_id": fabricated.names_of(300), "shard": 0, "split": "test"})
    labels = {"FE_H": {"unit": "dex", "symbol": "[Fe/H]"}}
    facts = {"release": "dr17", "aspcap": "synspec_rev1", "labels": labels}
    files.write_parquet(path, table, facts)
    return Case(path, fuzz.damaged_bytes, frame_of(lambda: read_selected(path)[0]), covered=True)


def rewritten(path: Path) -> Callable[[bytes, np.random.Generator], bytes]:
    """Damage of the metadata of a prediction file that is sealed again."""
    table = files.read_parquet(path)
    facts = json.loads(json.dumps(table.attrs))
    other = path.with_name("other.parquet")

    def damage(content: bytes, rng: np.random.Generator) -> bytes:
        changed = fuzz.damaged_tree({"facts": facts}, rng)
        values = changed.get("facts")
        files.write_parquet(other, table, values if isinstance(values, dict) else {"x": values})
        return other.read_bytes()

    return damage


@reader
def prediction_of_a_stranger(folder: Path) -> Case:
    path = fabricated.write_run(folder / "run") / "predictions/pretrain--first_half.parquet"

    def read() -> Any:
        table1([path], astronn=folder / "run/catalogue/astronn.parquet", logg=(0.5, 3.5),
               output=folder / "out/t.csv")  # fmt: skip
        return (folder / "out/t.csv").read_bytes()

    return Case(path, rewritten(path), read)


# Zarr.


@reader
def store_of_a_stranger(folder: Path) -> Case:
    store, pixels = folder / "store.zarr", slice(700, 764)
    write_part(store, toy_stars(8), pixels, "toy")
    name = store / "zarr.json"

    def read() -> Any:
        group = open_store(store)
        stars = load_stars(store, "observed", errors=True)
        columns = repr(columns_of(group))
        return {"flux": stars.flux, "label": stars.label, "columns": columns}

    return Case(name, fuzz.damaged_json, read, after=lambda: write_checksums(store))


@reader
def array_of_a_stranger(folder: Path) -> Case:
    case = store_of_a_stranger(folder)
    store = case.path.parent
    path = store / "label/zarr.json"
    # Without the consolidated copy, only the array's own metadata count.
    facts = json.loads(case.path.read_text())
    del facts["consolidated_metadata"]
    case.path.write_text(json.dumps(facts))
    case.after()

    return Case(path, fuzz.damaged_json, case.read, after=case.after)


def chunk_case(folder: Path, name: str) -> Case:
    case = store_of_a_stranger(folder)
    path = next(p for p in (case.path.parent / name / "c").rglob("*") if p.is_file())

    return Case(path, fuzz.damaged_bytes, case.read, covered=True, after=case.after)


@reader
def spectra_of_a_stranger(folder: Path) -> Case:
    return chunk_case(folder, "observed")


@reader
def labels_of_a_stranger(folder: Path) -> Case:
    return chunk_case(folder, "label")


@reader
def checksums_of_a_store(folder: Path) -> Case:
    case = store_of_a_stranger(folder)
    store = case.path.parent

    return Case(store / "SHA256SUMS", fuzz.damaged_text, case.read, covered=True)


@reader
def attention_of_a_stranger(folder: Path) -> Case:
    path = folder / "pretrain.zarr"
    write_maps(path, fabricated.attention_maps(fabricated.IRON_WINDOW))

    def read() -> Any:
        maps = read_maps(path)
        return {str(name): maps[name].values for name in maps.variables}

    return Case(path / "zarr.json", fuzz.damaged_json, read, after=lambda: write_checksums(path))


# Catalogues and tables of others.


@reader
def allstar(folder: Path) -> Case:
    tree = make_tree(folder / "sas", [row(f"2M{number:08d}") for number in range(20)])
    return Case(tree.allstar, fuzz.damaged_bytes, frame_of(lambda: read_allstar(tree.allstar)))


@reader
def astronn(folder: Path) -> Case:
    stars = pd.DataFrame({"apogee_id": ["2M1", "2M2"]})
    facts = {"release": "dr17", "aspcap": "synspec_rev1"}
    files.write_parquet(folder / "selected.parquet", stars, facts)
    survey = Survey(source=str(folder / "sas"), tries=1)
    path = folder / "sas" / paths.astronn_path("dr17")
    path.parent.mkdir(parents=True)
    Table(
        {
            "APOGEE_ID": ["2M1", "2M1", "2M2"],
            **{name: [5000.0, 4000.0, 3.0] for name in
               ("TEFF", "TEFF_ERR", "LOGG", "O_H", "MG_H", "FE_H")},
        }
    ).write(path)  # fmt: skip
    output = folder / "astronn.parquet"

    def read() -> Any:
        fetch_astronn(
            selected=folder / "selected.parquet", output=output, archive=survey, limits=survey
        )
        return frame_of(lambda: files.read_parquet(output))()

    return Case(path, fuzz.damaged_bytes, read)


def any_table(folder: Path, name: str, write: Callable[[pd.DataFrame, Path], Any]) -> Case:
    path = folder / name
    iron = fabricated.labels_of(30)[:, 4].astype(float)
    write(pd.DataFrame({"FE_H_actual": iron, "FE_H_pred": iron + 0.1, "sigma": 0.2}), path)
    damage = fuzz.damaged_text if path.suffix in (".csv", ".ecsv", ".xml") else fuzz.damaged_bytes
    return Case(path, damage, lambda: score_table(path, "FE_H_actual", "FE_H_pred", "sigma"))


def _csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False)


def _astropy(table: pd.DataFrame, path: Path) -> None:
    kind = {".fits": "fits", ".ecsv": "ascii.ecsv", ".xml": "votable"}[path.suffix]
    Table.from_pandas(table).write(path, format=kind)


for _name, _write in {
    "score.csv": _csv,
    "score.csv.gz": _csv,
    "score.csv.bz2": _csv,
    "score.csv.xz": _csv,
    "score.parquet": lambda table, path: table.to_parquet(path),
    "score.fits": _astropy,
    "score.ecsv": _astropy,
    "score.xml": _astropy,
}.items():
    READERS[_name] = lambda folder, name=_name, write=_write: any_table(folder, name, write)


@reader
def npy(folder: Path) -> Case:
    stars = folder / "selected.parquet"
    label = fabricated.labels_of(30)
    table = pd.DataFrame(label, columns=list(LABELS))
    table[[f"{name}_ERR" for name in LABELS]] = 0.01
    table["apogee_id"] = fabricated.names_of(30)
    files.write_parquet(stars, table)
    path, errors = folder / "labels.npy", folder / "errors.npy"
    np.save(path, label[:20])
    np.save(errors, np.full((20, 5), 0.01, np.float32))
    return Case(path, fuzz.damaged_bytes, lambda: compare(stars, [path], [errors]))


# Spectra and tables of users.


def spectra_case(path: Path) -> Case:
    """A file of spectra in the format of its name."""
    damage = fuzz.damaged_text if path.suffix in (".csv", ".ecsv", ".vot") else fuzz.damaged_bytes

    def read() -> Any:
        return {
            f"{number} {name}": getattr(one, name)
            for number, one in enumerate(read_spectra(path))
            for name in ("name", "wavelength", "flux", "flux_error", "mask")
        }

    return Case(path, damage, read)


@reader
def aspcapstar(folder: Path) -> Case:
    folder.mkdir(exist_ok=True)
    path = folder / "aspcapStar.fits"
    path.write_bytes(aspcapstar_bytes(row("2M00000000")))
    return spectra_case(path)


def _table_of_spectra(path: Path) -> Path:
    grid = np.linspace(1575.0, 1577.07, 30)
    flux = 1 - np.linspace(0.05, 0.15, 12)[:, None] * np.sin(grid)
    names = [f"mine{number}" for number in range(12)]
    table = Table(
        {
            "name": names,
            "wavelength": np.tile(grid, (12, 1)) * u.nm,
            "flux": flux,
            "flux_error": 0.01 * flux,
            "TEFF": np.linspace(4000, 5000, 12) * u.K,
            "AGE": np.linspace(1, 12, 12) * u.Gyr,
            "AGE_ERR": np.full(12, 0.1) * u.Gyr,
            "rv": np.full(12, 3.0) * u.km / u.s,
        }
    )
    if path.suffix == ".csv":
        table.rename_column("wavelength", "wavelength [nm]")
        return spectra_files.write_texts(path, table)
    formats = {".ecsv": "ascii.ecsv", ".vot": "votable"}
    table.write(path, format=formats.get(path.suffix, path.suffix[1:]))
    return path


for _name, _write in {
    "apstar.fits": lambda path: spectra_files.write_apstar(path, 2),
    "mwm.fits": lambda path: spectra_files.write_mwm(path, "astraStar"),
    "lamost.fits": lambda path: spectra_files.write_lamost_table(path, "mrs"),
    "galah.fits": spectra_files.write_galah,
    "boss.fits": spectra_files.write_boss,
    "desi.fits": spectra_files.write_desi,
    "jwst.fits": spectra_files.write_jwst,
    "gaia.csv": lambda path: spectra_files.write_texts(path, spectra_files.gaia_table("XP", 2)),
    "spectra.csv": _table_of_spectra,
    "spectra.ecsv": _table_of_spectra,
    "spectra.vot": _table_of_spectra,
    "spectra.parquet": _table_of_spectra,
    "spectra.fits": _table_of_spectra,
}.items():
    READERS[_name] = lambda folder, name=_name, write=_write: spectra_case(write(folder / name))


@reader
def labelled_table(folder: Path) -> Case:
    path = _table_of_spectra(folder / "stars.ecsv")

    def read() -> Any:
        stars = read_labelled(path)
        known = {label.name: label for label in PAPER_LABELS}
        labels = stars.labels(["TEFF", "AGE"], known, {})
        moving = [stars.at_rest(place, one) for place, one in enumerate(stars.each())]
        values = {"label": labels.value, "error": labels.error, "labels": repr(labels.table)}
        return values | {stars.names[n]: one.wavelength for n, (one, _) in enumerate(moving)}

    return Case(path, fuzz.damaged_text, read)


def domain_case(folder: Path, name: str, damage) -> Case:
    """A file of the domain of a model, which its checksums do not cover here."""
    rng = np.random.default_rng(0)
    flux = 1 + 0.01 * rng.normal(size=(60, 40)).astype(np.float32)
    labels = {"TEFF": rng.uniform(4000, 5000, 60), "LOGG": rng.uniform(1, 4, 60)}
    grid, windows = np.linspace(16_000, 16_010, 40), [(16_000, 16_010)]
    folder.mkdir(exist_ok=True)
    snr = np.full(60, 99.0)
    write_domain(folder, fit_domain(grid, Seen(flux), Seen(flux), labels, windows, "observed", snr))

    def read() -> Any:
        domain = read_domain(folder)
        return str(domain.facts), {"score": domain.judge(grid, flux, labels, snr).score}

    return Case(folder / name, damage, read)


@reader
def domain_json(folder: Path) -> Case:
    return domain_case(folder, "domain.json", fuzz.damaged_json)


@reader
def components_of_a_stranger(folder: Path) -> Case:
    return domain_case(folder, "domain.safetensors", fuzz.damaged_bytes)


# Configuration and checkpoints.


@reader
def config_yaml(folder: Path) -> Case:
    path = folder / "config.yaml"
    shutil.copy(REPOSITORY / "config.yaml", path)

    def read() -> Any:
        try:
            check_file(path)
            return read_config(read_yaml(path.read_text("utf-8"), path.name)).model_dump_json()
        except SpectraFMError as error:
            # Snakemake names the file.
            raise SpectraFMError(f"{path.name}: {error}") from None

    return Case(path, fuzz.damaged_text, read)


@reader
def checkpoint(folder: Path) -> Case:
    checkpoints = Checkpoints(folder / "x-0123456789abcdef")
    facts = {"step": 7, "metrics": [{"epoch": 1, "training_loss": 0.5}], "options": {}}
    path = checkpoints.save(State({"network.weight": torch.arange(300.0)}, facts))

    def read() -> Any:
        state = checkpoints.read(path)
        return {name: value.numpy() for name, value in state.tensors.items()}, state.facts

    return Case(path, fuzz.damaged_bytes, read, covered=True)


def check(name: str, folder: Path, count: int) -> None:
    case = READERS[name](folder)
    found = fuzz.count_outcomes(case.path, case.damage, case.read, count, after=case.after)
    print(f"{name}: {dict(found)}")
    assert found["refused"] > 0
    if case.covered:
        assert not found["other"]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files(name, tmp_path):
    check(name, tmp_path, FEW if name in LONG else QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore")
def test_all_damaged_files(name, tmp_path):
    check(name, tmp_path, DAMAGES)


def test_there_are_ten_thousand_and_more():
    assert DAMAGES * len(READERS) >= 10_000
    assert READERS.keys() > LONG
    assert sum(FEW if name in LONG else QUICK for name in READERS) >= 1000
