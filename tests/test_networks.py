"""Tests of networks/: whatever is in the registry trains, fine-tunes, is saved and predicts."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from making import toy_store
from making.toy_training import MODEL, stage
from spectrafm.errors import SpectraFMError
from spectrafm.labels import LABELS, PAPER_LABELS, Label
from spectrafm.networks import NETWORKS, ridge, saved
from spectrafm.networks.base import ClosedForm
from spectrafm.networks.cannon import Cannon, polynomial, polynomial_slope
from spectrafm.networks.grid import GridNetwork
from spectrafm.networks.ridge import Ridge
from spectrafm.networks.transformer import SpectraFM
from spectrafm.plugs import load
from spectrafm.store.read import load_stars
from spectrafm.training.options import Stage
from spectrafm.training.train import train

WINDOW = toy_store.WINDOWS[1:]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store.write_toy_store(
        tmp_path_factory.mktemp("toy") / "store.zarr", toy_store.toy_stars(400)
    )


def options(architecture, **changes) -> Stage:
    """A stage of an architecture on the toy store's iron window."""
    whole = architecture != "spectrafm"
    return stage(
        **{
            "architecture": architecture,
            "windows": WINDOW,
            "sampling": {"scheme": "all" if whole else "mixed", "tokens": 48},
            "epochs": 15 if whole else 4,
            "schedule": {"learning_rate": 1e-3, "restart_epochs": 15 if whole else 4},
            **changes,
        }
    )


def test_every_network_says_what_the_registry_says():
    for name, known in NETWORKS.items():
        network = load(known.where)
        assert network.architecture == name
        assert issubclass(network, GridNetwork) == (known.reads == "grid")
        made = network(MODEL if known.reads == "tokens" else torch.arange(64.0), PAPER_LABELS)
        for part in known.parts:
            made.get_submodule(part)
        assert bool(known.parts) != isinstance(made, ClosedForm)


@pytest.fixture(scope="module", params=NETWORKS)
def pretrained(request, store, tmp_path_factory):
    """A model of each architecture, trained on synthetic spectra."""
    folder = tmp_path_factory.mktemp("models") / "base"
    train(store, name="base", output=folder, stage=options(request.param), model=MODEL)
    return folder


def answer_of(network, stars):
    """Answers for all labels, in their units."""
    flux = torch.from_numpy(stars.flux)
    position = network.encoding(torch.from_numpy(stars.wavelength.copy()))
    request = torch.arange(len(network.labels))
    with torch.no_grad():
        answer = network(flux, position, ~flux.isfinite(), request)
    return network.in_units(answer.mean, (answer.log_variance / 2).exp(), request)


def pretrained_fast(network) -> bool:
    """Whether a few epochs are enough to learn the toy's lines."""
    return network.architecture != "spectrafm"


def test_it_learns_and_is_saved_with_its_labels(pretrained, store):
    network, facts = saved.from_pretrained(pretrained)
    assert network.label_table == PAPER_LABELS
    assert facts["units"]["LOGG"] == "dex(cm s-2)"
    stars = load_stars(store, "synthetic", "test", WINDOW)
    value, sigma = answer_of(network, stars)
    assert value.isfinite().all()
    assert (sigma > 0).all()
    iron = LABELS.index("FE_H")
    residual = value[:, iron].numpy() - stars.label[:, iron]
    spread = np.nanstd(stars.label[:, iron])
    assert (
        np.sqrt(np.nanmean(residual**2))
        < (0.5 if network.architecture != "spectrafm" else 1.2) * spread
    )


def test_a_missing_pixel_reads_as_nothing_whatever_it_holds(pretrained, store):
    network, _ = saved.from_pretrained(pretrained)
    stars = load_stars(store, "observed", "test", WINDOW)
    flux = np.where(np.isfinite(stars.flux), stars.flux, np.float32(77.0))
    missing = torch.from_numpy(~np.isfinite(stars.flux))
    assert missing.any()
    position = network.encoding(torch.from_numpy(stars.wavelength.copy()))
    with torch.no_grad():
        one = network(torch.from_numpy(stars.flux), position, missing)
        other = network(torch.from_numpy(flux), position, missing)
    assert torch.equal(one.mean, other.mean)
    assert torch.equal(one.log_variance, other.log_variance)


def test_it_fine_tunes_on_observed_stars_or_the_configuration_says_that_it_cannot(
    pretrained, store, tmp_path
):
    network, _ = saved.from_pretrained(pretrained)
    changes = {
        "start_from": "base", "spectra": "observed", "labels": ["FE_H"],
        "stars": {"where": "FE_H > -1.5", "count": 60},
    }  # fmt: skip
    if not NETWORKS[network.architecture].finetunes:
        with pytest.raises(ValueError, match="cannon has no fine-tune: write null"):
            options(network.architecture, **changes)
        return
    tuning = options(network.architecture, **changes)
    train(store, name="tuned", output=tmp_path / "t", stage=tuning, model=MODEL, start=pretrained)
    tuned, facts = saved.from_pretrained(tmp_path / "t")
    assert facts["started_from"] == "base"
    assert facts["stage"]["labels"] == ["FE_H"]
    assert tuned.labels == network.labels
    stars = load_stars(store, "observed", "test", WINDOW)
    assert not torch.equal(answer_of(tuned, stars)[0], answer_of(network, stars)[0])
    if isinstance(network, GridNetwork):
        assert torch.equal(tuned.wavelength, network.wavelength)


def test_another_architecture_cannot_be_started_from(pretrained, store, tmp_path):
    network, _ = saved.from_pretrained(pretrained)
    other = "fcnn" if network.architecture != "fcnn" else "mlp"
    wrong = options(other, start_from="base", labels=["FE_H"])
    with pytest.raises(
        SpectraFMError, match=f"a {network.architecture} network, but the stage trains a {other}"
    ):
        train(store, name="x", output=tmp_path / "x", stage=wrong, model=MODEL, start=pretrained)


def test_a_fine_tune_may_add_a_label_that_the_start_does_not_know(store, tmp_path):
    stars = toy_store.toy_stars(400)
    few = tmp_path / "few.zarr"
    toy_store.write_toy_store(few, stars, labels=PAPER_LABELS[:4])
    base = options("spectrafm", labels=["TEFF", "LOGG"])
    train(few, name="base", output=tmp_path / "base", stage=base, model=MODEL)
    before, _ = saved.from_pretrained(tmp_path / "base")
    assert before.labels == LABELS[:4]
    more = options("spectrafm", labels=["FE_H", "TEFF"], start_from="base", freeze=["encoder"])
    train(
        store, name="more", output=tmp_path / "more", stage=more, model=MODEL,
        start=tmp_path / "base",
    )  # fmt: skip
    after, facts = saved.from_pretrained(tmp_path / "more")
    assert after.labels == (*LABELS[:4], "FE_H")
    assert facts["stage"]["labels"] == ["FE_H", "TEFF"]
    assert torch.equal(after.label_centre[:4], before.label_centre)
    assert after.label_centre[4] == pytest.approx(
        np.nanmedian(load_stars(store, "synthetic", "train", WINDOW).label[:, 4])
    )
    fixed = options("mlp", labels=["TEFF"])
    train(few, name="mlp", output=tmp_path / "mlp", stage=fixed, model=MODEL)
    wrong = options("mlp", labels=["FE_H"], start_from="mlp")
    with pytest.raises(
        SpectraFMError, match="FE_H: a mlp network cannot learn labels that its start"
    ):
        train(
            store, name="x", output=tmp_path / "x", stage=wrong, model=MODEL, start=tmp_path / "mlp"
        )


def test_a_label_in_another_unit_is_refused(store, tmp_path):
    stars = toy_store.toy_stars(400)
    other = (Label("TEFF", "1000 K", "T"), *PAPER_LABELS[1:])
    kilo = toy_store.write_toy_store(tmp_path / "kilo.zarr", stars, labels=other)
    train(kilo, name="b", output=tmp_path / "b", stage=options("mlp"), model=MODEL)
    tuning = options("mlp", start_from="b")
    with pytest.raises(
        SpectraFMError, match=r"label TEFF: the store has it in K, the network in 1000"
    ):
        train(
            store, name="x", output=tmp_path / "x", stage=tuning, model=MODEL, start=tmp_path / "b"
        )


def test_options_that_a_network_cannot_follow_are_refused():
    for architecture, changes, message in (
        ("mlp", {"sampling": {"scheme": "mixed"}}, "mlp reads all its pixels at once: write all"),
        ("spectrafm", {"freeze": ["tail"]}, "spectrafm has no part 'tail'; it has embedding"),
        ("ridge", {"freeze": ["dense"]}, "ridge has no part 'dense'"),
        ("cnn", {"sampling": {"scheme": "all", "known_labels": 0.1}}, "cnn reads no label tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            options(architecture, **changes)


# Closed forms.


def device_stars(flux, label, error=None):
    """The part of `DeviceStars` that a closed form reads."""
    return SimpleNamespace(
        flux=flux, valid=flux.isfinite(), flux_error=error, label=label,
        teaches=label.isfinite(), every_window=torch.arange(flux.shape[1]), windows=(),
        position_of=lambda number: torch.zeros(flux.shape[1], 0), inputs=None,
    )  # fmt: skip


@pytest.mark.parametrize(("stars", "pixels"), [(30, 12), (12, 30)])
def test_ridges_leave_one_out_error_is_that_of_refits(stars, pixels, monkeypatch):
    monkeypatch.setattr(ridge, "PENALTIES", torch.tensor([0.1], dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(stars, pixels, generator=generator)
    y = torch.randn(stars, 1, generator=generator) + x[:, :1]
    network = Ridge(torch.linspace(1, 2, pixels), PAPER_LABELS[:1])
    network.weight += torch.randn(network.weight.shape, generator=generator)
    start = network.weight[0].clone()
    network.standardise(x)
    network.fit(device_stars(x, y), torch.tensor([0]))
    centred, penalty = x.double() - network.flux_mean, network.penalty.item()

    def refit(rows):
        x, y_ = centred[rows], y[rows, 0].double()
        left = y_ - x @ start
        x_ = x - x.mean(dim=0)
        normal = x_.T @ x_ + penalty * torch.eye(pixels, dtype=torch.float64)
        weight = start + torch.linalg.solve(normal, x_.T @ (left - left.mean()))
        return weight, (y_ - x @ weight).mean()

    weight, bias = refit(torch.arange(stars))
    assert torch.allclose(weight, network.weight[0])
    assert torch.allclose(bias, network.bias[0])
    errors = []
    for out in range(stars):
        weight, bias = refit(torch.arange(stars) != out)
        errors.append((y[out, 0].double() - centred[out] @ weight - bias).square())
    assert torch.stack(errors).mean().item() == pytest.approx(network.log_variance.exp().item())


def test_the_cannon_recovers_labels_and_knows_how_well():
    generator = torch.Generator().manual_seed(1)
    label = torch.randn(400, 3, generator=generator)
    size = torch.tensor([0.0, 1, 1, 1, *[0.15] * 6], dtype=torch.float64)
    coefficient = 0.05 * torch.randn(200, 10, generator=generator).double() * size
    coefficient[:, 0] = 1
    error = 0.004 + 0.01 * torch.rand(400, 200, generator=generator)
    scatter = torch.where(torch.arange(200) < 100, 0.02, 0.003)
    noise = (error**2 + scatter**2).sqrt() * torch.randn(400, 200, generator=generator)
    flux = (polynomial(label.double()) @ coefficient.T).float() + noise
    flux[torch.rand(400, 200, generator=generator) < 0.05] = torch.nan
    flux[:, 9] = torch.nan  # a pixel that no star has
    known = label.clone()
    known[3, 1] = torch.nan
    network = Cannon(torch.linspace(1, 2, 200), PAPER_LABELS[:3])
    network.fit(device_stars(flux[:300], known[:300], error[:300]), torch.arange(3))
    assert network.scatter[:100].sqrt().median() == pytest.approx(0.02, rel=0.1)
    assert 0.002 < network.scatter[100:].sqrt().median() < 0.004, "errors alone are 0.004 or more"
    flux[399] = torch.nan  # a star without a pixel
    missing = ~flux[300:].isfinite()
    answer = network(flux[300:], None, missing, error=error[300:])
    assert answer.mean.isfinite().all()
    z = ((answer.mean - label[300:]) / (answer.log_variance / 2).exp())[:-1]
    assert z.square().mean().sqrt() == pytest.approx(1.0, abs=0.2)
    assert answer.log_variance[-1].min() > answer.log_variance[:-1].max() + 5
    again = network(flux[300:].nan_to_num(5.0), None, missing, error=error[300:])
    assert torch.equal(again.mean, answer.mean)


def test_the_cannons_slopes_are_those_of_its_polynomial():
    label = torch.randn(2, 3, dtype=torch.float64)
    found = torch.autograd.functional.jacobian(lambda x: polynomial(x).sum(dim=0), label)
    assert torch.allclose(found.permute(1, 2, 0), polynomial_slope(label))


def test_the_cannon_wants_more_stars_than_terms_and_all_its_labels():
    network = Cannon(torch.arange(8.0), PAPER_LABELS[:2])
    few = device_stars(torch.ones(6, 8), torch.randn(6, 2))
    with pytest.raises(SpectraFMError, match=r"6 training stars have all of TEFF, LOGG; .* than 6"):
        network.fit(few, torch.arange(2))
    with pytest.raises(SpectraFMError, match="can only fit all of its labels together"):
        network.fit(few, torch.tensor([1]))


def test_the_transformer_answers_labels_in_any_order(store):
    torch.manual_seed(0)
    network = SpectraFM(MODEL, PAPER_LABELS).eval()
    stars = load_stars(store, "observed", "test", WINDOW)
    flux = torch.from_numpy(stars.flux)
    position = network.encoding(torch.from_numpy(stars.wavelength.copy()))
    every = network(flux, position, ~flux.isfinite())
    for names in itertools.permutations(LABELS[:3], 2):
        request = network.request_of(names)
        some = network(flux, position, ~flux.isfinite(), request)
        assert torch.allclose(some.mean, every.mean[:, request], atol=1e-6)
    with pytest.raises(SpectraFMError, match="does not know C_FE; it knows TEFF"):
        network.request_of(["C_FE"])
