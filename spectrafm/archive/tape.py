"""What an unfinished job has fetched, in one file, so that its next run does not ask for it again.

A file system of a cluster bears one large file better than thousands of small ones, and appending
to it costs less than writing each file atomically. A record is a line of JSON, followed by the
bytes of the file that it describes; a record that a killed run left unfinished is cut off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

#: Longest line that can be the head of a record, bytes.
_LONGEST_HEAD = 10_000


class _Place(NamedTuple):
    offset: int
    size: int
    sha1: str


class Tape:
    """The files and failures of an unfinished job.

    Parameters
    ----------
    path : pathlib.Path
        File of the tape. It is created with the first record.
    of : mapping
        JSON-serialisable description of the job; a tape of another job is discarded.

    Attributes
    ----------
    failures : Counter
        Number of runs in which each path failed.
    """

    def __init__(self, path: Path, of: Mapping[str, Any]):
        self.path, self._of = path, dict(of)
        self.failures: Counter[str] = Counter()
        self._places: dict[str, _Place] = {}
        self._wind()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def _wind(self) -> None:
        """Read the heads of all records; cut off an unfinished one."""
        end = 0
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as tape:
            whole = tape.seek(0, 2)
            tape.seek(0)
            if _head(tape) == {"of": self._of}:
                end = tape.tell()
                while (head := _head(tape)) is not None:
                    after = tape.tell() + head.get("size", 0)
                    if after > whole or not self._enter(head, tape.tell()):
                        break
                    end = tape.seek(after)
            if end < whole:
                os.truncate(self.path, end)

    def _enter(self, head: dict, offset: int) -> bool:
        """Note a record; return whether it is one."""
        path, failed = head.get("path"), head.get("failed")
        if isinstance(failed, str):
            self.failures[failed] += 1
        elif isinstance(path, str) and "size" in head:
            self._places[path] = _Place(offset, head["size"], str(head.get("sha1")))
        else:
            return False
        return True

    def sha1_of(self, path: str) -> str:
        """SHA-1 of a file on the tape."""
        return self._places[path].sha1

    def read(self, path: str) -> bytes | None:
        """Content of a file on the tape; None if it is not there or is damaged."""
        place = self._places.get(path)
        if place is None:
            return None
        with open(self.path, "rb") as tape:
            tape.seek(place.offset)
            content = tape.read(place.size)
        return content if hashlib.sha1(content).hexdigest() == place.sha1 else None

    def add(self, path: str, content: bytes, sha1: str) -> None:
        """Append a file, given its SHA-1."""
        head = _line({"path": path, "size": len(content), "sha1": sha1})
        start = self._append(head + content)
        self._places[path] = _Place(start + len(head), len(content), sha1)

    def add_failures(self, paths: Sequence[str]) -> None:
        """Append the paths that failed in this run."""
        self._append(b"".join(_line({"failed": path}) for path in paths))
        self.failures.update(paths)

    def _append(self, records: bytes) -> int:
        """Append records; return the offset where they begin."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as tape:
            if not tape.tell():
                tape.write(_line({"of": self._of}))
            start = tape.tell()
            tape.write(records)
        return start

    def remove(self) -> None:
        """Delete the tape: its job is done."""
        self.path.unlink(missing_ok=True)


def _line(head: Mapping[str, Any]) -> bytes:
    return json.dumps(head).encode() + b"\n"


def _head(tape: BinaryIO) -> dict | None:
    """The next head of a record; None at the end of the tape, or where there is none."""
    line = tape.readline(_LONGEST_HEAD)
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not line.endswith(b"\n") or not isinstance(head, dict):
        return None
    size = head.get("size", 0)
    return head if isinstance(size, int) and size >= 0 else None
