"""The command line: fast to answer, one-line errors, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from spectrafm import cli

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    actual = [-1.5, -1.2, -0.5, 0.0, 0.2]
    residual = [0.3, 0.1, -0.1, 0.0, 0.1]
    predicted = [a + r for a, r in zip(actual, residual, strict=True)]
    columns = {"FE_H_actual": actual, "FE_H_pred": predicted, "FE_H_err": 0.15}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from spectrafm import cli; cli.build_parser().format_help();"
        "print([m for m in ('torch', 'zarr', 'astropy', 'matplotlib') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_command_explains_itself(capsys):
    parser = cli.build_parser()
    (commands,) = (action for action in parser._actions if getattr(action, "choices", None))
    assert len(commands.choices) == 21
    for command in commands.choices.values():
        assert command.format_help()
        assert command.description


def test_score_prints_json(table, capsys):
    arguments = ["--actual", "FE_H_actual", "--predicted", "FE_H_pred"]
    assert cli.main(["score", str(table), *arguments, "--uncertainty", "FE_H_err", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {group: found[group]["n"] for group in found} == {"all": 5, "rich": 3, "poor": 2}
    assert found["poor"]["rmse"] == pytest.approx(((0.09 + 0.01) / 2) ** 0.5)
    assert found["poor"]["bias"] == pytest.approx(0.2)
    assert found["rich"]["coverage_1sigma"] == 1


def test_score_prints_a_table(table, capsys):
    arguments = ["--actual", "FE_H_actual", "--predicted", "FE_H_pred"]
    assert cli.main(["score", str(table), *arguments]) == 0
    assert "0.22" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "TABLE", "--actual", "x", "--predicted", "FE_H_pred"], "no column 'x'"),
        (["score", "no.csv", "--actual", "x", "--predicted", "y"], "no.csv: no such file"),
        (["select-stars", "no.fits", "--selected=a", "--alternates=b", "--cuts=c"], "no.fits"),
        (
            ["select-stars", "no.fits", "--selected=a", "--alternates=b", "--cuts=c",
             "--aspcapflag=[STAR_BDA]"],
            "'STAR_BDA' is no ASPCAPFLAG flag; known: TEFF_WARN",
        ),
        (["train", "no.zarr", "--name=x", "--output=m", "--epochs=none"], "options: epochs: "),
        (["train", "no.zarr", "--name=x", "--output=m"], "no.zarr"),
        (["train", "no.zarr", "--name=x", "--output=m", "--start=y"], "--start and --start_from"),
        (["predict", "no", "no.zarr", "--name=x", "--output=p"], "no: no such model"),
        (["map-attention", "no", "no.zarr", "--output=p"], "no: no such model"),
        (["figure3", "no.parquet", "--output=f.png"], "no.parquet"),
        (["figure5", "no.zarr", "--output=f.png"], "no.zarr"),
        (["report", "nowhere/report.html"], "nowhere/metrics.json: no such file"),
        (["verify", "nowhere"], "nowhere: no such run"),
        (["verify", "."], ".: nothing that a run makes"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, table, tmp_path, capsys,
                                                  monkeypatch):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    given = [str(table) if argument == "TABLE" else argument for argument in arguments]
    assert cli.main(given) == cli.BAD_INPUT
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith(f"spectrafm {given[0]}: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_the_module_is_the_command():
    found = subprocess.run(
        [sys.executable, "-m", "spectrafm", "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith("spectrafm 0.")
