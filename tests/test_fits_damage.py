# Tests of: spectrafm/archive/fits.py, archive/source.py, surveys/apogee/aspcapstar.py
"""Damaged aspcapStar files: flipped bits, truncations, and files of another structure."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from making.sas_tree import aspcapstar_bytes, make_tree, row
from making.survey_run import Run
from spectrafm.archive.failures import Failure
from spectrafm.archive.source import fetch_one
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.store.layout import SPECTRA
from spectrafm.store.read import open_store, read
from spectrafm.surveys.apogee.aspcapstar import usable_spectra
from spectrafm.surveys.apogee.options import Survey

#: Files of each kind of damage in the slow tier; the quick one injects a fifth of them.
INJECTED = {"flip": 1000, "truncation": 1000, "structure": 200}
SHARES = [0.2, pytest.param(1.0, marks=pytest.mark.slow)]
LINE = row("2M00000001+0000001")
#: Seconds after which reading one file counts as hanging.
HANGS = 5.0


def header_starts(content: bytes) -> list[tuple[int, int]]:
    """Where each header of a file begins and ends."""
    with fits.open(io.BytesIO(content)) as hdus:
        places = [hdu.fileinfo() for hdu in hdus]
    return [(place["hdrLoc"], place["datLoc"]) for place in places]


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """One bit flipped: half of the time in a header, which is a small part of the file."""
    headers = header_starts(content)
    start, stop = headers[rng.integers(len(headers))] if rng.random() < 0.5 else (0, len(content))
    damaged = bytearray(content)
    damaged[rng.integers(start, stop)] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def truncated(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut short: at any byte, or where a FITS block ends."""
    end = int(rng.integers(len(content)))
    return content[: end // 2880 * 2880 if rng.random() < 0.3 else end]


def with_card(content: bytes, key: str, value: str, number: int) -> bytes | None:
    """Another value on the ``number``-th card of that name; None where there is none."""
    place = -1
    for _ in range(number + 1):
        place = content.find(f"{key:8}= ".encode(), place + 1)
        if place < 0:
            return None
    return content[: place + 10] + f"{value:<70}".encode() + content[place + 80 :]


#: Values that no aspcapStar has, by card: bombs of size, other types, other columns.
CARDS = {
    "NAXIS": ("0", "3", "999", "-1", "'1'"),
    "NAXIS1": ("8574", "0", "-8575", "85750000000000", "2147483648", "1E9", "T"),
    "NAXIS2": ("0", "2000000000", "-1", "2"),
    "BITPIX": ("8", "16", "-128", "0", "64", "'-64'"),
    "PCOUNT": ("9000000000000", "-5"),
    "GCOUNT": ("1000000000", "0", "-1"),
    "TFIELDS": ("0", "-1", "998", "T"),
    "TFORM1": ("'30Q'", "'PE(9)'", "'999999999999A'", "''", "'A30'", "'E'", "30", "'-3A'"),
    "TTYPE1": ("'OTHER'", "''", "7"),
    "CRVAL1": ("4.18", "'4.179'", "NaN", "4"),
    "CDELT1": ("6E-5", "0.0", "''"),
    "XTENSION": ("'TABLE'", "'BINTABLE'", "'IMAGE'", "'A3DTABLE'", "7"),
    "SIMPLE": ("F", "'T'"),
}  # fmt: skip


def structural(content: bytes) -> list[bytes]:
    """Files with HDUs missing, doubled or in another order, other cards, other values."""
    with fits.open(io.BytesIO(content)) as opened:
        hdus = [hdu.copy() for hdu in opened]
    orders = [(0,), (0, 1), (0, 1, 2), (0, 4, 1, 2), (0, 1, 4, 3), (0, 4, 4, 4), (0, 1, 2, 4, 3)]
    files = [written([hdus[i] for i in order]) for order in orders]
    for array in unfit_arrays():
        for name in ("observed", "observed_error", "synthetic"):
            files.append(aspcapstar_bytes(LINE, **{name: array}))
    for key, values in CARDS.items():
        for value in values:
            files += [with_card(content, key, value, number) for number in range(5)]
    files += [aspcapstar_bytes(LINE | {"APOGEE_ID": name}) for name in ("", "2M", "x" * 30)]
    unlike = {file for file in files if file is not None and file != content}
    return sorted(unlike, key=lambda file: hashlib.sha1(file).digest())


def written(hdus: list) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer, output_verify="ignore")
    return buffer.getvalue()


def unfit_arrays() -> list[np.ndarray]:
    """Spectra of another type or shape, and with values that no spectrum has."""
    ones = np.ones(8575)
    types = [ones.astype(dtype) for dtype in (np.uint8, np.int16, np.int32, np.int64)]
    shapes = [ones[:-1], np.ones((2, 8575)), np.ones((8575, 1)), np.ones((1, 8575)), np.ones(1)]
    values = [ones * value for value in (np.nan, np.inf, -np.inf, 0.0, 1e308, -1.0)]
    return types + shapes + values


def outcome(content: bytes, apogee_id: str = LINE["APOGEE_ID"]) -> str | None:
    """Why a file is refused; None where it is read. Anything else than a refusal is raised."""
    start = time.monotonic()
    try:
        star = usable_spectra(content, "a/file", apogee_id)
    except SpectraFMError as error:
        return str(error)
    finally:
        assert time.monotonic() - start < HANGS
    assert all(getattr(star, kind).shape == (7514,) for kind in SPECTRA)
    return None


def counts(share: float) -> dict[str, int]:
    return {kind: round(share * count) for kind, count in INJECTED.items()}


def damaged_files(content: bytes, share: float) -> Iterator[tuple[str, bytes]]:
    """Damaged files, one at a time, with the kind of damage."""
    rng = np.random.default_rng(3)
    count = counts(share)
    for _ in range(count["flip"]):
        yield "flip", flipped(content, rng)
    for _ in range(count["truncation"]):
        yield "truncation", truncated(content, rng)
    unlike = structural(content)
    for index in rng.permutation(len(unlike))[: count["structure"]]:
        yield "structure", unlike[index]


def peak_memory() -> int:
    """Most bytes that this process has held so far."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def read_all_damaged(share: float) -> tuple[Counter, Counter, int]:
    """Injected and refused files by kind, and the most memory that a fresh process took."""
    good = aspcapstar_bytes(LINE)
    injected, refused = Counter(), Counter()
    for kind, content in damaged_files(good, share):
        injected[kind] += 1
        refused[kind] += outcome(content) is not None
    return injected, refused, peak_memory()


@pytest.mark.parametrize("share", SHARES)
def test_damage_without_a_hash_is_refused_or_read_and_never_anything_else(share):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        injected, refused, memory = pool.apply_async(read_all_damaged, (share,)).get(timeout=300)
    assert injected == counts(share)
    assert memory < 512e6
    assert refused["truncation"] == injected["truncation"]
    # What is read: another value of a pixel, another text on a card that nobody reads.
    assert refused["structure"] > injected["structure"] / 2
    assert refused["flip"] >= injected["flip"] / 50


@pytest.mark.parametrize("share", SHARES)
def test_damage_is_always_refused_where_the_hash_is_published(tmp_path, share):
    good = aspcapstar_bytes(LINE)
    path, published = tmp_path / "file.fits", hashlib.sha1(good).hexdigest()
    survey = Survey(source=str(tmp_path))
    path.write_bytes(good)
    assert fetch_one(path.name, survey, survey, published) == good
    injected = Counter()
    for kind, content in damaged_files(good, share):
        path.write_bytes(content)
        failure = fetch_one(path.name, survey, survey, published)
        assert isinstance(failure, Failure)
        assert failure.reason.startswith("wrong sha1" if content else "empty body")
        injected[kind] += 1
    assert injected == counts(share)


@pytest.mark.parametrize("hashes", [True, False])
def test_a_damaged_file_is_missing_with_its_reason_and_disturbs_no_other_star(tmp_path, hashes):
    rows = [row(f"2M{number:08d}") for number in range(110)]
    tree = make_tree(tmp_path / "sas", rows)
    if not hashes:
        for listed in tree.root.rglob("*.sha1sum"):
            listed.unlink()
    before = spectra_by_star(Run(tmp_path / "before", tree).all())

    rng = np.random.default_rng(5)
    damage = list(range(0, len(rows), 2))
    refused = {}
    for number in damage:
        line = rows[number]
        content = tree.path_of(line).read_bytes()
        damaged = (flipped, truncated)[rng.integers(2)](content, rng)
        tree.path_of(line).write_bytes(damaged)
        if hashes or outcome(damaged, apogee_id=line["APOGEE_ID"]) is not None:
            refused[line["APOGEE_ID"]] = True
    assert len(damage) == 55
    assert len(refused) > 20

    run = Run(tmp_path / "after", tree).all()
    after = spectra_by_star(run)
    missing = read_parquet(run.missing).set_index("apogee_id")["reason"]
    assert set(missing.index) == set(refused)
    assert (missing.str.len() > 0).all()
    assert after.keys() == before.keys() - refused.keys()
    for line in rows[1::2]:
        assert after[line["APOGEE_ID"]] == before[line["APOGEE_ID"]]


def spectra_by_star(run: Run) -> dict[str, tuple[bytes, ...]]:
    group = open_store(run.store)
    spectra = [read(group, name) for name in SPECTRA]
    stars = read(group, "apogee_id").tolist()
    return {star: tuple(flux[i].tobytes() for flux in spectra) for i, star in enumerate(stars)}
