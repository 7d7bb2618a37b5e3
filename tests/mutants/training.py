"""Training: loss, batches, schedule, skipped steps, choice of weights, checkpoints, resuming."""

from mutants import Mutant

LOSS = "spectrafm/training/objective.py"
BASE = "spectrafm/networks/base.py"
BATCH = "spectrafm/training/batch.py"
STEP = "spectrafm/training/step.py"
LOOP = "spectrafm/training/loop.py"
STARS = "spectrafm/training/stars.py"
SCHEDULE = "spectrafm/training/schedule.py"
SAMPLING = "spectrafm/training/sampling.py"
VALIDATION = "spectrafm/training/validation.py"
RESUME = "spectrafm/training/resume.py"
CHECKPOINT = "spectrafm/training/checkpoint.py"

BY_HAND = "tests/test_by_hand.py"
STOPPED = "tests/test_resume.py::test_stopped_in_any_step[9]"
LOSS_OF_STEP = (
    "tests/test_by_hand.py::"
    "test_the_training_loss_is_the_mean_over_known_labels_each_with_its_own_error"
)
SHARES = "tests/test_processes.py::test_the_shares_make_up_the_whole_step"
TALLY = "tests/test_learner.py::test_the_tally_counts_skipped_steps_and_those_in_a_row"
BEST = (
    "tests/test_resume.py::"
    "test_the_weights_of_the_best_validation_are_kept_also_by_a_resumed_training"
)
SPOILED = (
    "tests/test_learner.py::test_a_step_that_is_not_finite_changes_nothing_and_is_counted "
    "tests/test_learner.py::test_ten_in_a_row_stop_it_and_name_the_stars"
)

MUTANTS = [
    # Loss.
    Mutant(
        LOSS,
        "requested, label_error, 0.0).nan_to_num(0.0)",
        "requested, label_error, 0.0).nan_to_num(1.0)",
        BY_HAND,
        "an unknown error counts as one standard deviation",
    ),
    Mutant(
        LOSS,
        "(label - mean).square()",
        "(label - mean).abs()",
        BY_HAND,
        "the likelihood is not Gaussian",
    ),
    Mutant(
        LOSS,
        "+ label_error.square()",
        "+ label_error",
        BY_HAND,
        "the label's sigma is added as a variance",
    ),
    Mutant(
        LOSS,
        "+ variance.log())",
        "+ log_variance)",
        BY_HAND,
        "the logarithm leaves out the label's error",
    ),
    Mutant(
        LOSS,
        "label = torch.where(requested, label, mean.detach())",
        "pass",
        "tests/test_training.py::test_missing_labels_give_no_gradient",
        "a missing label makes the gradient NaN",
    ),
    Mutant(
        STEP,
        "each.sum() / batch.count.clamp(min=1)",
        "each.mean()",
        LOSS_OF_STEP,
        "missing labels shrink the loss and its gradient",
    ),
    Mutant(
        VALIDATION,
        ".sqrt() * network.label_scale[request]",
        ".sqrt()",
        BY_HAND,
        "the validation's RMSE is in no unit",
    ),
    # Batches.
    Mutant(
        BATCH,
        "requested = requested & ~given\n",
        "pass\n",
        f"{SHARES}[scattered-3]",
        "the loss is divided by labels that are not requested",
    ),
    Mutant(
        BATCH,
        "requested=batch.requested & ~given[share]",
        "requested=batch.requested",
        "tests/test_training.py::test_a_given_label_is_not_asked_and_a_missing_one_neither",
        "a label is given and requested: the network learns to copy it",
    ),
    Mutant(
        BATCH,
        "requested = stars.teaches[rows]\n    if",
        "requested = stars.teaches[rows] | True\n    if",
        LOSS_OF_STEP,
        "missing labels are requested",
    ),
    Mutant(
        BATCH,
        "label_error=stars.label_error[rows]",
        "label_error=stars.label_error[rows].flip(0)",
        LOSS_OF_STEP,
        "stars are weighted by other stars' errors",
    ),
    Mutant(
        SAMPLING,
        "rank.masked_fill(~valid, torch.inf)",
        "rank",
        "tests/test_training.py::test_only_valid_pixels_of_a_window_are_shown_once",
        "bad pixels are shown",
    ),
    Mutant(
        SAMPLING,
        'f"{seed}:{purpose}:{index}"',
        'f"{seed}:{purpose}"',
        "tests/test_training.py::test_a_batch_depends_on_seed_and_step_alone",
        "every step shows the same pixels",
    ),
    Mutant(
        STARS,
        "self.label.isfinite() & ~self.label_error.isinf()",
        "self.label.isfinite()",
        "tests/test_learner.py::test_a_star_with_nothing_to_teach_changes_no_bit",
        "a label with an infinite error is learned",
    ),
    Mutant(
        STARS,
        "if found != label.unit:",
        "if False:",
        "tests/test_networks.py::test_a_label_in_another_unit_is_refused",
        "a network that knows kelvin learns from logarithms of it",
    ),
    Mutant(
        STARS,
        'matching = matching[np.argsort(stars.apogee_id[matching], kind="stable")]',
        "pass",
        "tests/test_training.py::test_drawn_stars_do_not_depend_on_the_order_of_rows",
        "which hundred stars are drawn depends on the number of shards",
    ),
    Mutant(
        STARS,
        "np.random.default_rng(options.seed)",
        "np.random.default_rng(77)",
        "tests/test_training.py::test_drawn_stars_do_not_depend_on_the_order_of_rows",
        "all draws of the few stars are the same",
    ),
    # Learning rate.
    Mutant(
        SCHEDULE,
        "(step + 0.5) / steps_per_epoch",
        "step / steps_per_epoch",
        "tests/test_training.py::test_the_last_step_of_each_cosine_runs_at_the_minimum",
        "the first step of a warm-up does nothing",
    ),
    Mutant(
        SCHEDULE,
        "(cycle % 1.0)",
        "min(cycle, 1.0)",
        "tests/test_training.py::test_learning_rate_warms_up_anneals_and_restarts",
        "the learning rate does not restart",
    ),
    # Steps that are not finite, and the choice of the weights.
    Mutant(
        STEP,
        "self.optimizer.found_inf = (~finite).float()",
        "self.optimizer.found_inf = torch.zeros_like(finite).float()",
        SPOILED,
        "one bad star makes all weights NaN",
    ),
    Mutant(
        STEP,
        "in_a_row = torch.where(finite, 0.0, self.in_a_row + 1)",
        "in_a_row = torch.where(finite, self.in_a_row, self.in_a_row + 1)",
        TALLY,
        "ten bad steps of a long training stop it",
    ),
    Mutant(
        STEP,
        "loss=self.loss + torch.where(finite, loss, 0.0)",
        "loss=self.loss + loss",
        TALLY,
        "the training loss is NaN after one bad star",
    ),
    Mutant(
        LOOP,
        "if criterion < self.best_criterion:",
        "if criterion > self.best_criterion or not self.best_epoch:",
        BEST,
        "the worst weights are kept",
    ),
    Mutant(
        LOOP,
        "self.network.load_state_dict(self.best)",
        "pass",
        BEST,
        "the last weights are kept, not the best",
    ),
    Mutant(
        CHECKPOINT,
        "value.detach().clone() for name",
        "value.detach() for name",
        BEST,
        "the best weights go on training",
    ),
    # Checkpoints and resuming.
    Mutant(
        LOOP,
        "checkpoint.restore_optimizer(self.learner.optimizer, state.tensors)",
        "pass",
        STOPPED,
        "a resumed training begins with empty moments",
    ),
    Mutant(
        LOOP,
        "self.best = {name: value.to(device) for name, value in best.items()}",
        "pass",
        BEST,
        "a resumed training forgets its best weights",
    ),
    Mutant(
        LOOP,
        "self.learner.tally = Tally(**{name: value.to(device) for name, value in tally.items()})",
        "pass",
        STOPPED,
        "a resumed epoch's training loss is that of its last steps",
    ),
    Mutant(
        LOOP,
        'self.stage.seed, "stars", epoch)',
        'self.stage.seed, "stars", self.step)',
        STOPPED,
        "a resumed epoch shows some stars twice and others not at all",
    ),
    Mutant(
        STEP,
        "torch.manual_seed(seed_for(stage.seed, purpose, step))",
        "pass",
        STOPPED,
        "dropout depends on what the process did before",
    ),
    Mutant(
        CHECKPOINT,
        'if metadata.get("sha256") != _digest(tensors, facts):',
        "if False:",
        "tests/test_resume.py::test_of_100_damaged_checkpoints_none_is_used",
        "a damaged checkpoint is resumed from",
    ),
    Mutant(
        CHECKPOINT,
        "for path in reversed(self._paths()):",
        "for path in self._paths():",
        "tests/test_resume.py::test_the_last_two_are_kept",
        "an old checkpoint is taken for the newest",
    ),
    Mutant(
        CHECKPOINT,
        "KEPT = 2",
        "KEPT = 1",
        "tests/test_resume.py::test_the_last_two_are_kept",
        "a damaged newest checkpoint costs the whole training",
    ),
    Mutant(
        CHECKPOINT,
        "json.dumps(options, sort_keys=True).encode()",
        "b''",
        "tests/test_resume.py::test_other_options_start_anew_and_say_so",
        "a training resumes from one with other options",
    ),
    Mutant(
        CHECKPOINT,
        'digest.update(memoryview(values.copy(order="C")).cast("B"))',
        "pass",
        "tests/test_resume.py::test_other_stars_start_anew_and_say_so",
        "a training resumes from one on other stars",
    ),
    Mutant(
        RESUME,
        "if differing and exact:",
        "if False:",
        "tests/test_resume.py::test_another_place_is_refused_where_bits_count",
        "an exact training goes on with other bits",
    ),
    # Several processes.
    Mutant(
        "spectrafm/training/processes.py",
        "if len(set(found)) > 1:",
        "if False:",
        "tests/test_processes.py::test_what_the_processes_agree_on",
        "processes whose weights have drifted apart go on",
    ),
    Mutant(
        BATCH,
        "(share < stars)[:, None]",
        "(share <= stars)[:, None]",
        f"{SHARES}[scattered-3]",
        "a star that fills up a share counts twice",
    ),
    # What few stars, and wrong models, teach.
    Mutant(
        "spectrafm/training/gap.py",
        "alone = residual[known] / (1 - leverage[known])",
        "alone = residual[known]",
        "tests/test_fewshot.py::test_the_number_of_components_is_that_which_predicts_left_out_stars_best",
        "the gap of few stars is fitted to their noise",
    ),
    Mutant(
        BATCH,
        "depth = (1.0 - batch.flux).nan_to_num(0.0)",
        "depth = batch.flux.nan_to_num(0.0)",
        "tests/test_noise.py::test_line_noise_changes_the_depth_of_lines_and_no_continuum",
        "wrong lines are a wrong continuum",
    ),
    Mutant(
        "spectrafm/training/extrapolation.py",
        "inner, outer = subset(stars, known & ~lowest)",
        "inner, outer = subset(stars, known)",
        "tests/test_extrapolation.py::test_the_factor_is_of_stars_that_the_second_training_has_not_seen",
        "the pull towards the mean is measured on stars that the network has seen",
    ),
    Mutant(
        BASE,
        "self.label_scale[place] *= by.factor",
        "self.label_scale[place] *= 1.0",
        "tests/test_extrapolation.py::test_a_network_multiplies_distances_and_uncertainties",
        "answers are moved and their distances kept",
    ),
]
