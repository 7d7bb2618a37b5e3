"""``SHA256SUMS``: the checksum list of a folder, written into it last.

zarr reads a lost chunk file as fill values, and Zarr metadata have no checksum, so each store has
a list with the SHA-256 of every file. The list is in the format of ``sha256sum``: running
``sha256sum --check SHA256SUMS`` inside the folder verifies it. A folder without the list is
incomplete. Older versions of SpectraFM wrote ``MANIFEST.json`` with the same hashes instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from spectrafm.errors import SpectraFMError
from spectrafm.files import sha256_of_file, write_text
from spectrafm.reading import printable

CHECKSUMS = "SHA256SUMS"
#: Name of the checksum list in folders that older versions of SpectraFM wrote.
MANIFEST = "MANIFEST.json"

#: Name under which each part of a run holds the SHA-256 of its inputs: see `hashes_beside`.
MADE_WITH = "made_with"

#: Largest number of bytes of each part of a name in a list, which is what systems allow.
LONGEST_NAME = 255

_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)\n")
_IN_MARKDOWN = re.compile(r"^    ([0-9a-f]{64})  (\S.*)$", re.MULTILINE)


def write_checksums(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write the checksum list of a folder, whose files must not change afterwards.

    Parameters
    ----------
    folder : pathlib.Path
    names : iterable of str, optional
        Paths relative to the folder. Default: every file in it and in its subfolders.
    """
    listed = sorted(names_in(folder) if names is None else names)
    hashes = {name: sha256_of_file(folder / name) for name in listed}
    write_text(folder / CHECKSUMS, checksum_list(hashes))


def checksum_list(hashes: dict[str, str]) -> str:
    """Text of a checksum list (digest by file name), as ``sha256sum`` writes it."""
    return "".join(f"{digest}  {name}\n" for name, digest in hashes.items())


def read_checksums(folder: Path) -> dict[str, str]:
    """Read a folder's checksum list: SHA-256 by name of each file that the folder must hold.

    Raises
    ------
    SpectraFMError
        When the folder has no checksum list, or the list is damaged.
    """
    path = folder / CHECKSUMS
    if not path.is_file() and (folder / MANIFEST).is_file():
        path = folder / MANIFEST
        hashes = _hashes_of_manifest(path)
    elif not path.is_file():
        raise SpectraFMError(f"{folder}: no {CHECKSUMS}, so not complete")
    else:
        hashes = _hashes_of_list(path)
    for name in hashes:
        # The list may come from a stranger, and what it names is read.
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts:
            raise SpectraFMError(f"{path}: names a file outside the folder, {printable(name)}")
        longest = max(len(part.encode("utf-8")) for part in parts or [""])
        if not parts or not name.isprintable() or longest > LONGEST_NAME:
            raise SpectraFMError(f"{path}: names a file oddly, {printable(name)!a}")
    return hashes


def _hashes_of_list(path: Path) -> dict[str, str]:
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpectraFMError(f"{path}: damaged ({error})") from None
    hashes = {name: digest for digest, name in _LINE.findall(text)}
    if checksum_list(hashes) != text:
        raise SpectraFMError(f"{path}: damaged: not a list of SHA-256 as sha256sum writes it")
    return hashes


def _hashes_of_manifest(path: Path) -> dict[str, str]:
    """SHA-256 by file name from a ``MANIFEST.json``, which ends with its own SHA-256."""
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
        own = content.pop("sha256")
        whole = hashlib.sha256(json.dumps(content).encode("utf-8")).hexdigest() == own
        hashes = {name: file["sha256"] for name, file in content["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SpectraFMError(f"{path}: damaged ({printable(str(error))})") from None
    if not whole:
        raise SpectraFMError(f"{path}: damaged (its own SHA-256 differs)")
    return hashes


def names_in(folder: Path) -> list[str]:
    """Relative paths, sorted, of the files that a folder's checksum list must name.

    Hidden files are left out: Snakemake writes a timestamp file into each folder it tracks.
    """
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in paths if path.name[0] != ".")
    return sorted(name for name in names if name not in (CHECKSUMS, MANIFEST))


def check_presence(folder: Path) -> dict[str, str]:
    """Check that a store holds exactly its listed files, and verify its metadata.

    This takes milliseconds, so it runs whenever a store is opened. Chunk files are checked for
    presence only: each has a checksum of its own, which zarr verifies when it reads the chunk.

    Returns
    -------
    dict of str to str
        The checksum list.

    Raises
    ------
    SpectraFMError
        Names the first file that is missing, damaged or not listed.
    """
    listed = read_checksums(folder)
    for name, digest in listed.items():
        if fault := _fault_of(folder, name, digest if name.endswith("zarr.json") else None):
            raise SpectraFMError(fault)
    for fault in _unlisted(folder, listed):
        raise SpectraFMError(fault)
    return listed


def faults_in(folder: Path) -> Iterator[str]:
    """Read every file in a folder; yield a message for each missing, damaged or unlisted one."""
    listed = read_checksums(folder)
    for name, digest in listed.items():
        if fault := _fault_of(folder, name, digest):
            yield fault
    yield from _unlisted(folder, listed)


def _unlisted(folder: Path, listed: dict[str, str]) -> Iterator[str]:
    own = CHECKSUMS if (folder / CHECKSUMS).is_file() else MANIFEST
    for name in names_in(folder):
        if name not in listed:
            yield f"{folder / name}: not listed in {own}"


def _fault_of(folder: Path, name: str, digest: str | None) -> str | None:
    """Message about a missing or damaged file, else None; a digest of None checks presence only."""
    array, _, within = name.partition("/")
    owner = f"{folder}: array {array!r}" if within else f"{folder}:"
    path = folder / name
    if not path.is_file():
        return f"{owner} lacks its file {name}"
    if digest is not None and sha256_of_file(path) != digest:
        return f"{owner} is damaged (the SHA-256 of {name} differs)"
    return None


def hash_of(path: Path) -> str:
    """SHA-256 of a file; for a folder, SHA-256 of its checksum list."""
    return sha256_of_file(_hashed(path))


def hashes_beside(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """`hash_of` each file or folder, by its path relative to ``folder``."""
    return {Path(os.path.relpath(path, folder)).as_posix(): hash_of(path) for path in paths}


def as_code_block(hashes: dict[str, str]) -> str:
    """Write `hashes_beside` as lines of ``sha256sum`` in a Markdown code block."""
    return "".join(f"    {digest}  {name}\n" for name, digest in hashes.items())


def in_code_block(markdown: str) -> dict[str, str]:
    """Read the hashes that `as_code_block` wrote into a Markdown text."""
    return {name: digest for digest, name in _IN_MARKDOWN.findall(markdown)}


def hashes_by_path(value: Any, what: str) -> dict[str, str]:
    """Return a value that a file names as its inputs, if it is SHA-256 by path.

    Parameters
    ----------
    value
        As parsed from JSON.
    what : str
        Name of the value; the error begins with it.

    Raises
    ------
    SpectraFMError
        When it is something else.
    """
    if not (isinstance(value, dict) and all(isinstance(part, str) for part in value.values())):
        raise SpectraFMError(f"{what} is not SHA-256 by path")
    return value


def is_there(path: Path) -> bool:
    """Whether `hash_of` a file or folder can be computed."""
    return _hashed(path).is_file()


def _hashed(path: Path) -> Path:
    """The file to hash: the file itself, or the checksum list of a folder."""
    if not path.is_dir():
        return path
    listed = path / CHECKSUMS
    return path / MANIFEST if not listed.is_file() and (path / MANIFEST).is_file() else listed
