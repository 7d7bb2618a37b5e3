"""The model card: ``README.md`` in a model's folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from spectrafm.networks import NETWORKS


def model_card(
    facts: dict[str, Any],
    calibration: str,
    domain: str,
    scores: Mapping[str, float],
    coverage: Mapping[str, Sequence[float] | None],
    groups: Sequence[Any] = (),
) -> str:
    """Write the text of a model's ``README.md``.

    Parameters
    ----------
    facts : dict
        The content of its ``config.json``.
    calibration : str
        A sentence or two on the model's calibrated intervals.
    domain : str
        What the model learned from, in words.
    scores : mapping of str to float
        RMSE on validation stars by label, in its unit; NaN or absent where unknown.
    coverage : mapping of str to sequence of float
        Share of validation stars within the intervals of 68, 90 and 95 %, by label.
    groups : sequence of spectrafm.inference.by_group.GroupScore
        Errors and coverage by group of validation stars.
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
        f"{_flux(stage.get('normaliser'))}; flux outside {low:g}-{high:g} is missing",
        f"- stars: {facts['training_star_count']} of the training split{condition}{_aside(facts)}; "
        f"validated on {facts['validation_star_count']}",
        *_taught((stage.get("pseudo_labels") or {}).get("teacher")),
        *_labelled(stage["stars"].get("labelled") or {}),
        *_replayed((stage.get("replay") or {}).get("spectra"), facts["started_from"]),
        f"- frozen: {', '.join(stage['freeze']) or 'nothing'}",
        *_extrapolated(facts.get("extrapolation")),
        f"- kept: epoch {facts['epoch']} of {facts['epochs_trained']}, "
        f"{_SELECTIONS[stage['selection']]}",
        f"- skipped: {facts['skipped_steps']} steps without a finite loss or gradient",
        f"- made by: spectrafm {facts['spectrafm']}, on {_places(facts['environments'])}",
        "",
        "## Labels",
        "",
        *_label_table(facts, scores, coverage),
        "",
        "A star whose labels lie outside these ranges is outside what the network has learned; "
        "predictions flag it OUT_OF_LABEL_RANGE. The RMSE is that of validation stars. The "
        f"predicted one-sigma uncertainties are not calibrated. {calibration} Coverage: the share "
        "of validation stars within the intervals, where these are fitted on the other half of "
        "them.",
        "",
        *_group_table(groups),
        "## Use",
        "",
        *_uses(facts, domain),
        "",
        "Load it with `spectrafm.SpectraFM.from_pretrained(folder)`; `spectrafm verify FOLDER` "
        "checks its files and that it still gives its stored answer. `config.json` holds every "
        "option, `domain.json` what it learned from, `calibration.json` its intervals, "
        "`metrics.csv` the course of the training, `SHA256SUMS` the files' checksums.",
        "",
        "## Licence and citation",
        "",
        "BSD-3-Clause, as the package. Please cite Koblischke & Bovy 2024, *SpectraFM: Tuning "
        "into Stellar Foundation Models* (Foundation Models for Science Workshop, NeurIPS 2024), "
        "and the survey whose spectra and labels it learned from.",
        *(["", f"Data: {facts['acknowledgement']}"] if facts.get("acknowledgement") else []),
    ]
    return "\n".join(lines) + "\n"


def _taught(teacher: str | None) -> list[str]:
    """The line on the teacher whose labels the network learned."""
    if teacher is None:
        return []
    return [f"- labels: those that {teacher} predicts; none of the catalogue was read"]


def _aside(facts: Mapping[str, Any]) -> str:
    """What is said of stars that a stage was given and did not learn from."""
    if not facts.get("set_aside_count"):
        return ""
    return f", {facts['set_aside_count']} of them set aside to choose the checkpoint and intervals"


def _labelled(conditions: Mapping[str, str]) -> list[str]:
    """Lines on the labels that were not read of all stars."""
    return [f"- labels: {name} only of stars with {where}" for name, where in conditions.items()]


def _replayed(spectra: str | None, start: str | None) -> list[str]:
    """The line on other spectra that the network saw beside those of its stars."""
    if spectra is None:
        return []
    stars = f"stars of the kind that {start} learned from, with its own labels of them"
    return [f"- replay: {stars if spectra == 'start' else f'{spectra} spectra'}"]


def _extrapolated(by: Mapping[str, Any] | None) -> list[str]:
    """The line on answers that were corrected for their pull towards the mean."""
    if by is None:
        return []
    return [
        f"- answers of {by['label']}: their distance from {by['centre']:.3g} multiplied with "
        f"{by['factor']:.3g}, by which the stars with the lowest values, left out of a second "
        "training, are predicted best; the RMSE below is that before"
    ]


def _flux(normaliser: str | None) -> str:
    """What the flux is that the network is given."""
    if normaliser is None:
        return "continuum-normalised"
    return f"flux as observed, which the network normalises itself (`{normaliser}`)"


def _label_table(
    facts: dict[str, Any],
    scores: Mapping[str, float],
    coverage: Mapping[str, Sequence[float] | None],
) -> list[str]:
    """Table of the trained labels: unit, range among the training stars, error and coverage."""
    rows = [
        "| label | unit | training stars | RMSE | coverage of 68, 90, 95 % intervals |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in facts["stage"]["labels"]:
        low, high = facts["label_ranges"][name]
        rmse = scores.get(name, math.nan)
        error = "unknown" if math.isnan(rmse) else f"{rmse:.3g}"
        shares = ", ".join(f"{100 * share:.1f} %" for share in coverage.get(name) or ())
        rows.append(
            f"| {name} | {facts['units'][name]} | {low:.4g} to {high:.4g} | {error} | "
            f"{shares or 'unknown'} |"
        )
    return rows


def _group_table(groups: Sequence[Any]) -> list[str]:
    """Section on the errors of each group of validation stars; empty without groups."""
    if not groups:
        return []
    labels = list(dict.fromkeys(one.label for one in groups))
    found = {(one.group, one.label): one for one in groups}
    lines = [
        "## Errors by group of validation stars",
        "",
        "| stars | " + " | ".join(labels) + " |",
        "| --- | " + " | ".join("---" for _ in labels) + " |",
    ]
    for group in dict.fromkeys(one.group for one in groups):
        cells = [_cell(found.get((group, label))) for label in labels]
        lines.append(f"| {group} | " + " | ".join(cells) + " |")
    text = (
        "In each cell: number of stars; mad_std and RMSE of predicted minus catalogued, in the "
        "label's unit; share of stars within the intervals of 68, 90 and 95 %, percent."
    )
    return [*lines, "", text, ""]


def _cell(one: Any | None) -> str:
    if one is None:
        return "–"
    shares = " / ".join(f"{100 * share:.1f}" for share in one.coverage) or "not calibrated"
    return f"{one.count:,}; {one.scatter:.3g}, {one.rmse:.3g}; {shares}"


def _uses(facts: dict[str, Any], domain: str) -> list[str]:
    """What the model is for, what it is not for, and where it is known to fail."""
    stage = facts["stage"]
    stars = "simulated stars, as an example and in tests" if facts["mock"] else "such stars"
    lines = [
        f"- intended: labels of {stars}, from spectra like those that it learned from: {domain}.",
        "- out of scope: other instruments, resolutions, wavelengths or kinds of stars. "
        "Predictions flag what is unlike the training spectra (OUT_OF_DISTRIBUTION), shifted "
        "(SHIFTED), has few good pixels (FEW_PIXELS) or a low signal-to-noise ratio (LOW_SNR); "
        "a spectrum without a flag may still be wrong.",
    ]
    if stage["spectra"] == "synthetic":
        lines.append(
            "- known failure: it has seen no observed spectrum; labels of observed spectra are "
            "biased by what separates them from synthetic ones, and their uncertainties too small. "
            "It is unlike every observed spectrum, so that nearly all are flagged "
            "OUT_OF_DISTRIBUTION: fine-tune it on observed stars."
        )
    if stage["stars"]["where"]:
        lines.append(
            f"- known failure: it has seen no observed star without {stage['stars']['where']}; "
            "errors are larger there, and the intervals do not hold."
        )
    return lines


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
