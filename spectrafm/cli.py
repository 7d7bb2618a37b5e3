"""The ``spectrafm`` command line, made from the signatures and docstrings of its functions.

Positional parameters of a function become positional arguments, keyword-only parameters become
options ``--name``, and a parameter whose type is a `spectrafm.options.Section` adds each key of the
section as an option. Help texts come from the numpydoc docstring. Only the function that runs is
imported, so that ``spectrafm --help`` does not load torch.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import logging
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from spectrafm import __version__
from spectrafm.errors import (
    BAD_INPUT,
    INTERRUPTED,
    InterruptedTraining,
    SpectraFMError,
    Unfinished,
)
from spectrafm.figures import FIGURES
from spectrafm.plugs import caption_of, load
from spectrafm.signals import stopping
from spectrafm.surveys import SURVEYS

#: Commands by purpose, the most used first: command -> module:function.
GROUPS: dict[str, dict[str, str]] = {
    "Use a model": {
        "predict": "spectrafm.inference.predict:predict",
        "inspect": "spectrafm.inference.inspect:inspect",
        "attention": "spectrafm.inference.attention:attention",
        "plot": "spectrafm.figures.plot:plot",
        "map-attention": "spectrafm.inference.map_attention:map_attention",
    },
    "Train a model": {
        "finetune": "spectrafm.training.finetune:finetune",
        "train": "spectrafm.training.train:train",
    },
    "Evaluate predictions": {
        "score": "spectrafm.evaluation.score:score",
        "collect-metrics": "spectrafm.evaluation.collect_metrics:collect_metrics",
        "table1": "spectrafm.evaluation.table1:table1",
        "paper-comparison": "spectrafm.evaluation.paper_comparison:paper_comparison",
        "table-draws": "spectrafm.evaluation.table_draws:table_draws",
        "table-learning-curve": ("spectrafm.evaluation.table_learning_curve:table_learning_curve"),
        "table-attention": "spectrafm.evaluation.table_attention:table_attention",
        "table-calibration": "spectrafm.evaluation.table_calibration:table_calibration",
    },
    "Figures": {name: plot.where for name, plot in FIGURES.items()},
    "A run as a whole": {
        "report": "spectrafm.report.report:report",
        "verify": "spectrafm.report.verify:verify",
    },
    "Make the store from a survey (the first half of the workflow)": {
        **{name: where for survey in SURVEYS.values() for name, where in survey.commands.items()},
        "build-store": "spectrafm.store.build_store:build_store",
    },
}

COMMANDS = {name: where for group in GROUPS.values() for name, where in group.items()}

#: Short forms of options.
_SHORT = {"output": ("-o",)}

#: Exit code for a malformed command line, the same as argparse's.
BAD_USE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; print an error as one line and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A terminal whose encoding lacks a letter of a name shows its number instead.
        stream.reconfigure(errors="backslashreplace")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else BAD_USE
    command, *rest = arguments
    if command == "--version":
        print(f"spectrafm {__version__}")
        return 0
    if command not in COMMANDS:
        print(f"spectrafm: no command {command!r}{_like(command, COMMANDS)}", file=sys.stderr)
        return BAD_USE
    # INFO from spectrafm, WARNING from everything else (fontTools logs each glyph).
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("spectrafm").setLevel(logging.INFO)
    try:
        with stopping():
            return _run(command, rest)
    except (InterruptedTraining, Unfinished) as stopped:
        print(f"spectrafm {command}: {stopped}", file=sys.stderr)
        return INTERRUPTED
    except SpectraFMError as error:
        print(f"spectrafm {command}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as stopped:
        kept = "no output is half-written, and the same command starts again"
        print(f"spectrafm {command}: stopped by {stopped}; {kept}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output (such as `head`) has closed the pipe.
        sys.stdout = None
        return 0
    except OSError as error:
        print(f"spectrafm {command}: {error}", file=sys.stderr)
        return 1


def _run(command: str, arguments: Sequence[str]) -> int:
    verb = load(COMMANDS[command])
    parser = build_parser(command, verb)
    try:
        given, unknown = parser.parse_known_args(arguments)
        if unknown:
            parser.error(f"no option or argument {unknown[0]!r}{_like(unknown[0], _names(parser))}")
    except SystemExit as end:
        return end.code
    result = verb(**_values(verb, given))
    if result is not None:
        print(result)
    return 0


def overview() -> str:
    """Help text of ``spectrafm --help``: every command, by purpose."""
    width = max(map(len, COMMANDS)) + 4
    columns = min(shutil.get_terminal_size().columns, 110)
    lines = [
        "usage: spectrafm COMMAND ... | spectrafm COMMAND --help | spectrafm --version",
        "",
        "Stellar labels from spectra: a foundation model, its training and its evaluation.",
    ]
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:"]
        for name, where in commands.items():
            text = f"  {name:{width - 2}}{plain(caption_of(where)).rstrip('.')}"
            lines += textwrap.wrap(text, columns, subsequent_indent=" " * width)
    return "\n".join(lines)


def plain(text: str) -> str:
    """Text of a docstring without reStructuredText's backquotes."""
    return re.sub(r"``?([^`]+)``?", r"\1", text)


class _Parser(argparse.ArgumentParser):
    """An argument parser that prints errors as one line, which names the command."""

    def error(self, message: str):
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(BAD_USE)


def build_parser(command: str, verb: Callable) -> argparse.ArgumentParser:
    """Build the argument parser of a command from its function's signature and docstring."""
    from docstring_parser.numpydoc import parse

    from spectrafm.options import add_options

    documented = parse(inspect.getdoc(verb) or "")
    about = [documented.short_description, documented.long_description]
    helps = {
        name.strip(): plain(" ".join((parameter.description or "").split()))
        for parameter in documented.params
        for name in parameter.arg_name.split(",")
    }
    examples = "\n".join(example.description or "" for example in documented.examples)
    parser = _Parser(
        prog=f"spectrafm {command}",
        usage=_usage(command, verb),
        description=plain("\n\n".join(text for text in about if text)),
        epilog=f"example:\n{textwrap.indent(examples, '  ')}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for parameter in _parameters(verb):
        if _section(parameter):
            add_options(parser, parameter.annotation)
        else:
            _add(parser, parameter, helps.get(parameter.name, ""))
    return parser


def _parameters(verb: Callable) -> list[inspect.Parameter]:
    return list(inspect.signature(verb, eval_str=True).parameters.values())


def _section(parameter: inspect.Parameter) -> bool:
    from spectrafm.options import Section

    kind = parameter.annotation
    return isinstance(kind, type) and issubclass(kind, Section)


def _usage(command: str, verb: Callable) -> str:
    """Usage line: positional and required arguments by name, then ``[options]``."""
    words = [f"spectrafm {command}"]
    for parameter in _parameters(verb):
        if not _section(parameter) and parameter.default is parameter.empty:
            many = _type(parameter.annotation)[1]
            value = parameter.name.upper() + (" ..." if many == "+" else "")
            named = parameter.kind is parameter.KEYWORD_ONLY
            words.append(f"{_flag(parameter.name)} {value}" if named else value)
    return " ".join([*words, "[options]"])


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _type(annotation: Any) -> tuple[type, str | int | None]:
    """Type of one value of a parameter, and the number of values (argparse's ``nargs``)."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (kind for kind in get_args(annotation) if kind is not type(None))
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0], len(get_args(annotation))
    if get_origin(annotation) in (Sequence, list):
        return get_args(annotation)[0], "+"
    return annotation, None


def _add(parser: argparse.ArgumentParser, parameter: inspect.Parameter, about: str) -> None:
    """Add the argument of a parameter whose type is not a section."""
    kind, many = _type(parameter.annotation)
    required = parameter.default is parameter.empty
    named = parameter.kind is parameter.KEYWORD_ONLY
    text = about.removesuffix(".")
    if required and named:
        text = f"{text}; required"
    elif not required and parameter.default not in (None, False):
        default = parameter.default
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        text = f"{text}; default {shown}"
    settings: dict[str, Any] = {"help": text.replace("%", "%%")}
    if kind is bool:
        settings |= {"action": "store_true"}
    else:
        settings |= {"type": kind, "nargs": many, "metavar": _metavar(parameter.name, kind, named)}
    if not named:
        parser.add_argument(parameter.name, **settings)
        return
    if not required:
        settings |= {"default": parameter.default}
    parser.add_argument(
        _flag(parameter.name),
        *_SHORT.get(parameter.name, ()),
        dest=parameter.name,
        **settings,
        **({"required": True} if required else {}),
    )


def _metavar(name: str, kind: type, named: bool) -> str:
    if not named:
        return name.upper()
    return {Path: "PATH", int: "INTEGER", float: "NUMBER"}.get(kind, "TEXT")


def _values(verb: Callable, given: argparse.Namespace) -> dict[str, Any]:
    """Arguments for a command's function, from the parsed command line."""
    from spectrafm.options import section_of

    values = {}
    for parameter in _parameters(verb):
        if _section(parameter):
            values[parameter.name] = section_of(parameter.annotation, given)
        else:
            value = getattr(given, parameter.name)
            several = get_origin(parameter.annotation) is tuple and value is not None
            values[parameter.name] = tuple(value) if several else value
    return values


def _names(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings]


def _like(word: str, known: Sequence[str]) -> str:
    """``; did you mean ...`` for a word that resembles or ends a known one; else empty."""
    word = word.partition("=")[0].replace("-", "_").strip("_")
    simple = {name.replace("-", "_").strip("_"): name for name in known}
    near = [name for name in simple if name.rpartition(".")[2] == word]
    near += difflib.get_close_matches(word, simple, n=3, cutoff=0.7)
    names = list(dict.fromkeys(simple[name] for name in near))
    return f"; did you mean {' or '.join(names[:3])}?" if names else ""
