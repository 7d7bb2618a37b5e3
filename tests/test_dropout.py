# Tests of: spectrafm/networks/dropout.py, spectrafm/networks/attention.py
"""Dropout on a CPU: how many elements it drops, which, and that nothing but the seed decides it."""

import pytest
import torch
from torch import nn

from spectrafm.networks.attention import SelfAttention
from spectrafm.networks.dropout import DROPPED, Dropout, dropped_scores

P = 0.05


def test_the_stated_share_is_dropped_and_the_sum_kept():
    torch.manual_seed(3)
    x = torch.ones(8, 200, 300)
    y = Dropout(P)(x)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - P)])
    share = (y == 0).float()
    assert share.mean().item() == pytest.approx(P, abs=0.002)
    # Every star, row and column has its share: binomial spreads.
    for dimensions, count in (((1, 2), 60_000), ((0, 2), 2400), ((0, 1), 1600)):
        spread = (P * (1 - P) / count) ** 0.5
        assert (share.mean(dim=dimensions) - P).abs().max() < 6 * spread, dimensions
    pairs = (share[0] * share[1]).mean().item(), (share[:, 1:] * share[:, :-1]).mean().item()
    assert pairs == pytest.approx((P**2, P**2), rel=0.2), "stars and rows are independent"


def test_gradients_pass_the_same_elements():
    torch.manual_seed(0)
    x = torch.randn(4, 50, 60, requires_grad=True)
    y = Dropout(P)(x)
    y.sum().backward()
    assert torch.equal(x.grad == 0, y == 0)
    assert x.grad[x.grad != 0].unique().tolist() == [pytest.approx(1 / (1 - P))]


def test_without_training_or_share_nothing_happens():
    x = torch.randn(3, 4)
    assert Dropout(P).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_seed_alone_decides():
    x = torch.ones(2, 30, 40)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append((Dropout(P)(x), dropped_scores((2, 2, 5, 6), 0.5, torch.float32)))
    assert all(torch.equal(a, b) for a, b in zip(*found[:2], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(*found[1:], strict=True))


def test_a_dropped_weight_of_attention_is_as_if_its_token_was_missing():
    torch.manual_seed(4)
    attention = SelfAttention(8, 2, P)
    x = torch.randn(3, 40, 8)
    torch.manual_seed(5)
    found = attention(x)
    torch.manual_seed(5)
    hidden = dropped_scores((3, 2, 40, 41), P, torch.float32) == DROPPED
    assert hidden.float().mean().item() == pytest.approx(P, abs=0.01)
    assert not torch.equal(hidden[0], hidden[1])
    assert not torch.equal(hidden[:, 0], hidden[:, 1])
    split = attention.split_heads
    key = torch.cat([attention.key(x), attention.extra_key.expand(3, 1, -1)], dim=1)
    value = torch.cat([attention.value(x), attention.extra_value.expand(3, 1, -1)], dim=1)
    scores = split(attention.query(x)) @ split(key).transpose(-1, -2) / 2.0
    weights = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1)
    expected = attention.out((weights @ split(value)).transpose(1, 2).flatten(-2))
    assert torch.allclose(found, expected, atol=1e-5)


def test_missing_tokens_stay_hidden_and_no_query_is_left_without_a_weight():
    attention = SelfAttention(8, 2, 0.99)
    x = torch.randn(4, 6, 8)
    missing = torch.zeros(4, 6, dtype=torch.bool)
    missing[:, 2:] = True
    changed = torch.where(missing[..., None], 100.0, x)
    found = []
    for tokens in (x, changed):
        torch.manual_seed(1)
        found.append(attention(tokens, missing)[:, :2])
    assert torch.equal(*found)
    assert found[0].isfinite().all()


def test_the_transformer_has_no_other_dropout():
    from making.toy_training import MODEL
    from spectrafm.labels import PAPER_LABELS
    from spectrafm.networks.transformer import SpectraFM

    modules = list(SpectraFM(MODEL, PAPER_LABELS).modules())
    assert not any(isinstance(module, nn.Dropout) for module in modules)
    assert sum(isinstance(module, Dropout) for module in modules) > 5
