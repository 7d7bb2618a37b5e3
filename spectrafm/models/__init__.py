"""Models that are shipped with the package: each is a folder here, under its name."""

from __future__ import annotations

from pathlib import Path


def shipped() -> dict[str, Path]:
    """Folders of the shipped models by name."""
    folders = sorted(path.parent for path in Path(__file__).parent.glob("*/config.json"))
    return {folder.name: folder for folder in folders}
