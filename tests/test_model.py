# Tests of: spectrafm/networks/ (transformer.py, attention.py, encoding.py, fcnn.py)
"""The network: sizes, symmetries, exactness of the shortcuts, encodings."""

import numpy as np
import pytest
import torch
from torch import nn

from spectrafm.errors import SpectraFMError
from spectrafm.labels import LABELS, PAPER_LABELS
from spectrafm.networks.attention import CrossAttention, SelfAttention
from spectrafm.networks.encoding import LogWavelengthEncoding, PaperEncoding
from spectrafm.networks.fcnn import FCNN
from spectrafm.networks.options import Model, Token
from spectrafm.networks.transformer import SpectraFM
from spectrafm.surveys.apogee.grid import WAVELENGTH

SMALL = Model(
    dimension=32,
    encoder=[{"heads": 4, "feedforward": 64}, {"heads": 2, "feedforward": 64}],
    decoder=[{"heads": 4, "feedforward": 64}, {"heads": 2, "feedforward": 32}],
    head=[32],
    dropout=0.0,
)


#: What differs from `SMALL`: each way to make a token, and each place of the normalisation.
KINDS = {
    "paper": {"encoding": "paper"},
    "log_wavelength": {"encoding": "log_wavelength"},
    # About six of the sixty pixels a token.
    "bound": {"encoding": "log_wavelength", "token": Token(width=0.01, harmonics=8, hidden=24)},
    "bound pre-norm": {
        "encoding": "log_wavelength", "norm": "pre", "token": Token(width=0.01, harmonics=4),
    },
}  # fmt: skip


@pytest.fixture(params=KINDS)
def network(request):
    torch.manual_seed(3)
    return SpectraFM(SMALL.model_copy(update=KINDS[request.param]), PAPER_LABELS).eval()


@pytest.fixture
def spectra():
    generator = torch.Generator().manual_seed(5)
    flux = 1 + 0.1 * torch.randn(4, 60, generator=generator)
    return flux, torch.linspace(15_200, 16_900, 60, dtype=torch.float64)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_paper_size_has_the_published_number_of_parameters():
    network = SpectraFM(Model(), PAPER_LABELS)
    assert [parameters(block) for block in network.encoder] == [1_315_584, 790_272]
    assert [parameters(block) for block in network.decoder] == [1_315_584, 790_272, 527_616]
    assert parameters(network.head) == 3_281_154
    # Two vectors for the flux and for each of the five labels.
    assert parameters(network) == 8_020_482 + 2 * 6 * 256


def test_fcnn_has_the_published_number_of_parameters():
    assert parameters(FCNN(torch.arange(512.0), PAPER_LABELS[-1:])) == 4_987_138


def test_forward_costs_what_the_paper_size_must_cost():
    from torch.utils.flop_counter import FlopCounterMode

    network = SpectraFM(Model(), PAPER_LABELS).eval().requires_grad_(False)
    flux = torch.ones(1, 512)
    position = network.encoding(torch.from_numpy(WAVELENGTH[:512]))
    counts = []
    for request in (torch.tensor([0]), None):
        with FlopCounterMode(display=False) as counter:
            network(flux, position, request=request)
        counts.append(counter.get_total_flops() / 1e9)
    # Projecting 512 tokens to keys and values, 3.10 GFLOP in all, is avoided by folding.
    assert counts[0] < 3.10 - 0.35
    assert counts[1] / counts[0] < 1.05, "five labels must cost nearly the same as one"


def test_order_of_pixels_does_not_matter(network, spectra):
    flux, wavelength = spectra
    position = network.encoding(wavelength)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    plain = network(flux, position)
    permuted = network(flux[:, order], network.encoding(wavelength[order]))
    for a, b in zip(plain, permuted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bad_flux", [0.0, 1e6, float("nan"), float("inf")])
def test_adding_missing_pixels_changes_not_one_bit(network, spectra, bad_flux):
    flux, wavelength = spectra
    plain = network(flux, network.encoding(wavelength))
    more = torch.cat([torch.full((4, 9), bad_flux), flux[:, :30]], dim=1)
    more = torch.cat([more, torch.full((4, 5), bad_flux), flux[:, 30:]], dim=1)
    pixels = torch.cat([torch.arange(9), torch.arange(30), torch.arange(5), torch.arange(30, 60)])
    missing = torch.zeros(4, 74, dtype=torch.bool)
    missing[:, :9] = missing[:, 39:44] = True
    padded = network(more, network.encoding(wavelength[pixels]), missing)
    assert torch.equal(plain.mean, padded.mean)
    assert torch.equal(plain.log_variance, padded.log_variance)


def test_a_missing_pixel_is_the_same_as_an_absent_one(network, spectra):
    flux, wavelength = spectra
    position = network.encoding(wavelength)
    missing = torch.zeros(4, 60, dtype=torch.bool)
    missing[0, 10:50] = True  # only one star of the batch: its neighbours keep their pixels
    together = network(flux, position, missing)
    alone = network(flux[:1, ~missing[0]], network.encoding(wavelength[~missing[0]]))
    torch.testing.assert_close(together.mean[:1], alone.mean, rtol=0, atol=1e-5)
    plain = network(flux, position)
    torch.testing.assert_close(together.mean[1:], plain.mean[1:], rtol=0, atol=1e-5)
    assert (together.mean[0] - plain.mean[0]).abs().max() > 1e-4


def test_a_star_without_a_pixel_gives_a_finite_answer(network, spectra):
    flux, wavelength = spectra
    missing = torch.zeros(4, 60, dtype=torch.bool)
    missing[2] = True
    answer = network(flux, network.encoding(wavelength), missing)
    assert torch.isfinite(answer.mean).all()


def test_labels_in_one_pass_equal_labels_one_by_one(network, spectra):
    flux, wavelength = spectra
    position = network.encoding(wavelength)
    together = network(flux, position)
    for number in range(len(LABELS)):
        alone = network(flux, position, request=torch.tensor([number]))
        torch.testing.assert_close(alone.mean[:, 0], together.mean[:, number], rtol=0, atol=1e-6)


def test_a_known_label_changes_the_answer_and_an_unknown_one_does_not(network, spectra):
    flux, wavelength = spectra
    position = network.encoding(wavelength)
    plain = network(flux, position)
    nothing = network(flux, position, known=torch.full((4, 5), torch.nan))
    torch.testing.assert_close(plain.mean, nothing.mean, rtol=0, atol=1e-5)
    known = torch.full((4, 5), torch.nan)
    known[:, 0] = 1.5
    told = network(flux, position, known=known)
    assert (told.mean - plain.mean).abs().max() > 1e-4


def test_attention_covers_the_tokens_in_their_own_order(network, spectra):
    flux, wavelength = spectra
    position = network.encoding(wavelength)
    _, plain = network(flux, position, return_attention=True)
    assert plain.shape == (4, 5, 60)
    assert (plain.sum(-1) < 1).all(), "the extra key takes its share"
    missing = torch.zeros(4, 60, dtype=torch.bool)
    missing[:, 3] = True
    _, hidden = network(flux, position, missing, return_attention=True)
    assert (hidden[..., 3] == 0).all()
    assert (hidden[..., [0, 1, 2, 4, 59]] > 0).all()
    others = [i for i in range(60) if i != 3]
    _, without = network(
        flux[:, others], network.encoding(wavelength[others]), return_attention=True
    )
    assert torch.equal(hidden[..., others], without)


@pytest.mark.parametrize("kind", [SelfAttention, CrossAttention])
def test_attention_equals_pytorchs(kind):
    """Folding keys and values into the queries is exact: compare with nn.MultiheadAttention."""
    torch.manual_seed(0)
    ours = kind(32, heads=4, dropout=0.0).eval()
    nn.init.normal_(ours.key.bias)
    nn.init.normal_(ours.value.bias)
    theirs = nn.MultiheadAttention(32, 4, add_bias_kv=True, batch_first=True).eval()
    parts = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.bias_k.copy_(ours.extra_key[None, None])
        theirs.bias_v.copy_(ours.extra_value[None, None])
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(3, 20, 32)
    missing = torch.rand(3, 20) < 0.3
    if kind is SelfAttention:
        expected, _ = theirs(x, x, x, key_padding_mask=missing)
        torch.testing.assert_close(ours(x, missing), expected, rtol=0, atol=1e-5)
    else:
        request = torch.randn(3, 5, 32)
        expected, weights = theirs(
            request, x, x, key_padding_mask=missing, average_attn_weights=False
        )
        answer, attention = ours(request, x, missing)
        torch.testing.assert_close(answer, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(attention, weights[..., :20], rtol=0, atol=1e-5)


def test_paper_encoding_is_equation_2_as_computed():
    dimension, wavelength = 16, 16_113.78
    encoded = PaperEncoding(dimension)(torch.tensor([wavelength], dtype=torch.float64))[0]
    scaled = (wavelength - 15_000) / 2_000
    for k in range(dimension):
        phase = 1000 * scaled / 10_000 ** (2 * (k // 2) / dimension)
        expected = np.sin(phase) if k % 2 == 0 else np.cos(phase)
        assert encoded[k].item() == pytest.approx(expected, abs=1e-6)


def test_log_wavelength_encoding_sees_a_shift_alike_everywhere():
    encoding = LogWavelengthEncoding(64)
    grid = torch.tensor([3_500.0, 16_000.0, 50_000.0], dtype=torch.float64)
    shifted = grid * (1 + 10 / 299_792.458)
    similarity = (encoding(grid) * encoding(shifted)).sum(-1)
    torch.testing.assert_close(similarity, similarity[:1].expand(3), rtol=0, atol=1e-4)
    # No two wavelengths of the range look alike.
    far = encoding(torch.logspace(3.48, 4.72, 400, dtype=torch.float64))
    alike = far @ far.T - 32 * torch.eye(400)
    assert alike.max() < 0.9 * 32


def test_encoding_keeps_its_frequencies_when_the_network_goes_to_half_precision(network):
    wavelength = torch.tensor([16_000.0], dtype=torch.float64)
    before = network.wavelength_encoding(wavelength)
    assert torch.equal(network.half().wavelength_encoding(wavelength), before)


def test_fcnn_refuses_other_pixels():
    network = FCNN(torch.arange(16_000.0, 16_512.0), PAPER_LABELS[-1:])
    with pytest.raises(SpectraFMError, match=r"512 pixels, 16000\.0-16511\.0"):
        network.encoding(torch.arange(16_001.0, 16_513.0))
