"""The model card: what a model's folder says about itself to a person."""

from __future__ import annotations

from typing import Any


def model_card(facts: dict[str, Any]) -> str:
    """Text of a model's README.md.

    Parameters
    ----------
    facts : dict
        The content of its config.json, without the architecture.
    """
    stage = facts["stage"]
    windows = ", ".join(f"{low:.1f}-{high:.1f}" for low, high in stage["windows"])
    condition = f" with {stage['stars']['where']}" if stage["stars"]["where"] else ""
    lines = [
        f"# {facts['stage_name']}",
        "",
        f"A {stage['architecture']} network for {', '.join(stage['labels'])}.",
        "",
    ]
    if facts["mock"]:
        lines += ["**MOCK SURVEY**: trained on simulated stars; not for use on real spectra.", ""]
    lines += [
        f"- started from: {facts['started_from'] or 'scratch'}",
        f"- spectra: {stage['spectra']}, {windows} Angstrom (vacuum, rest frame)",
        f"- stars: {facts['training_star_count']} of the training split{condition}; "
        f"judged on {facts['validation_star_count']}",
        f"- frozen: {', '.join(stage['freeze']) or 'nothing'}",
        f"- kept: epoch {facts['epoch']} of {facts['epochs_trained']}, "
        f"{_SELECTIONS[stage['selection']]}",
        f"- skipped: {facts['skipped_steps']} steps without a finite loss or gradient",
        f"- made by: spectrafm {facts['spectrafm']}, on {_places(facts['environments'])}",
        "",
        "Load it with `spectrafm.networks.saved.from_pretrained(folder)`. `config.json` holds "
        "every option, `metrics.csv` the course of the training, `SHA256SUMS` the files' "
        "checksums.",
    ]
    return "\n".join(lines) + "\n"


def _places(environments: list[dict[str, Any]]) -> str:
    """Where it was trained; more than one place where it went on elsewhere."""
    return "; ".join(
        f"{place['device']}, torch {place['torch']}, {place['processes']} process(es) of "
        f"{place['threads']} thread(s), from step {place['from_step']}"
        for place in environments
    )


_SELECTIONS = {
    "validation": "the lowest loss on validation stars of the same kind",
    "validation_rmse": "the lowest RMSE on validation stars of the same kind",
    "paper": "chosen as in the paper, on stars half of which are iron-poor",
    "last": "the last one",
}
