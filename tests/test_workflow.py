"""The workflow: linted, its graph quick to build, and run whole on a very small mock survey."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray
import yaml

from making.zygote import Zygote
from spectrafm.config import schema
from spectrafm.files import read_parquet

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def snakemake(folder, *arguments, zygote=None):
    """Run Snakemake on this repository's Snakefile, with ``folder`` as working directory.

    The commands of its jobs are processes from their first import on, or forked from a zygote.
    """
    start = [BIN / "snakemake"] if zygote is None else [zygote.bin / "python", "-m", "snakemake"]
    return subprocess.run(
        [*start, "--snakefile", REPOSITORY / "Snakefile", *arguments],
        env=None if zygote is None else zygote.environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def tiny(folder, *arguments, zygote=None):
    configurations = [REPOSITORY / "config.yaml", REPOSITORY / "tests/tiny.yaml"]
    flags = [argument for argument in arguments if argument.startswith("--")]
    targets = [argument for argument in arguments if not argument.startswith("--")]
    options = ["--cores", "2", *flags, "--configfile", *configurations]
    return snakemake(folder, *options, "--", *targets, zygote=zygote)


def test_lint_finds_nothing(tmp_path):
    found = snakemake(REPOSITORY, "--lint")
    assert found.returncode == 0, found.stderr


def rule_files():
    """Every file of the workflow's rules."""
    patterns = ("Snakefile", "demo/Snakefile", "workflow/Snakefile", "workflow/rules/*.smk")
    patterns += ("spectrafm/surveys/*/*.smk",)
    return sorted(path for pattern in patterns for path in REPOSITORY.glob(pattern))


def rules():
    """The text of each rule, with its name and its file."""
    for path in rule_files():
        for text in re.split(r"^ *(?=rule\b)", path.read_text(), flags=re.MULTILINE)[1:]:
            yield path.name, text.split(":")[0].removeprefix("rule").strip() or "a loop's", text


def test_rules_are_formatted():
    found = subprocess.run(
        [BIN / "snakefmt", "--check", *rule_files()], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr


def test_every_rule_says_what_it_does_and_what_costs_time_is_timed():
    assert len(list(rules())) > 15
    for file, name, text in rules():
        assert re.match(r'rule ?\w*:\s+"""[A-Z].*\."""', text), f"{file}: {name}"
        if "spectrafm " in text and name not in ("report", "verify"):
            assert "benchmark:" in text, f"{file}: {name}"


@pytest.mark.parametrize(
    "given",
    [
        ["all"],
        [],
        ["--configfile", "mine.yaml", "--", "mine"],
        ["--configfile", "configs/demo.yaml", "mine.yaml", "--", "mine"],
        ["--config", "run=mine", "--", "all"],
        ["--configfile", "mine.yaml", "--config", "run=mine", "--", "mine"],
    ],
)
def test_nothing_over_the_demo_starts_a_download(demo_folder, given):
    found = over_the_demo(demo_folder, *given)
    assert found.returncode == 0, found.stderr
    assert re.search(r"^mock_survey +1$", found.stdout + found.stderr, re.MULTILINE)


def test_what_would_leave_the_mock_survey_is_refused_with_a_way_on(demo_folder):
    (demo_folder / "real.yaml").write_text("mock: null\n")
    found = over_the_demo(demo_folder, "--configfile", "real.yaml", "--", "all")
    assert found.returncode != 0
    shown = found.stdout + found.stderr
    assert "--profile demo is for the mock survey" in shown
    assert "snakemake --cores 2 --configfile" in shown


def test_a_base_that_is_not_there_is_refused(demo_folder):
    (demo_folder / "none.yaml").write_text("base: configs/none.yaml\n")
    found = over_the_demo(demo_folder, "--configfile", "none.yaml", "--", "all")
    assert found.returncode != 0
    assert "config: base: configs/none.yaml: no such file" in found.stdout + found.stderr


@pytest.fixture
def demo_folder(tmp_path):
    """A folder from which the demo's profile is found, with a file of a user's own."""
    for name in ("Snakefile", "config.yaml", "configs", "demo", "envs", "spectrafm", "workflow"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "mine.yaml").write_text("stages: {mine: {like: finetune_iron, seed: 9}}\n")
    return tmp_path


def over_the_demo(folder, *given):
    """A dry run with the demo's profile; its Snakefile includes those of the repository."""
    return subprocess.run(
        [BIN / "snakemake", "--profile", "demo", "--dry-run", "--quiet", "rules", *given],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


#: A training that a signal stops: it says much before it ends with the code of an interruption.
STOPPED = """
import signal, sys, time
def stop(number, frame):
    for line in range(3000):
        print("saving", line, file=sys.stderr)
    sys.exit(75)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, stop)
print("begun", file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("to", [os.kill, os.killpg])
def test_a_stopped_training_is_told_itself_and_its_log_is_whole(tmp_path, number, to):
    """As Snakemake starts it: the shell becomes the training; beside it only tee is left."""
    rule = (REPOSITORY / "workflow/rules/training.smk").read_text()
    (logged,) = re.findall(r'( > >\(.*) 2>&1"$', rule, re.MULTILINE)
    log = tmp_path / "x.log"
    (tmp_path / "train.py").write_text(STOPPED)
    logged = logged.replace("{log:q}", shlex.quote(str(log)))
    command = f"exec {sys.executable} {tmp_path / 'train.py'}{logged} 2>&1"
    assert "exec {params.launcher:q} train" in rule
    process = subprocess.Popen(
        ["bash", "-c", f"set -euo pipefail; {command}"],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr.readline() == "begun\n"
    to(process.pid, number)
    shown = process.stderr.read().splitlines()
    assert process.wait(30) == 75
    assert shown[-1] == "saving 2999"
    assert log.read_text().splitlines() == ["begun", *shown]


def test_schema_is_the_typed_configuration():
    written = json.loads((REPOSITORY / "workflow/schemas/config.schema.json").read_text())
    assert written == schema(), "renew it with `make schema`"


def test_the_paper_run_builds_its_graph():
    start = time.monotonic()
    found = snakemake(REPOSITORY, "--dry-run", "--forceall", "--quiet", "rules", "all")
    assert found.returncode == 0, found.stderr
    # The figure to reach is 30 s; the bound here only notices a graph that grew out of hand.
    assert time.monotonic() - start < 120
    assert "fetch_spectra" in found.stdout + found.stderr


def test_a_wrong_key_stops_before_any_job(tmp_path):
    (tmp_path / "wrong.yaml").write_text("stages: {pretrain: {epoch: 3}}")
    configurations = [REPOSITORY / "config.yaml", tmp_path / "wrong.yaml"]
    found = snakemake(tmp_path, "--cores", "1", "--configfile", *configurations, "--", "all")
    assert found.returncode != 0
    wrong = r"stages\.pretrain\.epoch: unknown key; allowed here: .*architecture"
    assert re.search(wrong, found.stderr)
    assert not (tmp_path / "results").exists()


def test_a_key_given_twice_stops_before_any_job(tmp_path):
    """Snakemake itself takes the last one."""
    (tmp_path / "twice.yaml").write_text("run: a\nsurvey: {shards: 2}\nrun: b\n")
    configurations = [REPOSITORY / "config.yaml", tmp_path / "twice.yaml"]
    found = snakemake(tmp_path, "--cores", "1", "--configfile", *configurations, "--", "all")
    assert found.returncode != 0
    assert re.search(r"config: .*twice\.yaml: line 3: key 'run' is given twice", found.stderr)
    assert not (tmp_path / "results").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The finished tiny run's working directory, and what the terminal showed of it."""
    folder = tmp_path_factory.mktemp("tiny")
    with Zygote(tmp_path_factory.mktemp("zygote")) as zygote:
        done = tiny(folder, "all", zygote=zygote)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stderr


@pytest.fixture(scope="module")
def run(finished):
    """The finished tiny run's working directory."""
    return finished[0]


def test_everything_named_in_the_plan_is_there(run):
    results = run / "results/tiny"
    stages = ["pretrain", "finetune_observed", "finetune_iron", "finetune_iron_direct"]
    stages += ["finetune_iron_unfrozen", "fcnn"]
    names = [
        *(f"catalogue/{name}.parquet" for name in ("selected", "missing")),
        "catalogue/funnel.csv",
        "spectra/000.zarr/zarr.json",
        "store.zarr/zarr.json",
        *(f"models/{stage}/{file}" for stage in stages for file in (
            "model.safetensors", "config.json", "calibration.json", "README.md", "metrics.csv",
            "SHA256SUMS")),
        "predictions/pretrain--first_half.parquet",
        "predictions/fcnn--iron_window.parquet",
        *(f"tables/table1.{ending}" for ending in ("csv", "md", "tex")),
        "metrics.json",
        "attention/pretrain.zarr/zarr.json",
        *(f"figures/figure{n}.{ending}" for n in range(1, 6) for ending in ("png", "pdf")),
        "report.html",
        "SHA256SUMS",
    ]  # fmt: skip
    assert not [name for name in names if not (results / name).exists()]
    assert not list(results.rglob("*.partial")), "nothing half-written is left"


def test_asked_is_stored_plus_missing(run):
    results = run / "results/tiny"
    asked = set(read_parquet(results / "catalogue/selected.parquet")["apogee_id"])
    missing = read_parquet(results / "catalogue/missing.parquet")
    lost = set(missing.loc[~missing["replaced"], "apogee_id"])
    with xarray.open_zarr(results / "store.zarr") as store:
        stored = set(store["apogee_id"].values.tolist())
    assert asked == stored | lost
    assert not stored & lost
    assert len(stored) > 50


def test_stages_share_the_split(run):
    results = run / "results/tiny"
    with xarray.open_zarr(results / "store.zarr") as store:
        split = dict(zip(store["apogee_id"].values, store["split"].values, strict=True))
    for path in (results / "models").iterdir():
        facts = json.loads((path / "config.json").read_text())
        assert {split[star] for star in facts.get("training_stars", [])} <= {"train"}
    for path in (results / "predictions").iterdir():
        assert {split[star] for star in read_parquet(path)["apogee_id"]} == {"test"}, path


def test_mock_results_say_so(run):
    results = run / "results/tiny"
    assert json.loads((results / "metrics.json").read_text())["mock"] is True
    for name in ("tables/table1.md", "tables/table1.tex", "report.html"):
        assert "MOCK SURVEY" in (results / name).read_text(), name
    assert "10.0" not in (results / "tables/table1.csv").read_text().split(), "no published value"


def test_the_readme_examples_run(run, monkeypatch, capsys):
    readme = (REPOSITORY / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(examples) == 2
    monkeypatch.chdir(REPOSITORY)
    names: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for example in examples:
            exec(example.replace("results/demo", str(run / "results/tiny")), names)
    assert names["window"].shape[1] == 512
    assert np.isfinite(names["prediction"].value).all()


def test_the_terminal_shows_the_logs_of_the_trainings(finished):
    folder, shown = finished
    logs = list((folder / "results/tiny/logs/train").iterdir())
    assert len(logs) >= 6
    for log in logs:
        lines = log.read_text().splitlines()
        assert lines
        # Whole and to its end, but perhaps behind the first half of a long message of Snakemake's
        # own: a pipe keeps together what is written at once only up to 4096 bytes.
        assert [line for line in lines if f"{line}\n" not in shown] == [], log.name


def test_every_job_says_in_its_log_what_it_did(run):
    for log in (run / "results/tiny/logs").rglob("*.log"):
        assert re.search(r"\d", log.read_text()), f"{log.name}: no line with a count"


def test_every_job_is_timed(run):
    timed = {path.stem for path in (run / "results/tiny/benchmarks").rglob("*.tsv")}
    assert {"pretrain", "build_store", "fetch_allstar", "000", "figure1", "table1"} <= timed


def test_snakemakes_own_report_is_made_offline(run):
    made = tiny(run, "--report=run.html")
    assert made.returncode == 0, made.stderr[-3000:]
    page = (run / "run.html").read_text()
    assert "figure5.png" in page
    assert "MOCK SURVEY" in page, "what the run is"


def test_a_second_run_has_nothing_to_do(run):
    again = tiny(run, "all", "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_what_a_finished_training_does_not_depend_on_makes_nothing_run_again(run):
    more = {"gpus": 2, "threads": 2, "memory": "64GB", "runtime": "1d"}
    options = {"resources": {"default": more}, "stages": {"pretrain": {"resume": "exact"}}}
    (run / "more.yaml").write_text(yaml.safe_dump(options))
    configurations = [REPOSITORY / "config.yaml", REPOSITORY / "tests/tiny.yaml"]
    found = snakemake(
        run, "--dry-run", "--configfile", *configurations, run / "more.yaml", "--", "all"
    )
    assert "Nothing to be done" in found.stdout + found.stderr


def test_a_figure_alone_is_redrawn(run):
    figure = run / "results/tiny/figures/figure4.png"
    before = figure.read_bytes()
    figure.unlink()
    done = tiny(run, "figure4")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "1 of 1 steps" in done.stdout + done.stderr
    assert figure.read_bytes() == before


def test_a_changed_stage_retrains_itself_and_what_follows(run):
    options = {"stages": {"finetune_iron_direct": {"epochs": 1}}}
    (run / "changed.yaml").write_text(yaml.safe_dump(options))
    configurations = [REPOSITORY / "config.yaml", REPOSITORY / "tests/tiny.yaml"]
    found = snakemake(
        run, "--dry-run", "--configfile", *configurations, run / "changed.yaml", "--", "all"
    )
    jobs = found.stdout + found.stderr
    assert "epochs=1" in jobs, "the reason reads like a difference of configurations"
    counts = {
        line.split()[0]: line.split()[1] for line in jobs.splitlines() if len(line.split()) == 2
    }
    assert counts["train"] == "1"
    assert counts["predict"] == "1"
    assert "build_store" not in counts


def test_a_stage_is_a_target(run):
    found = tiny(run, "finetune_iron", "--dry-run", "--forceall")
    assert "finetune_observed" in found.stdout + found.stderr
    assert "fcnn" not in found.stdout + found.stderr
