# Tests of: spectrafm/networks/projection.py
"""A plain network on any grid: what its sums are, and that no pixel grid is part of it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from making.toy_training import MODEL
from spectrafm.labels import PAPER_LABELS, Label
from spectrafm.networks.options import PLAIN, Reads, Token
from spectrafm.networks.projection import CELL, Projection
from spectrafm.surveys.apogee.grid import WAVELENGTH

GRID = torch.from_numpy(WAVELENGTH[2000:2200])
BOUND = MODEL.model_copy(update={"token": Token(width=2.2e-4, harmonics=8)})


def started(stars=200, reads=PLAIN, **columns):
    """A network for random spectra of a window, and these."""
    generator = np.random.default_rng(3)
    depth = generator.uniform(0, 0.5, (stars, 1))
    line = np.exp(-(((WAVELENGTH[2000:2200] - 15600) / 8) ** 2))
    flux = (1 - depth * line + 0.01 * generator.normal(size=(stars, 200))).astype("f4")
    known = SimpleNamespace(
        wavelength=WAVELENGTH[2000:2200],
        flux=flux,
        flux_error=None,
        label=generator.normal(size=(stars, len(PAPER_LABELS))).astype("f4"),
        labels=PAPER_LABELS,
        columns=columns,
    )
    torch.manual_seed(2)
    names = [label.name for label in PAPER_LABELS]
    return Projection.start(BOUND, known, names, reads).eval(), torch.from_numpy(flux)


@torch.no_grad()
def sums(network, flux, wavelength=GRID, missing=None):
    return network.sums(flux, network.encoding(wavelength), missing, None)


@torch.no_grad()
def answers(network, flux, wavelength=GRID, missing=None, **more):
    return network(flux, network.encoding(wavelength), missing, **more).mean


def test_the_sums_vary_by_one_among_the_stars_of_its_first_training():
    network, flux = started()
    assert sums(network, flux).std(dim=0).square().mean().sqrt() == pytest.approx(1, rel=1e-4)


def test_cells_add_up_and_an_empty_one_adds_nothing():
    network, flux = started()
    token = network.encoding(GRID).token
    left = (token < 5).expand(len(flux), -1)
    whole, one, other = (sums(network, flux, missing=gap) for gap in (None, left, ~left))
    assert torch.allclose(one + other, whole, atol=1e-4)
    assert not torch.allclose(one, whole, atol=0.1)
    nothing = sums(network, flux, missing=torch.ones_like(left))
    assert (nothing == 0).all()


def test_a_hidden_cell_adds_nothing_in_training():
    network, flux = started()
    network.contents.drop = 0.9
    network.train()
    torch.manual_seed(5)
    _, empty = network.contents((1 - flux)[..., None], network.encoding(GRID), None, None)
    assert 0.1 < empty.float().mean() < 0.9
    torch.manual_seed(5)
    hidden = sums(network, flux)
    token = network.encoding(GRID).token
    network.eval()
    shown = sums(network, flux, missing=empty[:, token])
    assert torch.allclose(hidden, shown, atol=1e-4)


def test_what_a_missing_pixel_holds_changes_no_bit():
    network, flux = started()
    missing = torch.rand(flux.shape, generator=torch.Generator().manual_seed(1)) < 0.2
    other = flux.masked_fill(missing, torch.nan)
    assert torch.equal(
        answers(network, flux, missing=missing), answers(network, other, missing=missing)
    )


def test_the_order_of_the_pixels_does_not_matter():
    network, flux = started()
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(GRID)))
    mixed = answers(network, flux[:, order], GRID[order])
    assert torch.allclose(mixed, answers(network, flux), atol=1e-5)


def test_a_finer_grid_gives_nearly_the_same_answers():
    network, _ = started()
    fine = torch.from_numpy(np.linspace(*WAVELENGTH[[2000, 2199]], 400))
    depth = torch.linspace(0, 0.5, 20)[:, None]

    def smooth(wavelength):
        return (1 - depth * torch.exp(-(((wavelength - 15600) / 8) ** 2))).float()

    coarse, finer = answers(network, smooth(GRID)), answers(network, smooth(fine), fine)
    assert (coarse - finer).abs().max() < 0.2 * coarse.std(dim=0).max()
    shifted = answers(network, smooth(GRID), GRID + 30)
    assert (coarse - shifted).abs().max() > 0.5 * coarse.std(dim=0).max(), "wavelength counts"


def test_a_new_label_leaves_the_answers_of_the_others():
    network, flux = started()
    before = answers(network, flux)
    network.add_labels([Label("AGE", "Gyr", "age")], np.linspace(1, 13, 50, dtype="f4")[:, None])
    after = answers(network, flux)
    assert torch.allclose(after[:, :-1], before, atol=1e-6)
    assert network.labels[-1] == "AGE"
    assert after.shape[1] == before.shape[1] + 1


def test_inputs_are_read_where_a_star_has_them():
    values = np.linspace(-1, 1, 200)
    network, flux = started(reads=Reads(inputs=["bp_rp"]), bp_rp=values)
    given = network.inputs_of({"bp_rp": values}, 200)
    unknown = torch.full_like(given, torch.nan)
    without = answers(network, flux)
    assert torch.equal(answers(network, flux, inputs=unknown), without)
    assert not torch.allclose(answers(network, flux, inputs=given), without, atol=1e-3)


def test_the_number_behind_an_input_says_that_it_is_there():
    network, flux = started(reads=Reads(inputs=["bp_rp"]), bp_rp=np.linspace(-1, 1, 200))
    unknown = torch.full((200, 1), torch.nan)

    def of_weight(weight, inputs):
        with torch.no_grad():
            network.dense[0].weight[:, -1] = weight
        return answers(network, flux, inputs=inputs)

    assert torch.equal(of_weight(0.0, unknown), of_weight(5.0, unknown))
    known = torch.zeros_like(unknown)
    assert not torch.allclose(of_weight(0.0, known), of_weight(5.0, known), atol=1e-2)


def test_of_tokens_of_one_pixel_it_makes_cells_of_its_own():
    network = Projection(MODEL, PAPER_LABELS)
    assert MODEL.token.width == 0
    assert network.token == CELL
