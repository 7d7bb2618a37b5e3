"""The end of a table's Markdown file: SHA-256 of the table's inputs and of its other formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from spectrafm.errors import SpectraFMError
from spectrafm.integrity import as_code_block, hash_of, hashes_beside, in_code_block
from spectrafm.reading import read_text

_INPUTS = "Made with (SHA-256, paths from this folder):"
_FORMATS = "The same table in other formats:"


def made_with_text(inputs: Mapping[str, str], formats: Sequence[Path]) -> str:
    """Write the hashes at the end of a table's Markdown file.

    Parameters
    ----------
    inputs : mapping
        `spectrafm.integrity.hashes_beside` the table of the files that it was made from.
    formats : sequence of pathlib.Path
        Files beside the Markdown file that hold the same table.
    """
    others = hashes_beside(formats[0].parent, formats)
    return f"{_INPUTS}\n\n{as_code_block(dict(inputs))}\n{_FORMATS}\n\n{as_code_block(others)}"


def inputs_of_table(markdown: Path) -> dict[str, str] | None:
    """Read the hashes of a table's inputs; None where the table has none, as in older versions.

    Raises
    ------
    SpectraFMError
        When the file is not text.
    """
    _, found, after = read_text(markdown).partition(_INPUTS)
    return in_code_block(after.partition(_FORMATS)[0]) if found else None


def check_formats(markdown: Path) -> None:
    """Check the table's other formats against the hashes in its Markdown file.

    Raises
    ------
    SpectraFMError
        When one is missing, cut off or changed.
    """
    _, _, after = read_text(markdown).partition(_FORMATS)
    for name, digest in in_code_block(after).items():
        path = markdown.with_name(Path(name).name)
        if not path.is_file():
            raise SpectraFMError(f"{path}: missing, though {markdown} names it")
        if hash_of(path) != digest:
            raise SpectraFMError(f"{path}: is not the table that {markdown} was written with")
