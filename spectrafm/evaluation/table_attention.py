"""The command ``table-attention``: whether a network looks where the labels are, and needs to."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.made_with import made_with_text
from spectrafm.evaluation.wording import survey_name, survey_of
from spectrafm.files import code_version, require_suffix, write_text
from spectrafm.inference.chunks import GUARD_STARS, iterate_chunks, on_device
from spectrafm.inference.gradients import attention_and_gradient
from spectrafm.inference.label_pixels import FITTED, SHARE, changes, own_pixels
from spectrafm.inference.map_attention import relative
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Attention
from spectrafm.inference.predictor import infer
from spectrafm.integrity import hashes_beside
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.read import StarSet

logger = logging.getLogger(__name__)

#: Most test stars of which single attention maps are held.
MOST_STARS = 300

#: Shifts of the attention along the spectrum that its share is compared with, and of the mask.
SHIFTS = 100
MASKS = 3

MEANING = (
    f"on its pixels: share of the attention on the {SHARE:.0%} of the pixels whose flux changes "
    "most with the label, the other labels fixed (from a quadratic fit of training spectra of the "
    "same kind); shifted: the same attention moved along the spectrum by random steps, mean and "
    "largest 5 %; gradient: share of |d label / d flux| on these pixels. masked: RMSE once the "
    f"{SHARE:.0%} most attended pixels of each star are missing, once as many neighbouring ones "
    "elsewhere are (the mask shifted), and once random ones are."
)


def table_attention(model: Path, store: Path, *, output: Path, options: Attention) -> None:
    """Test whether a network attends to the pixels that tell a label, and whether it needs them.

    For each label: the share of the attention on the pixels whose flux changes most with the label,
    against the same attention shifted along the spectrum; and a deletion test, the RMSE
    without the most attended pixels against that without others.

    Parameters
    ----------
    model : pathlib.Path
        Folder of a trained model with attention, models/<stage>.
    store : pathlib.Path
        Stars to test on, store.zarr; its training spectra tell which pixels change.
    output : pathlib.Path
        CSV file to write, one row a label; .md is written beside it.
    options : Attention
        Which spectra and wavelengths; at most 300 stars are used.

    Raises
    ------
    SpectraFMError
        When the model has no attention, or the store has too few stars or no such spectra.

    Examples
    --------
    $ spectrafm table-attention results/demo/models/pretrain results/demo/store.zarr \
--output results/demo/tables/attention.csv
    """
    require_suffix(output, ".csv")
    trained = TrainedModel.load(model)
    network, windows = trained.network, options.windows or trained.windows
    if not isinstance(network, SpectraFM):
        raise SpectraFMError(f"{model}: a {trained.facts['architecture']} network has no attention")

    def load(spectra: str, split: str, most: int) -> StarSet:
        reader = trained.open_stars(store, spectra, split, windows, options.flux_range)
        return reader.load(slice(most))

    stars = load(options.spectra, options.split, min(options.stars, MOST_STARS))
    fitted = load(options.spectra, "train", FITTED)
    labels = [label for label in trained.labels if label in {known.name for known in stars.labels}]
    own = own_pixels(changes(fitted, labels))
    chunks = trained.contexts(stars.wavelength, windows)
    attention, gradient = maps_of(network, stars, chunks)
    rows = []
    for number, label in enumerate(labels):
        place = network.labels.index(label)
        shares = _shares(attention[:, place], own[number])
        rows.append(
            {
                "label": label,
                "survey": survey_name(vars(stars) | {"mock": stars.mock or trained.mock}),
                "stars": len(stars),
                "share": shares[0],
                "shifted": float(np.mean(shares[1:])),
                "shifted_95": float(np.quantile(shares[1:], 0.95)),
                "gradient": _share(gradient[:, place], own[number]),
                **_deletion(network, stars, chunks, label, attention[:, place]),
            }
        )
    table = pd.DataFrame(rows)
    write_text(output, table.to_csv(index=False, float_format="%.6g"))
    inputs = hashes_beside(output.parent, [model, store])
    text = _markdown(table, trained.facts["stage_name"], options.spectra)
    write_text(output.with_suffix(".md"), f"{text}\n{made_with_text(inputs, [output])}")
    logger.info("%s: %d labels, %d stars", output, len(table), len(stars))


def maps_of(
    network: SpectraFM, stars: StarSet, chunks: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Attention and absolute gradient of each star's labels, shape (n, L, P); 0 where missing.

    Attention is relative to uniform attention to the good pixels of a chunk.
    """
    network = on_device(network)
    shape = (len(stars), len(network.labels), len(stars.wavelength))
    attention, gradient = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    inputs = network.inputs_of(stars.columns, len(stars))
    for batch in iterate_chunks(
        network, stars.flux, stars.wavelength, chunks, stars.flux_error, inputs
    ):
        found, slopes = attention_and_gradient(network, batch)
        found = relative(found, ~batch.missing)
        for target, values in ((attention, found), (gradient, slopes.abs())):
            values = values.masked_fill(batch.missing[:, None], 0.0).nan_to_num()
            values = values[:-GUARD_STARS].cpu().numpy()
            target[batch.rows][..., batch.pixels.cpu().numpy()] = values
    return attention, gradient


def _share(weight: np.ndarray, own: np.ndarray) -> float:
    """Share of the weights, (n, P), on some pixels, mean over stars."""
    total = weight.sum(axis=1)
    known = total > 0
    return float((weight[known][:, own].sum(axis=1) / total[known]).mean())


def _shares(weight: np.ndarray, own: np.ndarray) -> list[float]:
    """Share of the attention on some pixels, then that of the attention shifted at random."""
    steps = np.random.default_rng(0).integers(1, len(own), size=SHIFTS)
    return [_share(weight, own), *(_share(weight, np.roll(own, step)) for step in steps)]


def _deletion(
    network: SpectraFM,
    stars: StarSet,
    chunks: list[np.ndarray],
    label: str,
    attention: np.ndarray,
) -> dict[str, float]:
    """RMSE of a label with all pixels, without the most attended ones, and without others."""
    names = [known.name for known in stars.labels]
    actual = stars.label[:, names.index(label)]
    generator = np.random.default_rng(1)
    count = max(round(SHARE * attention.shape[1]), 1)

    def rmse(hidden: np.ndarray) -> float:
        flux = np.where(hidden, np.nan, stars.flux)
        answer = infer(
            network, flux, stars.wavelength, [label], chunks,
            error=stars.flux_error, columns=stars.columns,
        )  # fmt: skip
        return float(np.sqrt(np.nanmean(np.square(answer.value[:, 0] - actual))))

    def largest(weight: np.ndarray) -> np.ndarray:
        found = np.zeros(weight.shape, dtype=bool)
        np.put_along_axis(found, np.argsort(-weight, axis=1)[:, :count], True, axis=1)
        return found

    attended = largest(attention)
    steps = generator.integers(count, attention.shape[1] - count + 1, size=MASKS)
    return {
        "rmse": rmse(np.zeros_like(attended)),
        "rmse_attended": rmse(attended),
        "rmse_shifted": np.mean([rmse(np.roll(attended, step, axis=1)) for step in steps]),
        "rmse_random": np.mean(
            [rmse(largest(generator.random(attended.shape))) for _ in range(MASKS)]
        ),
    }


def _markdown(table: pd.DataFrame, stage: str, spectra: str) -> str:
    survey = survey_of(table)
    lines = [
        {
            "label": row["label"],
            "on its pixels": f"{row['share']:.2f}",
            "shifted": f"{row['shifted']:.2f} (95 % < {row['shifted_95']:.2f})",
            "gradient": f"{row['gradient']:.2f}",
            "RMSE": f"{row['rmse']:.3g}",
            "attended masked": f"{row['rmse_attended']:.3g}",
            "as many elsewhere": f"{row['rmse_shifted']:.3g}",
            "random": f"{row['rmse_random']:.3g}",
        }
        for _, row in table.iterrows()
    ]
    looks, needs = table["share"] > table["shifted_95"], _needed(table)
    verdicts = []
    for holds, text in (
        (looks, "attention is on the pixels of the label, beyond what a shift gives"),
        (needs, "masking the most attended pixels hurts more than masking others"),
    ):
        does, does_not = (", ".join(table["label"][mask]) or "no label" for mask in (holds, ~holds))
        verdicts.append(f"- {text}: holds for {does}; does not hold for {does_not}.")
    return "\n".join(
        [
            f"# Attention of {stage} ({survey}, {int(table['stars'].max())} {spectra} spectra)",
            "",
            pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True),
            "",
            *verdicts,
            "",
            MEANING,
            "",
            f"Made by SpectraFM {code_version()}.",
            "",
        ]
    )


def _needed(table: pd.DataFrame) -> Any:
    others = table[["rmse_shifted", "rmse_random"]].max(axis=1)
    return table["rmse_attended"] > others
