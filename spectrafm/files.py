"""Atomic writing: a half-written file or folder never appears at its final path.

This is the only module that renames a file or folder into place.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import spectrafm
from spectrafm import workspaces
from spectrafm.errors import SpectraFMError
from spectrafm.reading import printable, read_text, reading
from spectrafm.seal import UNSEALED, is_whole, seal
from spectrafm.workspaces import Workspace

#: Environment variable that names a `crash_point`.
CRASH_AT = "SPECTRAFM_CRASH_AT"

#: Says why what stands at a path must not be replaced by an output; None where it may be.
Replaces = Callable[[Path], str | None]


def no_folder(path: Path) -> str | None:
    """The `Replaces` of an output that is a file: it may replace a file, but no folder."""
    return f"{path}: is a folder; it is not replaced by a file" if path.is_dir() else None


def crash_point(step: str, path: Path) -> None:
    """Kill this process with SIGKILL if ``SPECTRAFM_CRASH_AT`` is ``<step> <name of path>``.

    The tests stop each command at each step in which an output comes to its place.
    """
    if os.environ.get(CRASH_AT) == f"{step} {path.name}":
        os.kill(os.getpid(), signal.SIGKILL)


def require_replaceable(path: Path, replaces: Replaces) -> None:
    """Check that an output may be put at a path.

    Raises
    ------
    SpectraFMError
        When something stands there that the output must not replace.
    """
    if path.name in ("", ".."):
        raise SpectraFMError(f"{path}: names no file or folder that could be written")
    if reason := replaces(path):
        raise SpectraFMError(reason)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, replaces: Replaces = no_folder) -> Iterator[Path]:
    """Yield a temporary path near ``path`` and move it to ``path`` when the block succeeds.

    Works for files and for folders (the caller creates the folder). When the block raises, the
    temporary is deleted and the previous content of ``path`` is unchanged. Of processes that write
    the same path at once, each has its own temporary, and the last one to finish wins.

    Parameters
    ----------
    path : pathlib.Path or str
        Final path of the file or folder. Its parent folder is created.
    replaces : callable
        Says of what stands at ``path`` why it must not be replaced. Default: no folder may be.

    Yields
    ------
    pathlib.Path
        The temporary path, on the same file system.

    Raises
    ------
    SpectraFMError
        When something stands at ``path`` that must not be replaced. When the disk is full, or a
        quota or file-size limit is reached; names the path and the number of bytes that were
        written.
    """
    final = Path(path)
    require_replaceable(final, replaces)
    final.parent.mkdir(parents=True, exist_ok=True)
    with workspaces.beside(final) as space:
        crash_point("begun", final)
        with naming_a_full_disk(final, space.new):
            yield space.new
            crash_point("written", final)
            _flush(space.new)
        crash_point("flushed", final)
        _put_in_place(space, replaces)
        crash_point("in place", final)
        _flush_folder(final.parent)


def _put_in_place(space: Workspace, replaces: Replaces) -> None:
    """Move what was made to its final path.

    A folder cannot be replaced in one step: the old one is put aside first, and deleted with the
    workspace. Again, if another process put its own folder there in between.
    """
    final = space.final
    while True:
        require_replaceable(final, replaces)
        if final.is_dir():
            remove(space.old)
            with contextlib.suppress(FileNotFoundError):
                os.replace(final, space.old)
            crash_point("old aside", final)
        try:
            os.replace(space.new, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return


@contextlib.contextmanager
def naming_a_full_disk(path: str | os.PathLike, part: Path) -> Iterator[None]:
    """Turn a full disk inside the block into a `SpectraFMError`.

    Parameters
    ----------
    path : pathlib.Path or str
        Final path of the file, which the message names.
    part : pathlib.Path
        File that is written inside the block.

    Raises
    ------
    SpectraFMError
        When the disk is full, or a quota or file-size limit is reached; names the path and the
        number of bytes that were written.
    """
    try:
        yield
    except Exception as error:
        full = _full_disk(path, part, error)
        if full is not None:
            raise full from error
        raise


def require_suffix(path: str | os.PathLike, *suffixes: str) -> None:
    """Refuse an output path whose suffix does not match the format that is written.

    Raises
    ------
    SpectraFMError
        Names the path and the allowed suffixes.
    """
    if Path(path).suffix not in suffixes:
        raise SpectraFMError(f"{path}: the output's name must end in {' or '.join(suffixes)}")


#: Error numbers of a full disk, an exhausted quota and a file above the process's size limit.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _full_disk(
    path: str | os.PathLike, part: Path, error: BaseException | None
) -> SpectraFMError | None:
    """`SpectraFMError` to raise if an error or one of its causes means that the disk is full."""
    while isinstance(error, Exception) and not isinstance(error, SpectraFMError):
        if reason := _no_room(error):
            return SpectraFMError(
                f"{path}: {reason} after {_size(part):,} bytes; what stood there is untouched"
            )
        error = error.__cause__ or error.__context__
    return None


def _no_room(error: Exception) -> str | None:
    """The system's message for a full disk, if an error reports one; otherwise None.

    Writers in C and Rust (pyarrow, safetensors) quote the system's message; numpy only reports
    how many bytes were requested and written.
    """
    for number in _NO_ROOM:
        if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
            return os.strerror(number)
    counted = re.search(r"\d+ requested and \d+ written", str(error))
    return f"no room ({counted[0]})" if counted else None


def _size(path: Path) -> int:
    """Size in bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(path: str | os.PathLike) -> None:
    """Delete a file or a whole folder if it exists."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Flush a file, or a folder and everything in it, to disk (fsync) before it is moved."""
    for target in [path, *path.rglob("*")]:
        if target.is_dir():
            _flush_folder(target)
        elif target.is_file():
            with open(target, "rb") as handle:
                os.fsync(handle.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write bytes to a file atomically; see `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike, content: str) -> None:
    """Write text to a file as UTF-8, atomically."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write a JSON-serialisable object as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file.

    Raises
    ------
    SpectraFMError
        When the file is missing or is not JSON, or is nested too deeply.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError:
        raise SpectraFMError(f"{path}: not JSON (nested too deeply)") from None
    except ValueError as error:
        raise SpectraFMError(f"{path}: not JSON ({printable(str(error))})") from None


def write_parquet(path: str | os.PathLike, table, metadata: dict | None = None) -> None:
    """Write a data frame as Parquet, with JSON ``metadata`` under the key ``spectrafm``.

    Parameters
    ----------
    path : pathlib.Path or str
    table : pandas.DataFrame
    metadata : dict, optional
        Record of how the table was made: units, options, versions.
    """
    write_parquet_parts(path, [table], metadata)


def write_parquet_parts(
    path: str | os.PathLike, tables: Iterable, metadata: dict | None = None
) -> None:
    """Write a table of which only a part is in memory at a time; see `write_parquet`.

    Parameters
    ----------
    path : pathlib.Path or str
    tables : iterable of pandas.DataFrame
        Parts of the table, at least one, all with the same columns; each becomes a row group.
    metadata : dict, optional
    """
    import pyarrow
    import pyarrow.parquet

    parts = (pyarrow.Table.from_pandas(table, preserve_index=False) for table in tables)
    first = next(parts)
    entries = {**(first.schema.metadata or {}), **UNSEALED}
    if metadata is not None:
        entries[b"spectrafm"] = json.dumps(metadata).encode()
    schema = first.schema.with_metadata(entries)
    with atomic_path(path) as temporary:
        with pyarrow.parquet.ParquetWriter(
            temporary, schema, compression="zstd", write_page_checksum=True
        ) as writer:
            for part in itertools.chain([first], parts):
                writer.write_table(part.cast(schema))
        seal(temporary)


def read_parquet(path: str | os.PathLike):
    """Read a Parquet file as a data frame; ``frame.attrs`` holds the metadata written with it.

    A file that `write_parquet` has written is compared with its seal first, so that no damaged
    byte of it is read; in a file of another origin the checksums of its pages are compared.

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged.
    """
    import pyarrow.parquet

    with reading(path, "Parquet file"):
        if Path(path).is_dir():
            # pyarrow reads a folder as all the files in it, and an empty one as an empty table.
            raise SpectraFMError(f"{path}: is a folder, not a Parquet file")
        sealed = is_whole(path)
        arrow = pyarrow.parquet.read_table(path, page_checksum_verification=True)
        entries = arrow.schema.metadata or {}
        if UNSEALED.keys() & entries.keys() and not sealed:
            raise SpectraFMError(f"{path}: damaged (its seal is not readable)")
        frame = arrow.to_pandas()
        attributes = json.loads(entries.get(b"spectrafm", b"{}"))
        if not isinstance(attributes, dict):
            raise SpectraFMError(f"{path}: its metadata are not those of SpectraFM")
    frame.attrs = attributes
    return frame


def sha256_of_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@functools.cache
def code_version() -> str:
    """The package version, followed by the git commit if the code runs from a checkout."""
    version = spectrafm.__version__
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return version
    described = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return f"{version}+{described.stdout.strip()}" if described.returncode == 0 else version


def provenance(**record: Any) -> dict:
    """Record of how a result was made: the code's version and the given options and inputs."""
    return {"spectrafm": code_version(), **record}
