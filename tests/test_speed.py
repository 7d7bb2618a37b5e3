# Tests of: spectrafm/networks/ and training/step.py, by way of benchmarks/
"""What makes training fast, held by counts that no busy machine can change."""

import itertools
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from cases import (
    demo_case,
    make_network,
    operations,
    our_step,
    paper_case,
    with_bound_pixels,
)
from plain_network import TOLERANCE, prove_equal
from switched_off import ProjectedAttention

from making.toy_store import toy_stars, write_toy_store
from spectrafm.labels import LABELS, PAPER_LABELS
from spectrafm.networks.attention import CrossAttention
from spectrafm.networks.transformer import SpectraFM
from spectrafm.surveys.apogee.grid import WAVELENGTH


def products_of_the_paper(tokens: int, labels: int, d: int = 256) -> int:
    """Multiplications of the paper's network, two operations each, counted by hand."""
    with_extra = tokens + 1
    encoder = 0
    for feedforward in (2048, 1024):
        encoder += 4 * tokens * d * d  # query, key, value, out
        encoder += 2 * tokens * with_extra * d  # scores, and their sum over values
        encoder += 2 * tokens * d * feedforward
    decoder = 0
    for heads, feedforward in ((16, 2048), (8, 1024), (4, 512)):
        # Instead of 2 T d^2 for keys and values of T tokens, each of R requests is folded with the
        # key weights and its pooled tokens with the value weights, and each of its H heads meets
        # all d components of a token rather than d / H of them.
        decoder += 4 * labels * d * d
        decoder += 2 * labels * heads * tokens * d
        decoder += 2 * labels * d  # the key's bias and the extra key
        decoder += 2 * labels * d * feedforward
    widths = (d, 2048, 1024, 512, 256)
    head = labels * sum(a * b for a, b in itertools.pairwise(widths))
    head += 2 * labels * widths[-1]
    return 2 * (encoder + decoder + head)


@pytest.mark.parametrize("labels", [1, 5])
def test_a_chunk_costs_what_was_counted_by_hand(labels):
    forward, backward = operations(paper_case().model, tokens=512, labels=labels)
    assert forward == pytest.approx(products_of_the_paper(512, labels), rel=0.01)
    assert backward == pytest.approx(2 * forward, rel=0.01)


def test_five_labels_cost_less_than_one_did_with_keys_and_values_projected():
    """2.82 GFLOP; with the projections five labels took 3.15, and one 3.10."""
    forward, _ = operations(paper_case().model, tokens=512)
    assert forward == pytest.approx(2.818e9, rel=0.001)
    one_label_projected = 3.101e9
    assert forward < one_label_projected


def test_a_whole_spectrum_in_one_pass_costs_less_than_a_tenth_of_its_chunks():
    case = with_bound_pixels(paper_case())
    with sdpa_kernel(SDPBackend.MATH):
        network = SpectraFM(case.model, PAPER_LABELS).eval()
        cells = network.encoding(torch.from_numpy(WAVELENGTH))
        flux = torch.ones(1, 7514)
        with FlopCounterMode(display=False) as counted:
            network(flux, cells, error=torch.full_like(flux, 0.01))
    assert len(cells.pixel) == 475
    chunk, _ = operations(paper_case().model, tokens=501)
    assert 15 * chunk > 10 * counted.get_total_flops()


def test_a_step_runs_the_encoder_once_for_five_labels(tmp_path):
    case = demo_case().with_batch(8)
    store = write_toy_store(tmp_path / "store.zarr", toy_stars(40))
    network, stars = make_network(case, store, torch.device("cpu"))
    seen = []
    for block in network.encoder:
        block.register_forward_hook(lambda block, given, x: seen.append((block, tuple(x.shape))))
    step = our_step(case, network, stars)
    step()
    shape = (8, case.stage.sampling.tokens, case.model.dimension)
    assert seen == [(block, shape) for block in network.encoder]
    assert network.embedding.label_weight.grad.abs().sum(dim=1).count_nonzero() == len(LABELS)


@pytest.mark.parametrize("case", [paper_case(), demo_case()], ids=["paper", "demo"])
def test_the_plain_network_it_is_timed_against_is_the_same(case):
    assert max(prove_equal(case.model, tokens=96)) <= TOLERANCE


@pytest.mark.parametrize("heads", [16, 8, 4])
def test_folded_cross_attention_is_pytorchs(heads):
    torch.manual_seed(0)
    folded = CrossAttention(256, heads, dropout=0.0)
    request, x = torch.randn(2, 5, 256), torch.randn(2, 512, 256)
    expected, _ = ProjectedAttention(folded)(request, x)
    torch.testing.assert_close(folded(request, x)[0], expected, rtol=0, atol=TOLERANCE)
