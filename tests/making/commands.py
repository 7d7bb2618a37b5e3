"""Commands of the package in processes of their own, forked from one that has imported it all."""

from __future__ import annotations

import contextlib
import inspect
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from docstring_parser.numpydoc import parse

from making.whole_run import verb_of
from spectrafm import cli
from spectrafm.plugs import load


def forking() -> multiprocessing.context.ForkServerContext:
    """Context whose processes start within milliseconds, with every command imported."""
    context = multiprocessing.get_context("forkserver")
    modules = {where.partition(":")[0] for where in cli.COMMANDS.values()}
    context.set_forkserver_preload([*sorted(modules), "making.commands"])
    return context


def start(
    arguments: list[str], folder: Path, said: Path, prepare: Callable[[], None] | None = None,
    **environment: str,
) -> BaseProcess:  # fmt: skip
    """Start a command in a folder; what it prints goes to the file ``said``.

    Its `exitcode` is the command's, or the negative number of the signal that killed it. A function
    ``prepare``, of a module, is called before.
    """
    process = forking().Process(target=_run, args=(arguments, folder, said, prepare, environment))
    process.start()
    return process


def _run(arguments, folder, said, prepare, environment) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    if prepare is not None:
        prepare()
    with open(said, "w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    code = cli.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def outputs_of(command: str) -> list[str]:
    """Names of a command's parameters that are paths to write, as its docstring says."""
    verb = load(cli.COMMANDS[verb_of(command)])
    return [
        name.strip()
        for parameter in parse(inspect.getdoc(verb)).params
        for name in parameter.arg_name.split(",")
        if "to write" in " ".join((parameter.description or "").split())
    ]


def with_output(command: str, arguments: list[str], name: str, path: Path) -> list[str]:
    """The arguments of a command, with another path for one of its outputs."""
    parameter = inspect.signature(load(cli.COMMANDS[verb_of(command)])).parameters[name]
    if parameter.kind is not parameter.KEYWORD_ONLY:
        return [str(path)]  # of `report`, whose output is its one argument
    flag = f"--{name.replace('_', '-')}="
    kept = [argument for argument in arguments if not argument.startswith(flag)]
    return [*kept, f"{flag}{path}"]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, by its relative path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def text_of(path: Path) -> str:
    """Text of a file; empty where there is none yet."""
    return path.read_text() if path.exists() else ""


def until(condition: Callable[[], Any], seconds: float = 300.0) -> Any:
    """Wait for a condition to give something; that."""
    last = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < last, "waited in vain"
        time.sleep(0.02)
    return found
