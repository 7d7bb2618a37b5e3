"""The ``spectrafm`` command: one sub-command per workflow rule, named like the function it calls.

Modules are imported inside the commands, so that ``spectrafm --help`` does not wait for torch.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from spectrafm import __version__, options
from spectrafm.errors import BAD_INPUT, INTERRUPTED, InterruptedTraining, SpectraFMError
from spectrafm.inference.options import Attention, Predict
from spectrafm.networks.options import Model
from spectrafm.surveys.apogee.options import Selection, Survey
from spectrafm.surveys.mock.options import Mock
from spectrafm.training.options import Stage

BESIDE = "PNG to write; the PDF is written beside it"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; print an error as one line and return the exit code."""
    parsed = build_parser().parse_args(arguments)
    # Our own progress, but of other packages (fontTools tells each glyph) only what is wrong.
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("spectrafm").setLevel(logging.INFO)
    try:
        parsed.run(parsed)
    except SpectraFMError as error:
        print(f"spectrafm {parsed.command}: {error}", file=sys.stderr)
        return BAD_INPUT
    except InterruptedTraining as stopped:
        print(f"spectrafm {parsed.command}: {stopped}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (such as `head`) has had enough.
        sys.stdout = None
        return 0
    except OSError as error:
        print(f"spectrafm {parsed.command}: {error}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line of all commands."""
    parser = argparse.ArgumentParser(
        prog="spectrafm", description="A stellar foundation model from public APOGEE spectra."
    )
    parser.add_argument("--version", action="version", version=f"spectrafm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_survey, _add_training, _add_evaluation, _add_figures):
        add(commands)
    return parser


def _command(commands, name: str, run: Callable, help_text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _path(parser: argparse.ArgumentParser, *names: str, help_text: str = "", **extra) -> None:
    required = {} if not names[0].startswith("-") or "default" in extra else {"required": True}
    parser.add_argument(*names, type=Path, help=help_text, **required, **extra)


# The survey: from the SAS to the store.


def _add_survey(commands) -> None:
    new = _command(commands, "mock-survey", _mock_survey, "write the mock survey as a SAS tree")
    _path(new, "--output", help_text="root of the SAS tree")
    new.add_argument("--processes", type=int, default=2, help="default 2")
    options.add_options(new, Mock)
    options.add_options(new, Survey, "survey.")

    new = _command(commands, "fetch-allstar", _fetch_allstar, "fetch the allStar catalogue")
    _path(new, "--output", help_text="FITS file to write")
    options.add_options(new, Survey)

    new = _command(commands, "select-stars", _select_stars, "cut the catalogue and split the stars")
    _path(new, "allstar", help_text="allStar FITS file")
    _path(new, "--selected", help_text="Parquet to write: one row a star")
    _path(new, "--alternates", help_text="Parquet to write: the same stars' lower-S/N rows")
    _path(new, "--cuts", help_text="CSV to write: rows left after each cut")
    _path(new, "--flags", default=None, help_text="CSV to write: rows that each flag removed")
    options.add_options(new, Selection)
    options.add_options(new, Survey, "survey.")

    new = _command(commands, "fetch-spectra", _fetch_spectra, "fetch one shard's spectra")
    _path(new, "--selected")
    _path(new, "--alternates")
    new.add_argument("--shard", type=int, required=True, help="which shard, from 0")
    _path(new, "--output", help_text="Zarr group to write")
    _path(new, "--missing", help_text="Parquet to write: files that were not usable, and why")
    options.add_options(new, Survey)

    new = _command(commands, "list-files", _list_files, "list a run's files for rsync")
    _path(new, "--selected")
    _path(new, "--alternates")
    _path(new, "--output", help_text="text to write, for rsync --files-from")
    options.add_options(new, Survey)

    new = _command(commands, "build-store", _build_store, "join the shards into one store")
    _path(new, "--selected")
    _path(new, "--cuts")
    _path(new, "--shards", nargs="+", help_text="Zarr groups of fetch-spectra, in order")
    _path(new, "--shard-missing", nargs="+", help_text="their tables of missing files")
    _path(new, "--store", help_text="Zarr group to write")
    _path(new, "--missing", help_text="Parquet to write")
    _path(new, "--funnel", help_text="CSV to write")

    new = _command(
        commands, "check-selection", _check_selection, "compare the stars with those published"
    )
    _path(new, "stars", help_text="selected.parquet, or store.zarr")
    _path(new, "--labels", nargs="+", help_text="the authors' labels, .npy")
    _path(new, "--errors", nargs="+", help_text="their errors, .npy, in the same order")

    new = _command(commands, "fetch-astronn", _fetch_astronn, "fetch astroNN's labels")
    _path(new, "--selected")
    _path(new, "--output", help_text="Parquet to write; empty where the survey has none")
    options.add_options(new, Survey)


def _mock_survey(given) -> None:
    from spectrafm.surveys.mock.mock_survey import mock_survey

    mock = options.section_of(Mock, given)
    survey = options.section_of(Survey, given, "survey.")
    mock_survey(given.output, mock, survey, given.processes)


def _fetch_allstar(given) -> None:
    from spectrafm.surveys.apogee.fetch_allstar import fetch_allstar

    fetch_allstar(given.output, options.section_of(Survey, given))


def _select_stars(given) -> None:
    from spectrafm.surveys.apogee.select_stars import select_stars

    select_stars(
        given.allstar,
        given.selected,
        given.alternates,
        given.cuts,
        options.section_of(Selection, given),
        options.section_of(Survey, given, "survey."),
        given.flags,
    )


def _fetch_spectra(given) -> None:
    from spectrafm.surveys.apogee.fetch_spectra import fetch_spectra

    survey = options.section_of(Survey, given)
    fetch_spectra(
        given.selected, given.alternates, given.shard, given.output, given.missing, survey
    )


def _list_files(given) -> None:
    from spectrafm.surveys.apogee.list_files import list_files

    survey = options.section_of(Survey, given)
    list_files(given.selected, given.alternates, given.output, survey)


def _build_store(given) -> None:
    from spectrafm.store.build_store import build_store

    build_store(
        given.selected,
        given.cuts,
        given.shards,
        given.shard_missing,
        given.store,
        given.missing,
        given.funnel,
    )


def _check_selection(given) -> None:
    from spectrafm.surveys.apogee.check_selection import check_selection

    found = check_selection(given.stars, given.labels, given.errors)
    print(found)
    if found.both < found.published:
        raise SpectraFMError(
            f"{given.stars}: {found.published - found.both} of {found.published} published stars "
            "are not in it"
        )


def _fetch_astronn(given) -> None:
    from spectrafm.surveys.apogee.fetch_astronn import fetch_astronn

    fetch_astronn(given.selected, given.output, options.section_of(Survey, given))


# Training.


def _add_training(commands) -> None:
    new = _command(commands, "train", _train, "train one stage")
    _path(new, "store", help_text="store.zarr")
    new.add_argument("--name", required=True, help="name of the stage")
    _path(new, "--output", help_text="folder of the model to write")
    _path(new, "--start", default=None, help_text="folder of the model that start_from names")
    _path(new, "--checkpoints", default=None, help_text="folder of checkpoints to resume from")
    options.add_options(new, Stage)
    options.add_options(new, Model, "model.")


def _train(given) -> None:
    from spectrafm.training.train import train

    stage = options.section_of(Stage, given)
    model = options.section_of(Model, given, "model.")
    train(
        given.store,
        name=given.name,
        output=given.output,
        start=given.start,
        checkpoints=given.checkpoints,
        stage=stage,
        model=model,
    )


# Inference and evaluation.


def _add_evaluation(commands) -> None:
    new = _command(commands, "predict", _predict, "predict the labels of one split")
    _path(new, "model", help_text="folder of the model")
    _path(new, "store", help_text="store.zarr")
    new.add_argument("--name", required=True, help="name of the evaluation")
    _path(new, "--output", help_text="Parquet to write")
    options.add_options(new, Predict)

    new = _command(commands, "map-attention", _map_attention, "average attention over stars")
    _path(new, "model", help_text="folder of the model")
    _path(new, "store", help_text="store.zarr")
    _path(new, "--output", help_text="Zarr group to write")
    options.add_options(new, Attention)

    new = _command(commands, "score", _score, "score any table of predictions")
    _path(new, "table", help_text="CSV or Parquet")
    new.add_argument("--actual", required=True, metavar="COL")
    new.add_argument("--predicted", required=True, metavar="COL")
    new.add_argument("--uncertainty", metavar="COL", help="one-sigma uncertainty")
    new.add_argument("--feh", metavar="COL", help="[Fe/H] that tells rich from poor stars")
    new.add_argument("--json", action="store_true", help="print JSON")

    new = _command(commands, "collect-metrics", _collect_metrics, "score all predictions of a run")
    _path(new, "predictions", nargs="+", help_text="Parquet files of predict")
    _path(new, "--output", help_text="JSON to write")

    new = _command(commands, "table1", _table1, "write Table 1")
    _path(new, "predictions", nargs="+", help_text="Parquet files of predict, one per column")
    _path(new, "--astronn", help_text="Parquet of fetch-astronn")
    new.add_argument("--logg", type=float, nargs=2, default=(1.0, 3.5), help="default 1 3.5")
    _path(new, "--output", help_text="CSV to write; .md and .tex are written beside it")


def _predict(given) -> None:
    from spectrafm.inference.predict import predict

    section = options.section_of(Predict, given)
    predict(given.model, given.store, name=given.name, output=given.output, options=section)


def _map_attention(given) -> None:
    from spectrafm.inference.map_attention import map_attention

    section = options.section_of(Attention, given)
    map_attention(given.model, given.store, output=given.output, options=section)


def _score(given) -> None:
    from spectrafm.evaluation.score import score

    score(
        given.table,
        actual=given.actual,
        predicted=given.predicted,
        uncertainty=given.uncertainty,
        feh=given.feh,
        json=given.json,
    )


def _collect_metrics(given) -> None:
    from spectrafm.evaluation.collect_metrics import collect_metrics

    collect_metrics(given.predictions, output=given.output)


def _table1(given) -> None:
    from spectrafm.evaluation.table1 import table1

    table1(given.predictions, astronn=given.astronn, logg=tuple(given.logg), output=given.output)


# Figures.


def _add_figures(commands) -> None:
    new = _command(commands, "figure1", _figure1, "an observed spectrum and its best fit")
    _path(new, "store", help_text="store.zarr")
    new.add_argument("--star", help="APOGEE_ID; default: the first test giant")
    _path(new, "--output", help_text=BESIDE)

    new = _command(commands, "figure2", _figure2, "the wavelengths of each stage")
    _path(new, "store", help_text="store.zarr")
    _path(new, "models", nargs="+", help_text="folders of the stages' models")
    new.add_argument("--star", help="APOGEE_ID; default: the first test giant")
    _path(new, "--output", help_text=BESIDE)

    new = _command(commands, "figure3", _figure3, "predicted against actual labels")
    _path(new, "prediction", help_text="Parquet of predict")
    _path(new, "--output", help_text=BESIDE)

    new = _command(commands, "figure4", _figure4, "[Fe/H] of iron-rich and iron-poor stars")
    _path(new, "--predictions", nargs="+", help_text="Parquet files of predict, one per panel")
    _path(new, "--models", nargs="+", help_text="their models")
    _path(new, "--output", help_text=BESIDE)

    new = _command(commands, "figure5", _figure5, "attention maps")
    _path(new, "attention", help_text="Zarr group of map-attention")
    _path(new, "--output", help_text=BESIDE)

    new = _command(commands, "report", _report, "one page with everything a run made")
    _path(new, "output", help_text="HTML to write, at the top of the run's folder")

    new = _command(commands, "verify", _verify, "check every file of a run, name what is wrong")
    _path(new, "run_folder", help_text="results/<run>")


def _figure1(given) -> None:
    from spectrafm.figures.figure1 import figure1

    figure1(given.store, star=given.star, output=given.output)


def _figure2(given) -> None:
    from spectrafm.figures.figure2 import figure2

    figure2(given.store, given.models, star=given.star, output=given.output)


def _figure3(given) -> None:
    from spectrafm.figures.figure3 import figure3

    figure3(given.prediction, output=given.output)


def _figure4(given) -> None:
    from spectrafm.figures.figure4 import figure4

    figure4(predictions=given.predictions, models=given.models, output=given.output)


def _figure5(given) -> None:
    from spectrafm.figures.figure5 import figure5

    figure5(given.attention, output=given.output)


def _report(given) -> None:
    from spectrafm.report.report import report

    report(given.output)


def _verify(given) -> None:
    from spectrafm.report.verify import verify

    verify(given.run_folder)
