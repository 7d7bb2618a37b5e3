"""Predictions: units, uncertainties, chunks, pooling, flags, attention."""

from mutants import Mutant

BASE = "spectrafm/networks/base.py"
PREDICTOR = "spectrafm/inference/predictor.py"
CHUNKS = "spectrafm/inference/chunks.py"
TABLE = "spectrafm/inference/predictions.py"
MODEL = "spectrafm/inference/model.py"
MAPS = "spectrafm/inference/map_attention.py"

BY_HAND = "tests/test_by_hand.py"
INFERENCE = "tests/test_inference.py"
NEIGHBOURS = "tests/test_neighbours.py::test_bad_stars_never_change_anothers_prediction"
CALIBRATION = "spectrafm/inference/calibration.py"
CONFORMAL = "spectrafm/inference/conformal.py"
CALIBRATED = "tests/test_calibration.py"
FITTED = "tests/test_conformal.py"
FIRST_MISSING = "tests/test_neighbours.py::test_every_batch_has_a_missing_pixel_in_its_guard"
TWO_CHUNKS = "tests/test_inference.py::test_inverse_variance_of_two_chunks"
FLAGGED = "tests/test_inference.py::test_asked_for_anything_else_the_rows_are_flagged"

MUTANTS = [
    # Units and uncertainties.
    Mutant(
        BASE,
        "sigma * scale",
        "sigma",
        BY_HAND,
        "uncertainties are in no unit: a sigma of 0.2 K",
    ),
    Mutant(
        BASE,
        "return mean * scale + self",
        "return mean + self",
        BY_HAND,
        "predictions are in no unit",
    ),
    Mutant(
        PREDICTOR,
        "answer.log_variance[:-GUARD_STARS].exp()",
        "(answer.log_variance[:-GUARD_STARS] / 2).exp()",
        BY_HAND,
        "sigma is taken for the variance: every uncertainty is wrong",
    ),
    Mutant(
        PREDICTOR,
        "total.rsqrt()",
        "total.reciprocal()",
        TWO_CHUNKS,
        "the variance is given as sigma",
    ),
    Mutant(
        PREDICTOR,
        "(weight > 0).sum(dim=0).to(total).sqrt() * total.rsqrt()",
        "total.rsqrt()",
        TWO_CHUNKS,
        "chunks of a spectrum are taken for independent",
    ),
    Mutant(
        PREDICTOR,
        "weight = variances.reciprocal()",
        "weight = variances.rsqrt()",
        TWO_CHUNKS,
        "chunks are weighted by inverse sigma",
    ),
    Mutant(
        PREDICTOR,
        "variances.sqrt().nanmean(dim=0)",
        "variances.nanmean(dim=0).sqrt()",
        "tests/test_inference.py::test_plain_mean_of_two_chunks",
        "the plain mean is not the authors' one",
    ),
    # Pooling.
    Mutant(
        PREDICTOR,
        "part.where(shows_star, torch.nan) for part",
        "part for part",
        NEIGHBOURS,
        "a chunk without a good pixel of the star is averaged in",
    ),
    Mutant(
        PREDICTOR,
        "(shows_star & ~answered).any(dim=0)",
        "(shows_star & ~answered).all(dim=0)",
        NEIGHBOURS,
        "a chunk without an answer is left out without a word",
    ),
    Mutant(
        PREDICTOR,
        "[network.labels.index(label) for label in labels]",
        "sorted(network.labels.index(label) for label in labels)",
        BY_HAND,
        "labels in another order get each other's values",
    ),
    Mutant(
        PREDICTOR,
        "means[batch.chunk, batch.rows] =",
        "means[0, batch.rows] =",
        BY_HAND,
        "all chunks but one are lost",
    ),
    # Chunks and batches.
    Mutant(
        CHUNKS,
        "~shown.isfinite()",
        "shown.isnan()",
        BY_HAND,
        "an infinite pixel is shown, and its star has no answer",
    ),
    Mutant(
        CHUNKS,
        "missing[-1, 0] = True",
        "pass",
        FIRST_MISSING,
        "a star's last bit depends on whether others miss a pixel",
    ),
    Mutant(
        CHUNKS,
        "index_select(1, pixels), 1.0)",
        "index_select(1, pixels), torch.nan)",
        NEIGHBOURS,
        "a star's last bit depends on which pixels others have",
    ),
    Mutant(
        CHUNKS,
        "spectra[rows].index_select(1, pixels)",
        "spectra[rows][:, : len(pixels)]",
        BY_HAND,
        "every chunk shows the first pixels",
    ),
    Mutant(
        CHUNKS,
        "BLOCK = 4096",
        "BLOCK = 4095",
        "tests/test_streaming.py::test_a_block_is_whole_batches",
        "stars of later blocks are in other batches, and their last bit changes",
    ),
    Mutant(
        "spectrafm/inference/predict.py",
        "in stars.blocks(BLOCK):",
        "in list(stars.blocks(BLOCK)):",
        "tests/test_streaming.py::test_blocks_change_no_bit_of_a_prediction",
        "all spectra are held in memory",
    ),
    # The table of predictions.
    Mutant(
        TABLE,
        "known.index(label) if label in known else None",
        "number if label in known else None",
        INFERENCE,
        "predictions stand beside another label's catalogue values",
    ),
    Mutant(
        TABLE,
        "[NO_GOOD_PIXEL, NO_FINITE_ANSWER]",
        '["", NO_FINITE_ANSWER]',
        INFERENCE,
        "a star without a good pixel is not flagged",
    ),
    Mutant(
        TABLE,
        "[good == 0, unanswered]",
        "[good == 0, good < 0]",
        "tests/test_neighbours.py",
        "a star without an answer is not flagged",
    ),
    Mutant(
        TABLE,
        "stars.label_error[:, in_store]",
        "stars.label[:, in_store]",
        BY_HAND,
        "the catalogue's values stand as their own errors",
    ),
    Mutant(
        MODEL,
        "if not np.isin(shown, trained).all():",
        "if not np.isin(shown, trained).any():",
        FLAGGED,
        "predictions outside the trained windows are not flagged",
    ),
    Mutant(
        MODEL,
        "for label in labels if label not in self.labels]",
        "for label in labels if label not in self.network.labels]",
        FLAGGED,
        "labels that the stage did not train are not flagged",
    ),
    Mutant(
        MODEL,
        "if not stars.mock:",
        "if False:",
        "tests/test_inference.py::test_a_model_of_simulated_stars_stays_marked",
        "a model of simulated stars predicts real ones without a warning",
    ),
    # Attention maps.
    Mutant(
        MAPS,
        "logg > DWARF_ABOVE",
        "logg > GIANT_BELOW",
        "tests/test_inference.py",
        "subgiants are averaged among the dwarfs",
    ),
    Mutant(
        MAPS,
        "good = ~missing & both",
        "good = both",
        "tests/test_inference.py tests/test_neighbours.py",
        "missing pixels count in the mean attention",
    ),
    # Calibration.
    Mutant(
        CONFORMAL,
        "-(-(n + 1) * level // 100)",
        "-(-n * level // 100)",
        f"{FITTED}::test_quantiles_of_nineteen_stars",
        "quantiles of few stars are too small",
    ),
    Mutant(
        CALIBRATION,
        "np.maximum.accumulate(width, axis=0) * self.temperature",
        "np.maximum.accumulate(width, axis=0)",
        f"{FITTED}::test_a_calibration_by_hand",
        "intervals forget the temperature",
    ),
    Mutant(
        CALIBRATION,
        "(predicted < low) | (predicted > high)",
        "(predicted < low) & (predicted > high)",
        f"{CALIBRATED}::test_rows_beyond_the_calibration_are_flagged",
        "no row is ever beyond the calibration",
    ),
    Mutant(
        CALIBRATION,
        "width *= np.where(bins < 0, 1.0, np.array(factors)[bins].T)",
        "width *= 1.0",
        f"{FITTED}::test_groups_hold_their_share_each",
        "groups have no factors of their own",
    ),
    Mutant(
        CONFORMAL,
        "wanted = np.ceil((iron_poor.sum() + 1) * share) - within",
        "wanted = np.ceil((found.sum() + 1) * share)",
        f"{FITTED}::test_iron_poor_stars_of_the_catalogue_are_held_too",
        "iron-poor stars that are predicted iron-rich are forgotten",
    ),
    Mutant(
        CONFORMAL,
        "min(wanted, most)",
        "wanted",
        f"{FITTED}::test_no_width_makes_up_for_many_hidden_iron_poor_stars",
        "few stars make up for many, with intervals of any width",
    ),
    Mutant(
        "spectrafm/training/choice.py",
        "calibration = _of_validation_split(store, stage, judging, options, teacher)",
        "calibration = training",
        f"{CALIBRATED}::test_a_training_leaves_a_calibration",
        "a model is calibrated on its own training stars",
    ),
    Mutant(
        "spectrafm/training/choice.py",
        "judging = gap if aside is None else gap.seen_in(aside, synthetic)",
        "judging = gap",
        "tests/test_fewshot.py::"
        "test_validation_spectra_are_painted_with_residuals_that_no_network_was_shown",
        "validation spectra are painted with residuals that the network has learned to overlook",
    ),
    Mutant(
        "spectrafm/inference/chunks.py",
        "if error is not None and network.wants_errors:",
        "if error is not None:",
        "tests/test_inference.py::test_errors_go_to_networks_that_use_them",
        "a network that learned without errors is given them",
    ),
]
