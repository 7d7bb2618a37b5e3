"""Where a trained model comes from: a folder, a model shipped with the package, or a hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from spectrafm.errors import SpectraFMError
from spectrafm.models import shipped
from spectrafm.networks.saved import CHECKSUMS, check_checksums

#: Files of a model that are fetched from a repository: none of them holds code.
PATTERNS = ["*.safetensors", "*.json", "*.md", "*.csv", "*.parquet", CHECKSUMS]

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def model_folder(name: str | os.PathLike, revision: str | None = None) -> Path:
    """Folder of a model.

    Parameters
    ----------
    name : str or path
        A folder; the name of a model that is shipped with the package; or a repository of the
        Hugging Face Hub, ``owner/name``, optionally with ``@`` and its revision.
    revision : str, optional
        Commit of the repository, 40 hexadecimal digits, so that it can never change.

    Raises
    ------
    SpectraFMError
        When there is no such model, the client of the hub is not installed, or what came is not
        what its checksum list says.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    text = os.fspath(name)
    models = shipped()
    if text in models:
        return models[text]
    repository, _, commit = text.partition("@")
    if _REPOSITORY.fullmatch(repository) and not folder.exists():
        return _fetched(repository, revision or commit or None)
    known = ", ".join(models) or "none"
    raise SpectraFMError(f"{text}: no such model; shipped with the package: {known}")


def _fetched(repository: str, revision: str | None) -> Path:
    """Folder of a repository's files at a commit, fetched once."""
    if revision is None or not _COMMIT.fullmatch(revision):
        raise SpectraFMError(
            f"{repository}: no such folder; of a repository of the Hugging Face Hub name the "
            f"commit too, 40 hexadecimal digits: {repository}@COMMIT"
        )
    folder = _cache() / repository.replace("/", "--") / revision
    if not (folder / CHECKSUMS).is_file():
        try:
            from huggingface_hub import snapshot_download
        except ImportError:
            raise SpectraFMError(
                f"{repository}: fetching a model needs the client of the Hugging Face Hub: "
                "pip install 'spectrafm[hub]'"
            ) from None
        try:
            # With local_dir the files are regular ones, which check_checksums requires.
            snapshot_download(
                repository, revision=revision, allow_patterns=PATTERNS, local_dir=folder
            )
        except Exception as error:  # the client raises errors of several libraries
            raise SpectraFMError(f"{repository}@{revision}: not fetched ({error})") from None
    check_checksums(folder)
    return folder


def _cache() -> Path:
    """Folder of the fetched models."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "spectrafm" / "models"
