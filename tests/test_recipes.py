# Tests of: benchmarks/equal_time.py, one_change.py, recipes.py
"""Recipes at equal processor time: what the benchmarks imitate, and what they train."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import itertools

from cases import demo_case
from equal_time import Run, cosine, new_learner, stars_of, step_costs, train_until
from one_change import DriftingReplicas, OneLabel, reading_zeros, recipes
from recipes import CYCLE, RECIPES, Both, rate_of

from making.toy_store import WINDOWS, toy_stars, write_toy_store
from spectrafm.training.processes import ALONE
from spectrafm.training.step import Learner


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_toy_store(tmp_path_factory.mktemp("store") / "store.zarr", toy_stars(60))


def learner_of(store, kind=Learner, **changes):
    case = demo_case()
    sampling = case.stage.sampling.model_copy(update={"tokens": 32})
    stage = case.stage.model_copy(
        update={"windows": WINDOWS, "batch": 8, "sampling": sampling, **changes}
    )
    stars = stars_of(store, stage, "train")
    return new_learner(case.model, stage, stars, kind=kind)


def test_each_row_changes_one_thing():
    rows = recipes()
    for before, after in itertools.pairwise(rows):
        changed = {
            name
            for name, value in dataclasses.asdict(before).items()
            if value != getattr(after, name)
        }
        # Tokens of several pixels need a scheme that shows whole windows; painted replay is a stage
        # of its own, which chooses its checkpoint on painted spectra.
        pairs = ({"name", "model", "scheme"}, {"name", "adapt", "selection"})
        assert len(changed) == 2 or changed in pairs, after.name


def test_each_star_is_asked_for_one_of_its_labels(store):
    learner = learner_of(store, OneLabel)
    batch, each = learner._losses(learner.network, torch.arange(8), 0, 0, ALONE)
    assert (each != 0).sum(dim=1).tolist() == [1] * 8
    assert batch.count == 8


def test_replicas_drift_apart_only_where_their_rates_differ(store):
    replicas = DriftingReplicas(learner_of(store))

    def distance() -> float:
        first, *others = (dict(one.network.named_parameters()) for one in replicas.all)
        return max(
            float((weight - other[name]).detach().abs().max())
            for other in others
            for name, weight in first.items()
        )

    replicas.step(torch.arange(8), 0, 0, replicas.peak)
    assert distance() == 0
    replicas.step(torch.arange(8), 1, 0, 0.0)
    assert distance() > 0


def test_a_bad_pixel_is_read_as_zeros(store):
    network = learner_of(store).network.eval()
    position = network.encoding(torch.linspace(15_750, 15_770, 20).double())
    flux, missing = torch.rand(2, 20), torch.zeros(2, 20, dtype=torch.bool)
    missing[0, 3] = True
    whole, masked = (network(flux, position, bad).mean for bad in (None, missing))
    zeros = reading_zeros(network)(flux, position, missing).mean
    assert torch.allclose(zeros[1], whole[1], atol=1e-5), "a star without bad pixels"
    assert not torch.allclose(zeros[0], masked[0], atol=1e-4)


def test_muon_takes_the_hidden_matrices(store):
    learner = learner_of(store)
    learner.optimizer = Both(learner.network, 0.01)
    muon, adamw = ({id(p) for p in g["params"]} for g in learner.optimizer.param_groups)
    assert not muon & adamw
    assert muon | adamw == {id(p) for p in learner.network.parameters()}
    assert id(learner.network.embedding.label_weight) in adamw
    before = learner.network.encoder[0].feedforward[0].weight.clone()
    Run(learner).step(1e-3)
    assert not torch.equal(before, learner.network.encoder[0].feedforward[0].weight)


def test_a_training_is_validated_at_the_asked_steps_and_repeats_itself(store):
    def reached():
        run = Run(learner_of(store))
        return train_until(run, [3, 7], cosine(1e-3, 7), run.learner.stars)

    first, again = reached(), reached()
    assert [one.steps for one in first] == [3, 7]
    assert set(first[0].rmse) == set(learner_of(store).network.labels)
    assert first == again


def test_steps_are_timed_in_turns(store):
    order = []

    class Noted(Run):
        def __init__(self, name):
            super().__init__(learner_of(store))
            self.name = name

        def step(self, rate):
            order.append(self.name)
            super().step(rate)

    costs = step_costs({"a": Noted("a"), "b": Noted("b")}, turns=2)
    assert [name for name, _ in itertools.groupby(order)] == ["a", "b"] * 3
    assert all(cost > 0 for cost in costs.values())


def test_every_rate_begins_low_and_a_cosine_ends_with_the_steps():
    for name, recipe in RECIPES.items():
        rate = rate_of(recipe, 1e-3, total=400, cost=0.15)
        assert rate(0) < 0.1 * recipe.rate * 1e-3, name
        ends = rate(399) < 0.01 * recipe.rate * 1e-3
        # 400 steps of 0.15 s are four restarted cosines.
        assert ends == (recipe.schedule != "constant"), name
    restarted = rate_of(RECIPES["AdamW, restarts every 15 s"], 1e-3, total=400, cost=0.15)
    assert restarted(round(CYCLE / 0.15)) > 0.99e-3
