# Tests of: spectrafm/inference/predictor.py, inference/chunks.py, inference/map_attention.py
"""No star changes another star's result by one bit, and no star's attention is kept."""

import dataclasses
import gc
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from making import toy_store
from making.toy_training import TINY as MODEL
from spectrafm.inference import map_attention
from spectrafm.inference.chunks import BATCH, iterate_chunks
from spectrafm.inference.predictions import NO_FINITE_ANSWER, NO_GOOD_PIXEL, prediction_table
from spectrafm.inference.predictor import COMBINATIONS, infer
from spectrafm.labels import LABELS, PAPER_LABELS
from spectrafm.networks.fcnn import FCNN
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.read import StarSet, load_stars
from spectrafm.surveys.apogee.grid import WAVELENGTH

#: Each pattern damages other stars in other ways.
PATTERNS = [60, pytest.param(300, marks=pytest.mark.slow)]
STARS = 80  # more than one batch: the last one is short


def overwritten(value):
    def damage(flux, rng):
        flux[:] = value

    return damage


def some_pixels(value, share):
    def damage(flux, rng):
        flux[rng.random(len(flux)) < share] = value
        flux[0] = value

    return damage


def one_pixel_left(flux, rng):
    kept = rng.integers(len(flux))
    flux[np.arange(len(flux)) != kept] = np.nan


#: What can be wrong with a spectrum, and whether anything readable is left of it.
DAMAGES = {
    "all NaN": overwritten(np.nan),
    "all +inf": overwritten(np.inf),
    "all -inf": overwritten(-np.inf),
    "all 1e38": overwritten(1e38),
    "all -1e38": overwritten(-1e38),
    "all negative": overwritten(-5.0),
    "all zero": overwritten(0.0),
    "half NaN": some_pixels(np.nan, 0.5),
    "a tenth inf": some_pixels(np.inf, 0.1),
    "a tenth 1e38": some_pixels(1e38, 0.1),
    "a tenth 1e6": some_pixels(1e6, 0.1),
    "one pixel left": one_pixel_left,
    "whole": some_pixels(1.0, 1.0),
}
UNREADABLE = ("all NaN", "all +inf", "all -inf")
TOO_FAR_OFF = ("all 1e38", "all -1e38", "a tenth 1e38")


@pytest.fixture(scope="module")
def stars(tmp_path_factory) -> StarSet:
    """Stars of which none has all its pixels."""
    toy = toy_store.toy_stars(5 * STARS)
    toy.spectra["observed"][:, ::37] = np.nan
    store = toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr", toy)
    loaded = load_stars(store, "observed", "test", toy_store.WINDOWS)
    assert len(loaded.flux) == STARS > BATCH["cpu"]
    return loaded


@pytest.fixture(scope="module")
def networks(stars) -> dict:
    torch.manual_seed(0)
    return {
        "spectrafm": SpectraFM(MODEL, PAPER_LABELS).eval(),
        "fcnn": FCNN(torch.from_numpy(stars.wavelength.copy()), PAPER_LABELS[-1:]).eval(),
    }


def chunks_for(network, stars):
    return network.contexts(stars.wavelength, toy_store.WINDOWS, 40)


def damaged_at_random(flux, rng):
    """Some stars damaged, each in its own way: the spectra, and which kind each star got."""
    flux, kinds = flux.copy(), {}
    for star in rng.choice(len(flux), rng.integers(1, len(flux)), replace=False):
        kinds[star] = str(rng.choice(list(DAMAGES)))
        DAMAGES[kinds[star]](flux[star], rng)
    return flux, kinds


def parts_of(prediction):
    """Values, uncertainties and, of a network that has them, features."""
    return [part for part in prediction if part is not None]


@pytest.mark.parametrize("patterns", PATTERNS)
@pytest.mark.parametrize("architecture", ["spectrafm", "fcnn"])
def test_bad_stars_never_change_anothers_prediction(stars, networks, architecture, patterns):
    network = networks[architecture]
    chunks = chunks_for(network, stars)
    rng = np.random.default_rng(5)
    before = {
        how: infer(network, stars.flux, stars.wavelength, network.labels, chunks, how)
        for how in COMBINATIONS
    }
    injected = Counter()
    for number in range(patterns):
        how = list(COMBINATIONS)[number % 2]
        flux, kinds = damaged_at_random(stars.flux, rng)
        after = infer(network, flux, stars.wavelength, network.labels, chunks, how)
        others = np.setdiff1d(np.arange(STARS), list(kinds))
        for found, expected in zip(parts_of(after), parts_of(before[how]), strict=True):
            assert np.array_equal(found[others], expected[others]), kinds
            assert np.isfinite(found[others]).all()
        table = prediction_table(dataclasses.replace(stars, flux=flux), network.labels, after)
        assert (table["flags"].to_numpy()[others] == "").all()
        for star, kind in kinds.items():
            flag, answered = table["flags"][star], np.isfinite(after.value[star])
            assert answered.all() == (flag == ""), kind
            if kind in UNREADABLE:
                assert flag == NO_GOOD_PIXEL
                assert not answered.any()
            elif kind in TOO_FAR_OFF and architecture == "spectrafm":
                assert flag == NO_FINITE_ANSWER
        injected.update(kinds.values())
    assert injected.total() > 10 * patterns
    assert min(injected[kind] for kind in DAMAGES) > patterns / 2


@pytest.mark.parametrize("architecture", ["spectrafm", "fcnn"])
def test_the_first_missing_pixel_changes_no_bit_of_another_star(stars, networks, architecture):
    """Without a missing pixel no mask would be needed, but no answer may depend on that."""
    network = networks[architecture]
    chunks = chunks_for(network, stars)
    flux = np.nan_to_num(stars.flux, nan=1.0)
    before = infer(network, flux, stars.wavelength, network.labels, chunks)
    flux[5, 3] = np.nan
    after = infer(network, flux, stars.wavelength, network.labels, chunks)
    others = np.arange(STARS) != 5
    assert (after.value[5] != before.value[5]).any()
    for found, expected in zip(parts_of(after), parts_of(before), strict=True):
        assert np.array_equal(found[others], expected[others])


def test_every_batch_has_a_missing_pixel_in_its_guard(stars, networks):
    """On some processors the ways with and without a mask differ in the last bit, on others not."""
    network, whole = networks["spectrafm"], np.ones_like(stars.flux)
    batches = list(iterate_chunks(network, whole, stars.wavelength, chunks_for(network, stars)))
    assert len(batches) > 1
    for batch in batches:
        assert batch.missing[-1, 0]
        assert not batch.missing[:-1].any()


def test_a_flux_beyond_float32_is_flagged_and_has_no_value(stars, networks):
    network = networks["spectrafm"]
    flux = stars.flux.copy()
    flux[3, 7] = 1e38  # a single pixel of a single chunk
    chunks = chunks_for(network, stars)
    found = infer(network, flux, stars.wavelength, LABELS, chunks)
    table = prediction_table(dataclasses.replace(stars, flux=flux), LABELS, found)
    assert table["flags"].tolist() == ["", "", "", NO_FINITE_ANSWER] + [""] * (STARS - 4)
    assert table.filter(regex="_(predicted|uncertainty)$").loc[3].isna().all()


def test_labels_and_their_errors_say_nothing_to_the_network(stars, networks):
    """Stars without labels, or with an error of zero, are predicted as any other."""
    network, label, error = networks["spectrafm"], stars.label.copy(), stars.label_error.copy()
    found = infer(network, stars.flux, stars.wavelength, LABELS, chunks_for(network, stars))
    label[:, 1] = np.where(np.arange(STARS) % 2, 2.0, 4.5)
    label[::3], error[1::3] = np.nan, 0.0
    changed = dataclasses.replace(stars, label=label, label_error=error)
    tables = [prediction_table(these, LABELS, found) for these in (stars, changed)]
    for name in ("flags", *(f"{x}_{y}" for x in LABELS for y in ("predicted", "uncertainty"))):
        assert tables[0][name].equals(tables[1][name])
    populations = map_attention.populations_of(changed)
    chosen = np.sort(np.concatenate(list(populations.values())))
    assert np.array_equal(chosen, np.flatnonzero(np.arange(STARS) % 3))


@pytest.mark.parametrize("patterns", PATTERNS)
def test_bad_stars_never_change_the_attention_of_others(stars, networks, patterns):
    """Whatever makes a star unreadable, it adds nothing to the map, and counts as no star."""
    network = networks["spectrafm"]
    chunks, rows = chunks_for(network, stars), np.arange(STARS)
    rng = np.random.default_rng(6)
    injected = 0
    for _ in range(patterns):
        bad = rng.choice(STARS, rng.integers(1, STARS), replace=False)
        flux, absent = stars.flux.copy(), stars.flux.copy()
        for star in bad:
            DAMAGES[str(rng.choice([*UNREADABLE, "all 1e38", "all -1e38"]))](flux[star], rng)
        absent[bad] = np.nan
        maps = [
            map_attention.mean_maps(network, dataclasses.replace(stars, flux=these), rows, chunks)
            for these in (flux, absent)
        ]
        for one, other in zip(*maps, strict=True):
            assert np.array_equal(one, other, equal_nan=True)
        injected += len(bad)
    assert injected > 10 * patterns
    good = np.setdiff1d(rows, bad)
    alone = map_attention.mean_maps(network, stars, good, chunks)
    for one, other in zip(maps[0], alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


class Shapes(TorchDispatchMode):
    """The shapes of all tensors that are made meanwhile."""

    def __init__(self):
        super().__init__()
        self.made = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        results = made if isinstance(made, (tuple, list)) else (made,)
        self.made |= {tuple(part.shape) for part in results if isinstance(part, torch.Tensor)}
        return made


def living_bytes() -> int:
    """Bytes of all tensors that something still holds."""
    storages = {
        part.untyped_storage().data_ptr(): part.untyped_storage().nbytes()
        for part in gc.get_objects()
        if type(part) is torch.Tensor
    }
    return sum(storages.values())


def test_attention_maps_need_no_more_memory_for_more_stars(stars, networks, monkeypatch):
    network = networks["spectrafm"]
    chunks = chunks_for(network, stars)
    seen, living = [], []

    def counted(*arguments):
        for shown in iterate_chunks(*arguments):
            living.append(living_bytes())
            yield shown

    monkeypatch.setattr(map_attention, "iterate_chunks", counted)
    for batches in (2, 9):
        rows = np.resize(np.arange(STARS), batches * BATCH["cpu"])
        with Shapes() as shapes:
            map_attention.mean_maps(network, stars, rows, chunks)
        spectra = (len(rows), len(stars.wavelength))
        assert spectra in shapes.made
        seen.append(shapes.made - {spectra})
        assert len(living) == len(chunks) * batches
        # From the second batch on (the first one's tensors are then let go) nothing piles up.
        assert max(living[2:]) - min(living[2:]) < 4 * BATCH["cpu"] * len(WAVELENGTH)
        living.clear()
    assert seen[0] == seen[1], "but for the spectra, no tensor grows with the number of stars"
    assert (len(LABELS), len(stars.wavelength)) in seen[0], "the accumulated sums"
