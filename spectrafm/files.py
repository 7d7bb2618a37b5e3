"""Writing files so that a half-written one never stands at a final path.

This is the only module that renames anything into place.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import spectrafm
from spectrafm.errors import SpectraFMError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, shared: bool = False) -> Iterator[Path]:
    """Give a temporary sibling of ``path`` to write; move it into place when the block ends well.

    Works for files and for folders (the caller makes the folder). When the block raises, the
    temporary is removed and whatever stood at ``path`` before is untouched. A leftover of a
    killed run is overwritten.

    Parameters
    ----------
    path : path-like
        Where the finished file or folder shall stand. Its parent folder is created.
    shared : bool
        Whether other processes may be writing the same file: each then has its own temporary, and
        the last one stays.

    Yields
    ------
    pathlib.Path
        The temporary path, in the same folder, hence on the same file system.

    Raises
    ------
    SpectraFMError
        When the disk, a quota or a limit has no room for it; names the path and the bytes that
        had been written.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    own = f".{uuid.uuid4().hex}" if shared else ""
    temporary = final.with_name(f".{final.name}{own}.partial")
    remove(temporary)
    try:
        yield temporary
        _flush(temporary)
        # A folder cannot be replaced in one step: move the old one aside first. One that a killed
        # run has left aside goes too.
        aside = final.with_name(f".{final.name}.old")
        remove(aside)
        if final.is_dir():
            os.replace(final, aside)
        os.replace(temporary, final)
        remove(aside)
        _flush_folder(final.parent)
    except BaseException as error:
        full = _full_disk(final, temporary, error)
        remove(temporary)
        if full is not None:
            raise full from error
        raise


@contextlib.contextmanager
def naming_a_full_disk(path: str | os.PathLike, part: Path) -> Iterator[None]:
    """Say where and after how many bytes there was no room, for what `atomic_path` cannot write.

    Parameters
    ----------
    path : path-like
        The file that is to be.
    part : Path
        What is written inside the block.

    Raises
    ------
    SpectraFMError
    """
    try:
        yield
    except Exception as error:
        full = _full_disk(path, part, error)
        if full is not None:
            raise full from error
        raise


def require_suffix(path: str | os.PathLike, *suffixes: str) -> None:
    """Refuse an output whose name promises another format than the one that is written.

    Raises
    ------
    SpectraFMError
        Naming the suffixes that are possible.
    """
    if Path(path).suffix not in suffixes:
        raise SpectraFMError(f"{path}: the output's name must end in {' or '.join(suffixes)}")


#: How writers say that nothing more can be written: the disk is full, a quota is used up, or the
#: file would be larger than the limit on it.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _full_disk(
    path: str | os.PathLike, part: Path, error: BaseException | None
) -> SpectraFMError | None:
    """The error to raise where one, or one that it followed from, means that a disk is full."""
    while isinstance(error, Exception) and not isinstance(error, SpectraFMError):
        if reason := _no_room(error):
            return SpectraFMError(
                f"{path}: {reason} after {_size(part):,} bytes; what stood there is untouched"
            )
        error = error.__cause__ or error.__context__
    return None


def _no_room(error: Exception) -> str | None:
    """The system's words for a full disk, if that is what an error says.

    Writers in C and Rust (pyarrow, safetensors) quote them; numpy only counts what it wrote.
    """
    for number in _NO_ROOM:
        if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
            return os.strerror(number)
    counted = re.search(r"\d+ requested and \d+ written", str(error))
    return f"no room ({counted[0]})" if counted else None


def _size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(path: str | os.PathLike) -> None:
    """Remove a file or a whole folder if it is there."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Ask the disk to keep a file, or every file of a folder, before it is renamed."""
    targets = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    for target in targets:
        with open(target, "rb") as handle:
            os.fsync(handle.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: str | os.PathLike, content: bytes, shared: bool = False) -> None:
    """Write ``content`` to ``path``, whole or not at all; see `atomic_path`."""
    with atomic_path(path, shared) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike, content: str) -> None:
    """Write ``content`` to ``path`` as UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write ``content`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file.

    Raises
    ------
    SpectraFMError
        When the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise SpectraFMError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SpectraFMError(f"{path}: not JSON ({error})") from None


def write_parquet(path: str | os.PathLike, table, metadata: dict | None = None) -> None:
    """Write a data frame as Parquet, with JSON ``metadata`` under the key ``spectrafm``.

    Parameters
    ----------
    path : path-like
    table : pandas.DataFrame
    metadata : dict, optional
        What made the table: units, options, versions.
    """
    import pyarrow
    import pyarrow.parquet

    arrow = pyarrow.Table.from_pandas(table, preserve_index=False)
    if metadata is not None:
        kept = dict(arrow.schema.metadata or {})
        arrow = arrow.replace_schema_metadata({**kept, b"spectrafm": json.dumps(metadata).encode()})
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(arrow, temporary, compression="zstd", write_page_checksum=True)


def read_parquet(path: str | os.PathLike):
    """Read a Parquet file as a data frame; ``frame.attrs`` holds the metadata written with it.

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged.
    """
    import pyarrow.parquet

    try:
        arrow = pyarrow.parquet.read_table(path, page_checksum_verification=True)
        frame = arrow.to_pandas()
        frame.attrs = json.loads((arrow.schema.metadata or {}).get(b"spectrafm", b"{}"))
    except FileNotFoundError:
        raise SpectraFMError(f"{path}: no such file") from None
    except Exception as error:
        # The footer has no checksum: damage to it raises errors of many types.
        what = f"{type(error).__name__}: {error}"
        raise SpectraFMError(f"{path}: not a readable Parquet file ({what})") from None
    return frame


def sha256_of_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@functools.cache
def code_version() -> str:
    """The package version, with the git commit where the code runs from a checkout."""
    version = spectrafm.__version__
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return version
    described = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{version}+{described.stdout.strip()}" if described.returncode == 0 else version


def provenance(**facts: Any) -> dict:
    """What made a result: the code's version and the given facts (options, inputs, seeds)."""
    return {"spectrafm": code_version(), **facts}
