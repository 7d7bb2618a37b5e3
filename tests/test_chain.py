# Tests of: spectrafm/report/chain.py, evaluation/made_with.py, report/images.py
"""The chain from store to figure: an exchanged part is named, by `verify` and on the page."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest
from PIL import Image

from making.toy_store import WINDOWS, toy_stars, write_toy_store
from making.whole_run import TINY
from spectrafm import cli
from spectrafm.files import read_json, read_parquet, write_json, write_parquet
from spectrafm.integrity import hash_of, write_checksums
from spectrafm.report.chain import PARTS, chain_of, exchanged_parts
from spectrafm.report.images import inputs_of_figure

TUNED = [
    "train", "toy.zarr", "--name=tuned", "--output=models/tuned", "--spectra=observed",
    f"--windows={WINDOWS}", "--epochs=1", "--batch=64", "--sampling.tokens=32",
    "--start_from=pretrain", "--start=models/pretrain",
]  # fmt: skip
PREDICTED = [
    "predict", "models/tuned", "toy.zarr", "--name=all", f"--windows={WINDOWS}",
    "--output=predictions/tuned--all.parquet",
]  # fmt: skip


@pytest.fixture(scope="module")
def genuine(made_run, tmp_path_factory) -> Path:
    """A run with a fine-tuned model, and beside it another model of each stage and store."""
    folder = shutil.copytree(made_run, tmp_path_factory.mktemp("chain") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (TUNED, PREDICTED):
            assert cli.main(command) == 0
        write_toy_store(folder / "other/toy.zarr", toy_stars(seed=1))
        again = ["train", "toy.zarr", "--name=pretrain", "--output=other/pretrain", *TINY]
        assert cli.main([*again, "--seed=5"]) == 0
        assert cli.main(["report", "report.html"]) == 0
    return folder


@pytest.fixture
def run(genuine, tmp_path) -> Path:
    return shutil.copytree(genuine, tmp_path / "run")


def replace(run: Path, part: str, other: str) -> None:
    shutil.rmtree(run / part)
    shutil.copytree(run / other, run / part)


def test_each_part_names_its_inputs(run):
    model = read_json(run / "models/tuned/config.json")["made_with"]
    assert model == {
        "../../toy.zarr": hash_of(run / "toy.zarr"), "../pretrain": hash_of(run / "models/pretrain")
    }  # fmt: skip
    assert set(read_json(run / "models/pretrain/config.json")["made_with"]) == {"../../toy.zarr"}
    prediction = read_parquet(run / "predictions/tuned--all.parquet").attrs["made_with"]
    assert prediction == {
        "../models/tuned": hash_of(run / "models/tuned"), "../toy.zarr": hash_of(run / "toy.zarr")
    }  # fmt: skip
    maps = read_json(run / "attention/pretrain.zarr/zarr.json")["attributes"]["made_with"]
    assert set(maps) == {"../../models/pretrain", "../../toy.zarr"}
    shown = {
        name: set(inputs_of_figure(run / f"figures/{name}.png"))
        for name in ("figure1", "figure2", "figure3", "figure4", "figure5")
    }
    assert shown == {
        "figure1": {"../toy.zarr"},
        "figure2": {"../toy.zarr", "../models/pretrain"},
        "figure3": {"../predictions/pretrain--all.parquet"},
        "figure4": {"../predictions/pretrain--all.parquet", "../models/pretrain"},
        "figure5": {"../attention/pretrain.zarr"},
    }
    assert b"/Keywords" in (run / "figures/figure4.pdf").read_bytes()
    table = (run / "tables/table1.md").read_text()
    assert re.search(r"^    [0-9a-f]{64}  \.\./predictions/pretrain--all\.parquet$", table, re.M)
    assert re.search(r"^    [0-9a-f]{64}  table1\.csv$", table, re.M)
    # Some lines of a file of a few kB.
    assert len(json.dumps(model)) < 300


def test_a_whole_chain_is_whole(run, capsys):
    assert cli.main(["verify", str(run)]) == 0
    printed = capsys.readouterr().out
    checked = [path for part in PARTS for path in sorted(run.glob(part))]
    assert printed.count("made with") >= len(checked) >= 14
    assert exchanged_parts(run) == []
    assert "do not belong together" not in (run / "report.html").read_text()


def model_of_another_seed(run: Path) -> None:
    replace(run, "models/pretrain", "other/pretrain")


def model_of_another_stage(run: Path) -> None:
    replace(run, "models/pretrain", "models/tuned")


def another_store(run: Path) -> None:
    replace(run, "toy.zarr", "other/toy.zarr")


def shard_for_store(run: Path) -> None:
    replace(run, "store.zarr", "spectra/000.zarr")


def another_prediction(run: Path) -> None:
    shutil.copy(run / "predictions/tuned--all.parquet", run / "predictions/pretrain--all.parquet")


def another_catalogue(run: Path) -> None:
    path = run / "catalogue/selected.parquet"
    table = read_parquet(path)
    write_parquet(path, table[::-1], table.attrs)


def another_astronn(run: Path) -> None:
    path = run / "catalogue/astronn.parquet"
    table = read_parquet(path)
    write_parquet(path, table, table.attrs | {"note": "another"})


def cut_table(run: Path) -> None:
    path = run / "tables/table1.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))


def other_attention(run: Path) -> None:
    path = run / "attention/pretrain.zarr/zarr.json"
    path.write_text(path.read_text().replace('"left_out"', '"left_0ut"'))
    write_checksums(path.parent)


def real_prediction_of_a_mock_model(run: Path) -> None:
    path = run / "predictions/tuned--all.parquet"
    table = read_parquet(path)
    facts = table.attrs | {"mock": False}
    facts["trained"] = {key: facts["trained"][key] for key in facts["trained"] if key != "mock"}
    write_parquet(path, table, facts)


#: What is exchanged, and lines that name it.
EXCHANGED: dict[Callable[[Path], None], tuple[str, ...]] = {
    model_of_another_seed: (
        "models/pretrain is not the model that models/tuned started from",
        "models/pretrain is not the model that predictions/pretrain--all.parquet was made with",
        "models/pretrain is not the model that attention/pretrain.zarr was made with",
        "models/pretrain is not the model that figures/figure2.png was made with",
    ),
    model_of_another_stage: (
        "models/pretrain holds the model of stage 'tuned'",
        "models/pretrain is not the model that models/tuned started from",
    ),
    another_store: (
        "toy.zarr is not the store that models/pretrain was trained on",
        "toy.zarr is not the store that predictions/tuned--all.parquet was made with",
        "toy.zarr is not the store that figures/figure1.png was made with",
    ),
    shard_for_store: ("store.zarr: is shard 0 of a store, not a store",),
    another_prediction: (
        "predictions/pretrain--all.parquet holds the prediction 'tuned--all'",
        "predictions/pretrain--all.parquet is not the one that figures/figure3.png was made with",
        "predictions/pretrain--all.parquet is not the one that tables/table1.md was made with",
        "predictions/pretrain--all.parquet is not the one that metrics.json was made with",
    ),
    another_catalogue: ("catalogue/selected.parquet is not the one that store.zarr was made with",),
    another_astronn: (
        "catalogue/astronn.parquet is not the one that tables/table1.md was made with",
    ),
    cut_table: ("table1.csv: is not the table that",),
    other_attention: (
        "attention/pretrain.zarr is not the one that figures/figure5.png was made with",
    ),
    real_prediction_of_a_mock_model: (
        "predictions/tuned--all.parquet says that it is of real stars, but models/tuned is mock",
    ),
}


@pytest.mark.parametrize("exchange", EXCHANGED, ids=lambda exchange: exchange.__name__)
def test_an_exchanged_part_is_named(run, exchange, capsys, caplog):
    exchange(run)
    assert cli.main(["verify", str(run)]) == cli.BAD_INPUT
    printed = capsys.readouterr().out
    for line in EXCHANGED[exchange]:
        assert line in printed
    # The page says the same, and is made nevertheless unless something is damaged.
    caplog.clear()
    end = cli.main(["report", str(run / "report.html")])
    if exchange in (cut_table,):
        assert end == cli.BAD_INPUT
        assert EXCHANGED[exchange][0] in capsys.readouterr().err
        return
    assert end == 0
    page = (run / "report.html").read_text()
    for line in EXCHANGED[exchange]:
        if exchange is not shard_for_store:
            assert line.replace("'", "&#39;") in page
            assert line in caplog.text


def test_a_store_replaced_by_its_shard_is_refused_by_those_who_read_it(run, monkeypatch, capsys):
    shard_for_store(run)
    monkeypatch.chdir(run)
    refused = 0
    for command in (
        ["figure1", "store.zarr", "--output=f.png"],
        ["figure2", "store.zarr", "models/pretrain", "--output=f.png"],
        ["predict", "models/pretrain", "store.zarr", "--name=x", "--output=p.parquet"],
        ["map-attention", "models/pretrain", "store.zarr", "--output=a.zarr"],
        ["train", "store.zarr", "--name=x", "--output=x", *TINY],
    ):
        assert cli.main(command) == cli.BAD_INPUT
        assert "store.zarr: is shard 0 of a store, not a store" in capsys.readouterr().err
        refused += 1
    assert refused == 5
    assert not {"f.png", "p.parquet", "a.zarr", "x"} & {path.name for path in run.iterdir()}


def test_a_start_of_another_stage_is_refused(run, monkeypatch, capsys):
    model_of_another_stage(run)
    monkeypatch.chdir(run)
    assert cli.main(TUNED) == cli.BAD_INPUT
    said = "models/pretrain: holds the model of stage 'tuned', not of 'pretrain' (--start_from)"
    assert said in capsys.readouterr().err


def test_figure4_refuses_another_model_than_the_prediction_was_made_with(run, monkeypatch, capsys):
    model_of_another_seed(run)
    monkeypatch.chdir(run)
    drawn = [
        "figure4", "--predictions", "predictions/pretrain--all.parquet", "--models",
        "models/pretrain", "--output=f.png",
    ]  # fmt: skip
    assert cli.main(drawn) == cli.BAD_INPUT
    said = "models/pretrain: is not the model that predictions/pretrain--all.parquet was made with"
    assert said in capsys.readouterr().err


def without_provenance(run: Path) -> None:
    """Make the run one of a version that recorded none."""
    for model in (run / "models").iterdir():
        facts = read_json(model / "config.json")
        del facts["made_with"]
        write_json(model / "config.json", facts)
        write_checksums(model)
    for path in (run / "predictions").iterdir():
        table = read_parquet(path)
        old = {key: value for key, value in table.attrs.items() if key != "made_with"}
        del old["trained"]["mock"]
        # Unsealed, as other programs and older versions write.
        arrow = pyarrow.Table.from_pandas(table, preserve_index=False)
        metadata = {b"spectrafm": json.dumps(old).encode()}
        pyarrow.parquet.write_table(arrow.replace_schema_metadata(metadata), path)
    for path in (run / "figures").glob("*.png"):
        Image.open(path).save(path)
    for table in (run / "tables").glob("*.md"):
        table.write_text(table.read_text().partition("Made with (")[0])
    maps = run / "attention/pretrain.zarr"
    content = (maps / "zarr.json").read_text()
    (maps / "zarr.json").write_text(content.replace('"made_with"', '"made_without"'))
    write_checksums(maps)
    metrics = read_json(run / "metrics.json")
    del metrics["made_with"]
    write_json(run / "metrics.json", metrics)


def test_runs_of_before_stay_readable(run, capsys):
    without_provenance(run)
    assert cli.main(["report", str(run / "report.html")]) == 0
    capsys.readouterr()
    assert cli.main(["verify", str(run)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("made before provenance was recorded") >= 12
    assert "WRONG" not in printed


def test_inputs_elsewhere_are_not_opened(run):
    facts = read_json(run / "models/pretrain/config.json")
    facts["made_with"] = {"../../../../../../../../dev/zero": "0" * 64, "/etc/passwd": "0" * 64}
    write_json(run / "models/pretrain/config.json", facts)
    write_checksums(run / "models/pretrain")
    chain = chain_of(run, run / "models/pretrain")
    assert chain.note == "made with 2 parts that it names, 2 of them elsewhere"
    assert not chain.exchanged
    assert not chain.missing
