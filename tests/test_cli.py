"""The command line: fast to answer, one-line errors, exit codes."""

import ast
import inspect
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest

from spectrafm import cli
from spectrafm.options import Section
from spectrafm.plugs import load

REPOSITORY = Path(__file__).parents[1]

#: What a stage must say.
REQUIRED = ["--spectra=observed", "--windows=[[16105, 16220]]", "--epochs=1"]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    actual = [-1.5, -1.2, -0.5, 0.0, 0.2]
    residual = [0.3, 0.1, -0.1, 0.0, 0.1]
    predicted = [a + r for a, r in zip(actual, residual, strict=True)]
    columns = {"FE_H_actual": actual, "FE_H_pred": predicted, "FE_H_err": 0.15}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def parsers():
    """Each command's function and parser."""
    for command, where in cli.COMMANDS.items():
        verb = load(where)
        yield command, verb, cli.build_parser(command, verb)


def sections_of(verb):
    """Each parameter that is a section, with its class."""
    for parameter in inspect.signature(verb, eval_str=True).parameters.values():
        if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, Section):
            yield parameter.name, parameter.annotation


@pytest.mark.parametrize("line", [["--help"], ["tarin"]])
def test_help_and_a_wrong_command_do_not_wait_for_torch(line):
    code = (
        f"import sys; from spectrafm import cli; cli.main({line});"
        "print([m for m in ('torch', 'zarr', 'astropy', 'matplotlib', 'pandas', 'pydantic')"
        " if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_every_command_stands_in_the_overview(capsys):
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for command in cli.COMMANDS:
        (line,) = (line for line in lines if line.split()[:1] == [command])
        assert len(line.split()) > 2, f"{command}: no word of what it does"


def test_every_command_has_an_example():
    for command, _, parser in parsers():
        assert f"$ spectrafm {command} " in (parser.epilog or ""), command


def test_every_argument_is_explained():
    missing = [
        f"{command}: {action.option_strings or action.dest}"
        for command, _, parser in parsers()
        for action in parser._actions
        if not action.help or action.help.startswith(";")
    ]
    assert not missing


def test_a_command_accepts_only_sections_that_it_uses():
    for command, verb, _ in parsers():
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(verb))))
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        unused = [name for name, _ in sections_of(verb) if name not in used]
        assert not unused, command


def test_a_name_is_one_option_of_a_command():
    for command, verb, _ in parsers():
        keys = [f"{kind.prefix}{key}" for _, kind in sections_of(verb) for key in kind.model_fields]
        assert len(keys) == len(set(keys)), command


@pytest.mark.parametrize(
    "line",
    [
        ["select-stars", "a.fits", "--selected=a", "--alternates=b", "--cuts=c",
         "--flux_range=[0, 2]"],
        ["select-stars", "a.fits", "--selected=a", "--alternates=b", "--cuts=c", "--tries=3"],
        ["map-attention", "m", "s.zarr", "--output=a", "--stage=pretrain"],
        ["mock-survey", "--output=m", "--tries=3"],
        ["mock-survey", "--output=m", "--survey.tries=3"],
        ["list-files", "--selected=a", "--alternates=b", "--output=c", "--source=x"],
        ["fetch-allstar", "--output=a", "--shards=3"],
        ["fetch-allstar", "--output=a", "--file_seconds=3"],
        ["fetch-astronn", "--selected=a", "--output=a", "--allstar_sha1=null"],
        ["build-store", "--selected=a", "--cuts=b", "--shards", "x", "--shard-missing", "y",
         "--store=s", "--missing=m", "--funnel=f", "--source=x"],
        ["predict", "m", "s.zarr", "--name=x", "--output=p", "--stages=[x]"],
        ["figure3", "p.parquet", "--output=f.png", "--star=x"],
    ],
)  # fmt: skip
def test_what_a_command_does_not_use_it_refuses(line, capsys):
    assert cli.main(line) == cli.BAD_USE
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"spectrafm {line[0]}: no option or argument '--")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["tarin"], "no command 'tarin'; did you mean train?"),
        (["train", "s.zarr", "--learning_rate=1", "--name=x", "--output=o"],
         "no option or argument '--learning_rate=1'; did you mean --schedule.learning_rate?"),
        (["train", "s.zarr", "--ouptut=o", "--name=x", "--output=o"], "mean --output"),
        (["train", "s.zarr"], "required: --name, --output/-o; see spectrafm train --help"),
        (["table1", "p", "--astronn=a", "--output=o", "--logg", "1"], "--logg: expected 2"),
        (["fetch-spectra", "--shard=x"], "--shard: invalid int value: 'x'"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_one_line_and_helps(line, message, capsys):
    assert cli.main(line) == cli.BAD_USE
    (error,) = capsys.readouterr().err.splitlines()
    assert message in error


def test_help_gives_meaning_choices_default_and_how_values_are_written(capsys):
    assert cli.main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "--windows [[NUMBER, NUMBER], ...]",
        "vacuum Angstrom",
        "--spectra {observed,synthetic}",
        "--optimizer {adamw,adam}",
        "--model.encoder [{heads: INTEGER, feedforward: INTEGER}, ...]",
        "--patience INTEGER|null",
        "usage: spectrafm train STORE --name NAME --output OUTPUT [options]",
    ):
        assert part in text, part


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
        (["train", "no.zarr", "--name=x", "--output=m", *REQUIRED, "--epochs=none"],
         "options: epochs: "),
        (["train", "no.zarr", "--name=x", "--output=m"], "options: spectra: required"),
        (["train", "no.zarr", "--name=x", "--output=m", *REQUIRED], "no.zarr"),
        (["train", "no.zarr", "--name=x", "--output=m", "--stars.where=SNR", *REQUIRED],
         "options: stars.where: 'SNR' is not as described: condition on labels"),
        (["predict", "no", "no.zarr", "--name=x", "--output=p.parquet"], "no: no such model"),
        (["map-attention", "no", "no.zarr", "--output=p.zarr"], "no: no such model"),
        (["figure3", "no.parquet", "--output=f.png"], "no.parquet"),
        (["figure5", "no.zarr", "--output=f.png"], "no.zarr"),
        (["calibration", "no.csv", "--output=f.png"], "no.csv"),
        (["table-calibration", "no.parquet", "--output=c.csv"], "no.parquet"),
        (["report", "nowhere/report.html"], "nowhere/metrics.json: no such file"),
        (["verify", "nowhere"], "nowhere: no such run"),
        (["verify", "."], ".: holds no file of a run"),
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
