"""The model card: ``README.md`` in a model's folder."""

from __future__ import annotations

from typing import Any

from spectrafm.networks import NETWORKS


def model_card(facts: dict[str, Any], calibration: str) -> str:
    """Write the text of a model's ``README.md``.

    Parameters
    ----------
    facts : dict
        The content of its ``config.json``.
    calibration : str
        A sentence or two on the model's calibrated intervals.
    """
    stage = facts["stage"]
    windows = ", ".join(f"{low:.1f}-{high:.1f}" for low, high in stage["windows"])
    condition = f" with {stage['stars']['where']}" if stage["stars"]["where"] else ""
    low, high = stage["flux_range"]
    lines = [
        f"# {facts['stage_name']}",
        "",
        f"{NETWORKS[stage['architecture']].title}: a network for {', '.join(stage['labels'])}.",
        "",
    ]
    if facts["mock"]:
        lines += ["**MOCK SURVEY**: trained on simulated stars; not for use on real spectra.", ""]
    lines += [
        f"- started from: {facts['started_from'] or 'scratch'}",
        f"- spectra: {stage['spectra']}, {windows} Angstrom (vacuum, rest frame), "
        f"continuum-normalised; flux outside {low:g}-{high:g} is missing",
        f"- stars: {facts['training_star_count']} of the training split{condition}; "
        f"validated on {facts['validation_star_count']}",
        f"- frozen: {', '.join(stage['freeze']) or 'nothing'}",
        f"- kept: epoch {facts['epoch']} of {facts['epochs_trained']}, "
        f"{_SELECTIONS[stage['selection']]}",
        f"- skipped: {facts['skipped_steps']} steps without a finite loss or gradient",
        f"- made by: spectrafm {facts['spectrafm']}, on {_places(facts['environments'])}",
        "",
        *_label_table(facts),
        "",
        "A star whose labels lie outside these ranges is outside what the network has learned. The "
        f"predicted one-sigma uncertainties are not calibrated. {calibration}",
        "",
        "Load it with `spectrafm.from_pretrained(folder)`. `config.json` holds every option, "
        "`metrics.csv` the course of the training, `SHA256SUMS` the files' checksums.",
    ]
    return "\n".join(lines) + "\n"


def _label_table(facts: dict[str, Any]) -> list[str]:
    """Table of the trained labels: unit and range among the training stars."""
    rows = ["| label | unit | training stars |", "| --- | --- | --- |"]
    for name in facts["stage"]["labels"]:
        low, high = facts["label_ranges"][name]
        rows.append(f"| {name} | {facts['units'][name]} | {low:.4g} to {high:.4g} |")
    return rows


def _places(environments: list[dict[str, Any]]) -> str:
    """Devices that a model was trained on; several where the training resumed elsewhere."""
    return "; ".join(
        f"{place['device']}, torch {place['torch']}, {place['processes']} process(es) of "
        f"{place['threads']} thread(s), from step {place['from_step']}"
        for place in environments
    )


_SELECTIONS = {
    "validation": "the lowest loss on validation stars of the same kind",
    "validation_rmse": "the lowest RMSE on validation stars of the same kind",
    "painted": "the lowest RMSE on painted synthetic spectra of validation stars",
    "paper": "chosen as in the paper, on stars half of which are iron-poor",
    "last": "the last one",
}
