"""The page of a run: what was run, what came out, what is missing; nothing in it is trusted."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectrafm.errors import SpectraFMError
from spectrafm.figures import FIGURES
from spectrafm.files import read_parquet, write_parquet
from spectrafm.integrity import write_checksums
from spectrafm.plugs import load
from spectrafm.report import content
from spectrafm.report.curves import loss_curve
from spectrafm.report.report import report
from spectrafm.report.stages import benchmark_seconds, in_order, time_text


@pytest.fixture(scope="module")
def run(made_run, tmp_path_factory) -> Path:
    return shutil.copytree(made_run, tmp_path_factory.mktemp("copy") / "run")


@pytest.fixture
def copy(run, tmp_path) -> Path:
    for part in ("catalogue", "models", "predictions", "tables", "figures", "attention"):
        shutil.copytree(run / part, tmp_path / "run" / part)
    shutil.copy(run / "metrics.json", tmp_path / "run")
    return tmp_path / "run"


def page_of(folder: Path) -> str:
    report(folder / "report.html")
    return (folder / "report.html").read_text()


def test_the_page_says_what_was_run_and_what_came_out(copy):
    page = page_of(copy)
    assert "MOCK SURVEY" in page
    assert "selected 40 stars" in page
    assert "<b>pretrain</b>, SpectraFM pre-trained on synthetic" in page
    assert "is predicted best by pretrain, RMSE" in page
    assert "40 stars asked for = 40 verified + 0 unverified" in page
    assert re.search(r"Made \d{4}-\d\d-\d\d \d\d:\d\d UTC", page)
    assert "torch" in page
    assert "Missing from this run" not in page
    for term in ("rich, poor", "mad_std", "coverage", "window"):
        assert f"<dt>{term}</dt>" in page
    # The contents lead to every section, and every link within the run to a file.
    targets = set(re.findall(r'<h2 id="(\w+)"', page))
    assert set(re.findall(r'href="#(\w+)"', page)) == targets
    links = set(re.findall(r'href="([^#"]+)"', page))
    assert {"models/pretrain/README.md", "figures/figure1.pdf", "metrics.json"} <= links
    assert not [link for link in links if not (copy / link).exists()]


def test_scores_of_all_labels_stand_beside_those_published(copy):
    page = page_of(copy)
    for label in ("Teff (K)", "log g (dex)", "[O/Fe] (dex)", "[Mg/Fe] (dex)", "[Fe/H] (dex)"):
        assert f"<h3>{label}</h3>" in page
    assert "coverage poor" in page
    assert "published: fine-tuned" in page
    assert '<td class="n">0.056</td>' in page
    assert "<svg" in page
    assert "sampling.tokens" in page
    assert "seed" in page


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_has_its_caption(copy, name):
    figure = next(figure for figure in content.figures(copy) if figure.name == name)
    function = load(FIGURES[name].where)
    assert figure.caption == " ".join(function.__doc__.split("\n\n")[0].split())
    assert figure.image
    assert figure.pdf == f"figures/{name}.pdf"


def test_a_figure_of_ones_own_is_shown(copy):
    shutil.copy(copy / "figures/figure1.png", copy / "figures/mine.png")
    page = page_of(copy)
    assert '<h2 id="mine">mine</h2>' in page


def test_what_is_missing_is_named(copy):
    for part in ("figures/figure3.png", "tables/table1.csv", "catalogue/flags.csv"):
        (copy / part).unlink()
    page = page_of(copy)
    assert "Missing from this run: counts of flags, Table 1, Figure 3." in page
    (copy / "metrics.json").unlink()
    with pytest.raises(SpectraFMError, match=r"metrics\.json: no such file"):
        report(copy / "report.html")


def test_a_damaged_model_stops_the_report(copy):
    config = copy / "models/pretrain/config.json"
    config.write_text(config.read_text().replace("synthetic", "observed"))
    with pytest.raises(SpectraFMError, match="SHA-256 differs"):
        report(copy / "report.html")


def test_nothing_in_a_run_becomes_markup(copy):
    metrics = json.loads((copy / "metrics.json").read_text())
    entry = metrics["predictions"].pop("pretrain--all")
    metrics["predictions"]["<script>alert(1)</script>--all"] = entry
    (copy / "metrics.json").write_text(json.dumps(metrics))
    funnel = copy / "catalogue/funnel.csv"
    funnel.write_text(funnel.read_text() + "<img src=x onerror=1>,1,1\n")
    page = page_of(copy)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page


def evil(number: int) -> str:
    return f"<b onclick='{number}'>"


def test_every_text_of_a_run_is_escaped(copy):
    """A mark in each text that comes from a file of the run: the page shows it, and obeys none."""
    path = copy / "catalogue/missing.parquet"
    missing = read_parquet(path)
    missing.loc[0] = ["2M9", "p", evil(1), False]
    write_parquet(path, missing.astype({"replaced": bool}), missing.attrs)
    path = copy / "catalogue/selected.parquet"
    selected = read_parquet(path)
    selected.loc[0, "split"] = evil(2)
    facts = selected.attrs | {"release": evil(3), "selection": {evil(4): evil(5)}}
    write_parquet(path, selected, facts)
    model = copy / "models/pretrain"
    config = json.loads((model / "config.json").read_text())
    config["stage_name"] = evil(6)
    config["stage"] |= {"seed": evil(7), "start_from": evil(8), evil(9): evil(10)}
    config["environments"] = [{"device": evil(11)}]
    (model / "config.json").write_text(json.dumps(config))
    write_checksums(model)
    metrics = json.loads((copy / "metrics.json").read_text())
    entry = metrics["predictions"].pop("pretrain--all")
    entry["labels"] = {evil(12): entry["labels"]["TEFF"] | {"symbol": evil(13), "unit": evil(14)}}
    metrics["predictions"][evil(15)] = entry | {"spectra": evil(16), "flagged": 1}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    for number, name in ((17, "funnel"), (18, "flags")):
        with open(copy / f"catalogue/{name}.csv", "a") as table:
            table.write(f"{evil(number)},1,1,1\n"[: None if name == "flags" else -3] + "\n")
    (copy / "tables/table1.md").unlink()
    table = copy / "tables/table1.csv"
    table.write_text(table.read_text().replace("TEFF,K", f"{evil(19)},{evil(20)}"))
    shutil.copy(copy / "figures/figure1.png", copy / f"figures/{evil(21)}.png")
    (copy / "benchmarks").mkdir()
    (copy / f"benchmarks/{evil(22)}.tsv").write_text("s\n1\n")
    page = page_of(copy)
    assert "<b onclick" not in page
    shown = set(re.findall(r"&lt;b onclick=(?:&#39;|&#x27;)(\d+)", page))
    # 12 is not shown: the label's symbol is.
    assert shown >= {str(n) for n in range(1, 23)} - {"6", "12"}, sorted(shown)


def test_a_figure_of_no_bytes_and_a_cut_table_are_named(copy):
    figure = copy / "figures/figure2.png"
    content = figure.read_bytes()
    for damaged in (b"", content[:-20]):
        figure.write_bytes(damaged)
        with pytest.raises(SpectraFMError, match=r"figure2\.png: not a complete PNG file"):
            report(copy / "report.html")
    figure.write_bytes(content)
    for name in ("tables/table1.csv", "tables/table1.tex", "catalogue/funnel.csv"):
        path = copy / name
        content = path.read_bytes()
        for end in (len(content) - 1, len(content) // 2):
            path.write_bytes(content[:end])
            with pytest.raises(SpectraFMError, match=path.name):
                report(copy / "report.html")
        path.write_bytes(content)
    for folder in ("missing", "selected"):
        path = copy / f"catalogue/{folder}.parquet"
        path.unlink()
        path.mkdir()
        with pytest.raises(SpectraFMError, match=rf"{folder}\.parquet: is a folder"):
            report(copy / "report.html")


def test_run_times_come_from_the_benchmarks(copy):
    folder = copy / "benchmarks/train"
    folder.mkdir(parents=True)
    (folder / "pretrain.tsv").write_text("s\th:m:s\tmax_rss\n272.1\t0:04:32\t500\n")
    (copy / "benchmarks/build_store.tsv").write_text("s\th:m:s\n3.2\t0:00:03\n")
    assert benchmark_seconds(copy, "train/pretrain") == 272.1
    page = page_of(copy)
    assert "<td>train pretrain</td><td>5 min</td>" in page
    assert "<td>build_store</td><td>3 s</td>" in page
    # A job that is run again takes another time, and is no fault of the run.
    assert "benchmarks" not in (copy / "SHA256SUMS").read_text()


def test_stages_are_shown_in_the_order_of_training():
    parents = {
        "fcnn": None,
        "finetune_iron": "finetune_observed",
        "finetune_iron_direct": "pretrain",
        "finetune_observed": "pretrain",
        "pretrain": None,
        "orphan": "gone",
    }
    assert in_order(parents) == [
        "pretrain", "finetune_observed", "finetune_iron", "finetune_iron_direct", "fcnn", "orphan",
    ]  # fmt: skip


def test_loss_curves_survive_what_metrics_may_hold():
    epochs = pd.DataFrame({"epoch": [1, 2, 3], "training_loss": [1e6, 0.5, np.nan]})
    svg = loss_curve(epochs.assign(validation_loss=[np.nan, np.inf, 0.1]))
    assert svg.count("<polyline") == 2
    assert "nan" not in svg
    assert "inf" not in svg
    assert loss_curve(pd.DataFrame()) == ""
    assert loss_curve(epochs[:0]) == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.2, "3 s"), (272, "5 min"), (7300, "2.0 h"), (77000, "21.4 h")]
)
def test_times_are_readable(seconds, text):
    assert time_text(seconds) == text
