"""The command ``finetune``: adapt a model to a table of labelled spectra, and compare it."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field, ValidationError

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.sources import model_folder
from spectrafm.integrity import write_checksums
from spectrafm.labels import LabelName, LabelUnit, error_column
from spectrafm.networks import NETWORKS, saved
from spectrafm.networks.options import Model
from spectrafm.options import Count, Section, Seed
from spectrafm.outputs import claims
from spectrafm.readers.labelled import LabelledTable, labelled_arrays, read_labelled
from spectrafm.reading import problem_in
from spectrafm.spectra.spectra import Spectra
from spectrafm.training.comparison import (
    FINETUNED,
    RIDGE,
    SCRATCH,
    TEST,
    TUNED,
    VALIDATION,
    as_text,
    compared,
    split_of,
    summary_of,
)
from spectrafm.training.labelled import Labelled, labelled
from spectrafm.training.options import Stage
from spectrafm.training.train import train

logger = logging.getLogger(__name__)

#: Name of the file in the model's folder with every score of the comparison.
COMPARISON = "comparison.csv"

#: Fewest labelled spectra.
FEWEST = 12

#: Number of parameters below which a network trains faster on one thread than on several.
SMALL = 2_000_000


class FineTune(Section):
    """How a model is adapted to labelled spectra."""

    labels: list[LabelName] | None = Field(
        None,
        min_length=1,
        description="labels to learn, columns of the table, also ones that the model does not "
        "know; null: those of the model that the table has",
    )
    units: dict[LabelName, LabelUnit] = Field(
        {}, description="unit of each new label whose column has none, such as {AGE: Gyr}"
    )
    steps: Count = Field(
        300, description="steps of each training; an MLP from scratch has twice as many"
    )
    draws: Count = Field(3, description="random divisions of the stars to compare on")
    seed: Seed = Field(0, description="seed of the divisions, and of the trainings")
    rate: float = Field(3e-4, gt=0, description="peak learning rate")


def finetune(
    model: Path, table: Path, *, output: Path, mlp: Path | None = None, options: FineTune
) -> str:
    """Fine-tune a model on a table of labelled spectra, and compare it with simple models.

    The table (CSV, ECSV, VOTable, Parquet, FITS) has a spectrum a row, or a column `file` that
    names each star's file, of any format that is known; and a column for each label, with its
    one-sigma error in `<label>_ERR` where there is one. A label that the model does not know yet is
    added to it.

    For the comparison a quarter of the stars is set aside, several times; and once the stars with
    the lowest values of [Fe/H], or of the first label, which no model has seen the like of. The
    model that is written learns from all stars but a fifth, by which its intervals are calibrated.

    Parameters
    ----------
    model : pathlib.Path
        Folder of a trained model; the name of a shipped one; or owner/name@commit.
    table : pathlib.Path
        Labelled spectra.
    output : pathlib.Path
        Folder of the model to write.
    mlp : pathlib.Path, optional
        Folder of a pre-trained MLP of the same pixels, to compare with; by default the one named
        mlp_pretrain beside the model, where its pixels are the spectra's.
    options : FineTune
        Labels, divisions, seed.

    Returns
    -------
    str
        The comparison as text.

    Raises
    ------
    SpectraFMError
        When a spectrum cannot be read, a label is missing, or there are too few stars.

    Examples
    --------
    $ spectrafm finetune results/demo/models/pretrain mystars.csv -o mymodel
    $ spectrafm finetune results/demo/models/pretrain mystars.csv -o mymodel --labels '[FE_H, AGE]'
    """
    trained = TrainedModel.load(model_folder(model))
    return _finetune(trained, read_labelled(table), output, mlp, options)


def finetune_spectra(
    trained: TrainedModel,
    spectra: Spectra,
    labels: Any,
    output: Path,
    mlp: Path | None = None,
    **options: Any,
) -> str:
    """Fine-tune a model on spectra in memory; see `finetune`.

    Parameters
    ----------
    labels : mapping of str to array-like, or table
        All of them are learned, but for columns of errors.
    **options
        Those of `FineTune`, such as units of labels that the model does not know.
    """
    stars = labelled_arrays(spectra, labels)
    names = [name for name in stars.table.colnames if not name.endswith(error_column(""))]
    try:
        found = FineTune(labels=names, **options)
    except ValidationError as error:
        raise SpectraFMError(f"finetune: {problem_in(error)}") from None
    return _finetune(trained, stars, output, mlp, found)


@claims(output=saved.MODEL)
def _finetune(
    trained: TrainedModel,
    table: LabelledTable,
    output: Path,
    mlp: Path | None,
    options: FineTune,
) -> str:
    stars = labelled(trained, table, options.labels, options.units)
    usable = np.isfinite(stars.label).any(axis=1) & np.isfinite(stars.flux).any(axis=1)
    if usable.sum() < FEWEST:
        raise SpectraFMError(
            f"{table.source}: {int(usable.sum())} spectra with a label and a good pixel: "
            f"at least {FEWEST} needed"
        )
    stages = _stages(trained, stars, options, int(usable.sum()), mlp)
    with tempfile.TemporaryDirectory(prefix="spectrafm-") as temporary, _quiet(), _threads(trained):
        scores = pd.DataFrame(
            compared(trained, stages, stars, usable, options.draws, options.seed, Path(temporary))
        )
        split = split_of(usable, 0, VALIDATION, np.random.default_rng(options.seed))
        store = stars.write(Path(temporary) / "final.zarr", split)
        stage, start = stages[FINETUNED]
        made = Path(temporary) / "model"
        train(store, name=output.name, output=made, start=start, stage=stage, model=Model())
        files.write_text(made / COMPARISON, scores.to_csv(index=False))
        write_checksums(made)
        with files.atomic_path(output, saved.MODEL) as final:
            shutil.copytree(made, final)
    return as_text(summary_of(scores), stars, int(usable.sum()), output)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let only warnings of the trainings through."""
    whole = logging.getLogger("spectrafm")
    level = whole.level
    whole.setLevel(logging.ERROR)
    try:
        yield
    finally:
        whole.setLevel(level)


@contextlib.contextmanager
def _threads(trained: TrainedModel) -> Iterator[None]:
    """Train a small network on one thread: its bits do not depend on the machine's cores."""
    before = torch.get_num_threads()
    if sum(one.numel() for one in trained.network.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _stages(
    trained: TrainedModel, stars: Labelled, options: FineTune, count: int, mlp: Path | None
) -> dict[str, tuple[Stage, Path | None]]:
    """The trainings to compare by name: options, and the model that each starts from."""
    batch = max(2, min(25, count // 4))
    learned = int(count * (1 - TEST))
    steps = -(-learned // batch)
    reads = trained.network.reads.model_dump()
    # A network from scratch cannot read an input that no star has.
    reads["inputs"] = [
        name
        for name, values in stars.inputs.items()
        if np.isfinite(values).any() and np.nanstd(values) > 0
    ]
    common = {
        "spectra": "observed",
        "windows": stars.windows,
        "flux_range": trained.facts["stage"].get("flux_range") or (0.05, 1.2),
        "labels": [label.name for label in stars.labels],
        "selection": "last",
        **reads,
        "batch": batch,
        "seed": options.seed,
    }

    def stage(architecture: str, wanted: int, rate: float, **further: Any) -> Stage:
        epochs = -(-wanted // steps)
        grid = NETWORKS[architecture].reads == "grid"
        scheme = "all" if grid else "window" if trained.network.reads_whole else "mixed"
        return Stage(
            architecture=architecture,
            epochs=epochs,
            validate_every=epochs,
            schedule={
                "learning_rate": rate,
                "minimum": rate / 100,
                "warmup_epochs": epochs / 15,
                "restart_epochs": epochs * 14 / 15,
            },
            sampling={"scheme": scheme, "tokens": trained.facts["tokens"]},
            **{**common, **further},
        )

    own = trained.network.architecture
    new = [label for label in stars.labels if label.name not in trained.network.labels]
    freeze: list[str] = []
    # Later layers keep what they know, as in the paper, unless labels or wavelengths are new.
    if own == "spectrafm" and not new and set(stars.windows) <= set(trained.windows):
        blocks = len(trained.network.encoder)
        freeze = [*(f"encoder.{place}" for place in range(1, blocks)), "decoder", "head"]
    start_from = trained.facts["stage_name"]
    found = {
        FINETUNED: (
            stage(
                own,
                options.steps,
                options.rate,
                start_from=start_from,
                freeze=freeze,
                inputs=trained.network.reads.inputs,
            ),
            trained.folder,
        ),
        RIDGE: (stage("ridge", 1, options.rate), None),
        SCRATCH: (stage("mlp", 2 * options.steps, 3e-4), None),
    }
    beside = trained.folder.parent / "mlp_pretrain" if mlp is None else Path(mlp)
    if beside.is_dir() and own != "mlp":
        network, facts = saved.from_pretrained(beside)
        own_pixels = network.wavelength.numpy()
        fits = own_pixels.shape == stars.wavelength.shape
        fits = fits and np.allclose(own_pixels, stars.wavelength, rtol=1e-7, atol=0)
        if fits and all(label.name in network.labels for label in stars.labels):
            rest = stage("mlp", 120, 3e-5, start_from=facts["stage_name"])
            found[TUNED] = (rest, beside)
        elif mlp is not None:
            raise SpectraFMError(f"{mlp}: reads other pixels or labels than the table's")
    return found
