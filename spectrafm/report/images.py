"""Reading the figures of a run, which are PNG files, for the report and for verification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spectrafm.errors import SpectraFMError
from spectrafm.integrity import MADE_WITH, hashes_by_path
from spectrafm.reading import problem_in


def check_figure(path: Path) -> tuple[int, int]:
    """Check the checksums within a PNG file; return its width and height in pixels.

    Raises
    ------
    SpectraFMError
        When the file is not a complete PNG file.
    """
    return _read(path)[0]


def inputs_of_figure(path: Path) -> dict[str, str] | None:
    """Read the SHA-256 of a figure's inputs by path; None where the figure does not name them.

    Raises
    ------
    SpectraFMError
        When the file is not a complete PNG file, or what it names are not hashes by path.
    """
    text = _read(path)[1].get(MADE_WITH)
    if text is None:
        return None
    try:
        inputs = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        inputs = None
    return hashes_by_path(inputs, f"{path}: its text {MADE_WITH}")


def _read(path: Path) -> tuple[tuple[int, int], dict[str, Any]]:
    """Size and texts of a PNG file, after checking it to its end."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            # Texts before the pixels are read as the file is opened; verify() checks all of it.
            size, texts = image.size, dict(image.info)
            image.verify()
        return size, texts
    except Exception as error:
        # Damaged bytes make Pillow raise errors of many types.
        raise SpectraFMError(f"{path}: not a complete PNG file ({problem_in(error)})") from None
