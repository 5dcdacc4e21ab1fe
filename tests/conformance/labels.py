# SPDX-License-Identifier: Apache-2.0
"""The reasons that defects of ``defects*.py`` must be given, and under which claim they are checked."""

from __future__ import annotations

_BY_KIND: dict[str, dict[str, str]] = {
    "encode": {
        "tie_rule": "ties_away_from_zero",
        "truncation": "truncation",
        "overflow_policy": "overflow_policy_ignored",
        "double_rounding": "rounded_through_float32",
        "subnormal_flush": "subnormal_codes_flushed",
        "special_values": "negative_zero_lost nan_becomes_448 infinity_becomes_nan",
    },
    "decode": {"special_values": "top_codes_as_480", "subnormal_flush": "subnormals_decoded_as_zero"},
    "scaled_mm": {
        "unwritten": "last_tile_never_written",
        "subnormal_flush": "subnormal_results_flushed",
        "special_values": "zero_sum_is_negative nan_codes_count_as_448 infinite_operands_are_nan",
        "epilogue_order": "scales_in_the_other_order scales_multiplied_first scales_in_one_rounding"
        " bias_added_after_rounding triton_blocks_in_the_order_of_deepgemm triton_never_swaps"
        " bias_of_block_sums_not_fused blocks_rounded_one_by_one",
        "scale_broadcast": "scale_rows_forgotten block_of_b_by_column out_scale_forgotten",
        "k_tail": "k_tail_dropped short_last_block_dropped",
        "accumulator": "float32_accumulator float16_accumulator tensor_core_where_exact_is_asked"
        " exact_where_a_tensor_core_is_asked tensor_core_steps_of_16 tensor_core_12_fraction_bits"
        " tensor_core_result_of_24_bits tensor_core_promoted",
        "double_rounding": "e4m3_rounded_through_bfloat16",
        "missing_rounding": "e4m3_product_not_rounded_to_float32",
        "reciprocal": "out_scale_divides",
        "overflow_policy": "overflow_always_saturates overflow_always_nan",
        "layout": "e5m2_read_as_e4m3",
    },
    "grouped_mm": {
        "group_boundary": "groups_begin_a_row_late inner_boundaries_a_row_early first_group_begins_at_row_0"
        " last_group_ends_with_a empty_group_takes_the_next_expert empty_group_ends_the_loop",
        "stale_output": "rows_of_no_group_hold_garbage result_is_not_written_to_out",
        "unwritten": "rows_of_no_group_are_cleared_in_out",
        "scale_broadcast": "first_expert_scales_all",
    },
    "quantize": {
        "scale_rule": "static_divides kv_cache_multiplies_by_reciprocal group_divides_as_before_0_33"
        " group_of_0_11_multiplies_by_reciprocal division_by_448_on_a_gpu ceil_of_a_rounded_logarithm"
        " multiplier_is_one_division training_in_float32 epsilon_clamps_small_scales one_scale_for_all_channels"
        " scale_floor_forgotten amax_times_reciprocal_of_448 bound_is_ignored",
        "reciprocal": "per_token_multiplies_by_reciprocal multiplier_is_returned",
        "overflow_policy": "nothing_saturates",
        "special_values": "nan_is_clamped negative_zero_loses_its_sign",
        "k_tail": "amax_misses_the_last_column",
        "layout": "group_scales_are_column_major",
    },
    "linear": {
        "accumulator": "float32_sums float64_sums",
        "missing_rounding": "no_rounding_to_float32",
        "epilogue_order": "bias_after_rounding",
        "subnormal_flush": "subnormals_flushed",
        "special_values": "nan_lost",
    },
    "rmsnorm": {
        "epilogue_order": "eps_outside_the_root",
        "double_rounding": "root_rounded_before_the_division sum_of_squares_in_bf16",
        "reciprocal": "mean_by_reciprocal",
        "missing_rounding": "one_rounding_at_the_end",
        "accumulator": "sum_of_squares_in_float32",
    },
    "rope": {
        "missing_rounding": "rotation_in_float32 table_kept_in_float32 interleaved_with_fused_steps"
        " interleaved_rounded_once",
        "double_rounding": "interleaved_with_a_bfloat16_table",
        "layout": "pairs_interleaved layout_ignored",
    },
    "temperature_factors": {
        "missing_rounding": "floor_left_out fused_factor",
        "scale_rule": "logarithm_of_n",
        "layout": "position_instead_of_the_next",
        "double_rounding": "float32_logarithm",
        "epilogue_order": "one_left_out",
    },
    "temperature": {
        "double_rounding": "factors_in_bfloat16",
        "missing_rounding": "product_is_rounded_once",
        "scale_broadcast": "first_factor_for_all",
        "truncation": "product_is_cut",
    },
    "rope_table": {"missing_rounding": "angle_not_rounded", "double_rounding": "angle_rounded_to_bf16"},
    "rope_frequencies": {"missing_rounding": "power_not_rounded", "scale_rule": "scaling_ignored"},
    "attention": {
        "missing_rounding": "weights_not_rounded",
        "double_rounding": "weights_rounded_to_float16 weights_normalised_first",
        "layout": "heads_grouped_by_remainder mask_ignores_the_prefix causal_mask_forgotten chunks_forgotten"
        " chunk_counted_from_the_query chunk_counted_from_the_first_query chunk_of_one_key_more chunk_not_causal"
        " blocks_counted_from_the_chunk",
        "accumulator": "mode_ignored",
    },
    "route": {
        "tie_rule": "last_of_equal_experts",
        "special_values": "nan_is_never_chosen zeros_of_experts_ordered_by_sign",
        "scale_rule": "softmax_of_all softmax_of_the_chosen normalised_sigmoids",
        "double_rounding": "sigmoid_in_bfloat16 chosen_by_score",
        "layout": "experts_in_ascending_order",
    },
    "dispatch": {
        "epilogue_order": "score_is_left_for_the_output",
        "scale_broadcast": "scores_are_not_sorted",
        "layout": "order_is_not_stable rows_are_not_sorted inverse_order",
        "group_boundary": "offsets_are_ends offsets_are_sizes",
        "subnormal_flush": "small_products_flushed",
    },
    "combine": {
        "accumulator": "sums_in_bfloat16 sums_in_float32",
        "missing_rounding": "sum_is_not_rounded_first",
        "layout": "order_is_not_inverted",
        "epilogue_order": "shared_expert_dropped",
        "special_values": "minus_zero_of_one_expert_kept",
    },
    "silu_mul": {
        "double_rounding": "silu_in_float32_steps",
        "missing_rounding": "silu_not_rounded_to_bf16",
        "special_values": "minus_infinity_gives_zero",
        "subnormal_flush": "subnormal_products_flushed",
    },
    "residual": {
        "truncation": "sum_truncated",
        "special_values": "negative_zero_sum_lost",
        "subnormal_flush": "subnormal_sums_flushed",
    },
    "gated_residual": {
        "epilogue_order": "tanh_left_out gate_ignored sigmoid_for_tanh",
        "missing_rounding": "tanh_not_rounded product_not_rounded",
    },
    "sample": {"tie_rule": "last_of_equals", "special_values": "nan_skipped zeros_ordered_by_sign"},
}
# (function, name of the defect) -> kind
LABELS: dict[tuple[str, str], str] = {
    (function, name): kind
    for function, kinds in _BY_KIND.items()
    for kind, names in kinds.items()
    for name in names.split()
}
_UNIT = "sm90_wgmma"
# Claims under which a defect shows, where that is neither the default nor its first rule.
CLAIMS: dict[str, str] = {
    "exact_where_a_tensor_core_is_asked": _UNIT,
    "tensor_core_steps_of_16": _UNIT,
    "tensor_core_12_fraction_bits": _UNIT,
    "tensor_core_result_of_24_bits": _UNIT,
    "tensor_core_promoted": _UNIT,
    "triton_blocks_in_the_order_of_deepgemm": "triton",
    "triton_never_swaps": "triton_ba",
}
