"""Damaged files for readers: bytes, text, JSON trees, tables; and what a reader makes of them."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spectrafm.errors import SpectraFMError

#: Seconds after which a reader counts as hanging.
HANGS = 5.0

#: What no file of ours holds, as tokens of a text.
TOKENS = (
    "", "-1", "1e999", "-1e308", "NaN", "nan", "inf", "null", "true", "[]", "{}", '""', "'", '"',
    "9" * 400, "0" * 64, "x" * 5000, "../../etc/passwd", "/dev/zero", "\x00", "\x1b[31m", "\ud7ff",
    "µ", "\n", "\r\n", "\n\n", ",", ";", ":", "%", "#", "<script>", "{{ 7 * 7 }}", "$(id)", "1.5",
    "&a", "*a", "!!python/object/apply:os.system ['true']", "[" * 2000, "{" * 2000, "- " * 500,
    "1_000",
)  # fmt: skip

#: What no place in our JSON holds.
VALUES = (
    None, True, False, -1, 0, 10**400, -(10**30), 1e308, float("nan"), float("inf"), "", "x",
    "x" * 5000, "\x00\x1b[31m\n", "../../../etc/passwd", "/dev/zero", "<script>alert(1)</script>",
    "$\\frac{", [], {}, [[]], [None], {"": None}, {"x": {}}, ["x"] * 3, [1, 2], [[2, 1]],
    [[1.0, 2.0]],
)  # fmt: skip


#: Seconds of real time that are allowed on a machine that other processes use too.
PATIENCE = 600.0


class Hang(Exception):
    """A reader took longer than `HANGS` seconds."""


@contextlib.contextmanager
def within(seconds: float = HANGS) -> Iterator[None]:
    """Interrupt the block with `Hang` after some seconds of the processor's time.

    A reader that waits, instead of computing, is interrupted after `PATIENCE` seconds.
    """

    def ring(*_: Any) -> None:
        raise Hang(f"no answer within {seconds:g} s")

    clocks = ((signal.SIGPROF, signal.ITIMER_PROF, seconds),
              (signal.SIGALRM, signal.ITIMER_REAL, PATIENCE))  # fmt: skip
    before = [signal.signal(number, ring) for number, _, _ in clocks]
    for _, clock, limit in clocks:
        signal.setitimer(clock, limit)
    try:
        yield
    finally:
        for (number, clock, _), handler in zip(clocks, before, strict=True):
            signal.setitimer(clock, 0)
            signal.signal(number, handler)


def damaged_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """A file's bytes with one kind of damage: flipped, cut, lost, doubled, zeroed or foreign."""
    size = len(content)
    place = int(rng.integers(size))
    length = int(rng.integers(1, max(2, min(200, size))))
    match int(rng.integers(9)):
        case 0 | 1 | 2:
            changed = bytearray(content)
            changed[place] ^= 1 << int(rng.integers(8))
            return bytes(changed)
        case 3:
            return content[:place]
        case 4:
            return content[:place] + content[place + length :]
        case 5:
            return content[:place] + content[place : place + length] * 2 + content[place + length :]
        case 6:
            return content[:place] + bytes(length) + content[place + length :]
        case 7:
            return content[:place] + rng.bytes(length) + content[place + length :]
        case _:
            # A number of the format: lengths and counts are one to eight bytes.
            number = (b"\xff", b"\xff" * 4, b"\x7f" + b"\xff" * 3, b"\xff" * 8, b"\x00" * 8)
            filler = number[int(rng.integers(len(number)))]
            return content[:place] + filler + content[place + len(filler) :]


def damaged_text(content: bytes, rng: np.random.Generator) -> bytes:
    """A text with a word or a line replaced, lost, doubled or moved; sometimes damaged bytes."""
    if rng.random() < 0.2:
        return damaged_bytes(content, rng)
    text = content.decode("utf-8")
    if rng.random() < 0.3:
        lines = text.splitlines(keepends=True)
        a, b = (int(rng.integers(len(lines))) for _ in range(2))
        match int(rng.integers(3)):
            case 0:
                del lines[a]
            case 1:
                lines.insert(b, lines[a])
            case _:
                lines[a], lines[b] = lines[b], lines[a]
        return "".join(lines).encode()
    words = list(re.finditer(r"[^\s,:\[\]{}\"']+|[,:\[\]{}\"']", text))
    word = words[int(rng.integers(len(words)))]
    token = TOKENS[int(rng.integers(len(TOKENS)))]
    return (text[: word.start()] + token + text[word.end() :]).encode("utf-8", "surrogatepass")


def damaged_tree(content: Any, rng: np.random.Generator) -> Any:
    """A JSON value in which one place, at any depth, holds something else or has another name."""
    content = copy.deepcopy(content)
    places = list(_places(content))
    owner, key = places[int(rng.integers(len(places)))]
    choice = rng.random()
    if choice < 0.15:
        del owner[key]
    elif choice < 0.25 and isinstance(owner, dict):
        owner[f"{key}x"] = owner.pop(key)
    else:
        owner[key] = VALUES[int(rng.integers(len(VALUES)))]
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(items):
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def damaged_json(content: bytes, rng: np.random.Generator) -> bytes:
    """A JSON file: mostly another tree, else damaged text, sometimes nested 100,000 deep."""
    choice = rng.random()
    if choice < 0.02:
        return b"[" * 100_000 + b"]" * 100_000
    if choice < 0.04:
        return content[:1] + b'"x":' + b"[" * 100_000 + b"]" * 100_000 + b"," + content[1:]
    if choice < 0.75:
        return json.dumps(damaged_tree(json.loads(content), rng)).encode()
    return damaged_text(content, rng)


def outcome(read: Callable[[], Any], path: Path, genuine: Any) -> str:
    """What a reader makes of a damaged file: ``refused``, ``same`` as of the genuine, or ``other``.

    Anything but a `SpectraFMError` of one line that names the file, or an answer, is raised.
    """
    try:
        with within():
            found = read()
    except SpectraFMError as error:
        text = str(error)
        # Of a file in a folder that is read as a whole, the folder is named.
        named = any(part in text for part in path.parts[-4:] if len(part) > 1)
        assert named, f"does not name {path.name}: {text}"
        assert "\n" not in text, f"more than one line: {text!r}"
        assert "\x1b" not in text, f"unprintable: {text!r}"
        return "refused"
    return "same" if equal(found, genuine) else "other"


def equal(a: Any, b: Any) -> bool:
    """Whether two results of a reader are the same, NaN being itself."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return a.tolist() == b.tolist() if a.dtype.kind == "O" else a.tobytes() == b.tobytes()
    return type(a) is type(b) and repr(a) == repr(b)


def count_outcomes(
    path: Path,
    damage: Callable[[bytes, np.random.Generator], bytes],
    read: Callable[[], Any],
    count: int,
    seed: int = 0,
    after: Callable[[], None] = lambda: None,
) -> Counter:
    """Damage a file ``count`` times, each time from its genuine content, and read it.

    Parameters
    ----------
    path : pathlib.Path
        The file; it is as before in the end.
    damage : callable
        Makes damaged content from the content and a random generator.
    read : callable
        Reads the file; its result is compared with that of the genuine file.
    count, seed : int
    after : callable
        What is done after the file is written and before it is read, such as renewing a list of
        checksums.
    """
    content = path.read_bytes()
    genuine = read()
    found: Counter = Counter()
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        damaged = damage(content, rng)
        while damaged == content:
            damaged = damage(content, rng)
        path.write_bytes(damaged)
        after()
        try:
            found[outcome(read, path, genuine)] += 1
        except BaseException as error:
            error.add_note(f"damage {number} of {path}, seed {seed}")
            raise
    path.write_bytes(content)
    after()
    assert equal(read(), genuine)
    assert found.total() == count
    return found
