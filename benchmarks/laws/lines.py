"""What was wrong once, and the tests that hold what is right now."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LINES", "Line"]


@dataclass(frozen=True)
class Line:
    """A kind of fault that was found in use, or by reading, and its tests."""

    name: str
    wrong: str
    tests: tuple[str, ...] = ()
    """As ``folder/file::test``; none: not yet."""
    missing: str = ""
    """What the tests do not hold, if anything."""


LINES: tuple[Line, ...] = (
    Line(
        "A.1",
        "A fit that is interrupted or diverges leaves new scaling with old weights: a score of −4.9 becomes −81",
        (
            "estimators/test_base::test_a_fit_that_is_interrupted_anywhere_leaves_the_former_one_whole",
            "estimators/test_base::test_a_training_that_diverges_leaves_the_former_fit",
            "estimators/test_base::test_rows_that_are_refused_leave_the_former_fit",
            "laws/test_laws::test_the_law_holds",
        ),
    ),
    Line(
        "A.2",
        "Cells outside a likelihood's domain have the most ordinary score of all (−24 becomes +36,937), or NaN",
        (
            "conformance/test_support::test_the_density_of_a_row_outside_the_support_is_0_and_others_do_not_change",
            "conformance/test_support::test_a_detector_flags_such_a_row_with_a_finite_score",
            "conformance/test_support::test_the_row_is_counted_in_the_whole_table",
        ),
    ),
    Line(
        "A.3",
        "`set_output` relabels columns by position: 99.87 and −0.13, swapped",
        (
            "conformance/test_containers::test_the_imputers_columns_are_those_it_names_whatever_comes",
            "conformance/test_containers::test_mixed_columns_are_read_by_name_and_unseen_ones_counted",
            "conformance/test_containers::test_files_of_numbers_are_read_by_name_and_unseen_columns_counted",
            "conformance/test_containers::test_tables_of_numbers_in_another_order_or_with_more_columns_are_refused",
        ),
    ),
    Line(
        "A.4",
        "A named index becomes a feature: 99.8 % of later ordinary rows are flagged",
        (
            "data/test_order::test_an_index_is_no_feature",
            "data/test_order::test_a_first_column_without_a_name_is_an_index",
            "data/test_order::test_an_index_asked_for_by_name_is_a_column",
        ),
    ),
    Line(
        "A.5",
        "Texts True, False, Maybe are read as booleans in a file without Maybe, and all 50 rows are flagged",
        (
            "data/test_text::test_cells_are_read_with_the_types_of_the_model",
            "data/test_frames::test_a_category_means_the_same_in_another_type",
            "data/test_text::test_a_notation_and_signs_for_nothing_are_remembered",
            "laws/test_laws::test_the_law_holds",
        ),
    ),
    Line(
        "A.6",
        "Decimal commas, grouped thousands, currencies, per cent, days first, other separators and encodings, headers "
        "of years, comments: columns vanish in silence",
        (
            "data/test_text::test_a_file_is_read_however_it_is_written",
            "data/test_text::test_the_same_cells_are_read_from_any_notation",
            "data/test_text::test_what_may_be_two_things_is_refused_with_the_option",
            "data/test_text::test_what_was_found_is_said_once_and_what_is_usual_is_not",
            "data/test_text::test_encodings_are_found",
            "data/test_text::test_other_names_are_text_files_too",
            "data/test_text::test_json_lines",
            "data/test_text::test_late_decimals_and_texts_in_a_large_file",
            "data/test_dates::test_a_column_of_one_form_is_read",
            "data/test_numerals::test_any_number_comes_back_in_any_notation",
            "data/test_sheets::test_a_sheet_is_a_table",
            "cli/test_file_options::test_options_of_the_command_and_of_a_schema_file_say_the_same",
            "cli/test_file_options::test_rows_may_come_by_standard_input",
        ),
    ),
    Line(
        "A.7",
        "Ids, clocks, unique texts and empty columns are left out, or learned, in silence",
        (
            "data/test_order::test_it_is_left_out_with_a_warning_of_its_own",
            "data/test_order::test_what_is_a_feature_is_kept_in_silence",
            "data/test_order::test_the_order_of_rows_decides_nothing",
            "data/test_order::test_the_schema_has_the_last_word_in_silence",
        ),
    ),
    Line(
        "A.8",
        "The imputer is worse than the column mean on small tables (1.29 against 1.02), and takes minutes",
        (
            "estimators/test_blend::test_the_mean_and_chained_regressions_are_never_better_by_more_than_2_percent",
            "estimators/test_blend::test_few_rows_train_nothing",
            "estimators/test_blend::test_steps_are_counted",
            "estimators/test_blend::test_words_are_as_often_right_as_the_most_frequent_one_or_oftener",
            "estimators/test_blend::test_networks_have_no_share_where_they_are_worse_and_are_then_left_out",
            "estimators/test_blend::test_intervals_of_few_rows_hold_the_truth_as_often_as_they_say",
        ),
        "on 3 and 6 rows of iris, chained regressions are 18 and 11 % better",
    ),
    Line(
        "A.9",
        "Generated rows break relations: a correlation of .43 is invented",
        (
            "estimators/test_generator::test_sums_are_sums_and_their_terms_stay_independent",
            "estimators/test_generator::test_sums_of_integers_and_rounded_sums_are_exact",
            "estimators/test_generator::test_curves_stay_curves_whatever_the_network_has_learned",
            "estimators/test_generator::test_dependence_is_as_good_as_a_copula_s_whatever_the_network_has_learned",
            "estimators/test_generator::test_keys_are_unique",
        ),
        "on diabetes the mean difference of dependence is .083, that of a Gaussian copula .072",
    ),
    Line(
        "A.10",
        "Images: deep ones become black or white, transparent ones black; pages and files of one name are lost (24 in, "
        "12 out)",
        (
            "data/test_images::test_black_is_0_and_white_1_at_any_depth",
            "data/test_images::test_white_is_white_and_black_black_in_every_mode",
            "data/test_images::test_transparent_images_lie_on_white",
            "data/test_images::test_images_are_turned_as_they_say",
            "data/test_images::test_each_page_is_a_row_and_comes_out_as_a_file",
            "data/test_images::test_a_moving_png_is_refused",
            "data/test_images::test_a_model_of_one_shape_refuses_another",
            "data/test_images::test_files_of_one_name_in_two_folders_stay_two",
        ),
    ),
    Line(
        "A.11",
        "It is not said in whose units a noise is",
        (
            "core/test_corruptions::test_noise_in_units_of_the_data_has_its_standard_deviation_in_them",
            "core/test_corruptions::test_units_reach_corruptions_within_others_and_given_ones_stay",
            "estimators/test_units::test_a_noise_level_is_in_scaled_units_or_in_the_data_s",
        ),
    ),
    Line(
        "A.12",
        "Labels and types of columns are lost in results: `age 41.336`, `smoker 0.421`",
        (
            "conformance/test_containers::test_rows_come_back_in_the_kind_of_table_that_came",
            "conformance/test_containers::test_columns_of_integers_stay_integers_without_and_with_other_columns_beside_them",
            "conformance/test_containers::test_labels_that_are_no_texts_are_kept",
            "conformance/test_containers::test_samples_are_of_the_kind_of_the_fit_also_after_loading",
        ),
    ),
    Line(
        "B.13",
        "Any use after `fork` hangs for ever",
        (
            "test_jax_config::test_a_child_that_was_forked_too_late_is_refused_and_does_not_hang",
            "test_jax_config::test_a_child_that_was_forked_before_jax_began_works",
            "test_jax_config::test_spawn_works",
        ),
    ),
    Line(
        "B.14",
        "Settings of JAX (64 bits, no compilation, checks for NaN, an absent device), and no home, end in tracebacks",
        (
            "test_jax_config::test_whatever_jax_is_set_to_elsewhere_the_answers_are_the_same",
            "test_jax_config::test_a_device_that_is_not_there_ends_in_one_line",
            "test_jax_config::test_without_a_home_programs_are_not_kept",
        ),
    ),
    Line(
        "B.15",
        "A half-written program in the cache is never mended; its size has no bound",
        (
            "test_jax_config::test_an_entry_is_whole_or_absent",
            "test_jax_config::test_an_entry_that_jax_rejects_is_replaced",
            "test_jax_config::test_a_half_written_program_is_mended_without_a_word",
            "test_jax_config::test_the_size_is_bounded_and_what_was_used_last_stays",
            "test_jax_config::test_a_folder_that_cannot_be_written_is_no_trouble",
            "test_jax_config::test_whether_stored_programs_are_used_is_tried",
        ),
        "that a processor rejects every stored program is simulated",
    ),
    Line(
        "B.16",
        "Encoding is quadratic: 33 s for 5 rows of 4,000 columns, 512 MB for one row with 8,000 categories",
        (
            "data/test_frames::test_encoding_is_linear_in_columns_and_categories",
            "data/test_frames::test_a_wide_encoding_is_made_piece_by_piece",
        ),
    ),
    Line(
        "B.17",
        "Errors of other libraries leak: types of polars, pandas and databases, empty frames, record batches, dropout",
        (
            "data/test_frames::test_a_table_of_any_library_has_the_same_rows",
            "data/test_frames::test_numbers_alone_are_read_from_any_container",
            "data/test_frames::test_no_rows_are_refused",
            "data/test_frames::test_types_that_only_a_database_has_are_left_out",
            "data/test_frames::test_an_answer_of_no_rows_and_any_type_is_refused",
            "data/test_frames::test_cells_that_csv_has_no_form_for_are_written_as_texts",
            "test_outputs::test_an_empty_folder_is_filled",
            "conformance/test_own_parts::test_a_network_with_a_state_or_noise_of_its_own_is_refused",
            "test_outputs::test_a_path_that_is_none_is_refused",
        ),
    ),
    Line(
        "B.18",
        "Constant columns have the scale 1 of the user's unit: 1e-6 → 1e-3 is never seen, 5 → 6 always",
        (
            "data/test_scaler::test_a_common_factor_changes_no_scaled_number",
            "data/test_scaler::test_a_change_of_a_constant_is_relative_to_its_value",
            "data/test_scaler::test_scores_do_not_depend_on_the_unit",
            "data/test_scaler::test_a_constant_column_that_changes_is_flagged_in_every_unit",
        ),
    ),
    Line(
        "B.19",
        "Early stopping without held-out rows is ignored; Ctrl-C keeps nothing",
        (
            "estimators/test_sweep::test_early_stopping_without_validation_rows_is_refused",
            "estimators/test_interrupts::test_a_first_fit_keeps_the_best_so_far",
            "estimators/test_interrupts::test_a_refit_leaves_the_former_model_whole",
            "test_callbacks::test_a_callback_stops_the_training_after_its_epoch",
            "test_callbacks::test_a_callback_sees_the_model_after_each_epoch",
        ),
        "a detector with its own networks trains in one epoch, of which an interrupt keeps nothing",
    ),
    Line(
        "B.20",
        "ONNX takes doubles only; the server refuses packed bodies",
        (
            "export/test_onnx::test_the_type_of_numbers_follows_from_the_digits_of_the_columns",
            "export/test_onnx::test_results_that_32_bits_change_are_exported_in_64",
            "export/test_onnx::test_all_inputs_and_outputs_have_a_doc_string",
            "serving/test_bounds::test_a_body_of_gzip_is_the_same_request",
            "serving/test_bounds::test_a_body_is_bounded_by_what_it_becomes",
        ),
    ),
    Line(
        "B.21",
        "The classifier has no mixed tables and no weights: of 118 : 2, the rare class is never predicted",
        (
            "estimators/test_classifier::test_a_rare_class_is_found_with_balanced_weights",
            "estimators/test_classifier::test_weights_of_rows_and_of_classes_are_one_product_and_their_unit_does_not_matter",
            "estimators/test_classifier::test_it_reads_tables_of_all_kinds_of_columns",
        ),
    ),
    Line(
        "C.22",
        "Counts of 10⁴ and more make every score NaN",
        (
            "core/test_count_deviance::test_the_deviance_of_counts_is_right_over_twelve_decades",
            "core/test_count_deviance::test_the_deviance_is_never_nan",
            "core/test_count_deviance::test_a_detector_of_large_counts_gives_numbers_and_finds_a_planted_anomaly",
        ),
    ),
    Line(
        "C.23",
        "A sweep with early stopping chooses the wrong setting",
        (
            "estimators/test_sweep::test_every_outcome_is_that_of_fitting_alone",
            "estimators/test_sweep::test_a_sweep_over_any_parameter_equals_single_fits",
            "estimators/test_sweep::test_a_sweep_over_some_parameters_of_any_system_equals_single_fits",
            "estimators/test_sweep::test_a_score_that_is_no_number_is_never_the_best",
            "estimators/test_sweep::test_one_that_diverges_fails_alone",
            "estimators/test_sweep::test_a_setting_is_retried_as_by_fit",
        ),
    ),
    Line(
        "C.24",
        "Explanations and reports show altered cells: age 400 is 70.7",
        (
            "conformance/test_containers::test_explanations_show_the_cells_as_given",
            "conformance/test_containers::test_reports_show_cells_as_given",
            "conformance/test_containers::test_bounds_show_known_cells_as_given_and_are_not_cut",
            "conformance/test_containers::test_given_values_of_samples_are_exact",
        ),
    ),
    Line(
        "C.25",
        "Columns below 10⁻⁹ are generated as zeros; the first chunk's type narrows later ones; times without a "
        'zone are read as UTC; a column named "label" overwrites the colours; mean activations are wrong if several '
        "processes stream",
        (
            "estimators/test_generator::test_columns_of_any_unit_are_generated",
            "data/test_frames::test_a_later_chunk_may_be_finer_than_the_first",
            "data/test_frames::test_moments_are_read_on_the_clock_of_the_column",
            "report/test_page::test_columns_keep_their_own_colours_whatever_their_names_are",
            "estimators/test_autoencoders::test_the_mean_activation_is_that_of_all_rows",
        ),
        "held-out rows still teach a schema's ranges",
    ),
    Line(
        "C.26",
        "`--force`, `save` and outputs remove files and folders that diabolo did not write",
        (
            "test_outputs::test_what_diabolo_did_not_write_is_refused_and_stays",
            "test_outputs::test_what_diabolo_wrote_is_replaced_but_not_with_other_files_in_it",
            "test_outputs::test_a_failing_rename_loses_no_model",
            "test_outputs::test_an_older_model_that_cannot_be_put_back_is_kept",
            "test_outputs::test_of_a_folder_with_other_files_only_checkpoints_are_removed",
            "test_outputs::test_the_command_replaces_no_input_and_no_other_file",
            "test_outputs::test_what_a_killed_process_left_blocks_nothing",
            "cli/test_apply::test_force_never_replaces_a_file_that_data_is_read_from",
            "data/test_schema::test_the_empty_cells_of_a_table_are_filled_and_the_rest_is_as_it_was",
        ),
    ),
    Line(
        "C.27",
        "A request of 2.4 MB kills the server; one of 1.3 kB makes an answer of 50 MB",
        (
            "serving/test_bounds::test_rows_of_nothing_are_bounded_by_the_numbers_that_they_become",
            "serving/test_bounds::test_one_long_text_many_times_is_refused",
            "serving/test_bounds::test_lists_are_counted_before_they_are_made",
            "serving/test_bounds::test_a_cell_of_several_values_is_refused",
            "serving/test_bounds::test_half_a_surrogate_pair_is_a_fault_of_the_request",
            "serving/test_bounds::test_texts_of_every_type_are_read_and_counted",
            "serving/test_bounds::test_a_name_that_is_not_its_own_is_refused",
            "conformance/test_fuzzing::test_damaged_input_is_read_or_refused",
        ),
    ),
    Line(
        "C.28",
        "`impute` fails on ordinary files; a CSV over 64 MB with decimals late cannot be read",
        (
            "conformance/test_containers::test_columns_of_other_types_are_filled_and_known_cells_stay",
            "conformance/test_containers::test_filled_moments_have_the_clock_of_their_column",
            "conformance/test_containers::test_reports_of_columns_without_values",
            "conformance/test_containers::test_categories_are_given_by_their_meaning",
            "data/test_text::test_late_decimals_and_texts_in_a_large_file",
        ),
    ),
    Line(
        "C.29",
        "Each new shape takes 6 MB that are never released",
        ("test_jax_config::test_programs_in_memory_are_bounded",),
        "programs are counted, not megabytes",
    ),
    Line(
        "C.30",
        "35 of 3,545 cases of other libraries' own tests fail",
        (
            "conformance/test_arguments::test_an_argument_of_a_wrong_type_is_refused",
            "conformance/test_docstrings::test_a_docstring_is_complete",
            "conformance/test_signatures::test_the_model_comes_before_its_training_and_the_run_comes_last",
            "persistence/test_skops::test_a_stored_estimator_gives_the_same_outputs",
            "estimators/test_classifier::test_logs_of_probabilities_are_finite_where_probabilities_are_0",
            "estimators/test_classifier::test_sparse_rows_are_dense_rows",
            "estimators/test_blend::test_columns_are_those_of_scikit_learns_imputers",
            "engine/test_gaussian::test_rows_of_low_rank_are_known_exactly",
        ),
        "anomalies between two heaps in the plane have an AUROC of .74",
    ),
)
"""By the names of the list of faults that the laws were made for."""
