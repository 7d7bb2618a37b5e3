"""Networks: missing pixels, label scaling, the grid they are bound to, attention, encodings."""

from mutants import Mutant

BASE = "spectrafm/networks/base.py"
GRID = "spectrafm/networks/grid.py"
TRANSFORMER = "spectrafm/networks/transformer.py"
ATTENTION = "spectrafm/networks/attention.py"
ENCODING = "spectrafm/networks/encoding.py"
BINDING = "spectrafm/networks/binding.py"
RIDGE = "spectrafm/networks/ridge.py"
SAVED = "spectrafm/networks/saved.py"

BY_HAND = "tests/test_by_hand.py"
MISSING = "tests/test_networks.py::test_a_missing_pixel_reads_as_nothing_whatever_it_holds"
MODEL = "tests/test_model.py"
ATTACKS = "tests/test_malicious_models.py::test_malicious_models_are_refused_and_nothing_is_run"

MUTANTS = [
    Mutant(
        BASE,
        "(label - self.label_centre[request]) / scale, label_error / scale",
        "(label - self.label_centre[request]) / scale, label_error",
        "tests/test_by_hand.py",
        "the loss is weighted by errors in the wrong unit",
    ),
    Mutant(
        BASE,
        "isfinite() & (scale > 0)",
        "isfinite() & (scale >= 0)",
        f"{BY_HAND}::test_a_label_that_all_stars_share_is_not_divided_by_its_scatter",
        "a label that all stars share is divided by zero",
    ),
    Mutant(
        GRID,
        "rtol=0, atol=1e-3",
        "rtol=1, atol=1e-3",
        "tests/test_model.py::test_fcnn_refuses_other_pixels",
        "a network bound to its grid reads other wavelengths",
    ),
    Mutant(
        BASE,
        "flux.masked_fill(missing, torch.nan)",
        "flux",
        MISSING,
        "networks on a grid read what stands in missing pixels",
    ),
    Mutant(
        "spectrafm/networks/fcnn.py",
        "numbers.masked_fill(numbers.isnan(), 1.0)",
        "flux",
        MISSING,
        "FCNN reads what stands in missing pixels",
    ),
    Mutant(
        BASE,
        "answer.log_variance[:, request], answer.feature",
        "answer.log_variance[:, request.flip(0)], answer.feature",
        f"{BY_HAND}::test_labels_that_are_requested_keep_their_own_uncertainties",
        "the uncertainties of labels are exchanged",
    ),
    Mutant(
        TRANSFORMER,
        "flux = flux.masked_fill(missing, 1.0)",
        "pass",
        "tests/test_model.py "
        "tests/test_learner.py::test_a_star_with_nothing_to_teach_changes_no_bit",
        "a missing pixel's value reaches the gradient",
    ),
    Mutant(
        TRANSFORMER,
        "(flux - 1.0) / self.options.flux_scale",
        "flux / self.options.flux_scale",
        "tests/test_golden.py",
        "the flux is embedded by another formula than the models learned with",
    ),
    Mutant(
        TRANSFORMER,
        "full = attention.new_zeros(*attention.shape[:2], tokens)",
        "full = attention.new_ones(*attention.shape[:2], tokens)",
        "tests/test_model.py",
        "missing pixels have attention",
    ),
    Mutant(
        TRANSFORMER,
        "wanted if request is None else wanted[request]",
        "wanted if request is None else wanted[request.sort().values]",
        f"{BY_HAND}::test_a_chunk_is_what_the_network_makes_of_its_pixels",
        "labels in another order get each other's answers",
    ),
    Mutant(
        TRANSFORMER,
        "return [np.sort(context) for context in contexts]",
        "return [np.sort(context)[1:] for context in contexts]",
        "tests/test_inference.py::test_chunks_cover_each_window_once",
        "pixels are in no chunk",
    ),
    Mutant(
        TRANSFORMER,
        "torch.cat([empty, unknown], dim=1)",
        "torch.cat([empty, ~unknown], dim=1)",
        "tests/test_model.py::test_a_known_label_changes_the_answer_and_an_unknown_one_does_not",
        "unknown labels are read as zero, and known ones are not read",
    ),
    Mutant(
        ATTENTION,
        "scores.masked_fill(hidden, -torch.inf)",
        "scores.masked_fill(hidden, 0.0)",
        MODEL,
        "requests attend to missing pixels",
    ),
    Mutant(
        ATTENTION,
        "functional.pad(~missing, (0, 1), value=True)",
        "functional.pad(~missing, (0, 1), value=False)",
        MODEL,
        "a star without pixels has no token to attend to",
    ),
    Mutant(
        ENCODING,
        "phase = self.coordinate(wavelength.double())",
        "phase = self.coordinate(wavelength.float())",
        "tests/test_model.py tests/test_golden.py",
        "wavelengths are rounded to 0.001 Angstrom, phases to more",
    ),
    Mutant(
        ENCODING,
        "self.angular_frequency = kept.to(self.angular_frequency.device)",
        "pass",
        "tests/test_model.py::"
        "test_encoding_keeps_its_frequencies_when_the_network_goes_to_half_precision",
        "in half precision wavelengths are encoded by rounded frequencies",
    ),
    Mutant(
        BINDING,
        "valid = valid & ~missing[:, cells.pixel]",
        "pass",
        "tests/test_model.py",
        "a token of several pixels reads the missing ones",
    ),
    Mutant(
        BINDING,
        "known = valid & error.isfinite()",
        "known = error.isfinite()",
        "tests/test_binding.py::test_the_errors_of_missing_pixels_and_of_no_pixel_are_not_read",
        "a token reads the errors of missing pixels",
    ),
    Mutant(
        BINDING,
        "order = place.argsort(stable=True)",
        "order = torch.arange(len(place), device=place.device)",
        "tests/test_model.py",
        "pixels that do not come in order of wavelength fall into other tokens",
    ),
    Mutant(
        RIDGE,
        "leverage = 1 / len(y) +",
        "leverage =",
        "tests/test_networks.py::test_ridges_leave_one_out_error_is_that_of_refits",
        "the ridge's uncertainty is too small",
    ),
    Mutant(
        RIDGE,
        "self.log_variance[k] = error[best].log()",
        "self.log_variance[k] = error[best].sqrt().log()",
        "tests/test_networks.py::test_ridges_leave_one_out_error_is_that_of_refits",
        "the ridge gives sigma as its variance",
    ),
    Mutant(
        SAVED,
        "    check_checksums(folder)\n",
        "",
        "tests/test_malicious_models.py::test_no_damage_to_any_file_is_silent",
        "damaged weights are loaded",
    ),
    Mutant(
        SAVED,
        "if not tensor.isfinite().all():",
        "if False:",
        f"{ATTACKS}[weights]",
        "weights that are not finite are loaded",
    ),
    Mutant(
        SAVED,
        "if not stat.S_ISREG(status.st_mode):",
        "if False:",
        f"{ATTACKS}[folder]",
        "a link in a model's folder leads anywhere",
        may_hang=True,
    ),
    Mutant(
        "spectrafm/networks/projection.py",
        "content = content.masked_fill(empty[..., None], 0.0)",
        "content = content",
        "tests/test_projection.py::test_a_hidden_cell_adds_nothing_in_training",
        "a cell that is hidden in training is read",
    ),
    Mutant(
        "spectrafm/networks/projection.py",
        "numbers += [inputs.nan_to_num(), inputs.isfinite()",
        "numbers += [inputs.nan_to_num(), inputs.isnan()",
        "tests/test_projection.py::test_the_number_behind_an_input_says_that_it_is_there",
        "a projection network takes an unknown input for a known one",
    ),
]
