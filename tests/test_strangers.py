# Tests of: spectrafm/store/schema.py, store/contents.py, store/read.py, integrity.py
"""Stores from strangers, whose checksum lists fit them: what we do not write is refused."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from numcodecs import Pickle, VLenUTF8

from making import fabricated
from making.toy_store import toy_stars, write_toy_store
from spectrafm import cli
from spectrafm.errors import SpectraFMError
from spectrafm.inference.attention_maps import read_maps, write_maps
from spectrafm.integrity import write_checksums
from spectrafm.store.read import load_stars, open_store, read, read_store

STARS = 40


@pytest.fixture(scope="module")
def genuine(tmp_path_factory) -> Path:
    return write_toy_store(tmp_path_factory.mktemp("genuine") / "store.zarr", toy_stars(STARS))


@pytest.fixture
def store(genuine, tmp_path) -> Path:
    return shutil.copytree(genuine, tmp_path / "store.zarr")


def metadata(store: Path, name: str, **changes) -> None:
    """Change the metadata of an array, also where they are consolidated."""
    own = store / name / "zarr.json"
    own.write_text(json.dumps(json.loads(own.read_text()) | changes))
    whole = json.loads((store / "zarr.json").read_text())
    whole["consolidated_metadata"]["metadata"][name] |= changes
    (store / "zarr.json").write_text(json.dumps(whole))


def attributes(store: Path, **changes) -> None:
    whole = json.loads((store / "zarr.json").read_text())
    whole["attributes"] |= changes
    (store / "zarr.json").write_text(json.dumps(whole))


def values(store: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write other values into an array; the codecs write fitting checksums."""
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    group[name][...] = change(read(group, name))


def codecs_of(store: Path, name: str) -> list:
    return json.loads((store / name / "zarr.json").read_text())["codecs"]


def huge(store: Path, name: str, axis: int = 0) -> None:
    facts = json.loads((store / name / "zarr.json").read_text())
    shape, grid = facts["shape"], facts["chunk_grid"]["configuration"]["chunk_shape"]
    shape[axis] = grid[axis] = 10**12
    chunks = {"name": "regular", "configuration": {"chunk_shape": grid}}
    metadata(store, name, shape=shape, chunk_grid=chunks)


def only(store: Path, name: str, count: int) -> None:
    """Keep the first values of an array, as a whole array of its own."""
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    kept, array = read(group, name)[:count], group[name]
    shape = [count, *array.shape[1:]]
    chunks = {"name": "regular", "configuration": {"chunk_shape": shape}}
    shutil.rmtree(store / name / "c")
    metadata(store, name, shape=shape, chunk_grid=chunks)
    zarr.open_group(store, mode="r+", use_consolidated=False)[name][...] = kept


def lost_inner_chunk(store: Path) -> None:
    """Name one chunk of a shard as absent in the shard's index, whose checksum then fits."""
    from numcodecs.checksum32 import CRC32C

    path = store / "observed/c/0/0"
    content = bytearray(path.read_bytes())
    chunks = json.loads((store / "observed/zarr.json").read_text())["chunk_grid"]
    count = chunks["configuration"]["chunk_shape"][0] // 32
    start = len(content) - 16 * count - 4
    content[start : start + 16] = b"\xff" * 16
    content[start:] = bytes(CRC32C(location="end").encode(content[start:-4]))
    path.write_bytes(content)


def more_labels(store: Path) -> None:
    for name in ("label", "label_error"):
        group = zarr.open_group(store, mode="r+", use_consolidated=False)
        wide = np.repeat(read(group, name), 2, axis=1)[:, :9]
        chunks = {"name": "regular", "configuration": {"chunk_shape": list(wide.shape)}}
        metadata(store, name, shape=list(wide.shape), chunk_grid=chunks)
        zarr.open_group(store, mode="r+", use_consolidated=False)[name][...] = wide


def spoiled(array: np.ndarray, place, value) -> np.ndarray:
    array = array.copy()
    array[place] = value
    return array


PLAIN = {"name": "bytes", "configuration": {"endian": "little"}}
BLOSC = {
    "name": "blosc",
    "configuration": {
        "typesize": 4, "cname": "zstd", "clevel": 5, "shuffle": "shuffle", "blocksize": 0,
    },
}  # fmt: skip

#: What a stranger does to a store, and what the refusal says.
SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "labels permuted": (
        lambda s: values(s, "label_name", lambda v: v[::-1]), "other labels or units",
    ),
    "units permuted": (lambda s: values(s, "unit", lambda v: v[::-1]), "other labels or units"),
    "a label twice": (
        lambda s: values(s, "label_name", lambda v: spoiled(v, 1, "TEFF")), "is named twice",
    ),
    "a name that is no column": (
        lambda s: values(s, "label_name", lambda v: spoiled(v, 1, "../x")), "'../x'",
    ),
    "a unit that is none": (lambda s: values(s, "unit", lambda v: spoiled(v, 1, "frogs")), "frogs"),
    "nine labels": (more_labels, "has 5 along 'label_name', but 'label' has 9"),
    "wavelengths shifted": (
        lambda s: values(s, "wavelength", lambda v: v + 10), "attributes say",
    ),
    "wavelengths reversed": (
        lambda s: values(s, "wavelength", lambda v: v[::-1]), "strictly increasing",
    ),
    "a wavelength twice": (
        lambda s: values(s, "wavelength", lambda v: spoiled(v, 5, v[4])), "strictly increasing",
    ),
    "a wavelength is NaN": (
        lambda s: values(s, "wavelength", lambda v: spoiled(v, 5, np.nan)), "strictly increasing",
    ),
    "label errors of -1": (
        lambda s: values(s, "label_error", lambda v: spoiled(v, (3, 1), -1)),
        "LOGG of star 2M00000003 has the error -1, which is negative",
    ),
    "flux errors of -1": (
        lambda s: values(s, "observed_error", lambda v: np.full_like(v, -1)), "is negative",
    ),
    "one star on all sides": (
        lambda s: values(s, "apogee_id", lambda v: np.full_like(v, v[0])), "is in it 40 times",
    ),
    "a star twice": (
        lambda s: values(s, "apogee_id", lambda v: spoiled(v, 7, v[8])),
        "'2M00000008' is in it 2 times",
    ),
    "a star on no side": (
        lambda s: values(s, "split", lambda v: spoiled(v, 7, "both")), "'both'",
    ),
    "mock neither true nor false": (lambda s: attributes(s, mock="no"), "'mock'"),
    "another number of stars": (lambda s: attributes(s, stars=7), "name another number"),
    "no checksum of chunks": (
        lambda s: metadata(s, "label", codecs=[PLAIN, BLOSC]), "codecs",
    ),
    "another compressor": (
        lambda s: metadata(
            s, "label", codecs=[PLAIN, {"name": "zstd", "configuration": {"level": 0,
            "checksum": True}}, {"name": "crc32c"}],
        ), "codecs",
    ),
    "pickle as a codec of format 3": (
        lambda s: metadata(
            s, "label", codecs=[{"name": "numcodecs.pickle", "configuration": {}}, BLOSC,
            {"name": "crc32c"}],
        ), "codecs",
    ),
    "pickle inside the shards": (
        lambda s: metadata(s, "observed", codecs=[{**codecs_of(s, "observed")[0],
            "configuration": {**codecs_of(s, "observed")[0]["configuration"],
            "codecs": [PLAIN, {"name": "numcodecs.pickle", "configuration": {}},
            {"name": "crc32c"}]}}]), "codecs",
    ),
    "half precision": (lambda s: metadata(s, "label", data_type="float16"), "data_type"),
    "labels as integers": (lambda s: metadata(s, "label", data_type="int32"), "has type int32"),
    "bytes of any kind": (
        lambda s: metadata(s, "label", data_type={"name": "null_terminated_bytes",
        "configuration": {"length_bytes": 4}}), "data_type",
    ),
    "metadata of format 2": (lambda s: metadata(s, "label", zarr_format=2), "zarr_format"),
    "transformers": (
        lambda s: metadata(s, "label", storage_transformers=[{"name": "x"}]), "storage_transformers"
    ),
    "other dimensions": (
        lambda s: metadata(s, "label", dimension_names=["label_name", "star"]), "dimensions",
    ),
    "a scale factor": (
        lambda s: metadata(s, "label", attributes={"scale_factor": 2.0}), "scale_factor",
    ),
    "an unknown key": (lambda s: metadata(s, "label", extra=1), "extra"),
    "a trillion stars": (lambda s: huge(s, "snr"), "would have 4,000,000,000,000 bytes"),
    "a trillion labels": (lambda s: huge(s, "label"), "would have"),
    "a trillion pixels": (lambda s: huge(s, "observed", 1), "not whole rows|would have"),
    "a trillion wavelengths": (lambda s: huge(s, "wavelength"), "would have"),
    "a trillion chunks": (
        lambda s: metadata(s, "snr", shape=[10**12]), "needs 25,000,000,000 chunk files, not 1",
    ),
    "a negative shape": (lambda s: metadata(s, "snr", shape=[-1]), "shape"),
    "text of gigabytes": (
        lambda s: metadata(s, "apogee_id", data_type={"name": "fixed_length_utf32",
        "configuration": {"length_bytes": 4 << 30}}), "data_type",
    ),
    "fewer spectra": (lambda s: metadata(s, "observed", shape=[STARS - 1, 7514]), "39"),
    "fewer labels of stars": (lambda s: only(s, "label", STARS - 2), "38"),
    "fewer names": (lambda s: only(s, "apogee_id", STARS - 2), "38"),
    "a lost chunk": (lambda s: (s / "label/c/0/0").unlink(), "needs 1 chunk files, not 0"),
    "a lost shard": (lambda s: (s / "observed/c/0/0").unlink(), "needs 1 chunk files, not 0"),
    "a lost chunk in a shard": (lost_inner_chunk, "lacks chunk 0 in its file"),
    "a chunk more": (
        lambda s: (s / "label/c/0/1").write_bytes(b"x"), "needs 1 chunk files, not 2",
    ),
    "a group within": (
        lambda s: (zarr.create_group(s / "inner", zarr_format=3), None)[1],
        "does not describe the arrays",
    ),
    "no array of labels": (lambda s: shutil.rmtree(s / "label"), "does not describe the arrays"),
    "other metadata in the whole": (
        lambda s: (s / "label/zarr.json").write_text(
            (s / "label/zarr.json").read_text().replace("float32", "float64")
        ), "has other metadata than zarr.json says",
    ),
    "metadata nested deeply": (
        lambda s: (s / "zarr.json").write_text("[" * 40_000 + "]" * 40_000), "nested too deeply",
    ),
    "attributes nested deeply": (
        lambda s: (s / "zarr.json").write_text(
            (s / "zarr.json").read_text().replace('"mock"', '"x": ' + "[" * 900 + "]" * 900 +
            ', "mock"')
        ), "store.zarr",
    ),
    "metadata of gigabytes": (
        lambda s: (s / "zarr.json").write_text(" " * (17 << 20)), "more than metadata has",
    ),
    "7 MB of lists as metadata": (
        lambda s: (s / "zarr.json").write_text("[" + "[]," * (7 << 20 >> 2) + "[]]"),
        "values are more than",
    ),
    "metadata that are a list": (lambda s: (s / "zarr.json").write_text("[]"), "as SpectraFM"),
    "flags that do not fit": (
        lambda s: metadata(s, "snr", attributes={"flag_meanings": "A B", "flag_masks": ["x"]}), "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_what_we_do_not_write_is_refused(store, name):
    spoil, said = SPOILT[name]
    spoil(store)
    write_checksums(store)
    began = time.monotonic()
    if name == "flags that do not fit":
        # They are read where shards are joined only.
        from spectrafm.store.read import columns_of

        with pytest.raises(SpectraFMError, match=r"store\.zarr"):
            columns_of(open_store(store))
        return
    with pytest.raises(SpectraFMError, match=said) as refused:
        load_stars(store, "observed", errors=True)
    assert "store.zarr" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert time.monotonic() - began < 5


def test_there_are_as_many_kinds_as_promised(genuine):
    assert len(SPOILT) >= 50
    assert len(load_stars(genuine, "observed", errors=True)) == STARS


class Canary:
    def __reduce__(self):
        return (Path.touch, (Path("canary"),))


@pytest.mark.parametrize("also_format_3", [False, True])
def test_pickles_of_format_2_are_never_decoded(store, tmp_path, monkeypatch, also_format_3):
    """The way by which a reader of any format would unpickle: hidden files, outside the list."""
    monkeypatch.chdir(tmp_path)
    decoded = []
    monkeypatch.setattr(Pickle, "decode", lambda *_: decoded.append(1))
    (store / ".zgroup").write_text('{"zarr_format": 2}')
    for name in ("label_name", "apogee_id"):
        facts = {
            "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None,
            "order": "C", "filters": [VLenUTF8().get_config()], "compressor": Pickle().get_config(),
        }  # fmt: skip
        (store / name / ".zarray").write_text(json.dumps(facts))
        (store / name / "0").write_bytes(Pickle().encode(np.array([Canary()], object)))
        if not also_format_3:
            (store / name / "zarr.json").unlink()
    if not also_format_3:
        (store / "zarr.json").unlink()
    write_checksums(store)
    for reader in (open_store, read_store, lambda path: load_stars(path, "observed"), read_maps):
        with pytest.raises(SpectraFMError, match=r"store\.zarr"):
            reader(store)
    assert not decoded
    assert not Path("canary").exists()


@pytest.mark.parametrize("target", ["/dev/zero", "/etc/passwd", "../../outside"])
def test_no_file_outside_a_store_is_read_for_its_list(store, target):
    name = target if target.startswith("/") else f"observed/{target}"
    with open(store / "SHA256SUMS", "a", encoding="utf-8") as listed:
        listed.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(SpectraFMError, match="names a file outside the folder"):
        open_store(store)


def test_a_chunk_that_is_a_device_is_no_chunk(store):
    chunk = store / "label/c/0/0"
    chunk.unlink()
    chunk.symlink_to("/dev/zero")
    with pytest.raises(SpectraFMError, match="lacks its file"):
        open_store(store)


def test_an_old_manifest_does_not_open_what_the_schema_refuses(store):
    import hashlib

    (store / "SHA256SUMS").unlink()
    for files in ({}, {"zarr.json": {"size": 0, "sha256": "0" * 64}}):
        content = {"schema": 1, "stars": STARS, "verified": 0, "files": files}
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        (store / "MANIFEST.json").write_text(json.dumps({**content, "sha256": digest}))
        with pytest.raises(SpectraFMError, match=r"store\.zarr"):
            open_store(store)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("attention", {"data_type": "float16"}),
        ("attention", {"shape": [2, 5, 10**12]}),
        ("population", {"codecs": [{"name": "vlen-bytes"}, BLOSC, {"name": "crc32c"}]}),
        ("attention", {"dimension_names": ["request", "population", "wavelength"]}),
        ("n_stars", {"data_type": "float32"}),
    ],
)
def test_attention_maps_from_strangers(tmp_path, name, change):
    path = tmp_path / "pretrain.zarr"
    write_maps(path, fabricated.attention_maps())
    assert read_maps(path).attrs["mock"]
    metadata(path, name, **change)
    write_checksums(path)
    began = time.monotonic()
    with pytest.raises(SpectraFMError, match=r"pretrain\.zarr"):
        read_maps(path)
    assert time.monotonic() - began < 5


def test_a_shard_is_no_store(genuine, store, tmp_path, capsys):
    attributes(store, shard=3)
    write_checksums(store)
    assert len(read(open_store(store), "apogee_id")) == STARS, "build-store joins it"
    commands = {
        "figure1": [str(store), f"--output={tmp_path / 'f.png'}"],
        "train": [
            str(store), "--name=x", f"--output={tmp_path / 'model'}", "--spectra=observed",
            "--windows=[[15750, 15770]]", "--epochs=1",
        ],
    }  # fmt: skip
    for command, arguments in commands.items():
        assert cli.main([command, *arguments]) == cli.BAD_INPUT
        assert "store.zarr: is shard 3 of a store, not a store" in capsys.readouterr().err
    assert len(load_stars(genuine, "observed")) == STARS
