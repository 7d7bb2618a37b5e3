"""Reading files of any origin: text as UTF-8, CSV; whatever a parser raises names the file.

A damaged or hostile file makes a parser raise almost anything (a `KeyError`, a `RecursionError`, a
`MemoryError`). `reading` is the one place that turns all of it into a `SpectraFMError` of one line.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from spectrafm.errors import SpectraFMError

if TYPE_CHECKING:
    import pandas as pd

#: Largest number of characters of untrusted text in a message.
LONGEST = 200

#: Largest number of values in a stranger's JSON: a calibration of 450 labels.
MOST_VALUES = 50_000


class Record(BaseModel):
    """What SpectraFM wrote into a file; versions before and after have other keys besides."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class Untrusted(BaseModel):
    """What a file holds that may come from a stranger, or from a later version with more keys."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


@contextlib.contextmanager
def reading(path: str | os.PathLike, kind: str) -> Iterator[None]:
    """Turn any error inside the block into a `SpectraFMError` that names the file.

    Parameters
    ----------
    path : pathlib.Path or str
    kind : str
        What the file should be, such as ``"Parquet file"``.

    Raises
    ------
    SpectraFMError
        ``<path>: no such file``, ``<path>: <the system's message>`` or ``<path>: not a readable
        <kind> (<the parser's message>)``.
    """
    try:
        yield
    except SpectraFMError:
        raise
    except FileNotFoundError:
        raise SpectraFMError(f"{path}: no such file") from None
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise SpectraFMError(f"{path}: {os.strerror(error.errno or 0).lower()}") from None
    except RecursionError:
        raise SpectraFMError(f"{path}: not a readable {kind} (nested too deeply)") from None
    except Exception as error:
        what = problem_in(error)
        raise SpectraFMError(f"{path}: not a readable {kind} ({what})") from None


def problem_in(error: Exception) -> str:
    """What an error says, as one short line; of a pydantic error the first problem."""
    text = str(error)
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        text = f"{where}: {problem['msg']}" if where else problem["msg"]
    return printable(text) or type(error).__name__


def printable(text: str) -> str:
    """Untrusted text as one short line without control characters."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def read_text(path: str | os.PathLike) -> str:
    """Read a text file as UTF-8, whatever the locale is.

    Raises
    ------
    SpectraFMError
        When the file is missing or is not UTF-8.
    """
    with reading(path, "text"):
        return Path(path).read_bytes().decode("utf-8")


def read_untrusted_json(path: str | os.PathLike) -> bytes:
    """Read a JSON file of a stranger as bytes, for a parser that keeps each value in memory.

    A parsed value takes up to 0.7 kB, however short its text is (``[]``), and pydantic's report on
    one that is wrong 1 kB. The parser has read all of them before it refuses the first, so their
    number is bounded here.

    Raises
    ------
    OSError
        When the file cannot be read.
    SpectraFMError
        When it may hold more than `MOST_VALUES` values.
    """
    content = Path(path).read_bytes()
    # Each value but the first follows one of these; those within texts are counted as well.
    values = 1 + sum(content.count(mark) for mark in (b",", b"[", b"{"))
    if values > MOST_VALUES:
        raise SpectraFMError(f"{path}: {values:,} values are more than the {MOST_VALUES:,} allowed")
    return content


def read_csv(path: str | os.PathLike, columns: Sequence[str], separator: str = ",") -> pd.DataFrame:
    """Read a CSV file that SpectraFM or Snakemake has written.

    Parameters
    ----------
    path : pathlib.Path or str
    columns : sequence of str
        Columns that it must have.
    separator : str

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    SpectraFMError
        When the file is missing, is cut off within a line, is not CSV, or lacks a column.
    """
    import pandas as pd

    text = read_text(path)
    if not text.endswith("\n"):
        raise SpectraFMError(f"{path}: not a whole CSV file (it ends within a line)")
    with reading(path, "CSV file"):
        table = pd.read_csv(io.StringIO(text), sep=separator, index_col=False, low_memory=False)
    for column in columns:
        if column not in table:
            raise SpectraFMError(f"{path}: no column {column!r}")
    return table


def read_columns(
    path: str | os.PathLike,
    what: str,
    text: Sequence[str],
    numbers: Sequence[str],
    further: str | None = None,
) -> pd.DataFrame:
    """Read a CSV file that SpectraFM has written, whose columns hold text or numbers.

    Parameters
    ----------
    path : pathlib.Path or str
    what : str
        What the file is, for the error message.
    text, numbers : sequence of str
        Columns that it must have.
    further : str, optional
        Beginning of the names of further columns of numbers, which it may have.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    SpectraFMError
        As `read_csv`, and when a column of numbers holds something else.
    """
    table = read_csv(path, [*text, *numbers])
    with reading(path, what):
        also = [name for name in table if further is not None and name.startswith(further)]
        return table.astype(dict.fromkeys(text, str) | dict.fromkeys([*numbers, *also], float))
